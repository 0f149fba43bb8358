//! From a parsed file to a forest: every number is checked before anything relies on it.

use super::file::{File, Learner, Tree};
use super::nesting;
use crate::ModelError;
use crate::trees::{Forest, ForestBuilder, MAX_DEPTH, Split};

/// More input features than any table of ours; bounds what one row can cost.
const MAX_FEATURES: usize = 1 << 16;
/// XGBoost marks a leaf by a left child of -1.
const NO_CHILD: i32 = -1;

/// Parses the JSON.
pub(super) fn read(bytes: &[u8]) -> Result<Learner, ModelError> {
    nesting::check(bytes)?;
    sonic_rs::from_slice::<File>(bytes).map(|file| file.learner).map_err(|error| {
        let (line, column, text) = (error.line(), error.column(), error.to_string());
        let reason = text.lines().next().and_then(|first| first.split(" at line ").next()).unwrap_or_default();
        ModelError::unreadable(format!("no XGBoost JSON model, line {line} column {column}: {reason}"))
    })
}

/// The number of features, agreed upon by all parts of the file.
pub(super) fn features(learner: &Learner) -> Result<usize, ModelError> {
    let features = number(&learner.learner_model_param.num_feature, "num_feature")?;
    if features == 0 || features > MAX_FEATURES {
        let what = format!("num_feature is {features}");
        return Err(ModelError::unsupported(what, format!("train on 1 to {MAX_FEATURES} features")));
    }
    let names = learner.feature_names.len();
    if names != 0 && names != features {
        return Err(ModelError::unreadable(format!("{names} feature_names for num_feature {features}")));
    }
    Ok(features)
}

/// `5E-1`, or since version 3 `[5E-1]`.
pub(super) fn base_score(text: &str) -> Result<f32, ModelError> {
    let inner = text.trim().strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if inner.contains(',') {
        return Err(ModelError::unsupported("base_score has several values", "train with a single target"));
    }
    match inner.trim().parse::<f32>() {
        Ok(score) if score.is_finite() => Ok(score),
        _ => Err(ModelError::unreadable(format!("base_score \"{}\" is no number", text.escape_debug()))),
    }
}

/// The trees, in the file's order, as a forest whose rows start at `base`.
pub(super) fn forest(learner: &Learner, features: usize, base: f32) -> Result<Forest, ModelError> {
    check_booster(learner)?;
    let model = &learner.gradient_booster.model;
    let claimed = optional(&model.gbtree_model_param.num_trees, "num_trees", model.trees.len())?;
    if claimed != model.trees.len() {
        let found = model.trees.len();
        return Err(ModelError::unreadable(format!("num_trees is {claimed}, but the file holds {found} trees")));
    }
    let mut builder = ForestBuilder::new(features, base);
    for (index, tree) in model.trees.iter().enumerate() {
        add_tree(&mut builder, tree, learner, features).map_err(|error| in_tree(error, index))?;
    }
    Ok(builder.finish())
}

fn check_booster(learner: &Learner) -> Result<(), ModelError> {
    let booster = &learner.gradient_booster;
    let param = &learner.learner_model_param;
    let classes = optional(&param.num_class, "num_class", 0)?;
    let targets = optional(&param.num_target, "num_target", 1)?;
    if booster.name != "gbtree" {
        let what = format!("booster \"{}\"", booster.name.escape_debug());
        return Err(ModelError::unsupported(what, "train with booster=gbtree"));
    }
    if classes > 1 || targets > 1 || booster.model.tree_info.iter().any(|&group| group != 0) {
        let what = format!("num_class {classes}, num_target {targets}: several answers per row");
        return Err(ModelError::unsupported(what, "train one model per class or target"));
    }
    Ok(())
}

fn in_tree(mut error: ModelError, index: usize) -> ModelError {
    error.what = format!("tree {index}: {}", error.what);
    error
}

/// Walks a tree from its root, breadth first, and copies each node once. A node met twice is a cycle or a shared
/// child; both would let a small file cost without bound.
fn add_tree(builder: &mut ForestBuilder, tree: &Tree, learner: &Learner, features: usize) -> Result<(), ModelError> {
    let nodes = check_lengths(tree)?;
    let mut reached = vec![false; nodes];
    let mut level = vec![0usize];
    let mut count = 0;
    builder.start_tree();
    for depth in 0.. {
        if level.is_empty() {
            break;
        }
        if depth > MAX_DEPTH {
            return Err(ModelError::unsupported("is too deep", format!("train with max_depth up to {MAX_DEPTH}")));
        }
        let mut next = Vec::new();
        for &node in &level {
            if std::mem::replace(&mut reached[node], true) {
                return Err(ModelError::unreadable(format!("node {node} is reached twice")));
            }
            count += 1;
            match split(tree, node, features, learner)? {
                None => builder.leaf(tree.split_conditions[node]),
                Some(split) => {
                    builder.split(split);
                    next.extend([
                        child(tree.left_children[node], nodes, node)?,
                        child(tree.right_children[node], nodes, node)?,
                    ]);
                }
            }
        }
        level = next;
    }
    check_deleted(tree, nodes - count)
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

fn split(tree: &Tree, node: usize, features: usize, learner: &Learner) -> Result<Option<Split>, ModelError> {
    let value = tree.split_conditions[node];
    let feature = tree.split_indices[node];
    if !value.is_finite() {
        return Err(ModelError::unreadable(format!("node {node} has the value {value}")));
    }
    if tree.left_children[node] == NO_CHILD {
        return Ok(None);
    }
    if feature as usize >= features {
        return Err(ModelError::unreadable(format!("node {node} splits on feature {feature} of {features}")));
    }
    if tree.split_type.get(node).is_some_and(|&kind| kind != 0) {
        let name = learner.feature_names.get(feature as usize).map_or("", String::as_str);
        let what = format!("node {node} has a categorical split on feature {feature} {name:?}");
        return Err(ModelError::unsupported(what, "encode categories as numbers before training"));
    }
    Ok(Some(Split { feature, threshold: value, missing_right: !tree.default_left[node] }))
}

fn child(index: i32, nodes: usize, parent: usize) -> Result<usize, ModelError> {
    let found = usize::try_from(index).ok().filter(|&index| index < nodes);
    found.ok_or_else(|| ModelError::unreadable(format!("node {parent} has the child {index}, of {nodes} nodes")))
}

fn number(text: &str, name: &str) -> Result<usize, ModelError> {
    text.parse().map_err(|_| ModelError::unreadable(format!("{name} \"{}\" is no whole number", text.escape_debug())))
}

fn optional(text: &str, name: &str, default: usize) -> Result<usize, ModelError> {
    if text.is_empty() { Ok(default) } else { number(text, name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_scores_of_all_versions() {
        assert_eq!(base_score("5E-1").unwrap(), 0.5);
        assert_eq!(base_score("[5E-1]").unwrap(), 0.5);
        assert_eq!(base_score("0.25").unwrap(), 0.25);
        assert!(base_score("[5E-1,5E-1]").unwrap_err().to_string().contains("several"));
        assert!(base_score("[NaN]").is_err() && base_score("").is_err() && base_score("inf").is_err());
    }
}
