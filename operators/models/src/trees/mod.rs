//! The tree evaluator: many trees, many rows, one number per row.
//!
//! A row's margin is the base margin plus one leaf per tree, added in single precision in the trees' order, exactly
//! as XGBoost does. Every kernel keeps that order, so all kernels and all batch sizes give the same bits.

#[cfg(target_arch = "x86_64")]
mod heap;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512;
mod portable;
#[cfg(test)]
mod tests;

use kernel::Kernel;

/// More splits in a row than any trained tree has; bounds what one row can cost.
pub(crate) const MAX_DEPTH: usize = 256;

/// One split: values below the threshold go left, others right, missing ones where the split says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    pub feature: u32,
    pub threshold: f32,
    pub missing_right: bool,
}

/// A node. The two children of a split lie side by side, so one index serves both.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Feature index; the top bit says that missing values go right.
    split: u32,
    /// NaN in a leaf: no value compares, so a walk that arrives stays.
    threshold: f32,
    /// Index of the left child; of itself in a leaf.
    left: u32,
    /// Value of a leaf.
    leaf: f32,
}

const MISSING_RIGHT: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
struct Tree {
    root: u32,
    depth: u32,
}

/// All trees of a model in one flat array.
#[derive(Debug)]
pub(crate) struct Forest {
    features: usize,
    base: f32,
    nodes: Vec<Node>,
    trees: Vec<Tree>,
    kernel: Kernel,
}

impl Forest {
    /// Writes the margin of each row of `rows` (row-major) to `margins`.
    pub(crate) fn margins(&self, rows: &[f32], margins: &mut [f32]) {
        self.kernel.margins(self, rows, margins);
    }

    pub(crate) fn trees(&self) -> usize {
        self.trees.len()
    }

    pub(crate) fn depth(&self) -> usize {
        self.trees.iter().map(|tree| tree.depth as usize).max().unwrap_or(0)
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&self.nodes[..]) + size_of_val(&self.trees[..]) + self.kernel.memory_bytes()
    }
}

/// Takes each tree's nodes breadth first: all of one level, left to right, then the next level.
#[derive(Debug)]
pub(crate) struct ForestBuilder {
    forest: Forest,
    next_child: u32,
}

impl ForestBuilder {
    pub(crate) fn new(features: usize, base: f32) -> Self {
        let forest = Forest { features, base, nodes: Vec::new(), trees: Vec::new(), kernel: Kernel::Portable };
        Self { forest, next_child: 0 }
    }

    pub(crate) fn start_tree(&mut self) {
        let root = self.forest.nodes.len() as u32;
        self.forest.trees.push(Tree { root, depth: 0 });
        self.next_child = root + 1;
    }

    pub(crate) fn split(&mut self, split: Split) {
        let side = if split.missing_right { MISSING_RIGHT } else { 0 };
        let node = Node { split: split.feature | side, threshold: split.threshold, left: self.next_child, leaf: 0.0 };
        self.forest.nodes.push(node);
        self.next_child += 2;
    }

    pub(crate) fn leaf(&mut self, leaf: f32) {
        let left = self.forest.nodes.len() as u32;
        self.forest.nodes.push(Node { split: 0, threshold: f32::NAN, left, leaf });
    }

    pub(crate) fn finish(mut self) -> Forest {
        for index in 0..self.forest.trees.len() {
            let root = self.forest.trees[index].root as usize;
            let end = self.forest.trees.get(index + 1).map_or(self.forest.nodes.len(), |next| next.root as usize);
            self.forest.trees[index].depth = depth(&self.forest.nodes[..end], root);
        }
        self.forest.kernel = Kernel::best(&self.forest);
        self.forest
    }
}

/// Most splits between the root and a leaf. Children follow their parents, so one pass from behind is enough.
fn depth(nodes: &[Node], root: usize) -> u32 {
    let mut below = vec![0u32; nodes.len() - root];
    for index in (root..nodes.len()).rev() {
        let left = nodes[index].left as usize;
        if left != index {
            below[index - root] = 1 + below[left - root].max(below[left + 1 - root]);
        }
    }
    below[0]
}
