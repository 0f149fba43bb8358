//! The windows of convolutions and poolings, as a node describes them.

use super::super::proto::Node;
use crate::ModelError;
use crate::lanes::Geometry;

/// What a node's windows meet: channels, then one or two dimensions.
pub(super) fn geometry(
    node: &Node<'_>,
    channels: usize,
    input: &[usize],
    kernel: &[usize],
) -> Result<Geometry, ModelError> {
    let rank = input.len();
    if !(1..=2).contains(&rank) || kernel.len() != rank {
        return Err(node.unsupported(format_args!("windows of the shape {kernel:?} over rows of {input:?}")));
    }
    let strides = numbers(node, "strides", rank, 1)?;
    let dilations = numbers(node, "dilations", rank, 1)?;
    let mut geometry = Geometry {
        channels,
        input: two(input),
        kernel: two(kernel),
        strides: two(&strides),
        dilations: two(&dilations),
        pads: [[0; 2]; 2],
    };
    let pads = numbers(node, "pads", 2 * rank, 0)?;
    let sides: Vec<[usize; 2]> = (0..rank).map(|at| [pads[at], pads[at + rank]]).collect();
    match node.text("auto_pad", "NOTSET")? {
        "NOTSET" => geometry.pads[2 - rank..].copy_from_slice(&sides),
        "VALID" => {}
        side @ ("SAME_UPPER" | "SAME_LOWER") => same(&mut geometry, side == "SAME_UPPER"),
        other => return Err(node.unreadable(format_args!("the auto_pad \"{}\"", other.escape_debug()))),
    }
    match geometry.output() {
        Some(output) if rounds_down(node, &geometry, output)? => Ok(geometry),
        _ => Err(node.unsupported(format_args!("windows of {kernel:?} over rows of {input:?}: {geometry:?}"))),
    }
}

/// A list of an attribute, of one number per dimension.
fn numbers(node: &Node<'_>, name: &str, count: usize, default: usize) -> Result<Vec<usize>, ModelError> {
    let list = node.ints(name)?;
    if list.is_empty() {
        return Ok(vec![default; count]);
    }
    let list: Vec<usize> = list.iter().filter_map(|&number| usize::try_from(number).ok()).collect();
    match list.len() == count && node.ints(name)?.len() == count {
        true => Ok(list),
        false => Err(node.unsupported(format_args!("its {name} are {:?}", node.ints(name)?))),
    }
}

/// A single dimension is the inner one.
fn two(list: &[usize]) -> [usize; 2] {
    match list {
        [outer, inner] => [*outer, *inner],
        _ => [1, list.first().copied().unwrap_or(1)],
    }
}

/// Pads so that there is an output for each step over the input, an odd one behind or before.
fn same(geometry: &mut Geometry, behind: bool) {
    for at in 0..2 {
        let (input, stride) = (geometry.input[at], geometry.strides[at].max(1));
        let covered = geometry.dilations[at].saturating_mul(geometry.kernel[at].saturating_sub(1)).saturating_add(1);
        let reach = ((input.div_ceil(stride) - 1) * stride).saturating_add(covered);
        let pad = reach.saturating_sub(input);
        geometry.pads[at] = if behind { [pad / 2, pad - pad / 2] } else { [pad - pad / 2, pad / 2] };
    }
}

/// Whether rounding the number of windows up would be the same.
fn rounds_down(node: &Node<'_>, geometry: &Geometry, output: [usize; 2]) -> Result<bool, ModelError> {
    let exact = (0..2).all(|at| {
        let covered = geometry.dilations[at] * (geometry.kernel[at] - 1) + 1;
        let padded: usize = geometry.input[at] + geometry.pads[at].iter().sum::<usize>();
        (output[at] - 1) * geometry.strides[at] + covered == padded
    });
    Ok(node.int("ceil_mode", 0)? == 0 || exact)
}
