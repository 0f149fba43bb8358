//! How operands of different shapes meet inside a row.

use super::super::super::lower::{MAX_WIDTH, Value};
use super::super::super::proto::Node;
use super::super::super::tensor::{Data, Tensor, checked_len};
use crate::ModelError;

/// Which elements of an operand's row an output's row is made of; none where it is one to one.
pub(super) type Map = Option<Vec<u32>>;

/// The shape of two operands' rows, and of the output's.
pub(super) struct Shapes {
    pub of: [Vec<usize>; 2],
    pub common: Vec<usize>,
}

impl Shapes {
    pub(super) fn read(node: &Node<'_>, values: &[Value; 2]) -> Result<Self, ModelError> {
        let rank = |value: &Value| if let Value::Rows(rows) = value { Some(rows.dims.len()) } else { None };
        let rank = values.iter().filter_map(rank).max().ok_or_else(|| node.unsupported("of two constants"))?;
        let of = [row_dims(node, &values[0], rank)?, row_dims(node, &values[1], rank)?];
        let common = broadcast(&of[0], &of[1])
            .ok_or_else(|| node.unreadable(format_args!("rows of the shapes {:?} and {:?}", of[0], of[1])))?;
        match checked_len(&common) {
            Some(width) if width <= MAX_WIDTH => Ok(Self { of, common }),
            _ => Err(node.unsupported(format_args!("its rows have the shape {common:?}"))),
        }
    }

    /// Where each element of the output comes from in a row of operand `at`.
    pub(super) fn map(&self, at: usize) -> Map {
        spread(&self.of[at], &self.common)
    }
}

/// The dimensions of a value inside a row, of `rank` dimensions.
fn row_dims(node: &Node<'_>, value: &Value, rank: usize) -> Result<Vec<usize>, ModelError> {
    match value {
        Value::Rows(rows) if rows.dims.len() == rank => Ok(rows.dims.clone()),
        Value::Rows(rows) => {
            let what = format!("rows of the shape {:?} meet others of {rank} dimensions: they would mix", rows.dims);
            Err(node.unsupported(what))
        }
        Value::Constant(tensor) => {
            let dims = &tensor.dims[..];
            match dims.len().checked_sub(rank) {
                None => Ok([&vec![1; rank - dims.len()], dims].concat()),
                Some(0) => Ok(dims.to_vec()),
                // With a first dimension of one it is a row for all rows.
                Some(1) if dims[0] == 1 => Ok(dims[1..].to_vec()),
                Some(_) => Err(node.unsupported(format_args!("a constant of the shape {dims:?} would mix rows"))),
            }
        }
    }
}

/// The common shape of two that have as many dimensions.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let common = |(&a, &b): (&usize, &usize)| match (a, b) {
        (a, b) if a == b => Some(a),
        (1, other) | (other, 1) => Some(other),
        _ => None,
    };
    a.iter().zip(b).map(common).collect()
}

/// Where each element of `dims` comes from in a row of the shape `from`.
fn spread(from: &[usize], dims: &[usize]) -> Map {
    if from == dims {
        return None;
    }
    let width: usize = dims.iter().product();
    let source = |mut at: usize| {
        let (mut index, mut stride) = (0, 1);
        for (&have, &want) in from.iter().zip(dims).rev() {
            index += if have == 1 { 0 } else { at % want * stride };
            (at, stride) = (at / want, stride * have);
        }
        index as u32
    };
    Some((0..width).map(source).collect())
}

pub(super) fn spread_constant(tensor: &Tensor, map: Map) -> Tensor {
    let Some(map) = map else { return tensor.clone() };
    fn pick<T: Copy>(values: &[T], map: &[u32]) -> Vec<T> {
        map.iter().filter_map(|&at| values.get(at as usize).copied()).collect()
    }
    let data = match &tensor.data {
        Data::F32(values) => Data::F32(pick(values, &map)),
        Data::F64(values) => Data::F64(pick(values, &map)),
        Data::Ints(values) => Data::Ints(pick(values, &map)),
        other => other.clone(),
    };
    Tensor { dims: vec![map.len()], element: tensor.element, data }
}
