//! Functions of one or two numbers, with ONNX's broadcasting inside a row.

use super::super::lower::{Lowering, Made, Rows, Value};
use super::super::program::{Column, Missing, Operation};
use super::super::proto::Node;
use super::super::tensor::{Data, Element, Tensor, checked_len};
use super::Piece;
use super::number::{Real, one, zero};
use crate::ModelError;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Function {
    Relu,
    Sigmoid,
    Tanh,
    Exp,
    Log,
    Sqrt,
    Neg,
    Abs,
    Reciprocal,
    Floor,
    Ceil,
    Sign,
    Softplus,
    Softsign,
    LeakyRelu(f32),
    Elu(f32),
    Selu(f32, f32),
    HardSigmoid(f32, f32),
    Clip(f64, f64),
}

pub(super) fn is_function(op: &str) -> bool {
    matches!(
        op,
        "Relu"
            | "Sigmoid"
            | "Tanh"
            | "Exp"
            | "Log"
            | "Sqrt"
            | "Neg"
            | "Abs"
            | "Reciprocal"
            | "Floor"
            | "Ceil"
            | "Sign"
            | "Softplus"
            | "Softsign"
            | "LeakyRelu"
            | "Elu"
            | "Selu"
            | "HardSigmoid"
            | "Clip"
            | "IsNaN"
            | "Not"
    )
}

impl Function {
    fn read<'a>(node: &Node<'a>, to: &Lowering<'a>) -> Result<Self, ModelError> {
        Ok(match node.op {
            "Relu" => Function::Relu,
            "Sigmoid" => Function::Sigmoid,
            "Tanh" => Function::Tanh,
            "Exp" => Function::Exp,
            "Log" => Function::Log,
            "Sqrt" => Function::Sqrt,
            "Neg" => Function::Neg,
            "Abs" => Function::Abs,
            "Reciprocal" => Function::Reciprocal,
            "Floor" => Function::Floor,
            "Ceil" => Function::Ceil,
            "Sign" => Function::Sign,
            "Softplus" => Function::Softplus,
            "Softsign" => Function::Softsign,
            "LeakyRelu" => Function::LeakyRelu(node.float("alpha", 0.01)?),
            "Elu" => Function::Elu(node.float("alpha", 1.0)?),
            "Selu" => Function::Selu(node.float("alpha", 1.673_263_2)?, node.float("gamma", 1.050_701)?),
            "HardSigmoid" => Function::HardSigmoid(node.float("alpha", 0.2)?, node.float("beta", 0.5)?),
            "Clip" => Function::Clip(limit(node, to, 1, f64::MIN)?, limit(node, to, 2, f64::MAX)?),
            _ => return Err(node.unsupported("no such function")),
        })
    }

    #[inline(always)]
    fn of<R: Real>(self, x: R) -> R {
        let number = |x: f32| R::from_f64(f64::from(x));
        match self {
            Function::Relu => {
                if x < zero() {
                    zero()
                } else {
                    x
                }
            }
            Function::Sigmoid => sigmoid(x),
            Function::Tanh => x.tanh(),
            Function::Exp => x.exp(),
            Function::Log => x.ln(),
            Function::Sqrt => x.sqrt(),
            Function::Neg => -x,
            Function::Abs => x.abs(),
            Function::Reciprocal => one::<R>() / x,
            Function::Floor => x.floor(),
            Function::Ceil => x.ceil(),
            Function::Sign => sign(x),
            Function::Softplus => softplus(x),
            Function::Softsign => x / (one::<R>() + x.abs()),
            Function::LeakyRelu(alpha) => {
                if x < zero() {
                    number(alpha) * x
                } else {
                    x
                }
            }
            Function::Elu(alpha) => {
                if x < zero() {
                    number(alpha) * (x.exp() - one())
                } else {
                    x
                }
            }
            Function::Selu(alpha, gamma) => {
                number(gamma) * if x > zero() { x } else { number(alpha) * (x.exp() - one()) }
            }
            Function::HardSigmoid(alpha, beta) => clip(number(alpha) * x + number(beta), zero(), one()),
            Function::Clip(low, high) => clip(x, R::from_f64(low), R::from_f64(high)),
        }
    }
}

