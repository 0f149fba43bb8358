//! From a tree of the file to the evaluator's nodes (`include/LightGBM/tree.h`).

use super::text::Fields;
use crate::ModelError;
use crate::trees::{Categories, ForestBuilder, Missing, Split, TINY, Test, Truncate, Visit, add_tree};

/// Bits of decision_type, below the two that tell how values are missing.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

/// One tree. A child of -1 and below is a leaf: its index with all bits flipped.
#[derive(Debug)]
pub(super) struct Tree {
    split_feature: Vec<u32>,
    threshold: Vec<f64>,
    decision_type: Vec<u8>,
    left_child: Vec<i64>,
    right_child: Vec<i64>,
    cat_boundaries: Vec<usize>,
    cat_threshold: Vec<u32>,
    pub leaf_value: Vec<f64>,
}

impl Tree {
    pub(super) fn read(fields: &Fields) -> Result<Self, ModelError> {
        let leaves = fields.count("num_leaves")?;
        let leaf_value: Vec<f64> = fields.exactly("leaf_value", leaves)?;
        let splits = leaves.checked_sub(1).ok_or_else(|| ModelError::unreadable("num_leaves is 0"))?;
        let sets = fields.count("num_cat")?;
        let boundaries = sets.checked_add(1).filter(|_| sets > 0).unwrap_or(0);
        let decision_type = match fields.get("decision_type") {
            Some(_) => fields.exactly("decision_type", splits)?,
            None => vec![0; splits],
        };
        if let Some(at) = leaf_value.iter().position(|value| !value.is_finite()) {
            return Err(ModelError::unreadable(format!("leaf {at} has the value {}", leaf_value[at])));
        }
        Ok(Self {
            split_feature: fields.exactly("split_feature", splits)?,
            threshold: fields.exactly("threshold", splits)?,
            decision_type,
            left_child: fields.exactly("left_child", splits)?,
            right_child: fields.exactly("right_child", splits)?,
            cat_boundaries: if sets > 0 { fields.exactly("cat_boundaries", boundaries)? } else { Vec::new() },
            cat_threshold: if sets > 0 { fields.numbers("cat_threshold")? } else { Vec::new() },
            leaf_value,
        })
    }

    pub(super) fn leaves(&self) -> usize {
        self.leaf_value.len()
    }

    /// Copies the tree into the one that the builder has started; `value` is what a leaf, by its index, counts.
    pub(super) fn add(&self, builder: &mut ForestBuilder, value: impl Fn(usize) -> f64) -> Result<(), ModelError> {
        let (splits, nodes) = (self.threshold.len(), self.threshold.len() + self.leaves());
        let (features, mut words) = (builder.features(), 0);
        let reached = add_tree(builder, 0, nodes, |node| match node.checked_sub(splits) {
            Some(leaf) => Ok(Visit::Leaf(value(leaf))),
            None => self.split(node, features).and_then(|split| self.check_words(split, &mut words)),
        })?;
        if reached == nodes {
            return Ok(());
        }
        Err(ModelError::unreadable(format!("{} nodes or leaves cannot be reached", nodes - reached)))
    }

    /// Each set belongs to one node: without that a small file could name one large set many times.
    fn check_words(&self, visit: Visit, words: &mut usize) -> Result<Visit, ModelError> {
        if let Visit::Split { split: Split { test: Test::OneOf(set), .. }, .. } = &visit {
            *words += set.bits.len();
        }
        if *words <= self.cat_threshold.len() {
            return Ok(visit);
        }
        Err(ModelError::unreadable("several nodes share a category set"))
    }

    fn split(&self, node: usize, features: usize) -> Result<Visit, ModelError> {
        let feature = self.split_feature[node];
        if feature as usize >= features {
            return Err(ModelError::unreadable(format!("node {node} splits on feature {feature} of {features}")));
        }
        let kind = self.decision_type[node];
        let (test, missing, zero_is_missing) = match kind & CATEGORICAL {
            0 => self.numerical(node, kind)?,
            _ => (Test::OneOf(self.set(node)?), Missing::No, false),
        };
        let split = Split { feature, test, missing, zero_is_missing };
        Ok(Visit::Split { split, yes: self.child(self.left_child[node]), no: self.child(self.right_child[node]) })
    }

    /// A child's place among the splits and then the leaves; out of range where it is none.
    fn child(&self, child: i64) -> usize {
        match usize::try_from(child) {
            Ok(split) if split < self.threshold.len() => split,
            Ok(_) => usize::MAX,
            Err(_) => usize::try_from(!child).map_or(usize::MAX, |leaf| self.threshold.len().saturating_add(leaf)),
        }
    }

    fn numerical(&self, node: usize, kind: u8) -> Result<(Test, Missing, bool), ModelError> {
        let threshold = self.threshold[node];
        if !threshold.is_finite() {
            return Err(ModelError::unreadable(format!("node {node} has the threshold {threshold}")));
        }
        let side = if kind & DEFAULT_LEFT == 0 { Missing::No } else { Missing::Yes };
        let (missing, zero_is_missing) = match kind >> 2 {
            0 => (Missing::Zero, false),
            1 => (side, true),
            2 => (side, false),
            _ => return Err(ModelError::unreadable(format!("node {node} has the decision_type {kind}"))),
        };
        Ok((Test::AtMost(around_zero(threshold)), missing, zero_is_missing))
    }

    /// The categories that go left; the threshold is the index of the set.
    fn set(&self, node: usize) -> Result<Categories, ModelError> {
        let index = self.threshold[node];
        let at = index as usize;
        let bounds = self.cat_boundaries.get(at..).and_then(|rest| rest.first_chunk::<2>());
        let bits = bounds.filter(|_| index >= 0.0).and_then(|[start, end]| self.cat_threshold.get(*start..*end));
        let bits = bits.ok_or_else(|| ModelError::unreadable(format!("node {node} has no category set {index}")))?;
        Ok(Categories { bits: bits.to_vec(), truncate: Truncate::TowardZero })
    }
}

/// LightGBM takes values no further from 0 than [`TINY`] for 0 (`RowPairFunctionFromDenseMatric`). With the threshold
/// moved to the end of that range, the value itself gives the same answer.
fn around_zero(threshold: f64) -> f64 {
    match threshold {
        0.0..=TINY => TINY,
        t if (-TINY..0.0).contains(&t) => (-TINY).next_down(),
        t => t,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_threshold_decides_as_a_flushed_value() {
        let points =
            [-1.0, (-TINY).next_down(), -TINY, -TINY / 2.0, -0.0, 0.0, 5e-324, TINY / 2.0, TINY, TINY.next_up()];
        for x in points {
            let flushed = if x.abs() > TINY { x } else { 0.0 };
            for threshold in points {
                assert_eq!(x <= around_zero(threshold), flushed <= threshold, "{x:e} <= {threshold:e}");
            }
        }
    }
}
