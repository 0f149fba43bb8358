//! From scores to probabilities: Softmax, and the `post_transform` of the ai.onnx.ml operators.
//!
//! The rules of the latter are ONNX Runtime's (`core/providers/cpu/ml/ml_common.h`): single precision throughout.

use super::super::fuse::Lane;
use super::super::lower::{Lowering, Made};
use super::super::program::{Column, Operation};
use super::super::proto::Node;
use super::number::{Real, zero};
use super::shape::row_axis;
use crate::ModelError;
use crate::lanes::{self, Op};

/// ONNX's `post_transform`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    None,
    Logistic,
    Softmax,
    SoftmaxZero,
    Probit,
}

impl Transform {
    pub(super) fn read(node: &Node<'_>) -> Result<Self, ModelError> {
        Ok(match node.text("post_transform", "NONE")? {
            "NONE" => Transform::None,
            "LOGISTIC" => Transform::Logistic,
            "SOFTMAX" => Transform::Softmax,
            "SOFTMAX_ZERO" => Transform::SoftmaxZero,
            "PROBIT" => Transform::Probit,
            other => return Err(node.unreadable(format_args!("the post_transform \"{}\"", other.escape_debug()))),
        })
    }

    /// The scores of one row that has at least two.
    pub(super) fn apply(self, scores: &mut [f32]) {
        match self {
            Transform::None => {}
            Transform::Logistic => scores.iter_mut().for_each(|x| *x = logistic(*x)),
            Transform::Softmax => softmax(scores),
            Transform::SoftmaxZero => softmax_zero(scores),
            Transform::Probit => scores.iter_mut().for_each(|x| *x = probit(*x)),
        }
    }
}

pub(super) fn logistic(x: f32) -> f32 {
    let v = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - v } else { v }
}

fn softmax<R: Real>(scores: &mut [R]) {
    let max = scores.iter().fold(R::from_f64(f64::MIN), |max, &x| if x > max { x } else { max });
    scores.iter_mut().for_each(|x| *x = (*x - max).exp());
    let sum = scores.iter().fold(zero::<R>(), |sum, &x| sum + x);
    scores.iter_mut().for_each(|x| *x = *x / sum);
}

/// Scores of zero keep a probability of zero.
fn softmax_zero(scores: &mut [f32]) {
    /// Below this a score counts as zero.
    const NOTHING: f32 = 1e-7;
    let max = scores.iter().fold(f32::MIN, |max, &x| if x > max { x } else { max });
    let mut sum = 0.0;
    for x in scores.iter_mut() {
        if x.abs() > NOTHING {
            *x = (*x - max).exp();
            sum += *x;
        } else {
            *x *= (-max).exp();
        }
    }
    scores.iter_mut().for_each(|x| *x /= sum);
}

/// The inverse of the normal distribution, with ONNX Runtime's approximation of the inverse error function.
pub(super) fn probit(x: f32) -> f32 {
    const SQRT2: f32 = std::f32::consts::SQRT_2;
    SQRT2 * inverse_erf(2.0 * x - 1.0)
}

fn inverse_erf(x: f32) -> f32 {
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - x) * (1.0 + x)).ln();
    // Winitzki's approximation: 0.147, and 2 / (pi * 0.147) with the six digits of pi that ONNX Runtime has.
    let v = 4.330_751 + 0.5 * log;
    let v2 = 1.0 / 0.147 * log;
    sign * (-v + (v * v - v2).sqrt()).sqrt()
}

/// Softmax over the last dimension.
#[derive(Debug)]
struct Softmax {
    /// How many there are in a row.
    groups: usize,
    width: usize,
    log: bool,
}

impl Softmax {
    fn rows<R: Real>(&self, values: &[R]) -> Vec<R> {
        let mut out = values.to_vec();
        for row in out.chunks_exact_mut(self.width) {
            if self.log { log_softmax(row) } else { softmax(row) }
        }
        out
    }
}

fn log_softmax<R: Real>(scores: &mut [R]) {
    let max = scores.iter().fold(R::from_f64(f64::MIN), |max, &x| if x > max { x } else { max });
    let sum = scores.iter().fold(zero::<R>(), |sum, &x| sum + (x - max).exp());
    let log = sum.ln();
    scores.iter_mut().for_each(|x| *x = *x - max - log);
}

impl Operation for Softmax {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F64(values) => self.rows(values).into(),
            other => self.rows(other.f32()).into(),
        }]
    }

    fn lane(&self) -> Option<Lane> {
        let softmax = lanes::Softmax { groups: self.groups, width: self.width };
        (!self.log).then_some(Lane::Op(Op::Softmax(softmax)))
    }
}

pub(super) fn lower_softmax<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let default = if to.model.opset("").unwrap_or(0) < 13 { 1 } else { -1 };
    let axis = row_axis(node, node.int("axis", default)?, rows.dims.len())?;
    if axis + 1 != rows.dims.len() || !rows.element.is_float() {
        return Err(
            node.unsupported(format_args!("of {:?} rows of the shape {:?} along {axis}", rows.element, rows.dims))
        );
    }
    let (width, groups) = (rows.dims[axis], rows.dims[..axis].iter().product());
    let operation = Softmax { groups, width, log: node.op == "LogSoftmax" };
    to.step(node, operation, &[rows.slot], vec![Made::new(rows.element, rows.dims.clone())])
}