/// 1 / (1 + e^-x) without overflow on either side.
pub(super) fn sigmoid<R: Real>(x: R) -> R {
    let e = (-x.abs()).exp();
    let positive = one::<R>() / (one::<R>() + e);
    if x < zero() { e * positive } else { positive }
}

fn softplus<R: Real>(x: R) -> R {
    let tail = (one::<R>() + (-x.abs()).exp()).ln();
    if x > zero() { x + tail } else { tail }
}

fn sign<R: Real>(x: R) -> R {
    if x > zero() {
        one()
    } else if x < zero() {
        -one::<R>()
    } else {
        x
    }
}

fn clip<R: Real>(x: R, low: R, high: R) -> R {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// A limit of Clip: an input since opset 11, an attribute before.
fn limit<'a>(node: &Node<'a>, to: &Lowering<'a>, at: usize, default: f64) -> Result<f64, ModelError> {
    if node.has_input(at) {
        let values = to.constant(node, at)?.doubles();
        return values.and_then(|v| v.first().copied()).ok_or_else(|| node.unreadable("its limits are no numbers"));
    }
    let name = if at == 1 { "min" } else { "max" };
    if node.has(name) { Ok(f64::from(node.float(name, 0.0)?)) } else { Ok(default) }
}

#[derive(Debug)]
struct Each(Function);

fn map<R: Real>(function: Function, column: &Column<'_>) -> Column<'static> {
    R::column(R::values(column).iter().map(|&x| function.of(x)).collect())
}

impl Operation for Each {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F64(_) => map::<f64>(self.0, inputs[0]),
            _ => map::<f32>(self.0, inputs[0]),
        }]
    }

    fn piece(&self) -> Option<Piece<'_>> {
        Some(Piece::Function(self.0))
    }
}

pub(super) fn lower_function<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let made = |element| vec![Made::new(element, rows.dims.clone())];
    match (node.op, rows.element) {
        ("IsNaN", element) if element.is_float() => to.step(node, IsNan, &[rows.slot], made(Element::Bool)),
        ("Not", Element::Bool) => to.step(node, Not, &[rows.slot], made(Element::Bool)),
        (_, element) if element.is_float() => {
            let function = Function::read(node, to)?;
            to.step(node, Each(function), &[rows.slot], made(element))
        }
        (_, element) => Err(node.unsupported(format_args!("on {element:?}"))),
    }
}

#[derive(Debug)]
struct IsNan;

impl Operation for IsNan {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let flags: Vec<i64> = match inputs[0] {
            Column::F64(values) => values.iter().map(|x| i64::from(x.is_nan())).collect(),
            other => other.f32().iter().map(|x| i64::from(x.is_nan())).collect(),
        };
        vec![flags.into()]
    }

    fn missing(&self) -> Missing {
        Missing::Taken
    }
}

#[derive(Debug)]
struct Not;

impl Operation for Not {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![inputs[0].ints().iter().map(|&flag| 1 - flag).collect::<Vec<_>>().into()]
    }
}

/// A conversion between numbers.
#[derive(Debug)]
struct Cast {
    to: Element,
}

impl Cast {
    fn floats<R: Real>(&self, values: &[R]) -> Column<'static> {
        match self.to {
            Element::F32 => values.iter().map(|x| x.to_f64() as f32).collect::<Vec<_>>().into(),
            Element::F64 => values.iter().map(|x| x.to_f64()).collect::<Vec<_>>().into(),
            Element::Bool => values.iter().map(|&x| i64::from(x != zero())).collect::<Vec<_>>().into(),
            Element::I32 => values.iter().map(|x| i64::from(x.to_f64() as i32)).collect::<Vec<_>>().into(),
            Element::I64 | Element::Text => values.iter().map(|x| x.to_f64() as i64).collect::<Vec<_>>().into(),
        }
    }

    fn ints(&self, values: &[i64]) -> Column<'static> {
        match self.to {
            Element::F32 => values.iter().map(|&x| x as f32).collect::<Vec<_>>().into(),
            Element::F64 => values.iter().map(|&x| x as f64).collect::<Vec<_>>().into(),
            Element::Bool => values.iter().map(|&x| i64::from(x != 0)).collect::<Vec<_>>().into(),
            Element::I32 => values.iter().map(|&x| i64::from(x as i32)).collect::<Vec<_>>().into(),
            Element::I64 | Element::Text => values.to_vec().into(),
        }
    }
}

