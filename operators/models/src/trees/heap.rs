//! Trees padded to complete heaps: node `i` has the children `2i` and `2i + 1`, the root is node 1.
//!
//! Of a heap, a whole level lies in one or two vector registers, so that each lane picks its own node with a permute.
//! A leaf above the last level becomes splits that decide nothing: all leaves below have its value.

use super::{Forest, MISSING_RIGHT};

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
    /// Lays the trees out; none where they are too deep, too wide or no trees at all.
    pub(super) fn new(forest: &Forest) -> Option<Self> {
        let depth = forest.depth();
        if !(1..=MAX_DEPTH).contains(&depth) || forest.features > MAX_FEATURES {
            return None;
        }
        let (base, features) = (forest.base, forest.features);
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
            let index = at[heap];
            let node = forest.nodes.get(index as usize)?;
            let feature = node.split & !MISSING_RIGHT;
            let is_leaf = node.left == index;
            if feature as usize >= self.features {
                return None;
            }
            let column = feature * BLOCK as u32;
            self.starts[start + heap] = column;
            self.splits[start + heap] = column | (node.split & MISSING_RIGHT);
            self.thresholds[start + heap] = if is_leaf { 0.0 } else { node.threshold };
            at[2 * heap] = node.left;
            at[2 * heap + 1] = if is_leaf { index } else { node.left + 1 };
        }
        for (heap, &index) in at.iter().enumerate().skip(inner) {
            self.leaves[start + heap % size] = forest.nodes.get(index as usize)?.leaf;
        }
        Some(())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        4 * size_of_val(&self.splits[..])
    }
}
