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

/// Entries of a shuffle's table.
const TABLE: usize = 16;
/// Floats of a register.
const LANES: usize = 16;

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

impl Ranks for Avx512 {}

impl Instructions for Avx512 {
    const LEAST_ROWS: usize = 8;

    #[inline(always)]
    fn descend(self, heap: Heap<'_>, block: &[Line], at: &mut [u8; BLOCK]) {
        assert!(block.len() >= heap.columns());
        // SAFETY: `self` exists only where detection found AVX-512F and BW; a heap's offsets start columns that `block`
        // has, as asserted.
        unsafe {
            let places = match heap.levels() {
                1 => places::<1>(heap, block),
                2 => places::<2>(heap, block),
                3 => places::<3>(heap, block),
                4 => places::<4>(heap, block),
                5 => places::<5>(heap, block),
                _ => places::<6>(heap, block),
            };
            _mm512_storeu_si512(at.as_mut_ptr().cast(), places);
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

/// Where each row stands in its heap's last level.
///
/// # Safety
/// Every offset of the heap starts a column of `block`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn places<const LEVELS: usize>(heap: Heap<'_>, block: &[Line]) -> __m512i {
    let tables = tables::<LEVELS>(heap.thresholds());
    let mut at = _mm512_set1_epi8(1);
    let mut turns = [0; TOP as usize];
    for level in 0..LEVELS {
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(heap.offsets(), block, &turns, level) };
        turns[level] = _mm512_cmpge_epu8_mask(bytes, threshold(&tables, at, &turns, level));
        let left = _mm512_add_epi8(at, at);
        at = _mm512_mask_add_epi8(left, turns[level], left, _mm512_set1_epi8(1));
    }
    _mm512_sub_epi8(at, _mm512_set1_epi8(1 << LEVELS))
}

/// The thresholds of a heap, sixteen in each quarter of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn tables<const LEVELS: usize>(thresholds: &[u8]) -> [__m512i; 4] {
    let mut tables = [_mm512_setzero_si512(); 4];
    for (table, entries) in tables.iter_mut().zip(thresholds[..TABLE.max(1 << LEVELS)].as_chunks::<TABLE>().0) {
        // SAFETY: an array of sixteen.
        *table = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(entries.as_ptr().cast()) });
    }
    tables
}

/// Each row's threshold at a level: the shuffle reads the low four bits, which count from the start of the table.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn threshold(tables: &[__m512i; 4], at: __m512i, turns: &[__mmask64; TOP as usize], level: usize) -> __m512i {
    match level {
        0..=3 => _mm512_shuffle_epi8(tables[0], at),
        4 => _mm512_shuffle_epi8(tables[1], at),
        // The root's turn chooses the half of the level.
        _ => _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(tables[2], at), turns[0], tables[3], at),
    }
}

/// Each row's byte at its node of a level.
///
/// # Safety
/// As for [`places`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn bytes(offsets: &[u16], block: &[Line], turns: &[__mmask64; TOP as usize], level: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        match level {
            0 => column(offsets, block, 1),
            1 => chosen::<1>(offsets, block, turns, level),
            2 => chosen::<2>(offsets, block, turns, level),
            3 => chosen::<4>(offsets, block, turns, level),
            4 => chosen::<8>(offsets, block, turns, level),
            _ => chosen::<16>(offsets, block, turns, level),
        }
    }
}

/// Reads the columns of twice `PAIRS` nodes.
///
/// # Safety
/// As for [`places`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn chosen<const PAIRS: usize>(
    offsets: &[u16],
    block: &[Line],
    turns: &[__mmask64; TOP as usize],
    level: usize,
) -> __m512i {
    let mut values = [_mm512_setzero_si512(); PAIRS];
    for (pair, value) in values.iter_mut().enumerate() {
        let node = 2 * PAIRS + 2 * pair;
        // SAFETY: the caller's promise.
        let (left, right) = unsafe { (column(offsets, block, node), column(offsets, block, node + 1)) };
        *value = _mm512_mask_blend_epi8(turns[level - 1], left, right);
    }
    for turn in (0..level - 1).rev() {
        for pair in 0..1 << turn {
            values[pair] = _mm512_mask_blend_epi8(turns[turn], values[2 * pair], values[2 * pair + 1]);
        }
    }
    values[0]
}

/// The column that a node compares.
///
/// # Safety
/// As for [`places`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn column(offsets: &[u16], block: &[Line], node: usize) -> __m512i {
    let offset = usize::from(offsets[node]) * 8;
    // SAFETY: the caller's promise; a column has 64 bytes.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast::<u8>().add(offset).cast()) }
}

/// Adds each row's leaf to its sum.
///
/// # Safety
/// As for [`places`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn add<const LEVELS: usize>(heap: Heap<'_>, block: &[Line], leaves: &[f32], sums: &mut [f32; BLOCK]) {
    let mut tables = [_mm512_setzero_ps(); 4];
    for (table, leaves) in tables.iter_mut().zip(leaves[..LANES.max(1 << LEVELS)].as_chunks::<LANES>().0) {
        // SAFETY: an array of sixteen.
        *table = unsafe { _mm512_loadu_ps(leaves.as_ptr()) };
    }
    // SAFETY: the caller's promise.
    let places = unsafe { places::<LEVELS>(heap, block) };
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
