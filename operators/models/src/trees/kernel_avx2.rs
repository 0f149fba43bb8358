//! The AVX2 kernel: as AVX-512's, 32 rows in a register.
#![expect(unsafe_code, reason = "vector loads and stores, and calls into code compiled for AVX2")]

use std::arch::x86_64::*;

use super::columns::{BLOCK, Line, Ranks};
use super::evaluate::{self, Instructions};
use super::lower::{Heap, Lowered, TOP};
use super::number::Number;

/// Entries of a shuffle's table.
const TABLE: usize = 16;
/// Rows of a register.
const ROWS: usize = 32;

/// Proof that the machine has AVX2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

/// Where each row of a register turned right, level by level.
type Turns = [__m256i; TOP as usize];

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn margins<T: Number>(self, forest: &Lowered<T>, rows: &[T], margins: &mut [T]) {
        // SAFETY: `self` exists only where detection found AVX2.
        unsafe { evaluate_here(self, forest, rows, margins) }
    }
}

/// The whole evaluator, compiled for AVX2.
#[target_feature(enable = "avx2")]
fn evaluate_here<T: Number>(set: Avx2, forest: &Lowered<T>, rows: &[T], margins: &mut [T]) {
    evaluate::margins(forest, set, rows, margins);
}

impl Ranks for Avx2 {}

impl Instructions for Avx2 {
    const LEAST_ROWS: usize = 12;

    #[inline(always)]
    fn descend(self, heap: Heap<'_>, block: &[Line], at: &mut [u8; BLOCK]) {
        assert!(block.len() >= heap.columns());
        // SAFETY: `self` exists only where detection found AVX2; a heap's offsets start columns that `block`
        // has, as asserted.
        unsafe {
            match heap.levels() {
                1 => both::<1>(heap, block, at),
                2 => both::<2>(heap, block, at),
                3 => both::<3>(heap, block, at),
                4 => both::<4>(heap, block, at),
                5 => both::<5>(heap, block, at),
                _ => both::<6>(heap, block, at),
            }
        }
    }
}

/// Both halves of a block.
///
/// # Safety
/// Every offset of the heap starts a column of `block`.
#[target_feature(enable = "avx2")]
unsafe fn both<const LEVELS: usize>(heap: Heap<'_>, block: &[Line], at: &mut [u8; BLOCK]) {
    for (half, at) in at.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
        // SAFETY: the caller's promise; a column has two halves. The store goes to an array of 32.
        unsafe {
            let first = block.as_ptr().cast::<u8>().add(half * ROWS);
            _mm256_storeu_si256(at.as_mut_ptr().cast(), places::<LEVELS>(heap, first));
        }
    }
}

/// Where each row stands in its heap's last level.
///
/// # Safety
/// Every offset of the heap, counted from `first`, is that of 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn places<const LEVELS: usize>(heap: Heap<'_>, first: *const u8) -> __m256i {
    let tables = tables::<LEVELS>(heap.thresholds());
    let mut at = _mm256_set1_epi8(1);
    let mut turns = [_mm256_setzero_si256(); TOP as usize];
    for level in 0..LEVELS {
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(heap.offsets(), first, &turns, level) };
        let threshold = threshold(&tables, at, &turns, level);
        // Not below: there is no such comparison of unsigned bytes, but there is a maximum.
        turns[level] = _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, threshold), bytes);
        // A turn is -1.
        at = _mm256_sub_epi8(_mm256_add_epi8(at, at), turns[level]);
    }
    _mm256_sub_epi8(at, _mm256_set1_epi8(1 << LEVELS))
}

/// The thresholds of a heap, sixteen in each half of a register.
#[inline]
#[target_feature(enable = "avx2")]
fn tables<const LEVELS: usize>(thresholds: &[u8]) -> [__m256i; 4] {
    let mut tables = [_mm256_setzero_si256(); 4];
    for (table, entries) in tables.iter_mut().zip(thresholds[..TABLE.max(1 << LEVELS)].as_chunks::<TABLE>().0) {
        // SAFETY: an array of sixteen.
        *table = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(entries.as_ptr().cast()) });
    }
    tables
}

/// Each row's threshold at a level: the shuffle reads the low four bits, which count from the start of the table.
#[inline]
#[target_feature(enable = "avx2")]
fn threshold(tables: &[__m256i; 4], at: __m256i, turns: &Turns, level: usize) -> __m256i {
    match level {
        0..=3 => _mm256_shuffle_epi8(tables[0], at),
        4 => _mm256_shuffle_epi8(tables[1], at),
        // The root's turn chooses the half of the level.
        _ => {
            let (low, high) = (_mm256_shuffle_epi8(tables[2], at), _mm256_shuffle_epi8(tables[3], at));
            _mm256_blendv_epi8(low, high, turns[0])
        }
    }
}

/// Each row's byte at its node of a level.
///
/// # Safety
/// As for [`places`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn bytes(offsets: &[u16], first: *const u8, turns: &Turns, level: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        match level {
            0 => column(offsets, first, 1),
            1 => chosen::<1>(offsets, first, turns, level),
            2 => chosen::<2>(offsets, first, turns, level),
            3 => chosen::<4>(offsets, first, turns, level),
            4 => chosen::<8>(offsets, first, turns, level),
            _ => chosen::<16>(offsets, first, turns, level),
        }
    }
}

/// Reads the columns of twice `PAIRS` nodes.
///
/// # Safety
/// As for [`places`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn chosen<const PAIRS: usize>(offsets: &[u16], first: *const u8, turns: &Turns, level: usize) -> __m256i {
    let mut values = [_mm256_setzero_si256(); PAIRS];
    for (pair, value) in values.iter_mut().enumerate() {
        let node = 2 * PAIRS + 2 * pair;
        // SAFETY: the caller's promise.
        let (left, right) = unsafe { (column(offsets, first, node), column(offsets, first, node + 1)) };
        *value = _mm256_blendv_epi8(left, right, turns[level - 1]);
    }
    for turn in (0..level - 1).rev() {
        for pair in 0..1 << turn {
            values[pair] = _mm256_blendv_epi8(values[2 * pair], values[2 * pair + 1], turns[turn]);
        }
    }
    values[0]
}

/// The column that a node compares.
///
/// # Safety
/// As for [`places`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn column(offsets: &[u16], first: *const u8, node: usize) -> __m256i {
    let offset = usize::from(offsets[node]) * 8;
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(first.add(offset).cast()) }
}
