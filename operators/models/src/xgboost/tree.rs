//! From the trees of the file to the evaluator's nodes.

use super::categories::Sets;
use super::check::{number, optional};
use super::file::{Model, Tree};
use crate::ModelError;
use crate::trees::{Combine, Forest, ForestBuilder, ForestSpec, Missing, Precision, Split, Test, Visit, add_tree};

/// XGBoost marks a leaf by a left child of -1.
const NO_CHILD: i32 = -1;

/// What the trees must fit.
pub(super) struct Frame {
    pub features: usize,
    /// The margin that each output starts with.
    pub base: Vec<f64>,
}

/// The trees, in the file's order, each times its factor where `dart` gave it one.
pub(super) fn forest(model: &Model, factors: &[f32], frame: Frame) -> Result<Forest, ModelError> {
    let (trees, outputs) = (model.trees.len(), frame.base.len());
    let claimed = optional(&model.gbtree_model_param.num_trees, "num_trees", trees)?;
    if claimed != trees {
        return Err(ModelError::unreadable(format!("num_trees is {claimed}, but the file holds {trees} trees")));
    }
    // With a single output a file may leave them out; with several, all trees would count for the first.
    if model.tree_info.len() != trees && (outputs > 1 || !model.tree_info.is_empty()) {
        return Err(ModelError::unreadable(format!("tree_info has {} entries, {trees} trees", model.tree_info.len())));
    }
    let (precision, combine, base, features) = (Precision::Single, Combine::Sum, frame.base, frame.features);
    let mut builder = ForestBuilder::new(ForestSpec { features, outputs, precision, combine, base });
    let mut sets = Sets::default();
    for (index, tree) in model.trees.iter().enumerate() {
        let (output, factor) = (model.tree_info.get(index).copied().unwrap_or(0), factors.get(index).copied());
        let place = Place { output, outputs, factor: factor.unwrap_or(1.0) };
        add(&mut builder, tree, &place, &mut sets).map_err(|error| in_tree(error, index))?;
    }
    builder.finish()
}

fn in_tree(mut error: ModelError, index: usize) -> ModelError {
    error.what = format!("tree {index}: {}", error.what);
    error
}

/// Where a tree's leaves go.
struct Place {
    /// The class or target of a tree with one number per leaf.
    output: i32,
    outputs: usize,
    factor: f32,
}

/// Copies a tree from its root.
fn add(builder: &mut ForestBuilder, tree: &Tree, place: &Place, sets: &mut Sets) -> Result<(), ModelError> {
    let (nodes, features) = (check_lengths(tree)?, builder.features());
    let leaves = Leaves::of(tree, place)?;
    match leaves {
        Leaves::Scalars => builder.start_tree(usize::try_from(place.output).unwrap_or(usize::MAX)),
        Leaves::Vectors { .. } => builder.start_vector_tree(),
    }
    let (mut sets, mut leaf_count) = (sets.of_tree(tree)?, 0);
    let reached = add_tree(builder, 0, nodes, |node| {
        if tree.left_children[node] == NO_CHILD {
            leaf_count += 1;
            return leaves.at(tree, node, place.factor).and_then(|leaf| leaves.check(tree, leaf_count).map(|()| leaf));
        }
        let test = match tree.split_type.get(node) {
            None | Some(0) => Test::Below(threshold(tree, node)?),
            Some(1) => Test::OneOf(sets.take(node)?),
            Some(kind) => return Err(ModelError::unreadable(format!("node {node} has the split type {kind}"))),
        };
        split(tree, node, test, features)
    })?;
    check_deleted(tree, nodes - reached)
}

