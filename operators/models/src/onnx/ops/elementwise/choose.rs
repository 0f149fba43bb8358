//! Where: one of two columns, element by element.

use super::super::super::lower::{Lowering, Made};
use super::super::super::program::{Column, Operation};
use super::super::super::proto::Node;
use super::super::super::tensor::Element;
use crate::ModelError;

/// Chooses between two columns of the same shape.
#[derive(Debug)]
struct Where;

fn choose<T: Copy>(flags: &[i64], a: &[T], b: &[T]) -> Vec<T> {
    flags.iter().zip(a.iter().zip(b)).map(|(&flag, (&a, &b))| if flag != 0 { a } else { b }).collect()
}

impl Operation for Where {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let flags = inputs[0].ints();
        vec![match inputs[1] {
            Column::F32(a) => choose(flags, a, inputs[2].f32()).into(),
            Column::F64(a) => choose(flags, a, inputs[2].f64()).into(),
            Column::Ints(a) => choose(flags, a, inputs[2].ints()).into(),
        }]
    }
}

pub(in super::super) fn lower_where<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let [flag, a, b] = [to.rows(node, 0)?.clone(), to.rows(node, 1)?.clone(), to.rows(node, 2)?.clone()];
    let same = flag.dims == a.dims && a.dims == b.dims && a.element == b.element && a.element != Element::Text;
    if !same || flag.element != Element::Bool {
        return Err(node.unsupported("on columns of different shapes or types"));
    }
    to.step(node, Where, &[flag.slot, a.slot, b.slot], vec![Made::new(a.element, a.dims)])
}
