//! Preparing features: Scaler, Imputer, Normalizer, Binarizer.

use super::super::lower::{Lowering, Made};
use super::super::program::{Column, Missing, Operation};
use super::super::proto::Node;
use super::super::tensor::Element;
use super::elementwise::cast_rows;
use crate::ModelError;

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    match node.op {
        "Scaler" => scaler(node, to),
        "Imputer" => imputer(node, to),
        "Normalizer" => normalizer(node, to),
        _ => binarizer(node, to),
    }
}

/// A list of one number per column, or of one for all of them.
fn per_column(node: &Node<'_>, name: &str, width: usize) -> Result<Vec<f32>, ModelError> {
    match node.floats(name)? {
        [one] => Ok(vec![*one; width]),
        all if all.len() == width => Ok(all.to_vec()),
        other => Err(node.unreadable(format_args!("its {name} has {} numbers for {width} columns", other.len()))),
    }
}

/// `(x - offset) * scale`, in the input's precision, rounded to single.
#[derive(Debug)]
struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

impl Operation for Scaler {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let by = || self.offset.iter().zip(&self.scale);
        let width = self.offset.len();
        let out: Vec<f32> = match inputs[0] {
            Column::F64(values) => {
                let one = |(x, (o, s)): (&f64, (&f32, &f32))| ((x - f64::from(*o)) * f64::from(*s)) as f32;
                values.chunks_exact(width).flat_map(|row| row.iter().zip(by()).map(one)).collect()
            }
            other => {
                let one = |(x, (o, s)): (&f32, (&f32, &f32))| (x - o) * s;
                other.f32().chunks_exact(width).flat_map(|row| row.iter().zip(by()).map(one)).collect()
            }
        };
        vec![out.into()]
    }

    fn missing(&self) -> Missing {
        Missing::Passes
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(&self.offset[..]) + size_of_val(&self.scale[..])
    }
}

fn scaler<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = float_rows(node, to)?;
    let (offset, scale) = (per_column(node, "offset", rows.width())?, per_column(node, "scale", rows.width())?);
    to.step(node, Scaler { offset, scale }, &[rows.slot], vec![Made::new(Element::F32, rows.dims)])
}

/// The node's input; integers as single-precision numbers.
fn float_rows<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<super::super::lower::Rows, ModelError> {
    let rows = to.rows(node, 0)?.clone();
    if rows.dims.len() != 1 {
        return Err(node.unsupported(format_args!("on rows of the shape {:?}", rows.dims)));
    }
    if rows.element == Element::F64 { Ok(rows) } else { cast_rows(node, to, rows, Element::F32) }
}

/// Puts a column's value where one is missing.
#[derive(Debug)]
struct Imputer {
    replaced: f32,
    by: Vec<f32>,
}

impl Operation for Imputer {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let hit = |x: f32| x == self.replaced || (x.is_nan() && self.replaced.is_nan());
        let one = |(&x, &by): (&f32, &f32)| if hit(x) { by } else { x };
        let rows = inputs[0].f32().chunks_exact(self.by.len());
        vec![rows.flat_map(|row| row.iter().zip(&self.by).map(one)).collect::<Vec<f32>>().into()]
    }

    fn missing(&self) -> Missing {
        if self.replaced.is_nan() { Missing::Taken } else { Missing::Passes }
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(&self.by[..])
    }
}

/// The same for integers.
#[derive(Debug)]
struct IntImputer {
    replaced: i64,
    by: Vec<i64>,
}

impl Operation for IntImputer {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let one = |(&x, &by): (&i64, &i64)| if x == self.replaced { by } else { x };
        let rows = inputs[0].ints().chunks_exact(self.by.len());
        vec![rows.flat_map(|row| row.iter().zip(&self.by).map(one)).collect::<Vec<i64>>().into()]
    }
}

fn imputer<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let width = rows.width();
    let made = vec![Made::new(rows.element, rows.dims.clone())];
    match rows.element {
        _ if rows.dims.len() != 1 => Err(node.unsupported(format_args!("on rows of the shape {:?}", rows.dims))),
        Element::F32 => {
            let by = per_column(node, "imputed_value_floats", width)?;
            to.step(node, Imputer { replaced: node.float("replaced_value_float", 0.0)?, by }, &[rows.slot], made)
        }
        Element::I64 => {
            let by = match node.ints("imputed_value_int64s")? {
                [one] => vec![*one; width],
                all if all.len() == width => all.to_vec(),
                other => return Err(node.unreadable(format_args!("{} values for {width} columns", other.len()))),
            };
            to.step(node, IntImputer { replaced: node.int("replaced_value_int64", 0)?, by }, &[rows.slot], made)
        }
        // ONNX Runtime has no such kernel either.
        other => Err(node.unsupported(format_args!("on {other:?}"))),
    }
}

#[derive(Clone, Copy, Debug)]
enum Norm {
    Max,
    L1,
    L2,
}

/// Each row through its norm, in single precision as ONNX Runtime does it.
#[derive(Debug)]
struct Normalizer {
    norm: Norm,
    width: usize,
}

impl Normalizer {
    fn row(&self, row: &[f32], out: &mut Vec<f32>) {
        let squared = |&x: &f32| if x < 0.0 { -(x * x) } else { x * x };
        let by = match self.norm {
            Norm::Max => row.iter().fold(f32::MIN, |max, &x| if x > max { x } else { max }),
            Norm::L1 => row.iter().map(|x| x.abs()).sum(),
            Norm::L2 => row.iter().map(|x| x * x).sum(),
        };
        match self.norm {
            _ if by == 0.0 => out.extend(row),
            Norm::L2 => out.extend(row.iter().map(squared).map(|x| (x.abs() / by).sqrt().copysign(x))),
            _ => out.extend(row.iter().map(|x| x / by)),
        }
    }
}

impl Operation for Normalizer {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let values = inputs[0].f32();
        let mut out = Vec::with_capacity(values.len());
        values.chunks_exact(self.width).for_each(|row| self.row(row, &mut out));
        vec![out.into()]
    }
}

fn normalizer<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let norm = match node.text("norm", "MAX")? {
        "MAX" => Norm::Max,
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => return Err(node.unreadable(format_args!("the norm \"{}\"", other.escape_debug()))),
    };
    let rows = to.rows(node, 0)?.clone();
    // A double is rounded before it is added, as in ONNX Runtime, but its square there is not.
    if rows.dims.len() != 1 || rows.element != Element::F32 {
        return Err(node.unsupported(format_args!("on {:?} rows of the shape {:?}", rows.element, rows.dims)));
    }
    let width = rows.width();
    to.step(node, Normalizer { norm, width }, &[rows.slot], vec![Made::new(Element::F32, rows.dims)])
}

#[derive(Debug)]
struct Binarizer(f32);

impl Operation for Binarizer {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let out: Vec<f32> = inputs[0].f32().iter().map(|&x| f32::from(u8::from(x > self.0))).collect();
        vec![out.into()]
    }
}

fn binarizer<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    if rows.element != Element::F32 {
        return Err(node.unsupported(format_args!("on {:?}", rows.element)));
    }
    let made = vec![Made::new(Element::F32, rows.dims.clone())];
    to.step(node, Binarizer(node.float("threshold", 0.0)?), &[rows.slot], made)
}