impl Operation for Cast {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F32(values) => self.floats(values),
            Column::F64(values) => self.floats(values),
            Column::Ints(values) => self.ints(values),
        }]
    }

    fn missing(&self) -> Missing {
        if self.to.is_float() { Missing::Passes } else { Missing::Refused }
    }
}

pub(super) fn lower_cast<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let number = node.int("to", 0)?;
    let element = Element::from_onnx(number);
    let element =
        element.ok_or_else(|| node.unsupported(format_args!("to {}", super::super::tensor::element_name(number))))?;
    let rows = match to.value(node, 0)? {
        Value::Rows(rows) => rows.clone(),
        Value::Constant(tensor) => {
            let cast = cast_constant(tensor, element).ok_or_else(|| node.unsupported("of a constant to that type"))?;
            to.bind(node, 0, Value::Constant(cast.into()));
            return Ok(());
        }
    };
    let cast = cast_rows(node, to, rows, element)?;
    to.alias(node, cast);
    Ok(())
}

/// The rows in another type; the same where they have it already.
pub(super) fn cast_rows<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    rows: Rows,
    element: Element,
) -> Result<Rows, ModelError> {
    if rows.element == element {
        return Ok(rows);
    }
    if rows.element == Element::Text || element == Element::Text {
        return Err(node.unsupported(format_args!("from {:?} to {element:?}", rows.element)));
    }
    // Classes that were found by their index stay within its bound.
    let mut made = Made::new(element, rows.dims.clone());
    made.bound = rows.bound.filter(|_| element == Element::I64);
    let cast = to.hidden_step(node, Cast { to: element }, &[rows.slot], vec![made])?;
    cast.into_iter().next().ok_or_else(|| node.unreadable("no output"))
}

/// The constant in another type.
fn cast_constant(tensor: &Tensor, element: Element) -> Option<Tensor> {
    let cast = Cast { to: element };
    let column = match &tensor.data {
        Data::F32(values) => cast.floats(values),
        Data::F64(values) => cast.floats(values),
        Data::Ints(values) => cast.ints(values),
        Data::Text(_) | Data::Foreign(_) => return None,
    };
    let data = match column {
        _ if element == Element::Text => return None,
        Column::F32(values) => Data::F32(values.into_owned()),
        Column::F64(values) => Data::F64(values.into_owned()),
        Column::Ints(values) => Data::Ints(values.into_owned()),
    };
    Some(Tensor { dims: tensor.dims.clone(), element: Some(element), data })
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    And,
    Or,
    Xor,
}

impl Pair {
    fn read(op: &str) -> Option<Self> {
        Some(match op {
            "Add" | "Sum" => Pair::Add,
            "Sub" => Pair::Sub,
            "Mul" => Pair::Mul,
            "Div" => Pair::Div,
            "Pow" => Pair::Pow,
            "Min" => Pair::Min,
            "Max" => Pair::Max,
            "Less" => Pair::Less,
            "LessOrEqual" => Pair::LessOrEqual,
            "Greater" => Pair::Greater,
            "GreaterOrEqual" => Pair::GreaterOrEqual,
            "Equal" => Pair::Equal,
            "And" => Pair::And,
            "Or" => Pair::Or,
            "Xor" => Pair::Xor,
            _ => return None,
        })
    }

    fn is_test(self) -> bool {
        !matches!(self, Pair::Add | Pair::Sub | Pair::Mul | Pair::Div | Pair::Pow | Pair::Min | Pair::Max)
    }

    #[inline(always)]
    fn number<R: Real>(self, a: R, b: R) -> R {
        match self {
            Pair::Add => a + b,
            Pair::Sub => a - b,
            Pair::Mul => a * b,
            Pair::Div => a / b,
            Pair::Pow => power(a, b),
            Pair::Min => {
                if a < b || a.is_nan() {
                    a
                } else {
                    b
                }
            }
            _ => {
                if a > b || a.is_nan() {
                    a
                } else {
                    b
                }
            }
        }
    }

