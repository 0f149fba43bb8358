//! Copies a tree of a file into a forest: every index is checked before it is followed.

use super::{ForestBuilder, MAX_DEPTH, Split};
use crate::ModelError;

/// What stands at a node of the file.
#[derive(Debug)]
pub(crate) enum Visit {
    /// A split and the indices of its children.
    Split { split: Split, yes: usize, no: usize },
    /// A leaf with one number.
    Leaf(f64),
    /// A leaf with a number for every output.
    LeafVector(Vec<f64>),
}

/// Walks a tree of `nodes` nodes from `root`, breadth first, copies each node once into the tree that the builder has
/// started, and gives back how many it reached. `look` reads a node of the file. A node met twice is a cycle or a
/// shared child; both would let a small file cost without bound.
pub(crate) fn add_tree(
    builder: &mut ForestBuilder,
    root: usize,
    nodes: usize,
    mut look: impl FnMut(usize) -> Result<Visit, ModelError>,
) -> Result<usize, ModelError> {
    let mut reached = Reached { seen: vec![false; nodes], count: 0 };
    let mut level = vec![reached.enter(root, "the root")?];
    for _ in 0..=MAX_DEPTH {
        let mut next = Vec::new();
        for node in level {
            copy(builder, look(node)?, |child| reached.enter(child, format_args!("node {node}")), &mut next)?;
        }
        if next.is_empty() {
            return Ok(reached.count);
        }
        level = next;
    }
    Err(ModelError::unsupported("is too deep", format!("train with max_depth up to {MAX_DEPTH}")))
}

fn copy(
    builder: &mut ForestBuilder,
    visit: Visit,
    mut enter: impl FnMut(usize) -> Result<usize, ModelError>,
    next: &mut Vec<usize>,
) -> Result<(), ModelError> {
    match visit {
        Visit::Leaf(value) => builder.leaf(value),
        Visit::LeafVector(values) => builder.leaf_vector(&values),
        Visit::Split { split, yes, no } => {
            builder.split(split);
            next.extend([enter(yes)?, enter(no)?]);
        }
    }
    Ok(())
}

struct Reached {
    seen: Vec<bool>,
    count: usize,
}

impl Reached {
    fn enter(&mut self, node: usize, parent: impl std::fmt::Display) -> Result<usize, ModelError> {
        let nodes = self.seen.len();
        match self.seen.get_mut(node) {
            None => Err(ModelError::unreadable(format!("{parent} has the child {node}, of {nodes} nodes"))),
            Some(true) => Err(ModelError::unreadable(format!("node {node} is reached twice"))),
            Some(seen) => {
                *seen = true;
                self.count += 1;
                Ok(node)
            }
        }
    }
}
