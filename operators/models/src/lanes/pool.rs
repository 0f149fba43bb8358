//! Pooling: one number per window and channel.

use std::sync::Arc;

use super::vector::Vector;
use super::windows::Windows;

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Max,
    /// The sum over so many, or over as many as the window covers inside the input.
    Average(Option<f32>),
}

/// The same windows in each channel. None of them is empty.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub kind: Kind,
    pub channels: usize,
    pub windows: Arc<Windows>,
}

impl Pool {
    pub(super) fn memory_bytes(&self) -> usize {
        self.windows.memory_bytes()
    }

    pub(super) fn cost(&self) -> usize {
        self.channels * self.windows.meetings()
    }

    #[inline(always)]
    pub(super) fn run<V: Vector>(&self, from: usize, to: usize, arena: &mut [f32]) {
        for channel in 0..self.channels {
            let (from, to) = (from + channel * self.windows.group, to + channel * self.windows.places());
            for run in &self.windows.runs {
                let taps = self.windows.taps(run);
                for place in 0..run.count as usize {
                    let first = from + run.base as usize + place * self.windows.step;
                    let pooled = self.window::<V>(first, taps, arena);
                    pooled.store(arena, (to + run.first as usize + place) * V::LANES);
                }
            }
        }
    }

    #[inline(always)]
    fn window<V: Vector>(&self, first: usize, taps: &[(u32, u32)], arena: &[f32]) -> V {
        match self.kind {
            Kind::Max => {
                let mut max = V::splat(f32::NEG_INFINITY);
                for &(offset, _) in taps {
                    max = max.max(V::load(arena, (first + offset as usize) * V::LANES));
                }
                max
            }
            Kind::Average(count) => {
                let mut sum = V::splat(0.0);
                for &(offset, _) in taps {
                    sum = sum.add(V::load(arena, (first + offset as usize) * V::LANES));
                }
                sum.div(V::splat(count.unwrap_or(taps.len() as f32)))
            }
        }
    }
}
