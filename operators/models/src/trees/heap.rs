//! Trees padded to complete heaps: node `i` has the children `2i` and `2i + 1`, the root is node 1.
//!
//! Of a heap, a whole level lies in one or two vector registers, so that each lane picks its own node with a permute.
//! A leaf above the last level becomes splits that decide nothing: all leaves below have its value.

use super::{Combine, Forest, Missing, Node, Precision, Step};

/// Flag of a split: missing values go right.
pub(super) const MISSING_RIGHT: u32 = 1 << 31;

/// Rows of a block; also the distance of two features in its columns.
pub(super) const BLOCK: usize = 32;
/// A level of 32 nodes fills two registers; the next would take four.
pub(super) const MAX_DEPTH: usize = 6;
/// Floats of a register: the least size of a heap.
pub(super) const LANES: usize = 16;
/// With more features the columns of a block, 64 KiB here, leave the near caches, and transposing costs more than it
/// saves.
const MAX_FEATURES: usize = 512;

/// All trees, each with [`size`](Self::size) splits, thresholds and leaves.
#[derive(Debug)]
pub(super) struct Heaps {
    pub base: f32,
    pub features: usize,
    pub depth: usize,
    /// Start of each node's column: a multiple of `BLOCK` below `features * BLOCK`.
    starts: Vec<u32>,
    /// The same, and the top bit where missing values go right.
    splits: Vec<u32>,
    thresholds: Vec<f32>,
    /// The leaf of the heap's node `i` stands at `i` modulo the size.
    leaves: Vec<f32>,
}

/// One heap; see the fields of [`Heaps`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a> {
    pub starts: &'a [u32],
    pub splits: &'a [u32],
    pub thresholds: &'a [f32],
    pub leaves: &'a [f32],
}

impl Heaps {
    /// Lays the trees out; none where they are too deep, too wide, no trees at all, or of another kind than XGBoost's.
    pub(super) fn new(forest: &Forest) -> Option<Self> {
        let (depth, spec) = (forest.depth(), &forest.spec);
        let sums = (spec.precision, spec.combine, spec.outputs) == (Precision::Single, Combine::Sum, 1);
        if !sums || !(1..=MAX_DEPTH).contains(&depth) || spec.features > MAX_FEATURES {
            return None;
        }
        let (base, features) = (spec.base[0] as f32, spec.features);
        let (starts, splits, thresholds, leaves) = Default::default();
        let mut heaps = Self { base, features, depth, starts, splits, thresholds, leaves };
        forest.trees.iter().try_for_each(|tree| heaps.push(forest, tree.root))?;
        Some(heaps)
    }

    /// The heaps in order; `size` is what [`size`](Self::size) gives, known to the caller as a constant.
    #[inline(always)]
    pub(super) fn trees(&self, size: usize) -> impl Iterator<Item = Tree<'_>> {
        let columns = self.starts.chunks_exact(size).zip(self.splits.chunks_exact(size));
        let values = self.thresholds.chunks_exact(size).zip(self.leaves.chunks_exact(size));
        columns.zip(values).map(|((starts, splits), (thresholds, leaves))| Tree { starts, splits, thresholds, leaves })
    }

    /// Nodes per tree, the unused node 0 included.
    fn size(&self) -> usize {
        (1 << self.depth).max(LANES)
    }

    fn push(&mut self, forest: &Forest, root: u32) -> Option<()> {
        let (inner, size, start) = (1 << self.depth, self.size(), self.splits.len());
        self.starts.resize(start + size, 0);
        self.splits.resize(start + size, 0);
        self.thresholds.resize(start + size, 0.0);
        self.leaves.resize(start + size, 0.0);
        let mut at = vec![root; 2 * inner];
        for heap in 1..inner {
            let node = forest.nodes.get(at[heap] as usize)?;
            let (threshold, missing_right) = plain(node)?;
            let column = node.feature * BLOCK as u32;
            self.starts[start + heap] = column;
            self.splits[start + heap] = column | if missing_right { MISSING_RIGHT } else { 0 };
            self.thresholds[start + heap] = threshold;
            at[2 * heap] = node.left;
            at[2 * heap + 1] = node.left + u32::from(!node.is_leaf());
        }
        for (heap, &index) in at.iter().enumerate().skip(inner) {
            let Step::Leaf(leaf) = forest.nodes.get(index as usize)?.step else { return None };
            self.leaves[start + heap % size] = leaf as f32;
        }
        Some(())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        4 * size_of_val(&self.splits[..])
    }
}

/// The threshold of a split, and whether missing values go right; a leaf decides nothing.
fn plain(node: &Node) -> Option<(f32, bool)> {
    match (node.step, node.missing) {
        (Step::Leaf(_), _) => Some((0.0, false)),
        (Step::Below(t), Missing::Yes | Missing::No) if !node.zero_is_missing => {
            Some((t as f32, node.missing == Missing::No))
        }
        _ => None,
    }
}
