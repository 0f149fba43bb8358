//! Convolutions over one or two dimensions.

use std::sync::Arc;

use super::super::fuse::{Draft, InLanes, Lane};
use super::super::lower::{Lowering, Made};
use super::super::proto::Node;
use super::super::tensor::{Element, Tensor};
use super::number::Real as _;
use super::windows::geometry;
use crate::ModelError;
use crate::lanes::Windows;

/// Products that one row may take: a tenth of a second.
pub(super) const MAX_WORK: usize = 1 << 28;

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let weights = to.constant(node, 1)?.clone();
    let (Element::F32, Some(values), [channels, input @ ..], [outputs, inside, kernel @ ..]) =
        (rows.element, f32::constant(&weights), &rows.dims[..], &weights.dims[..])
    else {
        let what = format!("{:?} rows of the shape {:?} by weights of {:?}", rows.element, rows.dims, weights.dims);
        return Err(node.unsupported(what));
    };
    let groups = usize::try_from(node.int("group", 1)?).unwrap_or(0);
    let fits = groups > 0 && inside.checked_mul(groups) == Some(*channels) && outputs.is_multiple_of(groups);
    let named = node.ints("kernel_shape")?;
    let named = named.is_empty() || named.iter().copied().eq(kernel.iter().map(|&size| size as i64));
    if !fits || !named || *outputs == 0 || *inside == 0 {
        let what = format!("{groups} groups of rows of the shape {:?} by weights of {:?}", rows.dims, weights.dims);
        return Err(node.unreadable(what));
    }
    let geometry = geometry(node, *inside, input, kernel)?;
    let windows = Windows::new(&geometry)
        .filter(|windows| windows.meetings().checked_mul(*outputs).is_some_and(|work| work <= MAX_WORK));
    let windows = windows.ok_or_else(|| node.unsupported(format_args!("too large: {geometry:?}")))?;
    let output = geometry.output().unwrap_or_default();
    let dims = [&[*outputs], &output[2 - input.len()..]].concat();
    let bias = bias(node, to, *outputs)?;
    let draft = Draft::convolution(values.to_vec(), bias, groups, Arc::new(windows));
    let (inputs, made) = (vec![rows.width()], vec![Made::new(Element::F32, dims.clone())]);
    let outputs = vec![dims.iter().product()];
    to.step(node, InLanes { lane: Lane::Convolution(draft), inputs, outputs }, &[rows.slot], made)
}

fn bias<'a>(node: &'a Node<'a>, to: &Lowering<'a>, outputs: usize) -> Result<Vec<f32>, ModelError> {
    if !node.has_input(2) {
        return Ok(vec![0.0; outputs]);
    }
    let tensor: &Tensor = to.constant(node, 2)?;
    match f32::constant(tensor) {
        Some(bias) if bias.len() == outputs => Ok(bias.to_vec()),
        _ => Err(node.unreadable(format_args!("a bias of the shape {:?} for {outputs} outputs", tensor.dims))),
    }
}
