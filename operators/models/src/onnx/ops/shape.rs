//! New shapes for the same numbers.

use super::super::lower::{Lowering, MAX_WIDTH, Rows, Value};
use super::super::proto::Node;
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

fn reshape<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    if let Value::Constant(tensor) = to.value(node, 0)? {
        let (tensor, shape) = (tensor.clone(), to.ints(node, 1)?);
        return reshape_constant(node, to, &tensor, &shape);
    }
    let rows = to.rows(node, 0)?.clone();
    let shape = if node.has_input(1) { to.ints(node, 1)? } else { node.ints("shape")?.to_vec() };
    let dims = reshaped(&rows, &shape, to.single, node.int("allowzero", 0)? != 0);
    let dims = dims.ok_or_else(|| {
        node.unsupported(format_args!("rows of the shape {:?} to {shape:?}: the batch must stay first", rows.dims))
    })?;
    to.alias(node, Rows { dims, ..rows });
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

/// The row's dimensions in the new shape; none where the batch does not stay first.
fn reshaped(rows: &Rows, shape: &[i64], single: bool, zero_is_zero: bool) -> Option<Vec<usize>> {
    let (&first, rest) = shape.split_first()?;
    let open = rest.iter().filter(|&&dim| dim == -1).count();
    let batch_first = match first {
        -1 => open == 0,
        0 => !zero_is_zero && open <= 1,
        1 => single && open <= 1,
        _ => false,
    };
    let width = rows.width();
    let known = |(at, &dim): (usize, &i64)| match dim {
        -1 => Some(1),
        0 if !zero_is_zero => rows.dims.get(at).copied(),
        dim => usize::try_from(dim).ok().filter(|dim| (1..=MAX_WIDTH).contains(dim)),
    };
    let mut dims: Vec<usize> = rest.iter().enumerate().map(known).collect::<Option<_>>()?;
    let product = checked_len(&dims)?;
    if let Some(at) = rest.iter().position(|&dim| dim == -1) {
        dims[at] = width / product.max(1);
    }
    (batch_first && checked_len(&dims) == Some(width)).then_some(dims)
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
    let mut rows = to.rows(node, 0)?.clone();
    let axes = if node.has_input(1) { to.ints(node, 1)? } else { node.ints("axes")?.to_vec() };
    let rank = if node.op == "Squeeze" { rows.dims.len() } else { rows.dims.len() + axes.len() };
    let mut axes: Vec<usize> = axes.iter().map(|&axis| row_axis(node, axis, rank)).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    if node.op == "Unsqueeze" {
        axes.iter().for_each(|&axis| rows.dims.insert(axis.min(rows.dims.len()), 1));
    } else if axes.is_empty() || axes.iter().any(|&axis| rows.dims[axis] != 1) {
        return Err(node.unsupported(format_args!("rows of the shape {:?} along {axes:?}", rows.dims)));
    } else {
        axes.iter().rev().for_each(|&axis| {
            rows.dims.remove(axis);
        });
    }
    to.alias(node, rows);
    Ok(())
}
