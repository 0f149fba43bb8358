//! A constant's elements by the rows' indices.

use super::super::lower::{Lowering, Made, Rows};
use super::super::program::{Column, Operation};
use super::super::proto::Node;
use super::super::tensor::{Data, Element, Tensor};
use crate::ModelError;

/// A constant's elements by index.
#[derive(Debug)]
pub(super) struct LookUp {
    pub table: Data,
}

fn looked_up<T: Copy>(table: &[T], indices: &[i64]) -> Vec<T> {
    indices.iter().map(|&at| table[at as usize]).collect()
}

impl Operation for LookUp {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let indices = inputs[0].ints();
        vec![match &self.table {
            Data::F32(table) => looked_up(table, indices).into(),
            Data::F64(table) => looked_up(table, indices).into(),
            Data::Ints(table) => looked_up(table, indices).into(),
            Data::Text(_) | Data::Foreign(_) => indices.to_vec().into(),
        }]
    }

    fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }
}

/// Only indices that cannot leave the table are run: ArgMax's, say.
pub(super) fn look_up<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    table: &Tensor,
    indices: Rows,
) -> Result<(), ModelError> {
    let in_range = indices.bound.is_some_and(|bound| bound <= table.len());
    if !in_range || table.dims.iter().filter(|&&dim| dim != 1).count() > 1 {
        return Err(node.unsupported("its indices may leave the constant, or it is no list"));
    }
    // ArrayFeatureExtractor's own shape is [1, rows]; its readers only flatten it.
    let dims = if indices.width() == 1 && node.op != "Gather" { Vec::new() } else { indices.dims.clone() };
    match (&table.data, table.element) {
        (Data::Text(texts), _) => {
            let table = Some(texts.clone().into());
            to.alias(node, Rows { element: Element::Text, dims, table, ..indices });
            Ok(())
        }
        (data, Some(element)) => {
            to.step(node, LookUp { table: data.clone() }, &[indices.slot], vec![Made::new(element, dims)])
        }
        (_, None) => Err(node.unsupported("in a constant of that type")),
    }
}
