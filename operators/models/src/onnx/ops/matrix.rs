//! Products with constant matrices, and what a perceptron is made of.

use super::super::fuse::{Draft, Lane};
use super::super::lower::{Lowering, MAX_WIDTH, Made};
use super::super::program::{Column, Operation};
use super::super::proto::Node;
use super::super::tensor::{Data, Element, Tensor};
use super::Function;
use super::number::Real;
use crate::ModelError;
use crate::lanes::{Join, Op, Pairs, Side};

/// A step that may become part of a perceptron, in single precision.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Piece<'a> {
    Add(&'a [f32]),
    Mul(&'a [f32]),
    /// `x · weights + bias`, the weights input by input.
    Dense {
        weights: &'a [f32],
        bias: &'a [f32],
    },
    Function(Function),
}

/// `x · weights + bias` on the last dimension. Sums are in double precision: they are the true ones, whatever order
/// ONNX Runtime adds in.
#[derive(Debug)]
struct Dense<R> {
    /// How often a row has the inputs.
    times: usize,
    inputs: usize,
    outputs: usize,
    /// Input by input.
    weights: Vec<R>,
    bias: Vec<R>,
}

impl<R: Real> Dense<R> {
    fn rows(&self, values: &[R]) -> Vec<R> {
        let mut out = Vec::with_capacity(values.len() / self.inputs * self.outputs);
        let mut sums = vec![0.0; self.outputs];
        for row in values.chunks_exact(self.inputs) {
            sums.iter_mut().zip(&self.bias).for_each(|(sum, bias)| *sum = bias.to_f64());
            for (x, weights) in row.iter().zip(self.weights.chunks_exact(self.outputs)) {
                let x = x.to_f64();
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight.to_f64());
            }
            out.extend(sums.iter().map(|&sum| R::from_f64(sum)));
        }
        out
    }
}

impl Operation for Dense<f32> {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![self.rows(inputs[0].f32()).into()]
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }

    fn lane(&self) -> Option<Lane> {
        Some(Lane::Dense(Draft::dense(&self.weights, &self.bias, self.times)))
    }

    fn piece(&self) -> Option<Piece<'_>> {
        Some(Piece::Dense { weights: &self.weights, bias: &self.bias })
    }
}

impl Operation for Dense<f64> {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![self.rows(inputs[0].f64()).into()]
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    match node.op {
        "MatMul" => matmul(node, to),
        "Gemm" => gemm(node, to),
        _ => batch_norm(node, to),
    }
}

fn matmul<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let weights = to.constant(node, 1)?.clone();
    match weights.dims[..] {
        [inputs, outputs] => dense(node, to, &weights, (inputs, outputs), None, true),
        [inputs] => dense(node, to, &weights, (inputs, 1), None, false),
        _ => Err(node.unsupported(format_args!("its matrix has the shape {:?}", weights.dims))),
    }
}

/// Adds the step for `x · weights + bias`; without `keep` a single output loses its dimension.
fn dense<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    weights: &Tensor,
    (inputs, outputs): (usize, usize),
    bias: Option<Vec<f64>>,
    keep: bool,
) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    if rows.dims.last() != Some(&inputs) || outputs == 0 || outputs > MAX_WIDTH {
        return Err(node.unreadable(format_args!("rows of the shape {:?} times [{inputs}, {outputs}]", rows.dims)));
    }
    let mut dims = rows.dims[..rows.dims.len() - 1].to_vec();
    dims.extend(keep.then_some(outputs));
    let made = vec![Made::new(rows.element, dims)];
    let bias = bias.unwrap_or_else(|| vec![0.0; outputs]);
    let times = rows.dims[..rows.dims.len() - 1].iter().product();
    match (rows.element, &weights.data) {
        (Element::F32, Data::F32(weights)) => {
            let bias = bias.iter().map(|&x| x as f32).collect();
            to.step(node, Dense { times, inputs, outputs, weights: weights.clone(), bias }, &[rows.slot], made)
        }
        (Element::F64, Data::F64(weights)) => {
            to.step(node, Dense { times, inputs, outputs, weights: weights.clone(), bias }, &[rows.slot], made)
        }
        (element, _) => Err(node.unsupported(format_args!("of {element:?} and {:?}", weights.element))),
    }
}

fn gemm<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let b = to.constant(node, 1)?.clone();
    let [first, second] = b.dims[..] else {
        return Err(node.unreadable(format_args!("its matrix has the shape {:?}", b.dims)));
    };
    if node.int("transA", 0)? != 0 {
        return Err(node.unsupported("with transA: it would mix rows"));
    }
    let transposed = node.int("transB", 0)? != 0;
    let (inputs, outputs) = if transposed { (second, first) } else { (first, second) };
    let bias = gemm_bias(node, to, outputs)?;
    let weights = input_by_input(&b, transposed, f64::from(node.float("alpha", 1.0)?));
    let weights = weights.ok_or_else(|| node.unsupported("its matrix holds no floating-point numbers"))?;
    dense(node, to, &weights, (inputs, outputs), bias, true)
}

