//! New shapes for the same numbers.

use super::super::lower::{Lowering, MAX_WIDTH, Rows, Value};
use super::super::proto::Node;
use super::super::symbol::{self, Size};
use super::super::tensor::{Tensor, checked_len};
use super::concat::{concat, vectorize};
use super::pick::{gather, slice, split, transpose};
use crate::ModelError;

pub(super) fn is_shape(op: &str) -> bool {
    matches!(
        op,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Slice" | "Gather" | "Concat" | "Split"
    )
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    match node.op {
        "Reshape" => reshape(node, to),
        "Flatten" => flatten(node, to),
        "Squeeze" | "Unsqueeze" => squeeze(node, to),
        "Transpose" => transpose(node, to),
        "Slice" => slice(node, to),
        "Split" => split(node, to),
        "Concat" => concat(node, to),
        "FeatureVectorizer" => vectorize(node, to),
        _ => gather(node, to),
    }
}

/// The dimension inside a row that ONNX's `axis` means, of rows of `rank` dimensions.
pub(super) fn row_axis(node: &Node<'_>, axis: i64, rank: usize) -> Result<usize, ModelError> {
    let all = rank as i64 + 1;
    match if axis < 0 { axis + all } else { axis } {
        0 => Err(node.unsupported("along the batch: it would mix rows")),
        at if at > 0 && at < all => Ok(at as usize - 1),
        _ => Err(node.unreadable(format_args!("axis {axis} of {all} dimensions"))),
    }
}

/// The dimension of a row that ONNX's `axis` means, wherever the batch is.
pub(super) fn inner_axis(node: &Node<'_>, axis: i64, rows: &Rows) -> Result<usize, ModelError> {
    let all = rows.dims.len() as i64 + 1;
    let batch = rows.batch as i64;
    match if axis < 0 { axis + all } else { axis } {
        at if at == batch => Err(node.unsupported("along the batch: it would mix rows")),
        at if at < 0 || at >= all => Err(node.unreadable(format_args!("axis {axis} of {all} dimensions"))),
        at => Ok(if at < batch { at } else { at - 1 } as usize),
    }
}

fn reshape<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    if let Value::Constant(tensor) = to.placed(node, 0)? {
        let tensor = tensor.clone();
        let shape = to.ints(node, 1)?;
        return reshape_constant(node, to, &tensor, &shape);
    }
    let rows = to.placed_rows(node, 0)?.clone();
    let shape: Vec<Size> = match node.has_input(1) {
        true => symbol::list(node, to, 1)?.0,
        false => node.ints("shape")?.iter().map(|&size| Size::Known(size)).collect(),
    };
    let full = reshaped(&rows, &shape, to.single, node.int("allowzero", 0)? != 0);
    let full = full.ok_or_else(|| {
        let what = format!("rows of the shape {:?} to {shape:?}: the batch must stay a dimension", rows.dims);
        node.unsupported(what)
    })?;
    to.alias(node, rows.with_full(&full));
    Ok(())
}

fn reshape_constant<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    tensor: &Tensor,
    shape: &[i64],
) -> Result<(), ModelError> {
    let rest: i64 = shape.iter().filter(|&&dim| dim > 0).product();
    let fill = |&dim: &i64| if dim == -1 { tensor.len() as i64 / rest.max(1) } else { dim };
    let dims: Vec<usize> = shape.iter().map(fill).filter_map(|dim| usize::try_from(dim).ok()).collect();
    if dims.len() != shape.len() || checked_len(&dims) != Some(tensor.len()) {
        return Err(node.unreadable(format_args!("a constant of the shape {:?} to {shape:?}", tensor.dims)));
    }
    to.bind(node, 0, Value::Constant(Tensor { dims, ..tensor.clone() }.into()));
    Ok(())
}

/// The dimensions in the new shape; none where the batch does not stay one of them, with the same numbers before it.
fn reshaped(rows: &Rows, shape: &[Size], single: bool, zero_is_zero: bool) -> Option<Vec<Option<usize>>> {
    let place = batch_place(rows.batch, shape, single, zero_is_zero)?;
    let full = rows.full();
    let known = |at: usize| match shape[at] {
        Size::Known(0) if !zero_is_zero => full.get(at).copied().flatten(),
        Size::Known(-1) => Some(0),
        Size::Known(size) => usize::try_from(size).ok().filter(|size| (1..=MAX_WIDTH).contains(size)),
        Size::Batch => None,
    };
    let dims = |range: std::ops::Range<usize>| range.map(known).collect::<Option<Vec<usize>>>();
    let before = inferred(dims(0..place)?, &rows.dims[..rows.batch])?;
    let behind = inferred(dims(place + 1..shape.len())?, &rows.dims[rows.batch..])?;
    Some(before.into_iter().map(Some).chain([None]).chain(behind.into_iter().map(Some)).collect())
}

/// Where the batch is in the new shape.
fn batch_place(batch: usize, shape: &[Size], single: bool, zero_is_zero: bool) -> Option<usize> {
    let places = |size: Size| shape.iter().enumerate().filter(move |(_, other)| **other == size).map(|(at, _)| at);
    let known = |at: usize| shape.get(at).copied();
    if let Some(place) = places(Size::Batch).next() {
        return (places(Size::Batch).count() == 1).then_some(place);
    }
    if known(batch) == Some(Size::Known(0)) && !zero_is_zero || known(batch) == Some(Size::Known(1)) && single {
        return Some(batch);
    }
    (places(Size::Known(-1)).count() == 1).then(|| places(Size::Known(-1)).next())?
}

/// The dimensions, 0 standing for what is left of `from`'s numbers; none where they are not as many.
fn inferred(mut dims: Vec<usize>, from: &[usize]) -> Option<Vec<usize>> {
    let width: usize = from.iter().product();
    let known = checked_len(&dims.iter().map(|&dim| dim.max(1)).collect::<Vec<_>>())?;
    let mut open = dims.iter_mut().filter(|dim| **dim == 0);
    if let Some(dim) = open.next() {
        *dim = width / known;
    }
    let single = open.next().is_none();
    (single && checked_len(&dims) == Some(width)).then_some(dims)
}

fn flatten<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    match node.int("axis", 1)? {
        1 => {
            let dims = vec![rows.width()];
            to.alias(node, Rows { dims, ..rows });
            Ok(())
        }
        axis => Err(node.unsupported(format_args!("from axis {axis}: it would mix rows"))),
    }
}

fn squeeze<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.placed_rows(node, 0)?.clone();
    let axes = if node.has_input(1) { to.ints(node, 1)? } else { node.ints("axes")?.to_vec() };
    let mut full = rows.full();
    let all = if node.op == "Squeeze" { full.len() } else { full.len() + axes.len() } as i64;
    let place = |&axis: &i64| match if axis < 0 { axis + all } else { axis } {
        at if (0..all).contains(&at) => Ok(at as usize),
        _ => Err(node.unreadable(format_args!("axis {axis} of {all} dimensions"))),
    };
    let mut axes: Vec<usize> = axes.iter().map(place).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    if node.op == "Unsqueeze" {
        axes.iter().for_each(|&axis| full.insert(axis.min(full.len()), Some(1)));
    } else if axes.is_empty() || axes.iter().any(|&axis| full[axis] != Some(1)) {
        return Err(node.unsupported(format_args!("rows of the shape {:?} along {axes:?}", rows.dims)));
    } else {
        axes.iter().rev().for_each(|&axis| {
            full.remove(axis);
        });
    }
    to.alias(node, rows.with_full(&full));
    Ok(())
}
