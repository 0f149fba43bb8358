//! Any machine: plain loops over many rows, whose steps do not wait for each other.

use super::columns::{BLOCK, Line, Ranks};
use super::evaluate::{self, Instructions};
use super::lower::{Heap, Lowered};
use super::number::Number;

/// No instruction set in particular.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

impl Portable {
    pub(super) fn margins<T: Number>(self, forest: &Lowered<T>, rows: &[T], margins: &mut [T]) {
        evaluate::margins(forest, self, rows, margins);
    }
}

impl Ranks for Portable {}

impl Instructions for Portable {
    /// A quarter of a block: empty places cost as much as full ones.
    const LEAST_ROWS: usize = 16;

    #[inline(always)]
    fn descend(self, heap: Heap<'_>, block: &[Line], at: &mut [u8; BLOCK]) {
        at.fill(1);
        for _ in 0..heap.levels() {
            for (row, at) in at.iter_mut().enumerate() {
                let node = usize::from(*at);
                let byte = block[heap.offsets()[node] as usize / BLOCK].0[row];
                *at = 2 * *at + u8::from(byte >= heap.thresholds()[node]);
            }
        }
        at.iter_mut().for_each(|at| *at -= 1 << heap.levels());
    }
}
