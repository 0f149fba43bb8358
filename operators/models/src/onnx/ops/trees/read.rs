//! TreeEnsembleClassifier and TreeEnsembleRegressor: parallel lists of nodes and of weights.

use std::collections::HashMap;

use super::super::super::proto::Node;
use super::super::scores::Transform;
use super::{Branch, Ensemble, Item, Mode};
use crate::ModelError;
use crate::trees::Combine;

/// The names of the lists that the two operators call differently.
struct Names {
    ids: &'static str,
    nodes: &'static str,
    trees: &'static str,
    weights: &'static str,
}

const TARGETS: Names =
    Names { ids: "target_ids", nodes: "target_nodeids", trees: "target_treeids", weights: "target_weights" };
const CLASSES: Names =
    Names { ids: "class_ids", nodes: "class_nodeids", trees: "class_treeids", weights: "class_weights" };

pub(super) fn regressor(node: &Node<'_>) -> Result<Ensemble, ModelError> {
    let targets = usize::try_from(node.int("n_targets", 0)?).unwrap_or(0);
    let combine = match node.text("aggregate_function", "SUM")? {
        "SUM" => Combine::Sum,
        "AVERAGE" => Combine::Average,
        "MIN" => Combine::Min,
        "MAX" => Combine::Max,
        other => return Err(node.unreadable(format_args!("the aggregate_function \"{}\"", other.escape_debug()))),
    };
    ensemble(node, &TARGETS, targets, combine)
}

pub(super) fn classifier(node: &Node<'_>, classes: usize) -> Result<Ensemble, ModelError> {
    ensemble(node, &CLASSES, classes, Combine::Sum)
}

fn ensemble(node: &Node<'_>, names: &Names, targets: usize, combine: Combine) -> Result<Ensemble, ModelError> {
    let lists = Lists::read(node)?;
    let index = lists.index(node)?;
    let (weights, leaves) = weights(node, names, &index, lists.len(), targets)?;
    let items = (0..lists.len()).map(|at| lists.item(node, &index, &leaves, at)).collect::<Result<_, _>>()?;
    let (base, transform) = (node.weights("base_values")?, Transform::read(node)?);
    Ok(Ensemble { items, roots: lists.roots(node)?, weights, targets, combine, base, transform })
}

/// Tree and node to place in the lists.
type Index = HashMap<(i64, i64), usize>;

struct Lists<'a> {
    trees: &'a [i64],
    nodes: &'a [i64],
    features: &'a [i64],
    modes: Vec<&'a str>,
    values: Vec<f64>,
    yes: &'a [i64],
    no: &'a [i64],
    missing_true: &'a [i64],
}

impl<'a> Lists<'a> {
    fn read(node: &'a Node<'a>) -> Result<Self, ModelError> {
        let lists = Self {
            trees: node.ints("nodes_treeids")?,
            nodes: node.ints("nodes_nodeids")?,
            features: node.ints("nodes_featureids")?,
            modes: node.texts("nodes_modes")?,
            values: node.weights("nodes_values")?,
            yes: node.ints("nodes_truenodeids")?,
            no: node.ints("nodes_falsenodeids")?,
            missing_true: node.ints("nodes_missing_value_tracks_true")?,
        };
        let lengths = [
            lists.nodes.len(),
            lists.features.len(),
            lists.modes.len(),
            lists.values.len(),
            lists.yes.len(),
            lists.no.len(),
        ];
        if lists.len() == 0 || lengths.iter().any(|&length| length != lists.len()) {
            return Err(
                node.unreadable(format_args!("its lists of nodes have {} and {lengths:?} entries", lists.len()))
            );
        }
        Ok(lists)
    }

    fn len(&self) -> usize {
        self.trees.len()
    }

    fn index(&self, node: &Node<'_>) -> Result<Index, ModelError> {
        let mut index = Index::with_capacity(self.len());
        for (at, key) in self.trees.iter().copied().zip(self.nodes.iter().copied()).enumerate() {
            if index.insert(key, at).is_some() {
                return Err(node.unreadable(format_args!("tree {} has node {} twice", key.0, key.1)));
            }
        }
        Ok(index)
    }

