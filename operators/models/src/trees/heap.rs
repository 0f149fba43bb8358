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
/// With more features the columns of a block, 64 KiB here, leave the near caches, and transposing costs more than it saves.
const MAX_FEATURES: usize = 512;

/// All trees, each with [`size`](Self::size) splits, thresholds and leaves.
#[derive(Debug)]
pub(super) struct Heaps {
    pub base: f32,
    pub features: usize,
    pub depth: usize,
    /// Start of the feature's column, and the top bit where missing values go right. Each start is below
    /// `features * BLOCK`.
    pub splits: Vec<u32>,
    pub thresholds: Vec<f32>,
    /// The leaf of the heap's node `i` stands at `i` modulo the size.
    pub leaves: Vec<f32>,
}

impl Heaps {
    /// Lays the trees out; none where they are too deep, too wide or no trees at all.
    pub(super) fn new(forest: &Forest) -> Option<Self> {
        let depth = forest.depth();
        if !(1..=MAX_DEPTH).contains(&depth) || forest.features > MAX_FEATURES {
            return None;
        }
        let (splits, thresholds, leaves) = (Vec::new(), Vec::new(), Vec::new());
        let mut heaps = Self { base: forest.base, features: forest.features, depth, splits, thresholds, leaves };
        forest.trees.iter().try_for_each(|tree| heaps.push(forest, tree.root))?;
        Some(heaps)
    }

    /// Nodes per tree, the unused node 0 included.
    pub(super) fn size(&self) -> usize {
        (1 << self.depth).max(LANES)
    }

    fn push(&mut self, forest: &Forest, root: u32) -> Option<()> {
        let (inner, size, start) = (1 << self.depth, self.size(), self.splits.len());
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
            self.splits[start + heap] = feature * BLOCK as u32 | node.split & MISSING_RIGHT;
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
        size_of_val(&self.splits[..]) + size_of_val(&self.thresholds[..]) + size_of_val(&self.leaves[..])
    }
}