/// `beta * C` for every output.
fn gemm_bias<'a>(node: &'a Node<'a>, to: &Lowering<'a>, outputs: usize) -> Result<Option<Vec<f64>>, ModelError> {
    if !node.has_input(2) {
        return Ok(None);
    }
    let c = to.constant(node, 2)?;
    let beta = f64::from(node.float("beta", 1.0)?);
    let values = c.doubles().ok_or_else(|| node.unreadable("its C holds no floating-point numbers"))?;
    let per_row = c.dims.len() < 2 || c.dims[0] == 1;
    match values.len() {
        _ if !per_row => Err(node.unsupported(format_args!("its C of the shape {:?} would mix rows", c.dims))),
        len if len == outputs => Ok(Some(values.iter().map(|x| beta * x).collect())),
        1 => Ok(Some(vec![beta * values[0]; outputs])),
        _ => Err(node.unreadable(format_args!("its C has the shape {:?} for {outputs} outputs", c.dims))),
    }
}

fn input_by_input(b: &Tensor, transposed: bool, alpha: f64) -> Option<Tensor> {
    fn arrange<R: Real>(values: &[R], columns: usize, transposed: bool, alpha: f64) -> Vec<R> {
        let alpha = R::from_f64(alpha);
        if !transposed {
            return values.iter().map(|&x| x * alpha).collect();
        }
        (0..columns).flat_map(|at| values.iter().skip(at).step_by(columns)).map(|&x| x * alpha).collect()
    }
    let columns = (*b.dims.last()?).max(1);
    let data = match &b.data {
        Data::F32(values) => Data::F32(arrange(values, columns, transposed, alpha)),
        Data::F64(values) => Data::F64(arrange(values, columns, transposed, alpha)),
        _ => return None,
    };
    Some(Tensor { dims: b.dims.clone(), element: b.element, data })
}

/// `x * scale + shift`, an element of a row at a time.
#[derive(Debug)]
struct Scale {
    by: Vec<f32>,
    then: Vec<f32>,
    first: bool,
}

impl Operation for Scale {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let values = inputs[0].f32();
        let with = if self.first { &self.by } else { &self.then };
        let rows = values.chunks_exact(with.len());
        let out: Vec<f32> = match self.first {
            true => rows.flat_map(|row| row.iter().zip(with).map(|(x, by)| x * by)).collect(),
            false => rows.flat_map(|row| row.iter().zip(with).map(|(x, by)| x + by)).collect(),
        };
        vec![out.into()]
    }

    fn lane(&self) -> Option<Lane> {
        let (join, with) = if self.first { (Join::Mul, &self.by) } else { (Join::Add, &self.then) };
        let sides = [Side::Input(0, None), Side::Constant(with.as_slice().into())];
        Some(Lane::Op(Op::Pairs(Pairs::new(join, sides, with.len()))))
    }

    fn piece(&self) -> Option<Piece<'_>> {
        Some(if self.first { Piece::Mul(&self.by) } else { Piece::Add(&self.then) })
    }
}

/// At inference it is a product and a sum, with the constants that ONNX Runtime makes.
fn batch_norm<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    if node.int("training_mode", 0)? != 0 || rows.element != Element::F32 || rows.dims.is_empty() {
        return Err(node.unsupported(format_args!("on {:?} rows of the shape {:?}", rows.element, rows.dims)));
    }
    let epsilon = node.float("epsilon", 1e-5)?;
    let list = |at| match &to.constant(node, at)?.data {
        Data::F32(values) if values.len() == rows.dims[0] => Ok(values.clone()),
        _ => Err(node.unreadable(format_args!("its input {at} is no list of {}", rows.dims[0]))),
    };
    let (scale, shift, mean, variance) = (list(1)?, list(2)?, list(3)?, list(4)?);
    let each: usize = rows.dims[1..].iter().product();
    let spread = |list: Vec<f32>| list.into_iter().flat_map(|x| std::iter::repeat_n(x, each)).collect::<Vec<f32>>();
    let by: Vec<f32> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let then = shift.iter().zip(mean.iter().zip(&by)).map(|(b, (m, s))| b - m * s).collect();
    let (by, then) = (spread(by), spread(then));
    let made = || vec![Made::new(Element::F32, rows.dims.clone())];
    let scaled = Scale { by, then: Vec::new(), first: true };
    let scaled = to.hidden_step(node, scaled, &[rows.slot], made())?;
    to.step(node, Scale { by: Vec::new(), then, first: false }, &[scaled[0].slot], made())
}