    /// The first node of each tree; a tree's nodes lie together.
    fn roots(&self, node: &Node<'_>) -> Result<Vec<usize>, ModelError> {
        let starts = (0..self.len()).filter(|&at| at == 0 || self.trees[at] != self.trees[at - 1]);
        let roots: Vec<usize> = starts.collect();
        let mut trees: Vec<i64> = roots.iter().map(|&at| self.trees[at]).collect();
        trees.sort_unstable();
        match trees.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(node.unsupported(format_args!("the nodes of tree {} lie apart", pair[0]))),
            None => Ok(roots),
        }
    }

    fn item(
        &self,
        node: &Node<'_>,
        index: &Index,
        leaves: &[std::ops::Range<usize>],
        at: usize,
    ) -> Result<Item, ModelError> {
        let wrong = |what: String| {
            node.unreadable(format_args!("node {} of tree {} has {what}", self.nodes[at], self.trees[at]))
        };
        let mode = match self.modes[at] {
            "LEAF" if leaves[at].is_empty() => return Err(wrong("no weight".to_owned())),
            "LEAF" => return Ok(Item::Leaf(leaves[at].clone())),
            other => mode(other).ok_or_else(|| wrong(format!("the mode \"{}\"", other.escape_debug())))?,
        };
        let child = |id: i64| {
            let child = index.get(&(self.trees[at], id)).copied();
            child.ok_or_else(|| wrong(format!("the child {id}, which is not there")))
        };
        let feature = self.features[at];
        let feature = u32::try_from(feature).map_err(|_| wrong(format!("feature {feature}")))?;
        let missing_true = self.missing_true.get(at) == Some(&1);
        let (yes, no) = (child(self.yes[at])?, child(self.no[at])?);
        Ok(Item::Branch(Branch { feature, mode, value: self.values[at], yes, no, missing_true }))
    }
}

fn mode(name: &str) -> Option<Mode> {
    Some(match name {
        "BRANCH_LEQ" => Mode::AtMost,
        "BRANCH_LT" => Mode::Below,
        "BRANCH_GTE" => Mode::AtLeast,
        "BRANCH_GT" => Mode::Above,
        "BRANCH_EQ" => Mode::Equal,
        "BRANCH_NEQ" => Mode::NotEqual,
        _ => return None,
    })
}

/// Weights in the order of their nodes, and for each node the range of its own.
type Weights = (Vec<(usize, f64)>, Vec<std::ops::Range<usize>>);

fn weights(node: &Node<'_>, names: &Names, index: &Index, nodes: usize, targets: usize) -> Result<Weights, ModelError> {
    let (ids, node_ids, trees) = (node.ints(names.ids)?, node.ints(names.nodes)?, node.ints(names.trees)?);
    let values = node.weights(names.weights)?;
    if [node_ids.len(), trees.len(), values.len()] != [ids.len(); 3] {
        return Err(node.unreadable(format_args!("its lists of {} differ in length", names.weights)));
    }
    let mut found = Vec::with_capacity(ids.len());
    for at in 0..ids.len() {
        let place = index.get(&(trees[at], node_ids[at]));
        let place = place.ok_or_else(|| {
            node.unreadable(format_args!("a weight of node {} of tree {}, which is not there", node_ids[at], trees[at]))
        })?;
        let target = usize::try_from(ids[at]).ok().filter(|&target| target < targets);
        let target = target.ok_or_else(|| node.unreadable(format_args!("target {} of {targets}", ids[at])))?;
        found.push((*place, target, values[at]));
    }
    found.sort_by_key(|&(place, target, _)| (place, target));
    if let Some(pair) = found.windows(2).find(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
        return Err(node.unsupported(format_args!("two weights of one leaf for target {}", pair[0].1)));
    }
    let ranges = ranges(found.iter().map(|&(place, _, _)| place), nodes);
    Ok((found.into_iter().map(|(_, target, value)| (target, value)).collect(), ranges))
}

/// Where each node's weights lie, from the sorted places of all.
fn ranges(places: impl Iterator<Item = usize>, nodes: usize) -> Vec<std::ops::Range<usize>> {
    let mut ranges = vec![0..0; nodes];
    for (at, place) in places.enumerate() {
        let range = &mut ranges[place];
        range.start = if range.start == range.end { at } else { range.start };
        range.end = at + 1;
    }
    ranges
}
