//! The one way to make a forest.

use std::collections::HashMap;

use super::{Categories, Forest, ForestSpec, Kernel, Missing, Node, Precision, Split, Step, Test, Tree};
use crate::ModelError;

/// More than any file of ours; an index and a sign bit fit 32 bits.
const MAX_NODES: usize = 1 << 30;

/// Takes each tree's nodes breadth first: all of one level, left to right, the YES child before the NO child, then
/// the next level. Faults are told by [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct ForestBuilder {
    forest: Forest,
    set_index: HashMap<Categories, u32>,
    next_child: u32,
}

impl ForestBuilder {
    pub(crate) fn new(spec: ForestSpec) -> Self {
        let (nodes, trees, sets, vectors) = Default::default();
        let forest = Forest { spec, nodes, trees, sets, vectors, kernel: Kernel::Literal };
        Self { forest, set_index: HashMap::new(), next_child: 0 }
    }

    /// Inputs per row, for readers that name a wrong index themselves.
    pub(crate) fn features(&self) -> usize {
        self.forest.spec.features
    }

    /// Starts a tree whose leaves are one number each, for `output`.
    pub(crate) fn start_tree(&mut self, output: usize) {
        self.start(Some(output as u32));
    }

    /// Starts a tree whose leaves have a number for every output.
    pub(crate) fn start_vector_tree(&mut self) {
        self.start(None);
    }

    fn start(&mut self, output: Option<u32>) {
        let root = self.forest.nodes.len() as u32;
        self.forest.trees.push(Tree { root, depth: 0, output });
        self.next_child = root.wrapping_add(1);
    }

    /// A split; its children follow on the next level.
    pub(crate) fn split(&mut self, split: Split) {
        let Split { feature, test, missing, zero_is_missing } = split;
        let step = match test {
            Test::Below(t) => Step::Below(self.rounded(t)),
            Test::AtMost(t) => Step::AtMost(self.rounded(t)),
            Test::Equal(t) => Step::Equal(self.rounded(t)),
            Test::OneOf(set) => Step::OneOf(self.set(set)),
        };
        self.forest.nodes.push(Node { step, feature, left: self.next_child, missing, zero_is_missing });
        self.next_child = self.next_child.wrapping_add(2);
    }

    /// A leaf of a tree that has one number per leaf.
    pub(crate) fn leaf(&mut self, value: f64) {
        let value = self.rounded(value);
        self.push_leaf(Step::Leaf(value));
    }

    /// A leaf of a tree that has a number for every output.
    pub(crate) fn leaf_vector(&mut self, values: &[f64]) {
        let first = self.forest.vectors.len();
        for &value in values {
            let value = self.rounded(value);
            self.forest.vectors.push(value);
        }
        self.push_leaf(Step::LeafVector(first));
    }

    fn push_leaf(&mut self, step: Step) {
        let left = self.forest.nodes.len() as u32;
        self.forest.nodes.push(Node { step, feature: 0, left, missing: Missing::No, zero_is_missing: false });
    }

    /// A single-precision forest knows single-precision numbers only.
    fn rounded(&self, x: f64) -> f64 {
        match self.forest.spec.precision {
            Precision::Single => f64::from(x as f32),
            Precision::Double => x,
        }
    }

    /// The index of a set; equal sets share one.
    fn set(&mut self, set: Categories) -> u32 {
        let next = self.forest.sets.len() as u32;
        let index = *self.set_index.entry(set.clone()).or_insert(next);
        if index == next {
            self.forest.sets.push(set);
        }
        index
    }

    /// Checks that the trees are whole, and chooses the kernel.
    pub(crate) fn finish(self) -> Result<Forest, ModelError> {
        let mut forest = self.literal()?;
        forest.kernel = Kernel::chosen(&forest)?;
        Ok(forest)
    }

    /// The checked forest, to be walked from node to node.
    pub(super) fn literal(mut self) -> Result<Forest, ModelError> {
        check_spec(&self.forest)?;
        for tree in 0..self.forest.trees.len() {
            let depth = check_tree(&self.forest, tree)
                .map_err(|what| ModelError::unreadable(format!("tree {tree}: {what}")))?;
            self.forest.trees[tree].depth = depth;
        }
        Ok(self.forest)
    }
}

fn check_spec(forest: &Forest) -> Result<(), ModelError> {
    let ForestSpec { features, outputs, base, .. } = &forest.spec;
    if *features == 0 || *outputs == 0 || base.len() != *outputs {
        let what = format!("{features} features, {outputs} outputs and {} base values", base.len());
        return Err(ModelError::unreadable(what));
    }
    if forest.nodes.len() > MAX_NODES {
        let what = format!("{} nodes", forest.nodes.len());
        return Err(ModelError::unsupported(what, format!("train fewer or smaller trees, {MAX_NODES} nodes at most")));
    }
    Ok(())
}

/// The depth of a whole tree whose every index is in range.
fn check_tree(forest: &Forest, index: usize) -> Result<u32, String> {
    let tree = forest.trees[index];
    let root = tree.root as usize;
    let end = forest.trees.get(index + 1).map_or(forest.nodes.len(), |next| next.root as usize);
    let nodes = &forest.nodes[root..end];
    let splits = nodes.iter().filter(|node| !node.is_leaf()).count();
    if nodes.len() != 2 * splits + 1 {
        return Err(format!("{} nodes for {splits} splits", nodes.len()));
    }
    nodes
        .iter()
        .enumerate()
        .try_for_each(|(at, node)| check_node(forest, &tree, node).map_err(|what| format!("node {at} {what}")))?;
    depth(nodes, root).ok_or_else(|| "a child comes before its parent".to_owned())
}

fn check_node(forest: &Forest, tree: &Tree, node: &Node) -> Result<(), String> {
    let (features, outputs) = (forest.spec.features, forest.spec.outputs);
    match (node.step, tree.output) {
        (Step::Below(t) | Step::AtMost(t) | Step::Equal(t), _) if t.is_nan() => Err("has no threshold".to_owned()),
        (Step::Leaf(_), Some(output)) if output as usize >= outputs => {
            Err(format!("is a leaf for output {output} of {outputs}"))
        }
        (Step::Leaf(_), None) => Err(format!("has one number for {outputs} outputs")),
        (Step::LeafVector(_), Some(_)) => Err("has several numbers for one output".to_owned()),
        (Step::LeafVector(first), None) if forest.vectors.len().saturating_sub(first) < outputs => {
            Err(format!("has fewer numbers than the {outputs} outputs"))
        }
        (Step::Leaf(_) | Step::LeafVector(_), _) => Ok(()),
        _ if node.feature as usize >= features => Err(format!("splits on feature {} of {features}", node.feature)),
        _ => Ok(()),
    }
}

/// Most splits between the root and a leaf. Children follow their parents, so one pass from behind is enough; none
/// where one does not.
fn depth(nodes: &[Node], root: usize) -> Option<u32> {
    let mut below = vec![0u32; nodes.len()];
    for (at, node) in nodes.iter().enumerate().rev().filter(|(_, node)| !node.is_leaf()) {
        let left = (node.left as usize).checked_sub(root).filter(|&left| left > at)?;
        below[at] = 1 + *below.get(left)?.max(below.get(left + 1)?);
    }
    below.first().copied()
}
