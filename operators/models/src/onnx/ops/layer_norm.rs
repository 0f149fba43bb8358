//! LayerNormalization: the trailing dimensions of a row are brought to mean 0 and variance 1.

use super::super::fuse::Lane;
use super::super::lower::{Lowering, Made};
use super::super::program::{Column, Operation};
use super::super::proto::Node;
use super::super::tensor::{Element, Tensor};
use super::number::Real as _;
use super::shape::row_axis;
use crate::ModelError;
use crate::lanes::{self, Op};

/// ONNX's default `epsilon`.
const EPSILON: f32 = 1e-5;

#[derive(Debug)]
struct LayerNorm {
    /// How many there are in a row.
    groups: usize,
    epsilon: f64,
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl LayerNorm {
    /// Sums are in double precision.
    fn group(&self, values: &[f32], out: &mut [f32]) {
        let count = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
        let (mean, by) = (mean as f32, (1.0 / (variance + self.epsilon).sqrt()) as f32);
        for ((out, x), (scale, bias)) in out.iter_mut().zip(values).zip(self.scale.iter().zip(&self.bias)) {
            *out = (x - mean) * by * scale + bias;
        }
    }
}

impl Operation for LayerNorm {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let values = inputs[0].f32();
        let mut out = vec![0.0; values.len()];
        let width = self.scale.len();
        values.chunks_exact(width).zip(out.chunks_exact_mut(width)).for_each(|(x, out)| self.group(x, out));
        vec![out.into()]
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn lane(&self) -> Option<Lane> {
        let (scale, bias) = (self.scale.as_slice().into(), self.bias.as_slice().into());
        let norm = lanes::LayerNorm { groups: self.groups, epsilon: self.epsilon as f32, scale, bias };
        Some(Lane::Op(Op::LayerNorm(norm)))
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(&self.scale[..]) + size_of_val(&self.bias[..])
    }
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let axis = row_axis(node, node.int("axis", -1)?, rows.dims.len())?;
    let width = rows.dims[axis..].iter().product();
    if rows.element != Element::F32 || node.outputs.iter().skip(1).any(|name| !name.is_empty()) {
        return Err(node.unsupported("in other than single precision, or with its mean as an output"));
    }
    let scale = weights(node, to.constant(node, 1)?, width)?;
    let bias = if node.has_input(2) { weights(node, to.constant(node, 2)?, width)? } else { vec![0.0; width] };
    let groups = rows.dims[..axis].iter().product();
    let operation = LayerNorm { groups, epsilon: f64::from(node.float("epsilon", EPSILON)?), scale, bias };
    to.step(node, operation, &[rows.slot], vec![Made::new(Element::F32, rows.dims)])
}

/// A number per element of a group.
fn weights(node: &Node<'_>, tensor: &Tensor, width: usize) -> Result<Vec<f32>, ModelError> {
    match f32::constant(tensor) {
        Some(all) if all.len() == width => Ok(all.to_vec()),
        _ => Err(node.unreadable(format_args!("weights of the shape {:?} for {width} elements", tensor.dims))),
    }
}
