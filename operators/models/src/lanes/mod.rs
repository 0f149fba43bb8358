//! Small networks of any make, a row per lane: sixteen rows go through every step side by side.
//!
//! Convolutions, recurrent layers, normalisation and elementwise chains of a few channels fill no vector with one
//! row. With a row per lane each step is plain arithmetic on whole vectors, and transpositions, splits and
//! broadcasts cost nothing but the address. A row that no others accompany runs alone, its sums of products side by
//! side in the lanes, in the same order.

mod groups;
#[cfg(target_arch = "x86_64")]
mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512;
#[cfg(target_arch = "aarch64")]
mod kernel_neon;
mod math;
mod matrix;
mod moves;
mod pairs;
mod pool;
mod program;
mod recurrent;
#[cfg(test)]
mod tests;
mod vector;
mod windows;

use std::cell::Cell;

use crate::{ModelError, instructions};
pub(crate) use groups::{LayerNorm, Reduce, Reduction, Softmax};
#[cfg(target_arch = "x86_64")]
use kernel_avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use kernel_avx512::Avx512;
#[cfg(target_arch = "aarch64")]
use kernel_neon::Neon;
pub(crate) use math::{Join, Map};
pub(crate) use matrix::{Matrix, Products, Reach};
pub(crate) use moves::Moves;
pub(crate) use pairs::{Pairs, Side};
pub(crate) use pool::{Kind as PoolKind, Pool};
use program::Task;
pub(crate) use program::{Engine, Op, Port, Step};
pub(crate) use recurrent::{Cell as RecurrentCell, Direction, Recurrent};
use vector::{Plain, WIDE};
pub(crate) use windows::{Geometry, Windows};

/// Slots begin at multiples of this.
pub(crate) const ALIGN: usize = WIDE;
/// Floats that the slots of sixteen rows may take together: 16 MiB. Larger rows run alone.
const MAX_ARENA: usize = 1 << 22;
/// Bytes of a cache line: a vector that lies in one is loaded at once.
const LINE: usize = 64;

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Plain,
}

impl Set {
    /// All that this machine has, the fastest first.
    fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let vector = Avx512::detect().map(Set::Avx512).into_iter().chain(Avx2::detect().map(Set::Avx2));
        #[cfg(target_arch = "aarch64")]
        let vector = Neon::detect().map(Set::Neon).into_iter();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vector = std::iter::empty();
        vector.chain([Set::Plain]).collect()
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
            Set::Plain => "portable",
        }
    }

    fn run(self, engine: &Engine, task: Task<'_>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(set) => set.run(engine, task),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(set) => set.run(engine, task),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(set) => set.run(engine, task),
            Set::Plain => engine.run::<Plain>(task),
        }
    }
}

thread_local! {
    /// The arena, kept from batch to batch.
    static ARENA: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A program ready to run on this machine.
#[derive(Debug)]
pub(crate) struct Lanes {
    engine: Engine,
    /// Numbers per row of all slots that live at the same time.
    room: usize,
    set: Set,
    /// From so many rows on they run side by side.
    side_by_side: usize,
}

impl Lanes {
    /// Fails where the environment names an instruction set that is not here.
    pub(crate) fn new(engine: Engine, room: usize) -> Result<Self, ModelError> {
        Ok(Self::on(instructions::chosen(&Set::available(), Set::name)?, engine, room))
    }

    /// On any machine.
    pub(crate) fn portable(engine: Engine, room: usize) -> Self {
        Self::on(Set::Plain, engine, room)
    }

    fn on(set: Set, engine: Engine, room: usize) -> Self {
        let side_by_side = match room.checked_mul(WIDE) {
            Some(floats) if floats <= MAX_ARENA => engine.cost(WIDE).div_ceil(engine.cost(1).max(1)).clamp(1, WIDE),
            _ => WIDE + 1,
        };
        Self { engine, room, set, side_by_side }
    }

    pub(crate) fn kernel(&self) -> &'static str {
        self.set.name()
    }

    /// Layers with weights.
    pub(crate) fn layers(&self) -> usize {
        self.engine.steps.iter().filter(|step| matches!(step.op, Op::Products(_) | Op::Recurrent(_))).count()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.engine.steps.iter().map(|step| step.op.memory_bytes()).sum()
    }

    /// The answers of each output to `rows` rows.
    pub(crate) fn run(&self, inputs: &[&[f32]], rows: usize) -> Vec<Vec<f32>> {
        let mut outputs: Vec<_> = self.engine.outputs.iter().map(|port| vec![0.0; rows * port.width]).collect();
        let lanes = if self.side_by_side > WIDE { 1 } else { WIDE };
        let floats = self.room * lanes;
        let mut held = ARENA.take();
        if held.len() < floats + LINE / size_of::<f32>() {
            held = vec![0.0; floats + LINE / size_of::<f32>()];
        }
        let skipped = held.as_ptr().align_offset(LINE).min(LINE / size_of::<f32>());
        let mut start = 0;
        while start < rows {
            let left = rows - start;
            let alone = lanes == 1 || left < self.side_by_side;
            let count = if alone { 1 } else { left.min(WIDE) };
            let arena = &mut held[skipped..skipped + floats];
            self.set.run(&self.engine, Task { inputs, outputs: &mut outputs, arena, start, rows: count, alone });
            start += count;
        }
        ARENA.set(held);
        outputs
    }
}
