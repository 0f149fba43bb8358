//! The AVX-512 kernel: 32 rows go through a tree together, 16 in a register.
//!
//! Per level each lane takes the threshold of its node from registers by a permute; only its value comes from memory,
//! from the block's columns in the first-level cache. A leaf is a permute again.
#![expect(unsafe_code, reason = "vector loads, gathers and stores, and calls into code compiled for AVX-512")]

use std::arch::x86_64::*;
use std::cell::Cell;

use super::heap::{self, BLOCK, Heaps, LANES, MISSING_RIGHT, Tree};
use super::{Forest, literal};

/// Registers that hold the most nodes of a tree (64).
const MAX_REGISTERS: usize = 4;
/// Fewer rows than this cost less one by one than as a block with empty lanes.
const MIN_ROWS: usize = 4;

/// Proof that the machine has AVX-512F.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

thread_local! {
    /// The columns of a block, kept from batch to batch.
    static COLUMNS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    /// Margins of all rows: blocks of 32, the last one perhaps with empty lanes.
    pub(super) fn margins(self, heaps: &Heaps, forest: &Forest, rows: &[f32], margins: &mut [f32]) {
        let mut columns = COLUMNS.take();
        columns.resize(heaps.features * BLOCK, 0.0);
        for (rows, margins) in rows.chunks(BLOCK * heaps.features).zip(margins.chunks_mut(BLOCK)) {
            if margins.len() < MIN_ROWS {
                literal::margins(forest, rows, margins);
            } else {
                let missing = transpose(rows, heaps.features, &mut columns);
                let mut sums = [0.0; BLOCK];
                self.block(heaps, &columns, missing, &mut sums);
                margins.copy_from_slice(&sums[..margins.len()]);
            }
        }
        COLUMNS.set(columns);
    }

    /// Up to depth 3 the test for missing values is not worth a second copy of the code.
    fn block(self, heaps: &Heaps, columns: &[f32], missing: bool, sums: &mut [f32; BLOCK]) {
        // SAFETY: `self` exists only where detection found AVX-512F.
        unsafe {
            match (heaps.depth, missing) {
                (1, _) => block::<1, true>(heaps, columns, sums),
                (2, _) => block::<2, true>(heaps, columns, sums),
                (3, _) => block::<3, true>(heaps, columns, sums),
                (4, false) => block::<4, false>(heaps, columns, sums),
                (4, true) => block::<4, true>(heaps, columns, sums),
                (5, false) => block::<5, false>(heaps, columns, sums),
                (5, true) => block::<5, true>(heaps, columns, sums),
                (_, false) => block::<6, false>(heaps, columns, sums),
                (_, true) => block::<6, true>(heaps, columns, sums),
            }
        }
    }
}

/// Writes up to 32 rows as columns; true where a value is missing. Lanes without a row keep what they held: no lane
/// reads another's.
fn transpose(rows: &[f32], features: usize, columns: &mut [f32]) -> bool {
    let mut missing = false;
    for (lane, row) in rows.chunks_exact(features).enumerate() {
        for (&x, column) in row.iter().zip(columns.chunks_exact_mut(BLOCK)) {
            column[lane] = x;
            missing |= x.is_nan();
        }
    }
    missing
}

/// Sixteen of the block's rows: their part of the columns, and the lanes' numbers.
struct Half<'a> {
    columns: &'a [f32],
    lane: __m512i,
}

/// The nodes of a tree, in registers.
struct Nodes {
    splits: [__m512i; MAX_REGISTERS],
    thresholds: [__m512i; MAX_REGISTERS],
}

/// Where each lane stands in its heap, and where it turned right on the way.
struct Walk {
    at: __m512i,
    turns: [__mmask16; heap::MAX_DEPTH],
}

/// Adds each tree's leaf to each lane's sum, in the trees' order. Without `MISSING` no value is NaN.
#[target_feature(enable = "avx512f")]
fn block<const DEPTH: usize, const MISSING: bool>(heaps: &Heaps, columns: &[f32], sums: &mut [f32; BLOCK]) {
    let size = (1 << DEPTH).max(LANES);
    assert!(heaps.depth == DEPTH && columns.len() == heaps.features * BLOCK);
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let mut margins = [_mm512_set1_ps(heaps.base); 2];
    for tree in heaps.trees(size) {
        let nodes = Nodes { splits: registers(tree.splits), thresholds: registers(tree.thresholds) };
        let leaves = registers(tree.leaves);
        for (half, margin) in margins.iter_mut().enumerate() {
            let block = Half { columns: &columns[half * LANES..], lane };
            let mut walk = Walk { at: _mm512_set1_epi32(1), turns: [0; heap::MAX_DEPTH] };
            for level in 0..DEPTH {
                let x = value(&block, &tree, &nodes, &walk, level);
                walk.turns[level] = goes_right::<MISSING>(x, &nodes, walk.at, level);
                let left_child = _mm512_add_epi32(walk.at, walk.at);
                walk.at = _mm512_mask_add_epi32(left_child, walk.turns[level], left_child, _mm512_set1_epi32(1));
            }
            *margin = _mm512_add_ps(*margin, _mm512_castsi512_ps(pick_leaf::<DEPTH>(&leaves, walk.at)));
        }
    }
    for (margin, sums) in margins.iter().zip(sums.as_chunks_mut::<LANES>().0) {
        // SAFETY: an array of sixteen.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *margin) };
    }
}