    #[inline(always)]
    fn test<T: PartialOrd>(self, a: T, b: T) -> i64 {
        i64::from(match self {
            Pair::Less => a < b,
            Pair::LessOrEqual => a <= b,
            Pair::Greater => a > b,
            Pair::GreaterOrEqual => a >= b,
            _ => a == b,
        })
    }

    /// None where integers are not computed with that.
    fn int(self) -> Option<fn(i64, i64) -> i64> {
        Some(match self {
            Pair::Add => i64::wrapping_add,
            Pair::Sub => i64::wrapping_sub,
            Pair::Mul => i64::wrapping_mul,
            Pair::Min => i64::min,
            Pair::Max => i64::max,
            Pair::And => |a, b| a & b,
            Pair::Or => |a, b| a | b,
            Pair::Xor => |a, b| a ^ b,
            Pair::Less => |a, b| i64::from(a < b),
            Pair::LessOrEqual => |a, b| i64::from(a <= b),
            Pair::Greater => |a, b| i64::from(a > b),
            Pair::GreaterOrEqual => |a, b| i64::from(a >= b),
            Pair::Equal => |a, b| i64::from(a == b),
            Pair::Div | Pair::Pow => return None,
        })
    }
}

/// A square is a product, as it is in ONNX Runtime.
fn power<R: Real>(a: R, b: R) -> R {
    if b == R::from_f64(2.0) { a * a } else { a.powf(b) }
}

pub(super) fn is_binary(op: &str) -> bool {
    Pair::read(op).is_some()
}

/// Which elements of an operand's row an output's row is made of; none where it is one to one.
type Map = Option<Vec<u32>>;

/// One side of a function of two.
#[derive(Debug)]
enum Side {
    /// The input of this index.
    Input(usize, Map),
    /// A row of its own, already spread to the output's width.
    Constant(Tensor),
}

#[derive(Debug)]
struct Both {
    pair: Pair,
    sides: [Side; 2],
    /// Numbers per row of the operands' inputs and of the output.
    widths: [usize; 2],
    width: usize,
}

/// The values of one side in one row.
enum Row<'a, T> {
    Straight(&'a [T]),
    Mapped(&'a [T], &'a [u32]),
}

impl<T: Copy> Row<'_, T> {
    #[inline(always)]
    fn get(&self, at: usize) -> T {
        match self {
            Row::Straight(values) => values[at],
            Row::Mapped(values, map) => values[map[at] as usize],
        }
    }
}

impl Both {
    fn constant(&self, side: usize) -> Option<&Tensor> {
        if let Side::Constant(tensor) = &self.sides[side] { Some(tensor) } else { None }
    }

