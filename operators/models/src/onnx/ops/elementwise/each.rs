//! Steps of one operand: numbers to numbers, numbers to truth values, truth values to their opposite.

use super::super::super::fuse::Lane;
use super::super::super::lower::{Lowering, Made, Rows};
use super::super::super::program::{Column, Missing, Operation};
use super::super::super::proto::Node;
use super::super::super::tensor::Element;
use super::super::Piece;
use super::super::number::Real;
use super::function::Function;
use crate::ModelError;
use crate::lanes::Op;

/// A function, of so many numbers per row.
#[derive(Debug)]
struct Each(Function, usize);

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

    fn lane(&self) -> Option<Lane> {
        self.0.map().map(|map| Lane::Op(Op::Each(map, self.1)))
    }

    fn piece(&self) -> Option<Piece<'_>> {
        Some(Piece::Function(self.0))
    }
}

pub(in super::super) fn lower_function<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.placed_rows(node, 0)?.clone();
    if rows.batch != 0 && !matches!(node.op, "IsNaN" | "Not") {
        return each_placed(node, to, rows);
    }
    let made = |element| vec![Made::new(element, rows.dims.clone())];
    match (node.op, rows.element) {
        ("IsNaN", element) if element.is_float() => to.step(node, IsNan, &[rows.slot], made(Element::Bool)),
        ("Not", Element::Bool) => to.step(node, Not, &[rows.slot], made(Element::Bool)),
        ("Erf", Element::F64) => Err(node.unsupported("in double precision")),
        (_, element) if element.is_float() => {
            let function = Function::read(node, to)?;
            to.step(node, Each(function, rows.width()), &[rows.slot], made(element))
        }
        (_, element) => Err(node.unsupported(format_args!("on {element:?}"))),
    }
}

/// The same where the batch is not first.
fn each_placed<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>, rows: Rows) -> Result<(), ModelError> {
    if rows.element != Element::F32 {
        return Err(node.unsupported(format_args!("on {:?} rows whose batch is not first", rows.element)));
    }
    let (function, made) = (Function::read(node, to)?, vec![Made::new(Element::F32, rows.dims.clone())]);
    let made = to.hidden_step(node, Each(function, rows.width()), &[rows.slot], made)?;
    made.into_iter().for_each(|made| to.alias(node, Rows { batch: rows.batch, ..made }));
    Ok(())
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
