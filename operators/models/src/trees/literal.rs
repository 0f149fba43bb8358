//! From node to node, one row and one tree at a time: every rule of every format as it is written. The reference for
//! the kernels.

use super::number::Number;
use super::{Combine, Forest, Missing, Node, Step, TINY, Tree};

/// Writes the margins of each row of `rows`, both row-major.
pub(super) fn margins<T: Number>(forest: &Forest, rows: &[T], margins: &mut [T]) {
    let (features, outputs) = (forest.spec.features, forest.spec.outputs);
    for (row, margins) in rows.chunks_exact(features).zip(margins.chunks_exact_mut(outputs)) {
        margins
            .iter_mut()
            .zip(&forest.spec.base)
            .for_each(|(margin, &base)| *margin = start(forest.spec.combine, T::of(base)));
        forest.trees.iter().for_each(|tree| add(forest, tree, row, margins));
        margins.iter_mut().zip(&forest.spec.base).for_each(|(margin, &base)| {
            *margin = end(forest.spec.combine, forest.trees.len(), *margin, T::of(base));
        });
    }
}

/// What a margin is before the first tree.
#[inline(always)]
pub(super) fn start<T: Number>(combine: Combine, base: T) -> T {
    match combine {
        Combine::Sum => base,
        Combine::Average => T::of(0.0),
        Combine::Min => T::of(f64::INFINITY),
        Combine::Max => T::of(f64::NEG_INFINITY),
    }
}

/// The margin after the last of `trees` trees.
#[inline(always)]
pub(super) fn end<T: Number>(combine: Combine, trees: usize, margin: T, base: T) -> T {
    match combine {
        Combine::Sum => margin,
        Combine::Average => margin / T::of(trees.max(1) as f64) + base,
        // No tree has this output.
        Combine::Min | Combine::Max if margin.into().is_infinite() => base,
        Combine::Min | Combine::Max => margin + base,
    }
}

fn add<T: Number>(forest: &Forest, tree: &Tree, row: &[T], margins: &mut [T]) {
    match (leaf(forest, tree, row).step, tree.output) {
        (Step::Leaf(value), Some(output)) => {
            let margin = &mut margins[output as usize];
            *margin = combined(forest.spec.combine, *margin, T::of(value));
        }
        (Step::LeafVector(first), _) => {
            for (margin, &value) in margins.iter_mut().zip(&forest.vectors[first..]) {
                *margin = combined(forest.spec.combine, *margin, T::of(value));
            }
        }
        // The builder refuses a tree whose leaves are of another kind.
        _ => {}
    }
}

/// A margin with one more leaf.
#[inline(always)]
pub(super) fn combined<T: Number>(combine: Combine, margin: T, leaf: T) -> T {
    match combine {
        Combine::Sum | Combine::Average => margin + leaf,
        Combine::Min if leaf < margin => leaf,
        Combine::Max if leaf > margin => leaf,
        Combine::Min | Combine::Max => margin,
    }
}

fn leaf<'a, T: Number>(forest: &'a Forest, tree: &Tree, row: &[T]) -> &'a Node {
    let mut node = &forest.nodes[tree.root as usize];
    while !node.is_leaf() {
        let yes = goes_yes(forest, node, row[node.feature as usize].into());
        node = &forest.nodes[node.left as usize + usize::from(!yes)];
    }
    node
}

fn goes_yes(forest: &Forest, node: &Node, x: f64) -> bool {
    let missing = x.is_nan() || (node.zero_is_missing && x.abs() <= TINY);
    match node.missing {
        Missing::Yes if missing => true,
        Missing::No if missing => false,
        Missing::Zero if missing => is_true(forest, node.step, 0.0),
        _ => is_true(forest, node.step, x),
    }
}

fn is_true(forest: &Forest, step: Step, x: f64) -> bool {
    match step {
        Step::Below(t) => x < t,
        Step::AtMost(t) => x <= t,
        Step::Equal(t) => x == t,
        Step::OneOf(set) => forest.sets[set as usize].contains(x),
        Step::Leaf(_) | Step::LeafVector(_) => false,
    }
}
