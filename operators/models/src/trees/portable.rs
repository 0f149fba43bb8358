//! The evaluator for any machine and any depth, and the reference for the others.

use super::{Forest, MISSING_RIGHT, Node, Tree};

/// Walks that run side by side: enough to hide the latency of dependent loads.
const LANES: usize = 16;

/// Margins of all rows: whole blocks of rows a tree at a time, single rows several trees at a time.
pub(super) fn margins(forest: &Forest, rows: &[f32], margins: &mut [f32]) {
    let (blocks, rest) = margins.as_chunks_mut::<LANES>();
    let (block_rows, rest_rows) = rows.split_at(blocks.len() * LANES * forest.features);
    for (margins, rows) in blocks.iter_mut().zip(block_rows.chunks_exact(LANES * forest.features)) {
        block(forest, rows, margins);
    }
    for (margin, row) in rest.iter_mut().zip(rest_rows.chunks_exact(forest.features)) {
        *margin = single(forest, row);
    }
}

fn block(forest: &Forest, rows: &[f32], margins: &mut [f32; LANES]) {
    margins.fill(forest.base);
    for tree in &forest.trees {
        let mut at = [tree.root; LANES];
        for _ in 0..tree.depth {
            for (at, row) in at.iter_mut().zip(rows.chunks_exact(forest.features)) {
                *at = step(&forest.nodes, *at, row);
            }
        }
        for (margin, at) in margins.iter_mut().zip(at) {
            *margin += forest.nodes[at as usize].leaf;
        }
    }
}

fn single(forest: &Forest, row: &[f32]) -> f32 {
    forest.trees.chunks(LANES).fold(forest.base, |margin, trees| few_trees(forest, trees, row, margin))
}

fn few_trees(forest: &Forest, trees: &[Tree], row: &[f32], mut margin: f32) -> f32 {
    let mut at = [trees[0].root; LANES];
    at.iter_mut().zip(trees).for_each(|(at, tree)| *at = tree.root);
    for _ in 0..trees.iter().map(|tree| tree.depth).max().unwrap_or(0) {
        for at in &mut at {
            *at = step(&forest.nodes, *at, row);
        }
    }
    for at in &at[..trees.len()] {
        margin += forest.nodes[*at as usize].leaf;
    }
    margin
}

/// One split, without a branch. Of a number, `x >= t` is exactly "not below".
#[inline(always)]
fn step(nodes: &[Node], at: u32, row: &[f32]) -> u32 {
    let node = &nodes[at as usize];
    let x = row[(node.split & !MISSING_RIGHT) as usize];
    let right = (x >= node.threshold) | (x.is_nan() & (node.split & MISSING_RIGHT != 0));
    node.left + u32::from(right)
}
