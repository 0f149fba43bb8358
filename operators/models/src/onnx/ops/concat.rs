//! Columns side by side.

use super::super::fuse::Lane;
use super::super::lower::{Lowering, Made, Rows, Value};
use super::super::program::{Column, Missing, Operation};
use super::super::proto::Node;
use super::super::tensor::{Data, Element};
use super::elementwise::cast_rows;
use super::shape::inner_axis;
use crate::ModelError;
use crate::lanes::{Moves, Op};

/// Columns side by side.
#[derive(Debug)]
struct Concat {
    parts: Vec<Part>,
    /// How often each part gives a chunk per row.
    times: usize,
}

#[derive(Debug)]
struct Part {
    /// Numbers per chunk.
    chunk: usize,
    /// A constant's own; else the next input.
    constant: Option<Data>,
}

impl Concat {
    fn rows<'v, T: Copy + 'v>(
        &'v self,
        inputs: &'v [&'v Column<'v>],
        rows: usize,
        of: impl Fn(&'v Column<'v>) -> &'v [T],
        constant: impl Fn(&'v Data) -> &'v [T],
    ) -> Vec<T> {
        let mut next = inputs.iter();
        let source = |part: &'v Part| match &part.constant {
            Some(data) => (part, constant(data)),
            None => (part, next.next().map_or(&[][..], |column| of(column))),
        };
        let sources: Vec<_> = self.parts.iter().map(source).collect();
        let mut out = Vec::with_capacity(rows * self.times * self.parts.iter().map(|part| part.chunk).sum::<usize>());
        for at in 0..rows * self.times {
            for (part, values) in &sources {
                let at = if part.constant.is_some() { at % self.times } else { at };
                out.extend_from_slice(&values[at * part.chunk..(at + 1) * part.chunk]);
            }
        }
        out
    }
}

impl Operation for Concat {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F32(_) => {
                self.rows(inputs, rows, Column::f32, |d| if let Data::F32(v) = d { v } else { &[] }).into()
            }
            Column::F64(_) => {
                self.rows(inputs, rows, Column::f64, |d| if let Data::F64(v) = d { v } else { &[] }).into()
            }
            Column::Ints(_) => {
                self.rows(inputs, rows, Column::ints, |d| if let Data::Ints(v) = d { v } else { &[] }).into()
            }
        }]
    }

    fn missing(&self) -> Missing {
        Missing::Passes
    }

    fn lane(&self) -> Option<Lane> {
        let rows = self.parts.iter().filter(|part| part.constant.is_none()).count();
        if rows != self.parts.len() {
            return None;
        }
        let chunk = |time: usize| {
            let inputs = self.parts.iter().enumerate();
            inputs.flat_map(move |(input, part)| {
                (time * part.chunk..(time + 1) * part.chunk).map(move |at| (input as u32, at as u32))
            })
        };
        Some(Lane::Op(Op::Moves(Moves::new((0..self.times).flat_map(chunk)))))
    }
}

pub(super) fn concat<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let values: Vec<Value> = (0..node.inputs.len()).map(|at| to.placed(node, at).cloned()).collect::<Result<_, _>>()?;
    let first = values.iter().find_map(|value| if let Value::Rows(rows) = value { Some(rows.clone()) } else { None });
    let first = first.ok_or_else(|| node.unsupported("of constants"))?;
    let axis = inner_axis(node, node.int("axis", 0)?, &first)?;
    let (mut parts, mut slots, mut dims) = (Vec::new(), Vec::new(), first.dims.clone());
    dims[axis] = 0;
    for value in values {
        let next = operand(node, value, to.single)?;
        check_fit(node, &first, &next, axis)?;
        slots.extend(next.slot);
        dims[axis] += next.dims[axis];
        parts.push(Part { chunk: next.dims[axis..].iter().product(), constant: next.constant });
    }
    let times = first.dims[..axis].iter().product();
    let made = to.hidden_step(node, Concat { parts, times }, &slots, vec![Made::new(first.element, dims)])?;
    made.into_iter().for_each(|made| to.alias(node, Rows { batch: first.batch, ..made }));
    Ok(())
}

/// What is put beside others: rows, or a constant row.
struct Operand {
    dims: Vec<usize>,
    /// How many of them stand before the batch.
    batch: usize,
    element: Option<Element>,
    slot: Option<usize>,
    constant: Option<Data>,
}

/// A constant is a row of its own only where the batch is one row too.
fn operand(node: &Node<'_>, value: Value, single: bool) -> Result<Operand, ModelError> {
    match value {
        Value::Rows(rows) => Ok(Operand {
            dims: rows.dims,
            batch: rows.batch,
            element: Some(rows.element),
            slot: Some(rows.slot),
            constant: None,
        }),
        Value::Constant(tensor) if single && tensor.dims.first() == Some(&1) => {
            let (dims, constant) = (tensor.dims[1..].to_vec(), Some(tensor.data.clone()));
            Ok(Operand { dims, batch: 0, element: tensor.element, slot: None, constant })
        }
        Value::Constant(_) => Err(node.unsupported("of a constant and rows")),
    }
}

fn check_fit(node: &Node<'_>, first: &Rows, next: &Operand, axis: usize) -> Result<(), ModelError> {
    let (dims, element) = (&next.dims, next.element);
    let fits = dims.len() == first.dims.len() && (0..dims.len()).all(|at| at == axis || dims[at] == first.dims[at]);
    if fits && next.batch == first.batch && element == Some(first.element) && first.element != Element::Text {
        return Ok(());
    }
    Err(node.unsupported(format_args!("of {element:?} {dims:?} and {:?} {:?}", first.element, first.dims)))
}

/// All inputs as single-precision columns side by side.
pub(super) fn vectorize<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let (mut parts, mut slots, mut width) = (Vec::new(), Vec::new(), 0);
    for at in 0..node.inputs.len() {
        let rows = to.rows(node, at)?.clone();
        let chunk = rows.width();
        slots.push(cast_rows(node, to, rows, Element::F32)?.slot);
        parts.push(Part { chunk, constant: None });
        width += chunk;
    }
    if node.ints("inputdimensions")?.iter().sum::<i64>() != width as i64 {
        return Err(node.unreadable(format_args!("its inputdimensions do not add up to {width}")));
    }
    to.step(node, Concat { parts, times: 1 }, &slots, vec![Made::new(Element::F32, vec![width])])
}
