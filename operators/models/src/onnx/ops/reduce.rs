//! Sums, means and extremes inside a row.

use super::super::fuse::Lane;
use super::super::lower::{Lowering, Made, Rows};
use super::super::program::{Column, Operation};
use super::super::proto::Node;
use super::super::tensor::Element;
use super::number::Real;
use super::shape::row_axis;
use crate::ModelError;
use crate::lanes::{self, Op, Reduction};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSumExp,
}

fn kind(op: &str) -> Option<Kind> {
    Some(match op {
        "ReduceSum" => Kind::Sum,
        "ReduceMean" => Kind::Mean,
        "ReduceMax" => Kind::Max,
        "ReduceMin" => Kind::Min,
        "ReduceProd" => Kind::Prod,
        "ReduceL1" => Kind::L1,
        "ReduceL2" => Kind::L2,
        "ReduceSumSquare" => Kind::SumSquare,
        "ReduceLogSumExp" => Kind::LogSumExp,
        _ => return None,
    })
}

pub(super) fn is_reduction(op: &str) -> bool {
    kind(op).is_some()
}

/// One number per group of a row's elements.
#[derive(Debug)]
struct Reduce {
    kind: Kind,
    width: usize,
    /// The elements of each group.
    groups: Vec<Vec<u32>>,
}

impl Kind {
    /// Sums are in double precision.
    fn of(self, values: impl Iterator<Item = f64> + Clone) -> f64 {
        match self {
            Kind::Sum => values.sum(),
            Kind::Mean => {
                let count = values.clone().count() as f64;
                values.sum::<f64>() / count
            }
            Kind::Max => values.fold(f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a }),
            Kind::Min => values.fold(f64::INFINITY, |a, b| if b < a || b.is_nan() { b } else { a }),
            Kind::Prod => values.product(),
            Kind::L1 => values.map(f64::abs).sum(),
            Kind::L2 => values.map(|x| x * x).sum::<f64>().sqrt(),
            Kind::SumSquare => values.map(|x| x * x).sum(),
            Kind::LogSumExp => {
                let max = values.clone().fold(f64::NEG_INFINITY, f64::max);
                // Without this an infinite maximum would become NaN.
                let max = if max.is_finite() { max } else { 0.0 };
                values.map(|x| (x - max).exp()).sum::<f64>().ln() + max
            }
        }
    }
}

impl Reduce {
    fn rows<R: Real>(&self, values: &[R]) -> Column<'static> {
        let rows = values.chunks_exact(self.width);
        let row = |row: &[R]| -> Vec<R> {
            let group = |group: &Vec<u32>| self.kind.of(group.iter().map(|&at| row[at as usize].to_f64()));
            self.groups.iter().map(|members| R::from_f64(group(members))).collect()
        };
        R::column(rows.flat_map(row).collect())
    }
}

impl Operation for Reduce {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F64(values) => self.rows(values),
            other => self.rows(other.f32()),
        }]
    }

    fn lane(&self) -> Option<Lane> {
        let kind = match self.kind {
            Kind::Sum => Reduction::Sum,
            Kind::Mean => Reduction::Mean,
            Kind::Max => Reduction::Max,
            Kind::Min => Reduction::Min,
            Kind::SumSquare => Reduction::SumSquare,
            Kind::Prod | Kind::L1 | Kind::L2 | Kind::LogSumExp => return None,
        };
        let size = self.groups.first().map_or(0, Vec::len);
        let reduce = lanes::Reduce { kind, members: self.groups.iter().flatten().copied().collect(), size };
        (size > 0).then_some(Lane::Op(Op::Reduce(reduce)))
    }

    fn memory_bytes(&self) -> usize {
        4 * self.width
    }
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let kind = kind(node.op).ok_or_else(|| node.unsupported("no such reduction"))?;
    let rows = to.rows(node, 0)?.clone();
    // The axes are an input since opset 13 (ReduceSum) or 18 (the others).
    let axes = if node.has_input(1) { to.ints(node, 1)? } else { node.ints("axes")?.to_vec() };
    if axes.is_empty() || !rows.element.is_float() {
        return Err(node.unsupported(format_args!("of {:?} over the axes {axes:?}", rows.element)));
    }
    let axes: Vec<usize> = axes.iter().map(|&axis| row_axis(node, axis, rows.dims.len())).collect::<Result<_, _>>()?;
    reduce(node, to, kind, &rows, &axes, node.int("keepdims", 1)? != 0)
}

/// Each channel of flat rows or images becomes one number.
pub(super) fn lower_global<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let kind = if node.op == "GlobalMaxPool" { Kind::Max } else { Kind::Mean };
    if rows.element != Element::F32 || rows.dims.len() < 2 {
        return Err(node.unsupported(format_args!("of {:?} rows of the shape {:?}", rows.element, rows.dims)));
    }
    let axes: Vec<usize> = (1..rows.dims.len()).collect();
    reduce(node, to, kind, &rows, &axes, true)
}

fn reduce<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    kind: Kind,
    rows: &Rows,
    axes: &[usize],
    keep: bool,
) -> Result<(), ModelError> {
    let kept = |(at, &dim): (usize, &usize)| match (axes.contains(&at), keep) {
        (true, true) => Some(1),
        (true, false) => None,
        (false, _) => Some(dim),
    };
    let dims = rows.dims.iter().enumerate().filter_map(kept).collect();
    let groups = groups(&rows.dims, axes);
    to.step(node, Reduce { kind, width: rows.width(), groups }, &[rows.slot], vec![Made::new(rows.element, dims)])
}

/// The elements that fall together when the axes are gone.
fn groups(dims: &[usize], axes: &[usize]) -> Vec<Vec<u32>> {
    let width: usize = dims.iter().product();
    let kept: usize = dims.iter().enumerate().filter(|(at, _)| !axes.contains(at)).map(|(_, dim)| dim).product();
    let mut groups = vec![Vec::new(); kept];
    for index in 0..width {
        let (mut rest, mut group, mut stride) = (index, 0, 1);
        for (at, &dim) in dims.iter().enumerate().rev() {
            if !axes.contains(&at) {
                group += rest % dim * stride;
                stride *= dim;
            }
            rest /= dim;
        }
        groups[group].push(index as u32);
    }
    groups
}
