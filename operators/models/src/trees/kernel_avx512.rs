//! The AVX-512 kernel: 64 rows go through the top of a tree together, each a byte of a register.
//!
//! A level's thresholds come by shuffles. Its values do not come by a gather, which fetches lane by lane, but by reading
//! the columns of all nodes of the level and keeping, turn by turn from the last one up, what each lane needs.
#![expect(unsafe_code, reason = "vector loads and stores, and calls into code compiled for AVX-512")]

use std::arch::x86_64::*;

use super::columns::{BLOCK, Line, Ranks};
use super::evaluate::{self, Instructions};
use super::lower::{Heap, Lowered, TOP};
use super::number::Number;
use super::search::Search;

/// Entries of a shuffle's table.
const TABLE: usize = 16;
/// Floats of a register.
const LANES: usize = 16;
/// Registers of a block of floats.
const QUARTERS: usize = BLOCK / LANES;

/// Proof that the machine has AVX-512F and BW.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Self(()))
    }

    pub(super) fn margins<T: Number>(self, forest: &Lowered<T>, rows: &[T], margins: &mut [T]) {
        // SAFETY: `self` exists only where detection found AVX-512F and BW.
        unsafe { evaluate_here(self, forest, rows, margins) }
    }
}

/// The whole evaluator, compiled for AVX-512.
#[target_feature(enable = "avx512f,avx512bw")]
fn evaluate_here<T: Number>(set: Avx512, forest: &Lowered<T>, rows: &[T], margins: &mut [T]) {
    evaluate::margins(forest, set, rows, margins);
}

impl Ranks for Avx512 {
    #[inline(always)]
    fn ranks<T: Number, const N: usize>(self, search: &Search<T>, x: &[T; N], ranks: &mut [u32; N]) {
        let singles = T::singles(x).and_then(|x| x.as_array::<BLOCK>()).zip(T::singles(search.tree()));
        match (singles, ranks.as_mut_array::<BLOCK>()) {
            // SAFETY: `self` exists only where detection found AVX-512F.
            (Some((x, tree)), Some(ranks)) => unsafe { block_ranks(tree, search.levels(), x, ranks) },
            _ => search.ranks(x, ranks),
        }
    }
}

/// The ranks of a block's values: the first 255 entries of the tree come by permutes, what is below by gathers.
#[target_feature(enable = "avx512f")]
fn block_ranks(tree: &[f32], levels: u32, x: &[f32; BLOCK], ranks: &mut [u32; BLOCK]) {
    assert!(tree.len() == 1 << levels && levels >= Search::<f32>::LEAST_LEVELS);
    let mut values = [_mm512_setzero_ps(); QUARTERS];
    for (value, x) in values.iter_mut().zip(x.as_chunks::<LANES>().0) {
        // SAFETY: an array of sixteen.
        *value = unsafe { _mm512_loadu_ps(x.as_ptr()) };
    }
    let mut at = [_mm512_set1_epi32(1); QUARTERS];
    for level in 0..levels {
        for (at, &value) in at.iter_mut().zip(&values) {
            // SAFETY: on this level each lane's entry lies below twice its size, which the tree has.
            let entry = unsafe { entry(tree, *at, level) };
            let reached = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(value, entry);
            let left = _mm512_add_epi32(*at, *at);
            *at = _mm512_mask_add_epi32(left, reached, left, _mm512_set1_epi32(1));
        }
    }
    for (at, ranks) in at.into_iter().zip(ranks.as_chunks_mut::<LANES>().0) {
        let rank = _mm512_sub_epi32(at, _mm512_set1_epi32(1 << levels));
        // SAFETY: an array of sixteen.
        unsafe { _mm512_storeu_si512(ranks.as_mut_ptr().cast(), rank) };
    }
}

/// Each lane's entry of a level. The permutes read the low bits of `at`, which count from the start of their entries.
///
/// # Safety
/// `tree` has `2 << level` entries, and the first sixteen in any case; `at` is below that.
#[inline(always)]
unsafe fn entry(tree: &[f32], at: __m512i, level: u32) -> __m512 {
    // SAFETY: the caller's promise: the entries of a level lie between `1 << level` and twice that.
    unsafe {
        let part = |index: usize| _mm512_loadu_ps(tree.as_ptr().add(index * LANES));
        let pair = |index: usize| _mm512_permutex2var_ps(part(index), at, part(index + 1));
        let four = |index: usize| {
            let upper = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32));
            _mm512_mask_blend_ps(upper, pair(index), pair(index + 2))
        };
        match level {
            0..=3 => _mm512_permutexvar_ps(at, part(0)),
            4 => _mm512_permutexvar_ps(at, part(1)),
            5 => pair(2),
            6 => four(4),
            7 => {
                let upper = _mm512_test_epi32_mask(at, _mm512_set1_epi32(64));
                _mm512_mask_blend_ps(upper, four(8), four(12))
            }
            _ => _mm512_i32gather_ps::<4>(at, tree.as_ptr()),
        }
    }
}

