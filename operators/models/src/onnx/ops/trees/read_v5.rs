//! TreeEnsemble of ai.onnx.ml 5: nodes and leaves apart, one weight per leaf.

use super::super::super::proto::Node;
use super::super::super::tensor::Data;
use super::super::scores::Transform;
use super::{Branch, Ensemble, Item, Mode};
use crate::ModelError;
use crate::trees::Combine;

pub(super) fn read(node: &Node<'_>) -> Result<Ensemble, ModelError> {
    let lists = Lists::read(node)?;
    let combine = match node.int("aggregate_function", 1)? {
        0 => Combine::Average,
        1 => Combine::Sum,
        2 => Combine::Min,
        3 => Combine::Max,
        other => return Err(node.unreadable(format_args!("the aggregate_function {other}"))),
    };
    let transform = match node.int("post_transform", 0)? {
        0 => Transform::None,
        // ONNX's text has 1 and 2 the other way round; these are ONNX Runtime 1.31's answers.
        1 => Transform::Logistic,
        2 => Transform::Softmax,
        3 => Transform::SoftmaxZero,
        4 => Transform::Probit,
        other => return Err(node.unreadable(format_args!("the post_transform {other}"))),
    };
    let targets = usize::try_from(node.int("n_targets", 0)?).unwrap_or(0);
    let (items, weights) = lists.items(node, targets)?;
    let roots = node.ints("tree_roots")?.iter().map(|&root| lists.root(node, root)).collect::<Result<_, _>>()?;
    Ok(Ensemble { items, roots, weights, targets, combine, base: Vec::new(), transform })
}

/// The nodes and leaves, and the weights: target and number.
type Items = (Vec<Item>, Vec<(usize, f64)>);

struct Lists<'a> {
    features: &'a [i64],
    modes: Vec<i64>,
    splits: Vec<f64>,
    members: Vec<f64>,
    yes: &'a [i64],
    no: &'a [i64],
    yes_is_leaf: &'a [i64],
    no_is_leaf: &'a [i64],
    missing_true: &'a [i64],
    leaf_targets: &'a [i64],
    leaf_weights: Vec<f64>,
}

fn doubles(node: &Node<'_>, name: &str) -> Result<Vec<f64>, ModelError> {
    let Some(tensor) = node.tensor(name)? else { return Ok(Vec::new()) };
    tensor.doubles().ok_or_else(|| node.unsupported(format_args!("its {name} is neither float nor double")))
}

impl<'a> Lists<'a> {
    fn read(node: &'a Node<'a>) -> Result<Self, ModelError> {
        let modes = match node.tensor("nodes_modes")?.map(|tensor| &tensor.data) {
            Some(Data::Ints(modes)) => modes.clone(),
            _ => return Err(node.unreadable("its nodes_modes is no list of bytes")),
        };
        let lists = Self {
            features: node.ints("nodes_featureids")?,
            modes,
            splits: doubles(node, "nodes_splits")?,
            members: doubles(node, "membership_values")?,
            yes: node.ints("nodes_truenodeids")?,
            no: node.ints("nodes_falsenodeids")?,
            yes_is_leaf: node.ints("nodes_trueleafs")?,
            no_is_leaf: node.ints("nodes_falseleafs")?,
            missing_true: node.ints("nodes_missing_value_tracks_true")?,
            leaf_targets: node.ints("leaf_targetids")?,
            leaf_weights: doubles(node, "leaf_weights")?,
        };
        lists.check_lengths(node).map(|()| lists)
    }

    fn check_lengths(&self, node: &Node<'_>) -> Result<(), ModelError> {
        let leaves = [self.yes_is_leaf.len(), self.no_is_leaf.len()];
        let lengths = [self.modes.len(), self.splits.len(), self.yes.len(), self.no.len(), leaves[0], leaves[1]];
        let nodes = self.features.len();
        if nodes == 0
            || lengths.iter().any(|&length| length != nodes)
            || self.leaf_targets.len() != self.leaf_weights.len()
        {
            return Err(node.unreadable(format_args!("its lists of nodes have {nodes} and {lengths:?} entries")));
        }
        Ok(())
    }

    /// All nodes, then all leaves.
    fn items(&self, node: &Node<'_>, targets: usize) -> Result<Items, ModelError> {
        let mut members = self.members.split(|x| x.is_nan());
        let mut items = Vec::with_capacity(self.features.len() + self.leaf_targets.len());
        for at in 0..self.features.len() {
            items.push(self.branch(node, at, &mut members)?);
        }
        items.extend((0..self.leaf_targets.len()).map(|leaf| Item::Leaf(leaf..leaf + 1)));
        let weight = |(&target, &weight): (&i64, &f64)| {
            let target = usize::try_from(target).ok().filter(|&target| target < targets);
            target
                .map(|target| (target, weight))
                .ok_or_else(|| node.unreadable(format_args!("a leaf for no target of {targets}")))
        };
        Ok((items, self.leaf_targets.iter().zip(&self.leaf_weights).map(weight).collect::<Result<_, _>>()?))
    }

    fn branch<'m>(
        &self,
        node: &Node<'_>,
        at: usize,
        members: &mut impl Iterator<Item = &'m [f64]>,
    ) -> Result<Item, ModelError> {
        let mode = match self.modes[at] {
            0 => Mode::AtMost,
            1 => Mode::Below,
            2 => Mode::AtLeast,
            3 => Mode::Above,
            4 => Mode::Equal,
            5 => Mode::NotEqual,
            6 => Mode::OneOf(members.next().unwrap_or(&[]).to_vec()),
            other => return Err(node.unreadable(format_args!("node {at} has the mode {other}"))),
        };
        let feature = u32::try_from(self.features[at]);
        let feature =
            feature.map_err(|_| node.unreadable(format_args!("node {at} has feature {}", self.features[at])))?;
        let (yes, no) = (
            self.child(node, self.yes[at], self.yes_is_leaf[at])?,
            self.child(node, self.no[at], self.no_is_leaf[at])?,
        );
        let missing_true = self.missing_true.get(at) == Some(&1);
        Ok(Item::Branch(Branch { feature, mode, value: self.splits[at], yes, no, missing_true }))
    }

    fn child(&self, node: &Node<'_>, id: i64, is_leaf: i64) -> Result<usize, ModelError> {
        let (offset, count) = match is_leaf {
            0 => (0, self.features.len()),
            _ => (self.features.len(), self.leaf_targets.len()),
        };
        let place = usize::try_from(id).ok().filter(|&at| at < count);
        place.map(|at| offset + at).ok_or_else(|| node.unreadable(format_args!("a child {id} of {count}")))
    }

    /// A tree of one leaf is a node whose two children are that leaf.
    fn root(&self, node: &Node<'_>, root: i64) -> Result<usize, ModelError> {
        let at = usize::try_from(root).ok().filter(|&at| at < self.features.len());
        let at = at.ok_or_else(|| node.unreadable(format_args!("the root {root}")))?;
        match (self.yes[at] == self.no[at], self.yes_is_leaf[at] != 0 && self.no_is_leaf[at] != 0) {
            (true, true) if self.yes[at] == root => self.child(node, root, 1),
            (true, _) => Err(node.unsupported(format_args!("the tree at {root} is one leaf of another number"))),
            (false, _) => Ok(at),
        }
    }
}