/// Numbers below the threshold go left; of categories, those in the set go right.
fn split(tree: &Tree, node: usize, test: Test, features: usize) -> Result<Visit, ModelError> {
    let feature = tree.split_indices[node];
    if feature as usize >= features {
        return Err(ModelError::unreadable(format!("node {node} splits on feature {feature} of {features}")));
    }
    let yes_is_left = matches!(test, Test::Below(_));
    let (left, right) = (child(tree, node, &tree.left_children)?, child(tree, node, &tree.right_children)?);
    let (yes, no) = if yes_is_left { (left, right) } else { (right, left) };
    let missing = if tree.default_left[node] == yes_is_left { Missing::Yes } else { Missing::No };
    Ok(Visit::Split { split: Split { feature, test, missing, zero_is_missing: false }, yes, no })
}

fn threshold(tree: &Tree, node: usize) -> Result<f64, ModelError> {
    finite(tree.split_conditions[node], node).map(f64::from)
}

fn finite(value: f32, node: usize) -> Result<f32, ModelError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(ModelError::unreadable(format!("node {node} has the value {value}")))
    }
}

/// Where the numbers of the leaves stand.
enum Leaves {
    /// In split_conditions, one each.
    Scalars,
    /// A vector each: in base_weights by node, or, since 3.2, in leaf_weights by the number in right_children.
    Vectors { width: usize, by_node: bool },
}

impl Leaves {
    fn of(tree: &Tree, place: &Place) -> Result<Self, ModelError> {
        match optional(&tree.tree_param.size_leaf_vector, "size_leaf_vector", 1)? {
            0 | 1 if usize::try_from(place.output).is_ok_and(|output| output < place.outputs) => Ok(Leaves::Scalars),
            0 | 1 => {
                let what = format!("tree_info says output {} of {}", place.output, place.outputs);
                Err(ModelError::unreadable(what))
            }
            width if width == place.outputs => Ok(Leaves::Vectors { width, by_node: tree.leaf_weights.is_empty() }),
            width => {
                let what = format!("size_leaf_vector is {width}, the model has {} outputs", place.outputs);
                Err(ModelError::unreadable(what))
            }
        }
    }

    /// Each leaf has a vector of its own: without that a small file could name one large vector many times.
    fn check(&self, tree: &Tree, leaves: usize) -> Result<(), ModelError> {
        match *self {
            Leaves::Vectors { width, by_node: false } if leaves > tree.leaf_weights.len() / width => {
                let vectors = tree.leaf_weights.len() / width;
                Err(ModelError::unreadable(format!("more leaves than the {vectors} vectors of leaf_weights")))
            }
            _ => Ok(()),
        }
    }

    fn at(&self, tree: &Tree, node: usize, factor: f32) -> Result<Visit, ModelError> {
        let scaled = |value: f32| finite(value * factor, node).map(f64::from);
        let Leaves::Vectors { width, by_node } = *self else {
            return scaled(tree.split_conditions[node]).map(Visit::Leaf);
        };
        let (values, at) = match by_node {
            true => (&tree.base_weights, Some(node)),
            false => (&tree.leaf_weights, usize::try_from(tree.right_children[node]).ok()),
        };
        let start = at.and_then(|at| at.checked_mul(width));
        let vector = start.and_then(|start| values.get(start..)?.get(..width));
        let vector = vector.ok_or_else(|| ModelError::unreadable(format!("leaf {node} has no {width} numbers")))?;
        vector.iter().map(|&value| scaled(value)).collect::<Result<_, _>>().map(Visit::LeafVector)
    }
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
    let lengths = [
        ("num_nodes", number(&tree.tree_param.num_nodes, "num_nodes")?),
        ("right_children", tree.right_children.len()),
        ("split_conditions", tree.split_conditions.len()),
        ("split_indices", tree.split_indices.len()),
        ("default_left", tree.default_left.len()),
        ("split_type", if tree.split_type.is_empty() { nodes } else { tree.split_type.len() }),
    ];
    match lengths.into_iter().find(|&(_, length)| length != nodes) {
        Some((name, length)) => {
            Err(ModelError::unreadable(format!("{name} says {length} nodes, left_children has {nodes}")))
        }
        None if nodes == 0 => Err(ModelError::unreadable("has no node")),
        None => Ok(nodes),
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
