//! Trees with a linear function in each leaf (`linear_tree=true`): the forest finds the leaf, the function follows.

use super::text::Fields;
use super::tree::Tree;
use crate::ModelError;
use crate::trees::{Forest, TINY};

/// Leaf numbers that are found at a time, 512 KiB.
const LEAVES_AT_ONCE: usize = 1 << 16;

/// The functions of all trees.
#[derive(Debug)]
pub(super) struct LinearTrees {
    /// Gives the number of each tree's leaf instead of its value; an output per tree.
    leaves: Forest,
    trees: Vec<LinearTree>,
    features: usize,
    outputs: usize,
}

/// The leaves of one tree.
#[derive(Debug)]
pub(super) struct LinearTree {
    leaves: Vec<Leaf>,
    /// Features and coefficients of all leaves, one leaf after the other.
    terms: Vec<(u32, f64)>,
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    constant: f64,
    /// Counts where a feature of the function is missing.
    value: f64,
    /// Where the leaf's terms end; they start where those of the leaf before end.
    end: usize,
}

/// Whether a tree has functions in its leaves.
pub(super) fn is_linear(fields: &Fields) -> bool {
    fields.get("is_linear").is_some_and(|value| value.trim() != "0")
}

impl LinearTree {
    /// The functions of a tree; of one without, its leaves are constants.
    pub(super) fn read(fields: &Fields, tree: &Tree, features: usize) -> Result<Self, ModelError> {
        let constant = |&value: &f64| Leaf { constant: value, value, end: 0 };
        if !is_linear(fields) {
            return Ok(Self { leaves: tree.leaf_value.iter().map(constant).collect(), terms: Vec::new() });
        }
        let constants: Vec<f64> = fields.exactly("leaf_const", tree.leaves())?;
        let counts: Vec<usize> = fields.exactly("num_features", tree.leaves())?;
        let (indices, coefficients): (Vec<u32>, Vec<f64>) =
            (fields.numbers("leaf_features")?, fields.numbers("leaf_coeff")?);
        let total = counts.iter().try_fold(0usize, |sum, &count| sum.checked_add(count));
        if total != Some(indices.len()) || total != Some(coefficients.len()) {
            let what = format!("num_features tells of {total:?} terms, {} are there", indices.len());
            return Err(ModelError::unreadable(what));
        }
        if let Some(feature) = indices.iter().find(|&&feature| feature as usize >= features) {
            return Err(ModelError::unreadable(format!("leaf_features names feature {feature} of {features}")));
        }
        let finite = constants.iter().chain(&coefficients).all(|number| number.is_finite());
        if !finite {
            return Err(ModelError::unreadable("leaf_const or leaf_coeff is not finite"));
        }
        let mut end = 0;
        let leaf = |((&constant, &value), count): ((&f64, &f64), usize)| {
            end += count;
            Leaf { constant, value, end }
        };
        let leaves = constants.iter().zip(&tree.leaf_value).zip(counts).map(leaf).collect();
        Ok(Self { leaves, terms: indices.into_iter().zip(coefficients).collect() })
    }

    fn value(&self, leaf: usize, row: &[f64]) -> f64 {
        let start = leaf.checked_sub(1).map_or(0, |before| self.leaves[before].end);
        let Leaf { constant, value, end } = self.leaves[leaf];
        let mut sum = constant;
        for &(feature, coefficient) in &self.terms[start..end] {
            let x = row[feature as usize];
            if x.is_nan() {
                return value;
            }
            sum += coefficient * if x.abs() > TINY { x } else { 0.0 };
        }
        sum
    }
}

impl LinearTrees {
    pub(super) fn new(leaves: Forest, trees: Vec<LinearTree>, features: usize, outputs: usize) -> Self {
        Self { leaves, trees, features, outputs }
    }

    /// The forest of leaf numbers, for the summary.
    pub(super) fn forest(&self) -> &Forest {
        &self.leaves
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let own = |tree: &LinearTree| size_of_val(&tree.leaves[..]) + size_of_val(&tree.terms[..]);
        self.leaves.memory_bytes() + self.trees.iter().map(own).sum::<usize>()
    }

    /// Margins of all rows, summed in the trees' order.
    pub(super) fn margins(&self, rows: &[f64], margins: &mut [f64]) {
        let at_once = (LEAVES_AT_ONCE / self.trees.len().max(1)).max(1);
        let mut found = vec![0.0; at_once * self.trees.len()];
        let blocks = rows.chunks(at_once * self.features).zip(margins.chunks_mut(at_once * self.outputs));
        for (rows, margins) in blocks {
            let count = rows.len() / self.features;
            let found = &mut found[..count * self.trees.len()];
            self.leaves.margins_f64(rows, found);
            for (at, row) in rows.chunks_exact(self.features).enumerate() {
                let leaves = &found[at * self.trees.len()..][..self.trees.len()];
                self.add(leaves, row, &mut margins[at * self.outputs..][..self.outputs]);
            }
        }
    }

    fn add(&self, leaves: &[f64], row: &[f64], margins: &mut [f64]) {
        margins.fill(0.0);
        for (index, (tree, &leaf)) in self.trees.iter().zip(leaves).enumerate() {
            margins[index % self.outputs] += tree.value(leaf as usize, row);
        }
    }
}