/// The nodes of one tree; registers beyond them stay zero.
#[target_feature(enable = "avx512f")]
fn registers<T: Copy>(nodes: &[T]) -> [__m512i; MAX_REGISTERS] {
    const { assert!(size_of::<T>() == 4) };
    let mut registers = [_mm512_setzero_si512(); MAX_REGISTERS];
    for (register, nodes) in registers.iter_mut().zip(nodes.as_chunks::<LANES>().0) {
        // SAFETY: an array of sixteen four-byte numbers.
        *register = unsafe { _mm512_loadu_si512(nodes.as_ptr().cast()) };
    }
    registers
}

/// Each lane's node of a level: levels 0 to 3 lie in the first register, level 4 in the second, level 5 in the others.
/// The permutes read the low bits of `at` only, which count from the start of the register.
#[target_feature(enable = "avx512f")]
fn pick(nodes: &[__m512i; MAX_REGISTERS], at: __m512i, level: usize) -> __m512i {
    match level {
        0..=3 => _mm512_permutexvar_epi32(at, nodes[0]),
        4 => _mm512_permutexvar_epi32(at, nodes[1]),
        _ => _mm512_permutex2var_epi32(nodes[2], at, nodes[3]),
    }
}

/// Each lane's leaf.
#[target_feature(enable = "avx512f")]
fn pick_leaf<const DEPTH: usize>(leaves: &[__m512i; MAX_REGISTERS], at: __m512i) -> __m512i {
    match DEPTH {
        0..=4 => _mm512_permutexvar_epi32(at, leaves[0]),
        5 => _mm512_permutex2var_epi32(leaves[0], at, leaves[1]),
        _ => {
            let low = _mm512_permutex2var_epi32(leaves[0], at, leaves[1]);
            let high = _mm512_permutex2var_epi32(leaves[2], at, leaves[3]);
            _mm512_mask_blend_epi32(_mm512_test_epi32_mask(at, _mm512_set1_epi32(32)), low, high)
        }
    }
}

/// Each lane's value at its node of a level.
#[inline]
#[target_feature(enable = "avx512f")]
fn value(block: &Half<'_>, tree: &Tree<'_>, nodes: &Nodes, walk: &Walk, level: usize) -> __m512 {
    match level {
        0 => chosen::<1>(block, tree, &walk.turns, level),
        1 => chosen::<2>(block, tree, &walk.turns, level),
        2 => chosen::<4>(block, tree, &walk.turns, level),
        3 => chosen::<8>(block, tree, &walk.turns, level),
        4 => chosen::<16>(block, tree, &walk.turns, level),
        _ => gathered(block, pick(&nodes.splits, walk.at, level)),
    }
}

/// Up to 16 nodes: reads the column of every node and keeps, turn by turn from the last one up, what each lane needs.
/// That is cheaper than a gather, which fetches lane by lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn chosen<const NODES: usize>(
    block: &Half<'_>,
    tree: &Tree<'_>,
    turns: &[__mmask16; heap::MAX_DEPTH],
    level: usize,
) -> __m512 {
    let mut values = [_mm512_setzero_ps(); NODES];
    for (value, &start) in values.iter_mut().zip(&tree.starts[NODES..]) {
        // SAFETY: a column starts below `features * BLOCK` in steps of `BLOCK`, and holds `BLOCK` values.
        *value = unsafe { _mm512_loadu_ps(block.columns.as_ptr().add(start as usize)) };
    }
    for turn in (0..level).rev() {
        for node in 0..1 << turn {
            values[node] = _mm512_mask_blend_ps(turns[turn], values[2 * node], values[2 * node + 1]);
        }
    }
    values[0]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn gathered(block: &Half<'_>, split: __m512i) -> __m512 {
    let start = _mm512_andnot_si512(_mm512_set1_epi32(MISSING_RIGHT as i32), split);
    // SAFETY: as in `chosen`; a lane is one of the half's sixteen.
    unsafe { _mm512_i32gather_ps::<4>(_mm512_or_si512(start, block.lane), block.columns.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn goes_right<const MISSING: bool>(x: __m512, nodes: &Nodes, at: __m512i, level: usize) -> __mmask16 {
    let right = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, _mm512_castsi512_ps(pick(&nodes.thresholds, at, level)));
    if !MISSING {
        return right;
    }
    let missing = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
    let split = pick(&nodes.splits, at, level);
    right | _mm512_mask_test_epi32_mask(missing, split, _mm512_set1_epi32(MISSING_RIGHT as i32))
}