    fn each<'v, T: Copy + 'v, O>(
        &'v self,
        rows: usize,
        input: impl Fn(usize) -> &'v [T],
        constants: [Option<&'v [T]>; 2],
        of: impl Fn(T, T) -> O,
    ) -> Vec<O> {
        let mut out = Vec::with_capacity(rows * self.width);
        for row in 0..rows {
            let pick = |side: usize| match &self.sides[side] {
                Side::Input(index, map) => {
                    let width = self.widths[side];
                    let values = &input(*index)[row * width..(row + 1) * width];
                    map.as_deref().map_or(Row::Straight(values), |map| Row::Mapped(values, map))
                }
                Side::Constant(_) => Row::Straight(constants[side].unwrap_or(&[])),
            };
            let (a, b) = (pick(0), pick(1));
            out.extend((0..self.width).map(|at| of(a.get(at), b.get(at))));
        }
        out
    }

    fn reals<'v, R: Real>(&'v self, inputs: &'v [&'v Column<'v>], rows: usize) -> Column<'static> {
        let constants = [0, 1].map(|side| self.constant(side).and_then(R::constant));
        let input = |index: usize| R::values(inputs[index]);
        match self.pair.is_test() {
            true => self.each(rows, input, constants, |a, b| self.pair.test(a, b)).into(),
            false => R::column(self.each(rows, input, constants, |a, b| self.pair.number(a, b))),
        }
    }

    fn ints<'v>(&'v self, inputs: &'v [&'v Column<'v>], rows: usize) -> Column<'static> {
        let constants = [0, 1].map(|side| self.constant(side).and_then(Tensor::ints));
        let input = |index: usize| inputs[index].ints();
        let of = self.pair.int().unwrap_or(|a, _| a);
        self.each(rows, input, constants, of).into()
    }
}

impl Operation for Both {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F32(_) => self.reals::<f32>(inputs, rows),
            Column::F64(_) => self.reals::<f64>(inputs, rows),
            Column::Ints(_) => self.ints(inputs, rows),
        }]
    }

    fn missing(&self) -> Missing {
        match self.pair {
            Pair::Add | Pair::Sub | Pair::Mul | Pair::Div => Missing::Passes,
            _ => Missing::Refused,
        }
    }

    fn piece(&self) -> Option<Piece<'_>> {
        let by = match &self.sides {
            [Side::Input(_, None), Side::Constant(by)] | [Side::Constant(by), Side::Input(_, None)] => by,
            _ => return None,
        };
        match (self.pair, f32::constant(by)) {
            (Pair::Add, Some(by)) => Some(Piece::Add(by)),
            (Pair::Mul, Some(by)) => Some(Piece::Mul(by)),
            _ => None,
        }
    }

    fn memory_bytes(&self) -> usize {
        let bytes = |side: &Side| match side {
            Side::Input(_, map) => map.as_ref().map_or(0, |map| 4 * map.len()),
            Side::Constant(tensor) => 8 * tensor.len(),
        };
        self.sides.iter().map(bytes).sum()
    }
}

/// Chains of more than two operands (Sum, Min, Max) are run two at a time, from the left, as ONNX Runtime does.
pub(super) fn lower_binary<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let pair = Pair::read(node.op).ok_or_else(|| node.unsupported("no such function"))?;
    let mut left = to.value(node, 0)?.clone();
    for at in 1..node.inputs.len() {
        let right = to.value(node, at)?.clone();
        left = Value::Rows(both(node, to, pair, [left, right])?);
    }
    to.bind(node, 0, left);
    Ok(())
}

fn both<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>, pair: Pair, values: [Value; 2]) -> Result<Rows, ModelError> {
    let element = element(node, pair, &values)?;
    let rank =
        values.iter().filter_map(|value| if let Value::Rows(r) = value { Some(r.dims.len()) } else { None }).max();
    let rank = rank.ok_or_else(|| node.unsupported("of two constants"))?;
    let shapes = [0, 1].map(|side| row_dims(node, &values[side], rank));
    let [a, b] = shapes;
    let shapes = [a?, b?];
    let dims = broadcast(&shapes[0], &shapes[1])
        .ok_or_else(|| node.unreadable(format_args!("rows of the shapes {:?} and {:?}", shapes[0], shapes[1])))?;
    if checked_len(&dims).is_none_or(|width| width > super::super::lower::MAX_WIDTH) {
        return Err(node.unsupported(format_args!("its rows have the shape {dims:?}")));
    }
    let mut inputs = Vec::new();
    let mut side = |at: usize| -> Result<Side, ModelError> {
        let map = spread(&shapes[at], &dims);
        Ok(match &values[at] {
            Value::Rows(rows) => {
                inputs.push(rows.slot);
                Side::Input(inputs.len() - 1, map)
            }
            Value::Constant(tensor) => Side::Constant(spread_constant(tensor, map)),
        })
    };
    let sides = [side(0)?, side(1)?];
    let widths = [0, 1].map(|at| shapes[at].iter().product());
    let width = dims.iter().product();
    let made = vec![Made::new(if pair.is_test() { Element::Bool } else { element }, dims)];
    let rows = to.hidden_step(node, Both { pair, sides, widths, width }, &inputs, made)?;
    rows.into_iter().next().ok_or_else(|| node.unreadable("no output"))
}

