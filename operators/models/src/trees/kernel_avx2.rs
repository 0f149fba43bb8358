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

/// Where each row stands in its heap, and where it turned right on the way.
struct Walk {
    at: __m256i,
    turns: [__m256i; TOP as usize],
}

/// Where each row stands under its heap's last level, counted from the left.
///
/// # Safety
/// Every offset of the heap, counted from `first`, is that of 32 bytes; the machine has AVX2, here and in all below.
#[inline(always)]
unsafe fn places<const LEVELS: usize>(heap: Heap<'_>, first: *const u8) -> __m256i {
    let offsets = &heap.offsets()[..1 << LEVELS];
    // SAFETY: the caller's promise.
    unsafe {
        let tables = tables::<LEVELS>(heap.thresholds());
        let mut walk = Walk { at: _mm256_set1_epi8(1), turns: [_mm256_setzero_si256(); TOP as usize] };
        step::<0>(&mut walk, offsets, &tables, first);
        if LEVELS > 1 {
            step::<1>(&mut walk, offsets, &tables, first);
        }
        if LEVELS > 2 {
            step::<2>(&mut walk, offsets, &tables, first);
        }
        if LEVELS > 3 {
            step::<3>(&mut walk, offsets, &tables, first);
        }
        if LEVELS > 4 {
            step::<4>(&mut walk, offsets, &tables, first);
        }
        if LEVELS > 5 {
            step::<5>(&mut walk, offsets, &tables, first);
        }
        _mm256_sub_epi8(walk.at, _mm256_set1_epi8(1 << LEVELS))
    }
}

/// The thresholds of a heap, sixteen in each half of a register.
#[inline(always)]
unsafe fn tables<const LEVELS: usize>(thresholds: &[u8]) -> [__m256i; 4] {
    // SAFETY: loads from arrays of sixteen.
    unsafe {
        let mut tables = [_mm256_setzero_si256(); 4];
        for (table, entries) in tables.iter_mut().zip(thresholds[..TABLE.max(1 << LEVELS)].as_chunks::<TABLE>().0) {
            *table = _mm256_broadcastsi128_si256(_mm_loadu_si128(entries.as_ptr().cast()));
        }
        tables
    }
}

/// One level, for all rows.
#[inline(always)]
unsafe fn step<const LEVEL: usize>(walk: &mut Walk, offsets: &[u32], tables: &[__m256i; 4], first: *const u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = match LEVEL {
            0 => column(offsets, first, 1),
            1 => chosen::<1, 1>(offsets, first, &walk.turns),
            2 => chosen::<2, 2>(offsets, first, &walk.turns),
            3 => chosen::<3, 4>(offsets, first, &walk.turns),
            4 => chosen::<4, 8>(offsets, first, &walk.turns),
            _ => chosen::<5, 16>(offsets, first, &walk.turns),
        };
        // The shuffle reads the low four bits, which count from the start of the table.
        let threshold = match LEVEL {
            0..=3 => _mm256_shuffle_epi8(tables[0], walk.at),
            4 => _mm256_shuffle_epi8(tables[1], walk.at),
            // The root's turn chooses the half of the level.
            _ => {
                let (low, high) = (_mm256_shuffle_epi8(tables[2], walk.at), _mm256_shuffle_epi8(tables[3], walk.at));
                _mm256_blendv_epi8(low, high, walk.turns[0])
            }
        };
        // Not below: there is no such comparison of unsigned bytes, but there is a maximum.
        walk.turns[LEVEL] = _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, threshold), bytes);
        // A turn is -1.
        walk.at = _mm256_sub_epi8(_mm256_add_epi8(walk.at, walk.at), walk.turns[LEVEL]);
    }
}

/// Each row's byte at its node of a level of twice `PAIRS` nodes.
#[inline(always)]
unsafe fn chosen<const LEVEL: usize, const PAIRS: usize>(
    offsets: &[u32],
    first: *const u8,
    turns: &[__m256i; TOP as usize],
) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [_mm256_setzero_si256(); PAIRS];
        for (pair, value) in values.iter_mut().enumerate() {
            let node = 2 * PAIRS + 2 * pair;
            let (left, right) = (column(offsets, first, node), column(offsets, first, node + 1));
            *value = _mm256_blendv_epi8(left, right, turns[LEVEL - 1]);
        }
        for turn in (0..LEVEL - 1).rev() {
            for pair in 0..1 << turn {
                values[pair] = _mm256_blendv_epi8(values[2 * pair], values[2 * pair + 1], turns[turn]);
            }
        }
        values[0]
    }
}

/// The column that a node compares.
#[inline(always)]
unsafe fn column(offsets: &[u32], first: *const u8, node: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(first.add(offsets[node] as usize).cast()) }
}
