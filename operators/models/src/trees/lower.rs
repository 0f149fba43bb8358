//! The form that the kernels read: byte tests, eight-byte nodes in lines, and the top of each tree as a complete heap.
//!
//! Of a heap, the thresholds of a whole level lie in one or two vector registers, so that each lane picks its own with a
//! shuffle. Node `i` has the children `2i` and `2i + 1`, the root is node 1. A leaf above the heap's last level becomes
//! splits that decide nothing: all places below lead to it. Deeper trees go on from node to node.

use super::columns::{BLOCK, Columns, Splits};
use super::lines::{LEAF, Lines, Small};
use super::number::Number;
use super::{Combine, Forest, Step};

/// Levels of a heap: six fill one register of bytes.
pub(super) const TOP: u32 = 6;
/// Bytes of a shuffle's table, the least size of a heap.
const TABLE: usize = 16;
/// A tree: its heap, and what is below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    pub root: u32,
    pub depth: u32,
    /// Where the heap starts in the arrays of heaps.
    pub heap: usize,
    /// Levels of the heap.
    pub levels: u32,
    /// The output that the leaves belong to; none where each leaf has a number for every output.
    pub output: Option<u32>,
}

/// The heap of a tree. Each offset starts one of the first `columns` columns of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heap<'a> {
    columns: usize,
    levels: u32,
    offsets: &'a [u32],
    thresholds: &'a [u8],
}

impl<'a> Heap<'a> {
    #[inline(always)]
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    #[inline(always)]
    pub(super) fn levels(&self) -> u32 {
        self.levels
    }

    #[inline(always)]
    pub(super) fn offsets(&self) -> &'a [u32] {
        self.offsets
    }

    #[inline(always)]
    pub(super) fn thresholds(&self) -> &'a [u8] {
        self.thresholds
    }
}

/// A forest as the kernels read it.
#[derive(Debug)]
pub(super) struct Lowered<T> {
    pub features: usize,
    pub outputs: usize,
    pub combine: Combine,
    /// Whether leaves are added, not compared.
    pub adds: bool,
    pub base: Vec<T>,
    pub columns: Columns<T>,
    pub trees: Vec<Tree>,
    pub nodes: Lines,
    /// Numbers of leaves that their nodes do not hold.
    pub leaves: Vec<T>,
    /// Of each heap's nodes: the place of the column in a block, in bytes.
    offsets: Vec<u32>,
    thresholds: Vec<u8>,
    /// The node under each place of a heap's last level, from the left.
    pub bottoms: Vec<u32>,
    /// The leaf there, where it is one number.
    pub bottom_leaves: Vec<T>,
}

impl<T: Number> Lowered<T> {
    /// None where a forest has more columns than a block can hold.
    pub(super) fn new(forest: &Forest) -> Option<Self> {
        let mut splits = Splits::new(forest);
        let mut leaves = Vec::new();
        let mut nodes = Vec::with_capacity(forest.nodes.len());
        for node in &forest.nodes {
            let word = match node.step {
                Step::Leaf(value) => T::of(value).keep(&mut leaves),
                Step::LeafVector(first) => {
                    let numbers = &forest.vectors[first..][..forest.spec.outputs];
                    leaves.extend(numbers.iter().map(|&x| T::of(x)));
                    (leaves.len() - numbers.len()) as u32
                }
                _ => node.left,
            };
            nodes.push(small(&mut splits, node, word)?);
        }
        u32::try_from(leaves.len()).ok()?;
        let (spec, columns) = (&forest.spec, splits.finish());
        let (trees, offsets, thresholds, bottoms, bottom_leaves) = Default::default();
        let (features, outputs, combine) = (spec.features, spec.outputs, spec.combine);
        let adds = matches!(combine, Combine::Sum | Combine::Average);
        let base = spec.base.iter().map(|&base| T::of(base)).collect();
        let mut lowered = Self {
            features,
            outputs,
            combine,
            adds,
            base,
            columns,
            trees,
            nodes: Lines::default(),
            leaves,
            offsets,
            thresholds,
            bottoms,
            bottom_leaves,
        };
        for tree in &forest.trees {
            let root = lowered.nodes.push(&nodes, tree.root)?;
            lowered.push(super::Tree { root, ..*tree });
        }
        Some(lowered)
    }

    /// Adds a tree whose nodes are there, with its heap.
    fn push(&mut self, tree: super::Tree) {
        let levels = tree.depth.clamp(1, TOP);
        let (heap, inner) = (self.offsets.len(), 1 << levels);
        let end = heap + inner.max(TABLE);
        self.offsets.resize(end, 0);
        self.thresholds.resize(end, 0);
        self.bottoms.resize(end, tree.root);
        self.bottom_leaves.resize(end, T::of(0.0));
        let mut at = vec![tree.root; 2 * inner];
        for place in 1..inner {
            let node = self.nodes.at(at[place]);
            self.offsets[heap + place] = u32::from(node.column) * BLOCK as u32;
            self.thresholds[heap + place] = node.threshold.min(255) as u8;
            at[2 * place] = node.next(at[place], 0);
            at[2 * place + 1] = node.next(at[place], 255);
        }
        for (place, &node) in at[inner..].iter().enumerate() {
            self.bottoms[heap + place] = node;
            let end = Some(self.nodes.at(node)).filter(|end| end.is_leaf() && tree.output.is_some());
            self.bottom_leaves[heap + place] = end.map(|end| T::kept(end.left, &self.leaves)).unwrap_or_default();
        }
        let (root, depth, output) = (tree.root, tree.depth, tree.output);
        self.trees.push(Tree { root, depth, heap, levels, output });
    }

    /// The heap of a tree: as many nodes as its levels have, or more.
    #[inline(always)]
    pub(super) fn heap(&self, tree: &Tree) -> Heap<'_> {
        let nodes = tree.heap..tree.heap + (1 << tree.levels).max(TABLE);
        let (offsets, thresholds) = (&self.offsets[nodes.clone()], &self.thresholds[nodes]);
        Heap { columns: self.columns.count(), levels: tree.levels, offsets, thresholds }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let nodes = self.nodes.memory_bytes() + size_of_val(&self.leaves[..]);
        let heaps = size_of_val(&self.offsets[..]) + size_of_val(&self.thresholds[..]);
        let bottoms = size_of_val(&self.bottoms[..]) + size_of_val(&self.bottom_leaves[..]);
        nodes + heaps + bottoms + size_of_val(&self.trees[..]) + self.columns.memory_bytes()
    }
}

/// `word` is where the left child stands, or what a leaf's node holds.
fn small<T: Number>(splits: &mut Splits<T>, node: &super::Node, word: u32) -> Option<Small> {
    if node.is_leaf() {
        return Some(Small { left: word, column: 0, threshold: LEAF });
    }
    let (column, threshold) = splits.find(node)?;
    Some(Small { left: word, column, threshold: threshold.into() })
}
