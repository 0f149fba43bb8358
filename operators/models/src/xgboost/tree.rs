//! From one tree of the file to the evaluator's nodes: every index is checked before it is followed.

use super::check::{number, optional};
use super::file::Tree;
use crate::ModelError;
use crate::trees::{ForestBuilder, MAX_DEPTH, Split};

/// XGBoost marks a leaf by a left child of -1.
const NO_CHILD: i32 = -1;

/// Walks a tree from its root, breadth first, and copies each node once.
pub(super) fn add(
    builder: &mut ForestBuilder,
    tree: &Tree,
    features: usize,
    names: &[String],
) -> Result<(), ModelError> {
    let nodes = check_lengths(tree)?;
    let mut walk = Walk { builder, tree, features, names, reached: vec![false; nodes] };
    walk.builder.start_tree();
    let mut level = vec![0];
    for _ in 0..=MAX_DEPTH {
        level = walk.level(&level)?;
        if level.is_empty() {
            return check_deleted(tree, walk.reached.iter().filter(|&&reached| !reached).count());
        }
    }
    Err(ModelError::unsupported("is too deep", format!("train with max_depth up to {MAX_DEPTH}")))
}

struct Walk<'a> {
    builder: &'a mut ForestBuilder,
    tree: &'a Tree,
    features: usize,
    names: &'a [String],
    reached: Vec<bool>,
}

impl Walk<'_> {
    /// Copies the nodes of a level and gives back the next one. A node met twice is a cycle or a shared child; both
    /// would let a small file cost without bound.
    fn level(&mut self, level: &[usize]) -> Result<Vec<usize>, ModelError> {
        let mut next = Vec::new();
        for &node in level {
            if std::mem::replace(&mut self.reached[node], true) {
                return Err(ModelError::unreadable(format!("node {node} is reached twice")));
            }
            match self.split(node)? {
                None => self.builder.leaf(self.tree.split_conditions[node]),
                Some(split) => {
                    self.builder.split(split);
                    next.extend([
                        self.child(node, &self.tree.left_children)?,
                        self.child(node, &self.tree.right_children)?,
                    ]);
                }
            }
        }
        Ok(next)
    }

    /// The split of a node, none in a leaf.
    fn split(&self, node: usize) -> Result<Option<Split>, ModelError> {
        let (threshold, feature) = (self.tree.split_conditions[node], self.tree.split_indices[node]);
        if !threshold.is_finite() {
            return Err(ModelError::unreadable(format!("node {node} has the value {threshold}")));
        }
        if self.tree.left_children[node] == NO_CHILD {
            return Ok(None);
        }
        if feature as usize >= self.features {
            let features = self.features;
            return Err(ModelError::unreadable(format!("node {node} splits on feature {feature} of {features}")));
        }
        if self.tree.split_type.get(node).is_some_and(|&kind| kind != 0) {
            let name = self.names.get(feature as usize).map_or("", String::as_str);
            let what = format!("node {node} has a categorical split on feature {feature} {name:?}");
            return Err(ModelError::unsupported(what, "encode categories as numbers before training"));
        }
        Ok(Some(Split { feature, threshold, missing_right: !self.tree.default_left[node] }))
    }

    fn child(&self, node: usize, children: &[i32]) -> Result<usize, ModelError> {
        let (child, nodes) = (children[node], self.reached.len());
        let index = usize::try_from(child).ok().filter(|&index| index < nodes);
        index.ok_or_else(|| ModelError::unreadable(format!("node {node} has the child {child}, of {nodes} nodes")))
    }
}

/// Every array must have one entry per node; the claimed count is compared, never used.
fn check_lengths(tree: &Tree) -> Result<usize, ModelError> {
    let nodes = tree.left_children.len();
    let claimed = number(&tree.tree_param.num_nodes, "num_nodes")?;
    let leaf_size = optional(&tree.tree_param.size_leaf_vector, "size_leaf_vector", 1)?;
    let lengths = [
        ("num_nodes", claimed),
        ("right_children", tree.right_children.len()),
        ("split_conditions", tree.split_conditions.len()),
        ("split_indices", tree.split_indices.len()),
        ("default_left", tree.default_left.len()),
        ("split_type", if tree.split_type.is_empty() { nodes } else { tree.split_type.len() }),
    ];
    if let Some((name, length)) = lengths.into_iter().find(|&(_, length)| length != nodes) {
        return Err(ModelError::unreadable(format!("{name} says {length} nodes, left_children has {nodes}")));
    }
    match (nodes, leaf_size) {
        (0, _) => Err(ModelError::unreadable("has no node")),
        (_, 0 | 1) => Ok(nodes),
        _ => Err(ModelError::unsupported(format!("size_leaf_vector {leaf_size}"), "train with one_output_per_tree")),
    }
}

/// Nodes that pruning cut off stay in the arrays; their number is on record since version 1.0.
fn check_deleted(tree: &Tree, unreached: usize) -> Result<(), ModelError> {
    match optional(&tree.tree_param.num_deleted, "num_deleted", unreached)? {
        deleted if deleted == unreached => Ok(()),
        deleted => {
            Err(ModelError::unreadable(format!("{unreached} nodes cannot be reached, num_deleted says {deleted}")))
        }
    }
}
