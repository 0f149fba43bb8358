//! The NEON kernel: as AVX-512's, 16 rows in a register. Measured on no such machine yet.
#![expect(unsafe_code, reason = "vector loads and stores, and calls into code compiled for NEON")]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::columns::{BLOCK, Line, Ranks};
use super::evaluate::{self, Instructions};
use super::lower::{Heap, Lowered, TOP};
use super::number::Number;

/// Entries of one register of a table.
const TABLE: usize = 16;
/// Rows of a register.
const ROWS: usize = 16;

/// Proof that the machine has NEON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    pub(super) fn margins<T: Number>(self, forest: &Lowered<T>, rows: &[T], margins: &mut [T]) {
        // SAFETY: `self` exists only where detection found NEON.
        unsafe { evaluate_here(self, forest, rows, margins) }
    }
}

/// The whole evaluator, compiled for NEON.
#[target_feature(enable = "neon")]
fn evaluate_here<T: Number>(set: Neon, forest: &Lowered<T>, rows: &[T], margins: &mut [T]) {
    evaluate::margins(forest, set, rows, margins);
}

impl Ranks for Neon {}

impl Instructions for Neon {
    /// As for any machine.
    const LEAST_ROWS: usize = 16;

    #[inline(always)]
    fn descend(self, heap: Heap<'_>, block: &[Line], at: &mut [u8; BLOCK]) {
        assert!(block.len() >= heap.columns());
        // SAFETY: `self` exists only where detection found NEON; a heap's offsets start columns that `block`
        // has, as asserted.
        unsafe {
            match heap.levels() {
                1 => quarters::<1>(heap, block, at),
                2 => quarters::<2>(heap, block, at),
                3 => quarters::<3>(heap, block, at),
                4 => quarters::<4>(heap, block, at),
                5 => quarters::<5>(heap, block, at),
                _ => quarters::<6>(heap, block, at),
            }
        }
    }
}

/// The quarters of a block.
///
/// # Safety
/// Every offset of the heap starts a column of `block`.
#[target_feature(enable = "neon")]
unsafe fn quarters<const LEVELS: usize>(heap: Heap<'_>, block: &[Line], at: &mut [u8; BLOCK]) {
    for (quarter, at) in at.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
        // SAFETY: the caller's promise; a column has four quarters. The store goes to an array of 16.
        unsafe {
            let first = block.as_ptr().cast::<u8>().add(quarter * ROWS);
            vst1q_u8(at.as_mut_ptr(), places::<LEVELS>(heap, first));
        }
    }
}

/// Where each row stands in its heap, and where it turned right on the way.
struct Walk {
    at: uint8x16_t,
    turns: [uint8x16_t; TOP as usize],
}

/// Where each row stands under its heap's last level, counted from the left.
///
/// # Safety
/// Every offset of the heap, counted from `first`, is that of 16 bytes; the machine has NEON, here and in all below.
#[inline(always)]
unsafe fn places<const LEVELS: usize>(heap: Heap<'_>, first: *const u8) -> uint8x16_t {
    let offsets = &heap.offsets()[..1 << LEVELS];
    // SAFETY: the caller's promise.
    unsafe {
        let tables = tables::<LEVELS>(heap.thresholds());
        let mut walk = Walk { at: vdupq_n_u8(1), turns: [vdupq_n_u8(0); TOP as usize] };
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
        vsubq_u8(walk.at, vdupq_n_u8(1 << LEVELS))
    }
}

/// The thresholds of a heap.
#[inline(always)]
unsafe fn tables<const LEVELS: usize>(thresholds: &[u8]) -> [uint8x16_t; 4] {
    // SAFETY: loads from arrays of sixteen.
    unsafe {
        let mut tables = [vdupq_n_u8(0); 4];
        for (table, entries) in tables.iter_mut().zip(thresholds[..TABLE.max(1 << LEVELS)].as_chunks::<TABLE>().0) {
            *table = vld1q_u8(entries.as_ptr());
        }
        tables
    }
}

/// One level, for all rows.
#[inline(always)]
unsafe fn step<const LEVEL: usize>(walk: &mut Walk, offsets: &[u32], tables: &[uint8x16_t; 4], first: *const u8) {
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
        // Each level's thresholds lie in registers of their own, but for those of the first four.
        let threshold = match LEVEL {
            0..=3 => vqtbl1q_u8(tables[0], walk.at),
            4 => vqtbl1q_u8(tables[1], vsubq_u8(walk.at, vdupq_n_u8(16))),
            _ => vqtbl2q_u8(uint8x16x2_t(tables[2], tables[3]), vsubq_u8(walk.at, vdupq_n_u8(32))),
        };
        walk.turns[LEVEL] = vcgeq_u8(bytes, threshold);
        // A turn is 255, which is -1.
        walk.at = vsubq_u8(vaddq_u8(walk.at, walk.at), walk.turns[LEVEL]);
    }
}

/// Each row's byte at its node of a level of twice `PAIRS` nodes.
#[inline(always)]
unsafe fn chosen<const LEVEL: usize, const PAIRS: usize>(
    offsets: &[u32],
    first: *const u8,
    turns: &[uint8x16_t; TOP as usize],
) -> uint8x16_t {
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [vdupq_n_u8(0); PAIRS];
        for (pair, value) in values.iter_mut().enumerate() {
            let node = 2 * PAIRS + 2 * pair;
            let (left, right) = (column(offsets, first, node), column(offsets, first, node + 1));
            *value = vbslq_u8(turns[LEVEL - 1], right, left);
        }
        for turn in (0..LEVEL - 1).rev() {
            for pair in 0..1 << turn {
                values[pair] = vbslq_u8(turns[turn], values[2 * pair + 1], values[2 * pair]);
            }
        }
        values[0]
    }
}

/// The column that a node compares.
#[inline(always)]
unsafe fn column(offsets: &[u32], first: *const u8, node: usize) -> uint8x16_t {
    // SAFETY: the caller's promise.
    unsafe { vld1q_u8(first.add(offsets[node] as usize)) }
}
