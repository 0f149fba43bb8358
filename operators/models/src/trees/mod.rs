//! The tree evaluator: one flat structure that the trees of all formats are lowered to.
//!
//! A row's margin is the base plus one leaf per tree, added in the forest's precision in the trees' order, exactly as
//! XGBoost and LightGBM do. Every kernel keeps that order, so all kernels and all batch sizes give the same bits.

mod builder;
mod columns;
mod evaluate;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512;
#[cfg(target_arch = "aarch64")]
mod kernel_neon;
mod kernel_portable;
mod lines;
mod literal;
mod lower;
mod number;
mod search;
mod spec;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use builder::ForestBuilder;
pub(crate) use spec::{Categories, Combine, ForestSpec, Missing, Precision, Split, TINY, Test, Truncate};
pub(crate) use walk::{Visit, add_tree};

use kernel::Kernel;

/// More splits in a row than any trained tree has; bounds what one row can cost.
pub(crate) const MAX_DEPTH: usize = 1_000;

/// A node. The two children of a split lie side by side, the YES child first, so one index serves both.
#[derive(Clone, Copy, Debug)]
struct Node {
    step: Step,
    feature: u32,
    /// Index of the YES child; of the node itself in a leaf.
    left: u32,
    missing: Missing,
    zero_is_missing: bool,
}

/// What a walk does at a node.
#[derive(Clone, Copy, Debug)]
enum Step {
    Below(f64),
    AtMost(f64),
    Equal(f64),
    /// Index of the set.
    OneOf(u32),
    Leaf(f64),
    /// Where the leaf's numbers start among those of all leaves.
    LeafVector(usize),
}

impl Node {
    fn is_leaf(&self) -> bool {
        matches!(self.step, Step::Leaf(_) | Step::LeafVector(_))
    }
}

#[derive(Clone, Copy, Debug)]
struct Tree {
    root: u32,
    depth: u32,
    /// The output that the leaves belong to; none where each leaf has a number for every output.
    output: Option<u32>,
}

/// All trees of a model in one flat array.
#[derive(Debug)]
pub(crate) struct Forest {
    spec: ForestSpec,
    nodes: Vec<Node>,
    trees: Vec<Tree>,
    sets: Vec<Categories>,
    /// The leaves that have one number per output.
    vectors: Vec<f64>,
    kernel: Kernel,
}

impl Forest {
    /// Writes the margins of each row of `rows` (row-major, one per output) to `margins`. For a single-precision
    /// forest.
    pub(crate) fn margins(&self, rows: &[f32], margins: &mut [f32]) {
        match &self.kernel {
            Kernel::Single(set, lowered) => set.margins(lowered, rows, margins),
            Kernel::Double(..) | Kernel::Literal => literal::margins(self, rows, margins),
        }
    }

    /// The same for a double-precision forest.
    pub(crate) fn margins_f64(&self, rows: &[f64], margins: &mut [f64]) {
        match &self.kernel {
            Kernel::Double(set, lowered) => set.margins(lowered, rows, margins),
            Kernel::Single(..) | Kernel::Literal => literal::margins(self, rows, margins),
        }
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
        let sets: usize = self.sets.iter().map(|set| size_of_val(set) + size_of_val(&set.bits[..])).sum();
        let own = size_of_val(&self.nodes[..]) + size_of_val(&self.trees[..]) + size_of_val(&self.vectors[..]);
        own + sets + self.kernel.memory_bytes()
    }
}
