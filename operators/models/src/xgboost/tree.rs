//! From one tree of the file to the evaluator's nodes.

use super::check::{number, optional};
use super::file::Tree;
use crate::ModelError;
use crate::trees::{ForestBuilder, Missing, Split, Test, Visit, add_tree};

/// XGBoost marks a leaf by a left child of -1.
const NO_CHILD: i32 = -1;

/// Copies a tree from its root.
pub(super) fn add(builder: &mut ForestBuilder, tree: &Tree, names: &[String]) -> Result<(), ModelError> {
    let (nodes, features) = (check_lengths(tree)?, builder.features());
    builder.start_tree(0);
    let reached = add_tree(builder, 0, nodes, |node| look(tree, node, features, names))?;
    check_deleted(tree, nodes - reached)
}

fn look(tree: &Tree, node: usize, features: usize, names: &[String]) -> Result<Visit, ModelError> {
    let (threshold, feature) = (tree.split_conditions[node], tree.split_indices[node]);
    if !threshold.is_finite() {
        return Err(ModelError::unreadable(format!("node {node} has the value {threshold}")));
    }
    if tree.left_children[node] == NO_CHILD {
        return Ok(Visit::Leaf(f64::from(threshold)));
    }
    if feature as usize >= features {
        return Err(ModelError::unreadable(format!("node {node} splits on feature {feature} of {features}")));
    }
    if tree.split_type.get(node).is_some_and(|&kind| kind != 0) {
        let name = names.get(feature as usize).map_or("", String::as_str);
        let what = format!("node {node} has a categorical split on feature {feature} {name:?}");
        return Err(ModelError::unsupported(what, "encode categories as numbers before training"));
    }
    let missing = if tree.default_left[node] { Missing::Yes } else { Missing::No };
    let split = Split { feature, test: Test::Below(f64::from(threshold)), missing, zero_is_missing: false };
    Ok(Visit::Split {
        split,
        yes: child(tree, node, &tree.left_children)?,
        no: child(tree, node, &tree.right_children)?,
    })
}

/// A child as an index; whether it is in range is seen when it is followed.
fn child(tree: &Tree, node: usize, children: &[i32]) -> Result<usize, ModelError> {
    let (child, nodes) = (children[node], tree.left_children.len());
    let what = || ModelError::unreadable(format!("node {node} has the child {child}, of {nodes} nodes"));
    usize::try_from(child).map_err(|_| what())
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
