//! Choices, transpositions, columns side by side: numbers that only move.

use std::sync::Arc;

use super::vector::Vector;

/// Neighbours that stay neighbours.
#[derive(Clone, Copy, Debug)]
struct Run {
    input: u32,
    from: u32,
    count: u32,
}

/// Where each element of the output comes from.
#[derive(Clone, Debug)]
pub(crate) struct Moves {
    runs: Arc<[Run]>,
    width: usize,
}

impl Moves {
    /// From pairs of an input and an element of it.
    pub(crate) fn new(sources: impl Iterator<Item = (u32, u32)>) -> Self {
        let (mut runs, mut width): (Vec<Run>, _) = (Vec::new(), 0);
        for (input, from) in sources {
            width += 1;
            match runs.last_mut() {
                Some(run) if run.input == input && run.from + run.count == from => run.count += 1,
                _ => runs.push(Run { input, from, count: 1 }),
            }
        }
        Self { runs: runs.into(), width }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&self.runs[..])
    }

    #[inline(always)]
    pub(super) fn run<V: Vector>(&self, inputs: &[usize], to: usize, arena: &mut [f32]) {
        let mut to = to;
        for run in self.runs.iter() {
            let from = inputs[run.input as usize] + run.from as usize;
            for at in 0..run.count as usize {
                V::load(arena, (from + at) * V::LANES).store(arena, (to + at) * V::LANES);
            }
            to += run.count as usize;
        }
    }
}
