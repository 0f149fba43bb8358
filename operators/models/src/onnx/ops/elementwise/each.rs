//! Steps of one operand: numbers to numbers, numbers to truth values, truth values to their opposite.

use super::super::super::lower::{Lowering, Made};
use super::super::super::program::{Column, Missing, Operation};
use super::super::super::proto::Node;
use super::super::super::tensor::Element;
use super::super::Piece;
use super::super::number::Real;
use super::function::Function;
use crate::ModelError;

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

pub(in super::super) fn lower_function<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let made = |element| vec![Made::new(element, rows.dims.clone())];
    match (node.op, rows.element) {
        ("IsNaN", element) if element.is_float() => to.step(node, IsNan, &[rows.slot], made(Element::Bool)),
        ("Not", Element::Bool) => to.step(node, Not, &[rows.slot], made(Element::Bool)),
        ("Erf", Element::F64) => Err(node.unsupported("in double precision")),
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
