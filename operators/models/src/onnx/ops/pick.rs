//! Choices of columns.

use super::super::fuse::Lane;
use super::super::lower::{Lowering, MAX_WIDTH, Made, Rows, Value};
use super::super::program::{Column, Missing, Operation};
use super::super::proto::Node;
use super::super::tensor::{Tensor, checked_len};
use super::look_up::look_up;
use super::shape::inner_axis;
use crate::ModelError;
use crate::lanes::{Moves, Op};

/// Chosen elements of each row.
#[derive(Debug)]
struct Pick {
    width: usize,
    map: Vec<u32>,
}

impl Pick {
    fn rows<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let mut out = Vec::with_capacity(values.len() / self.width * self.map.len());
        for row in values.chunks_exact(self.width) {
            out.extend(self.map.iter().map(|&at| row[at as usize]));
        }
        out
    }
}

impl Operation for Pick {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F32(values) => self.rows(values).into(),
            Column::F64(values) => self.rows(values).into(),
            Column::Ints(values) => self.rows(values).into(),
        }]
    }

    fn missing(&self) -> Missing {
        Missing::Passes
    }

    fn lane(&self) -> Option<Lane> {
        Some(Lane::Op(Op::Moves(Moves::new(self.map.iter().map(|&at| (0, at))))))
    }

    fn memory_bytes(&self) -> usize {
        4 * self.map.len()
    }
}

/// Adds the step that keeps `indices` of one axis; the columns' meaning stays.
fn pick<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    rows: &Rows,
    axis: usize,
    indices: &[usize],
    at: usize,
) -> Result<(), ModelError> {
    let mut dims = rows.dims.clone();
    dims[axis] = indices.len();
    if checked_len(&dims).is_none_or(|width| width == 0 || width > MAX_WIDTH) {
        return Err(node.unsupported(format_args!("its rows have the shape {dims:?}")));
    }
    let inner: usize = rows.dims[axis + 1..].iter().product();
    let outer: usize = rows.dims[..axis].iter().product();
    let element = |o: usize| {
        indices.iter().flat_map(move |&index| {
            let first = (o * rows.dims[axis] + index) * inner;
            first as u32..(first + inner) as u32
        })
    };
    let map = (0..outer).flat_map(element).collect();
    pick_map(node, to, rows, dims, map, at)
}

fn pick_map<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    rows: &Rows,
    dims: Vec<usize>,
    map: Vec<u32>,
    at: usize,
) -> Result<(), ModelError> {
    let made = Made { element: rows.element, dims, table: rows.table.clone(), bound: rows.bound };
    let picked = to.hidden_step(node, Pick { width: rows.width(), map }, &[rows.slot], vec![made])?;
    let batch = rows.batch;
    picked.into_iter().for_each(|picked| to.bind(node, at, Value::Rows(Rows { batch, ..picked })));
    Ok(())
}

pub(super) fn transpose<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.placed_rows(node, 0)?.clone();
    let perm: Vec<usize> = node.ints("perm")?.iter().filter_map(|&axis| usize::try_from(axis).ok()).collect();
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rows.dims.len() + 1) {
        return Err(node.unsupported(format_args!("rows of the shape {:?} by {perm:?}", rows.dims)));
    }
    let batch = perm.iter().position(|&axis| axis == rows.batch).unwrap_or(0);
    let inner = perm.iter().filter(|&&axis| axis != rows.batch);
    let axes: Vec<usize> = inner.map(|&axis| if axis < rows.batch { axis } else { axis - 1 }).collect();
    let dims = axes.iter().map(|&axis| rows.dims[axis]).collect();
    if axes.iter().copied().eq(0..axes.len()) {
        // Only the batch moves, and a row's numbers lie as they did.
        to.alias(node, Rows { batch, ..rows });
        return Ok(());
    }
    let map = transposed(&rows.dims, &axes);
    pick_map(node, to, &Rows { batch, ..rows }, dims, map, 0)
}

/// Where each element of the transposed row comes from.
fn transposed(from: &[usize], axes: &[usize]) -> Vec<u32> {
    let strides: Vec<usize> = (0..from.len()).map(|axis| from[axis + 1..].iter().product()).collect();
    let source = |mut at: usize| {
        let mut index = 0;
        for &axis in axes.iter().rev() {
            index += at % from[axis] * strides[axis];
            at /= from[axis];
        }
        index as u32
    };
    (0..from.iter().product()).map(source).collect()
}