impl Instructions for Avx512 {
    const LEAST_ROWS: usize = 8;

    #[inline(always)]
    fn descend(self, heap: Heap<'_>, block: &[Line], at: &mut [u8; BLOCK]) {
        assert!(block.len() >= heap.columns());
        // SAFETY: `self` exists only where detection found AVX-512F and BW; a heap's offsets start columns that `block`
        // has, as asserted.
        unsafe {
            match heap.levels() {
                1 => store::<1>(heap, block, at),
                2 => store::<2>(heap, block, at),
                3 => store::<3>(heap, block, at),
                4 => store::<4>(heap, block, at),
                5 => store::<5>(heap, block, at),
                _ => store::<6>(heap, block, at),
            }
        }
    }

    #[inline(always)]
    fn add_leaves(self, heap: Heap<'_>, block: &[Line], leaves: &[f32], sums: &mut [f32; BLOCK]) {
        assert!(block.len() >= heap.columns());
        // SAFETY: as in `descend`.
        unsafe {
            match heap.levels() {
                1 => add::<1>(heap, block, leaves, sums),
                2 => add::<2>(heap, block, leaves, sums),
                3 => add::<3>(heap, block, leaves, sums),
                4 => add::<4>(heap, block, leaves, sums),
                5 => add::<5>(heap, block, leaves, sums),
                _ => add::<6>(heap, block, leaves, sums),
            }
        }
    }
}

/// Writes where each row stands under its heap's last level.
///
/// # Safety
/// Every offset of the heap starts a column of `block`.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn store<const LEVELS: usize>(heap: Heap<'_>, block: &[Line], at: &mut [u8; BLOCK]) {
    // SAFETY: the caller's promise; the store goes to an array of 64.
    unsafe { _mm512_storeu_si512(at.as_mut_ptr().cast(), places::<LEVELS>(heap, block)) };
}

/// Adds each row's leaf to its sum.
///
/// # Safety
/// As for [`store`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn add<const LEVELS: usize>(heap: Heap<'_>, block: &[Line], leaves: &[f32], sums: &mut [f32; BLOCK]) {
    // SAFETY: the caller's promise.
    let places = unsafe { places::<LEVELS>(heap, block) };
    let mut tables = [_mm512_setzero_ps(); 4];
    for (table, leaves) in tables.iter_mut().zip(leaves[..LANES.max(1 << LEVELS)].as_chunks::<LANES>().0) {
        // SAFETY: an array of sixteen.
        *table = unsafe { _mm512_loadu_ps(leaves.as_ptr()) };
    }
    let quarters = [
        _mm512_extracti32x4_epi32::<0>(places),
        _mm512_extracti32x4_epi32::<1>(places),
        _mm512_extracti32x4_epi32::<2>(places),
        _mm512_extracti32x4_epi32::<3>(places),
    ];
    for (quarter, sums) in quarters.into_iter().zip(sums.as_chunks_mut::<LANES>().0) {
        let leaf = leaf::<LEVELS>(&tables, _mm512_cvtepu8_epi32(quarter));
        // SAFETY: arrays of sixteen.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), _mm512_add_ps(_mm512_loadu_ps(sums.as_ptr()), leaf)) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn leaf<const LEVELS: usize>(leaves: &[__m512; 4], place: __m512i) -> __m512 {
    match LEVELS {
        0..=4 => _mm512_permutexvar_ps(place, leaves[0]),
        5 => _mm512_permutex2var_ps(leaves[0], place, leaves[1]),
        _ => {
            let low = _mm512_permutex2var_ps(leaves[0], place, leaves[1]);
            let high = _mm512_permutex2var_ps(leaves[2], place, leaves[3]);
            _mm512_mask_blend_ps(_mm512_test_epi32_mask(place, _mm512_set1_epi32(32)), low, high)
        }
    }
}

/// Where each row stands in its heap, and where it turned right on the way.
struct Walk {
    at: __m512i,
    turns: [__mmask64; TOP as usize],
}

