//! Reads the nodes of two and more operands.

use super::super::super::lower::{Lowering, Made, Rows, Value};
use super::super::super::proto::Node;
use super::super::super::symbol::operand;
use super::super::super::tensor::Element;
use super::both::{Both, Side};
use super::broadcast::{Map, Shapes, spread_constant};
use super::pair::Pair;
use crate::ModelError;

/// Whether this is a function of two numbers.
pub(in super::super) fn is_binary(op: &str) -> bool {
    Pair::read(op).is_some()
}

/// Chains of more than two operands (Sum, Min, Max) are run two at a time, from the left, as ONNX Runtime does.
pub(in super::super) fn lower_binary<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let pair = Pair::read(node.op).ok_or_else(|| node.unsupported("no such function"))?;
    let mut left = operand(node, to, 0)?;
    for at in 1..node.inputs.len() {
        let right = operand(node, to, at)?;
        left = Value::Rows(both(node, to, pair, [left, right])?);
    }
    to.bind(node, 0, left);
    Ok(())
}

fn both<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>, pair: Pair, values: [Value; 2]) -> Result<Rows, ModelError> {
    let element = element(node, pair, &values)?;
    let shapes = Shapes::read(node, &values)?;
    let mut inputs = Vec::new();
    let sides = [0, 1].map(|at| side(&values[at], shapes.map(at), &mut inputs));
    let widths = [0, 1].map(|at| shapes.of[at].iter().product());
    let width = shapes.common.iter().product();
    let made = vec![Made::new(if pair.is_test() { Element::Bool } else { element }, shapes.common)];
    let rows = to.hidden_step(node, Both { pair, sides, widths, width }, &inputs, made)?;
    rows.into_iter().next().ok_or_else(|| node.unreadable("no output"))
}

/// The slot of an operand's rows joins the step's inputs.
fn side(value: &Value, map: Map, inputs: &mut Vec<usize>) -> Side {
    match value {
        Value::Rows(rows) => {
            inputs.push(rows.slot);
            Side::Input(inputs.len() - 1, map)
        }
        Value::Constant(tensor) => Side::Constant(spread_constant(tensor, map)),
    }
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