/// One axis at a time, with steps of any sign.
pub(super) fn slice<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.placed_rows(node, 0)?.clone();
    let list = |at, name: &str| match node.has_input(at) {
        true => to.ints(node, at),
        false => Ok(node.ints(name)?.to_vec()),
    };
    let (starts, ends, axes, steps) = (list(1, "starts")?, list(2, "ends")?, list(3, "axes")?, list(4, "steps")?);
    let ([start], [end]) = (&starts[..], &ends[..]) else {
        return Err(node.unsupported(format_args!("along {} axes", starts.len())));
    };
    let axis = inner_axis(node, axes.first().copied().unwrap_or(0), &rows)?;
    let indices = sliced(rows.dims[axis] as i64, *start, *end, steps.first().copied().unwrap_or(1));
    let indices = indices.ok_or_else(|| node.unreadable("a step of 0"))?;
    pick(node, to, &rows, axis, &indices, 0)
}

/// The indices that a slice of `dim` elements takes, as Python does.
fn sliced(dim: i64, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    let (low, high) = if step > 0 { (0, dim) } else { (-1, dim - 1) };
    let place = |at: i64| (if at < 0 { at.saturating_add(dim) } else { at }).clamp(low, high);
    let (start, end) = (place(start), place(end));
    let step = if step == 0 { return None } else { step.clamp(-dim - 1, dim + 1) };
    let going = |&at: &i64| if step > 0 { at < end } else { at > end };
    Some(std::iter::successors(Some(start), |at| Some(at + step)).take_while(going).map(|at| at as usize).collect())
}

pub(super) fn split<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.placed_rows(node, 0)?.clone();
    let axis = inner_axis(node, node.int("axis", 0)?, &rows)?;
    let mut start = 0;
    for (at, size) in split_sizes(node, to, rows.dims[axis])?.into_iter().enumerate() {
        let indices: Vec<usize> = (start..start + size).collect();
        pick(node, to, &rows, axis, &indices, at)?;
        start += size;
    }
    Ok(())
}

/// How `dim` columns are shared out: as the file says, or evenly with a shorter last part.
fn split_sizes<'a>(node: &'a Node<'a>, to: &Lowering<'a>, dim: usize) -> Result<Vec<usize>, ModelError> {
    let sizes = if node.has_input(1) { to.ints(node, 1)? } else { node.ints("split")?.to_vec() };
    let mut sizes: Vec<usize> = sizes.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
    if sizes.is_empty() {
        let part = dim.div_ceil(node.outputs.len().max(1));
        sizes = (0..dim).step_by(part.max(1)).map(|start| part.min(dim - start)).collect();
    }
    let sum = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    if sizes.len() != node.outputs.len() || sum != Some(dim) {
        return Err(node.unreadable(format_args!("{dim} columns into {sizes:?}")));
    }
    Ok(sizes)
}

/// Gather and ArrayFeatureExtractor: constant columns of the rows, or a constant's elements by the rows' indices.
pub(super) fn gather<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    if let Value::Constant(table) = to.placed(node, 0)? {
        let (table, indices) = (table.clone(), to.rows(node, 1)?.clone());
        return look_up(node, to, &table, indices);
    }
    let rows = to.placed_rows(node, 0)?.clone();
    let indices = to.constant(node, 1)?.clone();
    let axis = if node.op == "Gather" { node.int("axis", 0)? } else { -1 };
    let axis = inner_axis(node, axis, &rows)?;
    let list = places(node, &indices, rows.dims[axis])?;
    pick(node, to, &rows, axis, &list, 0)?;
    // A scalar index takes the dimension away; ArrayFeatureExtractor keeps it.
    if node.op == "Gather" && indices.dims.is_empty() {
        let name = Node { inputs: node.outputs.clone(), ..Node::default() };
        let mut picked = to.placed_rows(&name, 0)?.clone();
        picked.dims.remove(axis);
        picked.batch -= usize::from(axis < picked.batch);
        to.alias(node, picked);
    }
    Ok(())
}

/// Indices into `dim` columns, a negative one counted from the end.
fn places(node: &Node<'_>, indices: &Tensor, dim: usize) -> Result<Vec<usize>, ModelError> {
    let place = |&index: &i64| usize::try_from(if index < 0 { index + dim as i64 } else { index }).ok();
    let list = indices.ints().map(|list| list.iter().map(place).collect::<Option<Vec<usize>>>());
    let list = list.flatten().filter(|list| list.iter().all(|&index| index < dim));
    list.ok_or_else(|| node.unreadable(format_args!("its indices are not all within 0..{dim}")))
}