/// Where each row stands under its heap's last level, counted from the left.
///
/// # Safety
/// As for [`store`]; the machine has AVX-512F and BW, here and in all below.
#[inline(always)]
unsafe fn places<const LEVELS: usize>(heap: Heap<'_>, block: &[Line]) -> __m512i {
    let (offsets, block) = (&heap.offsets()[..1 << LEVELS], block.as_ptr().cast());
    // SAFETY: the caller's promise.
    unsafe {
        let tables = tables::<LEVELS>(heap.thresholds());
        let mut walk = Walk { at: _mm512_set1_epi8(1), turns: [0; TOP as usize] };
        step::<0>(&mut walk, offsets, &tables, block);
        if LEVELS > 1 {
            step::<1>(&mut walk, offsets, &tables, block);
        }
        if LEVELS > 2 {
            step::<2>(&mut walk, offsets, &tables, block);
        }
        if LEVELS > 3 {
            step::<3>(&mut walk, offsets, &tables, block);
        }
        if LEVELS > 4 {
            step::<4>(&mut walk, offsets, &tables, block);
        }
        if LEVELS > 5 {
            step::<5>(&mut walk, offsets, &tables, block);
        }
        _mm512_sub_epi8(walk.at, _mm512_set1_epi8(1 << LEVELS))
    }
}

/// The thresholds of a heap, sixteen in each quarter of a register.
#[inline(always)]
unsafe fn tables<const LEVELS: usize>(thresholds: &[u8]) -> [__m512i; 4] {
    // SAFETY: loads from arrays of sixteen.
    unsafe {
        let mut tables = [_mm512_setzero_si512(); 4];
        for (table, entries) in tables.iter_mut().zip(thresholds[..TABLE.max(1 << LEVELS)].as_chunks::<TABLE>().0) {
            *table = _mm512_broadcast_i32x4(_mm_loadu_si128(entries.as_ptr().cast()));
        }
        tables
    }
}

/// One level, for all rows.
#[inline(always)]
unsafe fn step<const LEVEL: usize>(walk: &mut Walk, offsets: &[u32], tables: &[__m512i; 4], block: *const u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = match LEVEL {
            0 => column(offsets, block, 1),
            1 => chosen::<1, 1>(offsets, block, &walk.turns),
            2 => chosen::<2, 2>(offsets, block, &walk.turns),
            3 => chosen::<3, 4>(offsets, block, &walk.turns),
            4 => chosen::<4, 8>(offsets, block, &walk.turns),
            _ => chosen::<5, 16>(offsets, block, &walk.turns),
        };
        // The shuffle reads the low four bits, which count from the start of the table.
        let threshold = match LEVEL {
            0..=3 => _mm512_shuffle_epi8(tables[0], walk.at),
            4 => _mm512_shuffle_epi8(tables[1], walk.at),
            // The root's turn chooses the half of the level.
            _ => {
                let left = _mm512_shuffle_epi8(tables[2], walk.at);
                _mm512_mask_shuffle_epi8(left, walk.turns[0], tables[3], walk.at)
            }
        };
        walk.turns[LEVEL] = _mm512_cmpge_epu8_mask(bytes, threshold);
        let left = _mm512_add_epi8(walk.at, walk.at);
        walk.at = _mm512_mask_add_epi8(left, walk.turns[LEVEL], left, _mm512_set1_epi8(1));
    }
}

/// Each row's byte at its node of a level of twice `PAIRS` nodes.
#[inline(always)]
unsafe fn chosen<const LEVEL: usize, const PAIRS: usize>(
    offsets: &[u32],
    block: *const u8,
    turns: &[__mmask64; TOP as usize],
) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [_mm512_setzero_si512(); PAIRS];
        for (pair, value) in values.iter_mut().enumerate() {
            let node = 2 * PAIRS + 2 * pair;
            let (left, right) = (column(offsets, block, node), column(offsets, block, node + 1));
            *value = _mm512_mask_blend_epi8(turns[LEVEL - 1], left, right);
        }
        for turn in (0..LEVEL - 1).rev() {
            for pair in 0..1 << turn {
                values[pair] = _mm512_mask_blend_epi8(turns[turn], values[2 * pair], values[2 * pair + 1]);
            }
        }
        values[0]
    }
}

/// The column that a node compares.
#[inline(always)]
unsafe fn column(offsets: &[u32], block: *const u8, node: usize) -> __m512i {
    // SAFETY: the caller's promise; a column has 64 bytes.
    unsafe { _mm512_loadu_si512(block.add(offsets[node] as usize).cast()) }
}
