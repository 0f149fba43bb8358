//! The evaluator around the instruction sets: blocks of rows through all trees, and few rows one by one.
//!
//! A block's rows take a tree's top levels together; what is below, and all of a single row, goes from node to node with
//! many walks side by side. Either way the leaves are added in the trees' order, so the bits are the same.

use super::columns::{BLOCK, Line, Ranks};
use super::literal::{combined, end, start};
use super::lower::{Heap, Lowered, TOP, Tree};
use super::number::Number;

/// Bytes of columns that go through a tree before the next tree comes: they stay in the first-level cache beside it.
const GROUP_BYTES: usize = 16 << 10;
/// Blocks of a group at most.
const MAX_BLOCKS: usize = 8;
/// Walks side by side of a single row, one per tree: enough to hide the latency of dependent loads.
const WALKS: usize = 16;

/// What an instruction set does its own way.
pub(super) trait Instructions: Ranks {
    /// Fewer rows than this are cheaper one by one.
    const LEAST_ROWS: usize;

    /// The place under a heap's last level, counted from the left, that each row of a block comes to.
    fn descend(self, heap: Heap<'_>, block: &[Line], at: &mut [u8; BLOCK]);

    /// Adds the leaf at that place to each row's sum.
    #[inline(always)]
    fn add_leaves(self, heap: Heap<'_>, block: &[Line], leaves: &[f32], sums: &mut [f32; BLOCK]) {
        let mut at = [0; BLOCK];
        self.descend(heap, block, &mut at);
        sums.iter_mut().zip(at).for_each(|(sum, at)| *sum += leaves[usize::from(at)]);
    }
}

/// Writes the margins of each row of `rows`, both row-major.
#[inline(always)]
pub(super) fn margins<T: Number, I: Instructions>(forest: &Lowered<T>, by: I, rows: &[T], margins: &mut [T]) {
    let lines = forest.columns.count();
    let blocks = (GROUP_BYTES / (lines * BLOCK)).clamp(1, MAX_BLOCKS);
    let groups = rows.chunks(blocks * BLOCK * forest.features);
    let mut scratch = Scratch { columns: Vec::new(), sums: Vec::new() };
    for (rows, margins) in groups.zip(margins.chunks_mut(blocks * BLOCK * forest.outputs)) {
        if margins.len() < I::LEAST_ROWS * forest.outputs {
            few(forest, by, rows, margins);
        } else {
            group(forest, by, rows, margins, &mut scratch);
        }
    }
}

/// Columns of a group's blocks, and the sums of its rows: an output after the other, each a value per row of a block.
struct Scratch<T> {
    columns: Vec<Line>,
    sums: Vec<[T; BLOCK]>,
}

#[inline(always)]
fn group<T: Number>(
    forest: &Lowered<T>,
    by: impl Instructions,
    rows: &[T],
    margins: &mut [T],
    scratch: &mut Scratch<T>,
) {
    let (lines, outputs) = (forest.columns.count(), forest.outputs);
    let blocks = rows.len().div_ceil(BLOCK * forest.features);
    scratch.columns.resize(blocks * lines, Line([0; BLOCK]));
    scratch.sums.resize(blocks * outputs, [T::default(); BLOCK]);
    for (block, columns) in scratch.columns.chunks_exact_mut(lines).enumerate() {
        let rows = &rows[block * BLOCK * forest.features..];
        forest.columns.fill(by, &rows[..rows.len().min(BLOCK * forest.features)], columns);
    }
    for sums in scratch.sums.chunks_exact_mut(outputs) {
        sums.iter_mut().zip(&forest.base).for_each(|(sums, &base)| sums.fill(start(forest.combine, base)));
    }
    let count = rows.len() / forest.features;
    for tree in &forest.trees {
        let parts = scratch.columns.chunks_exact(lines).zip(scratch.sums.chunks_exact_mut(outputs));
        for (block, (columns, sums)) in parts.enumerate() {
            add_tree(forest, by, tree, columns, (count - block * BLOCK).min(BLOCK), sums);
        }
    }
    for (sums, margins) in scratch.sums.chunks_exact(outputs).zip(margins.chunks_mut(BLOCK * outputs)) {
        for (row, margins) in margins.chunks_exact_mut(outputs).enumerate() {
            for (output, (margin, sums)) in margins.iter_mut().zip(sums).enumerate() {
                *margin = end(forest.combine, forest.trees.len(), sums[row], forest.base[output]);
            }
        }
    }
}

/// Adds what a tree gives the first `rows` rows of a block; what it gives the others is never read.
#[inline(always)]
fn add_tree<T: Number>(
    forest: &Lowered<T>,
    by: impl Instructions,
    tree: &Tree,
    columns: &[Line],
    rows: usize,
    sums: &mut [[T; BLOCK]],
) {
    let heap = forest.heap(tree);
    if let (true, Some(output)) = (forest.adds && tree.depth <= TOP, tree.output) {
        let leaves = T::singles(&forest.bottom_leaves[tree.heap..]);
        let sums = T::singles_mut(&mut sums[output as usize]).and_then(|sums| sums.as_mut_array::<BLOCK>());
        if let (Some(leaves), Some(sums)) = (leaves, sums) {
            return by.add_leaves(heap, columns, leaves, sums);
        }
    }
    let mut places = [0; BLOCK];
    by.descend(heap, columns, &mut places);
    match rows {
        // A number that the compiler knows: it unrolls.
        BLOCK => walk::<T, BLOCK>(forest, tree, columns, &places, sums),
        _ => walk_some(forest, tree, columns, &places[..rows], sums),
    }
}

/// Goes on from each row's place under the heap, node by node, and adds the leaves.
#[inline(always)]
fn walk<T: Number, const ROWS: usize>(
    forest: &Lowered<T>,
    tree: &Tree,
    columns: &[Line],
    places: &[u8; ROWS],
    sums: &mut [[T; BLOCK]],
) {
    let bottoms = &forest.bottoms[tree.heap..][..1 << tree.levels];
    let mut at = [0; ROWS];
    at.iter_mut().zip(places).for_each(|(at, place)| *at = bottoms[usize::from(*place)]);
    for _ in TOP..tree.depth {
        for (row, at) in at.iter_mut().enumerate() {
            let node = forest.nodes.at(*at);
            *at = node.next(*at, columns[usize::from(node.column)].0[row]);
        }
    }
    for (row, at) in at.into_iter().enumerate() {
        add_leaf(forest, tree, at, |output, leaf| {
            let sum = &mut sums[output][row];
            *sum = combined(forest.combine, *sum, leaf);
        });
    }
}

/// The same for fewer rows, apart from the code above, which it would slow down.
#[inline(never)]
fn walk_some<T: Number>(forest: &Lowered<T>, tree: &Tree, columns: &[Line], places: &[u8], sums: &mut [[T; BLOCK]]) {
    let bottoms = &forest.bottoms[tree.heap..][..1 << tree.levels];
    let mut at = [0; BLOCK];
    let at = &mut at[..places.len()];
    at.iter_mut().zip(places).for_each(|(at, place)| *at = bottoms[usize::from(*place)]);
    for _ in TOP..tree.depth {
        for (row, at) in at.iter_mut().enumerate() {
            let node = forest.nodes.at(*at);
            *at = node.next(*at, columns[usize::from(node.column)].0[row]);
        }
    }
    for (row, at) in at.iter().enumerate() {
        add_leaf(forest, tree, *at, |output, leaf| {
            let sum = &mut sums[output][row];
            *sum = combined(forest.combine, *sum, leaf);
        });
    }
}

/// Gives the leaf's number or numbers to `add`, each with its output.
#[inline(always)]
fn add_leaf<T: Number>(forest: &Lowered<T>, tree: &Tree, leaf: u32, mut add: impl FnMut(usize, T)) {
    let word = forest.nodes.at(leaf).left;
    match tree.output {
        Some(output) => add(output as usize, T::kept(word, &forest.leaves)),
        None => (0..forest.outputs).for_each(|output| add(output, forest.leaves[word as usize + output])),
    }
}

/// Rows one by one, several trees at a time.
#[inline(always)]
fn few<T: Number>(forest: &Lowered<T>, by: impl Instructions, rows: &[T], margins: &mut [T]) {
    let mut bytes = vec![[0; 1]; forest.columns.count()];
    for (row, margins) in rows.chunks_exact(forest.features).zip(margins.chunks_exact_mut(forest.outputs)) {
        forest.columns.fill(by, row, &mut bytes);
        margins.iter_mut().zip(&forest.base).for_each(|(margin, &base)| *margin = start(forest.combine, base));
        forest.trees.chunks(WALKS).for_each(|trees| few_trees(forest, trees, &bytes, margins));
        margins.iter_mut().zip(&forest.base).for_each(|(margin, &base)| {
            *margin = end(forest.combine, forest.trees.len(), *margin, base);
        });
    }
}

#[inline(always)]
fn few_trees<T: Number>(forest: &Lowered<T>, trees: &[Tree], bytes: &[[u8; 1]], margins: &mut [T]) {
    let mut at = [trees[0].root; WALKS];
    at.iter_mut().zip(trees).for_each(|(at, tree)| *at = tree.root);
    for _ in 0..trees.iter().map(|tree| tree.depth).max().unwrap_or(0) {
        for at in &mut at {
            let node = forest.nodes.at(*at);
            *at = node.next(*at, bytes[usize::from(node.column)][0]);
        }
    }
    for (tree, at) in trees.iter().zip(at) {
        add_leaf(forest, tree, at, |output, leaf| margins[output] = combined(forest.combine, margins[output], leaf));
    }
}
