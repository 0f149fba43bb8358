//! Poolings over one or two dimensions.

use std::sync::Arc;

use super::super::fuse::{InLanes, Lane};
use super::super::lower::{Lowering, Made};
use super::super::proto::Node;
use super::super::tensor::Element;
use super::conv::MAX_WORK;
use super::windows::geometry;
use crate::ModelError;
use crate::lanes::{Op, Pool, PoolKind, Windows};

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let kernel: Vec<usize> = node.ints("kernel_shape")?.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
    let (Element::F32, [channels, input @ ..]) = (rows.element, &rows.dims[..]) else {
        return Err(node.unsupported(format_args!("{:?} rows of the shape {:?}", rows.element, rows.dims)));
    };
    if node.outputs.iter().skip(1).any(|name| !name.is_empty()) || node.int("storage_order", 0)? != 0 {
        return Err(node.unsupported("with the places of the largest"));
    }
    let geometry = geometry(node, 1, input, &kernel)?;
    let windows = Windows::new(&geometry)
        .filter(|windows| windows.fewest() > 0 && windows.meetings().saturating_mul(*channels) <= MAX_WORK);
    let windows = windows.ok_or_else(|| node.unsupported(format_args!("too large, or empty: {geometry:?}")))?;
    let covered = (geometry.kernel[0] * geometry.kernel[1]) as f32;
    let kind = match node.op {
        "MaxPool" => PoolKind::Max,
        _ => PoolKind::Average((node.int("count_include_pad", 0)? != 0).then_some(covered)),
    };
    let output = geometry.output().unwrap_or_default();
    let dims = [&[*channels], &output[2 - input.len()..]].concat();
    let pool = Pool { kind, channels: *channels, windows: Arc::new(windows) };
    let (inputs, outputs) = (vec![rows.width()], vec![dims.iter().product()]);
    let lane = Lane::Op(Op::Pool(pool));
    to.step(node, InLanes { lane, inputs, outputs }, &[rows.slot], vec![Made::new(Element::F32, dims)])
}