fn element(node: &Node<'_>, pair: Pair, values: &[Value; 2]) -> Result<Element, ModelError> {
    let of = |value: &Value| match value {
        Value::Rows(rows) => Some(rows.element),
        Value::Constant(tensor) => tensor.element,
    };
    match (of(&values[0]), of(&values[1])) {
        (Some(a), Some(b)) if a == b && a != Element::Text && (a.is_float() || pair.int().is_some()) => {
            let logical = matches!(pair, Pair::And | Pair::Or | Pair::Xor);
            if logical == (a == Element::Bool) || pair == Pair::Equal {
                return Ok(a);
            }
            Err(node.unsupported(format_args!("on {a:?}")))
        }
        (a, b) => Err(node.unsupported(format_args!("on {a:?} and {b:?}"))),
    }
}

/// The dimensions of a value inside a row, of `rank` dimensions.
fn row_dims(node: &Node<'_>, value: &Value, rank: usize) -> Result<Vec<usize>, ModelError> {
    match value {
        Value::Rows(rows) if rows.dims.len() == rank => Ok(rows.dims.clone()),
        Value::Rows(rows) => {
            let what = format!("rows of the shape {:?} meet others of {rank} dimensions: they would mix", rows.dims);
            Err(node.unsupported(what))
        }
        Value::Constant(tensor) => {
            let dims = &tensor.dims[..];
            match dims.len().checked_sub(rank) {
                None => Ok([&vec![1; rank - dims.len()], dims].concat()),
                Some(0) => Ok(dims.to_vec()),
                // With a first dimension of one it is a row for all rows.
                Some(1) if dims[0] == 1 => Ok(dims[1..].to_vec()),
                Some(_) => Err(node.unsupported(format_args!("a constant of the shape {dims:?} would mix rows"))),
            }
        }
    }
}

/// The common shape of two that have as many dimensions.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let common = |(&a, &b): (&usize, &usize)| match (a, b) {
        (a, b) if a == b => Some(a),
        (1, other) | (other, 1) => Some(other),
        _ => None,
    };
    a.iter().zip(b).map(common).collect()
}

/// Where each element of `dims` comes from in a row of the shape `from`.
fn spread(from: &[usize], dims: &[usize]) -> Map {
    if from == dims {
        return None;
    }
    let width: usize = dims.iter().product();
    let source = |mut at: usize| {
        let (mut index, mut stride) = (0, 1);
        for (&have, &want) in from.iter().zip(dims).rev() {
            index += if have == 1 { 0 } else { at % want * stride };
            (at, stride) = (at / want, stride * have);
        }
        index as u32
    };
    Some((0..width).map(source).collect())
}

fn spread_constant(tensor: &Tensor, map: Map) -> Tensor {
    let Some(map) = map else { return tensor.clone() };
    fn pick<T: Copy>(values: &[T], map: &[u32]) -> Vec<T> {
        map.iter().filter_map(|&at| values.get(at as usize).copied()).collect()
    }
    let data = match &tensor.data {
        Data::F32(values) => Data::F32(pick(values, &map)),
        Data::F64(values) => Data::F64(pick(values, &map)),
        Data::Ints(values) => Data::Ints(pick(values, &map)),
        other => other.clone(),
    };
    Tensor { dims: vec![map.len()], element: tensor.element, data }
}

/// Chooses between two columns of the same shape.
#[derive(Debug)]
struct Where;

fn choose<T: Copy>(flags: &[i64], a: &[T], b: &[T]) -> Vec<T> {
    flags.iter().zip(a.iter().zip(b)).map(|(&flag, (&a, &b))| if flag != 0 { a } else { b }).collect()
}

impl Operation for Where {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let flags = inputs[0].ints();
        vec![match inputs[1] {
            Column::F32(a) => choose(flags, a, inputs[2].f32()).into(),
            Column::F64(a) => choose(flags, a, inputs[2].f64()).into(),
            Column::Ints(a) => choose(flags, a, inputs[2].ints()).into(),
        }]
    }
}

pub(super) fn lower_where<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let [flag, a, b] = [to.rows(node, 0)?.clone(), to.rows(node, 1)?.clone(), to.rows(node, 2)?.clone()];
    let same = flag.dims == a.dims && a.dims == b.dims && a.element == b.element && a.element != Element::Text;
    if !same || flag.element != Element::Bool {
        return Err(node.unsupported("on columns of different shapes or types"));
    }
    to.step(node, Where, &[flag.slot, a.slot, b.slot], vec![Made::new(a.element, a.dims)])
}
