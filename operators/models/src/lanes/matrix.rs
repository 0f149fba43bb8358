//! Sums of products: dense layers and convolutions, with bias and activation.

use std::sync::Arc;

use super::math::Map;
use super::vector::{Vector, WIDE};
use super::windows::Windows;

/// Weights in panels of sixteen outputs, each input by input, so that sixteen rows read some outputs' weights and one
/// row all of a panel's.
#[derive(Debug)]
pub(crate) struct Matrix {
    taps: usize,
    outputs: usize,
    panels: Vec<f32>,
    /// Padded to whole panels.
    bias: Vec<f32>,
}

impl Matrix {
    /// Of weights output by output.
    pub(crate) fn new(taps: usize, weights: &[f32], bias: &[f32]) -> Self {
        let outputs = bias.len();
        let mut panels = vec![0.0; outputs.next_multiple_of(WIDE) * taps];
        for (output, row) in weights.chunks_exact(taps.max(1)).enumerate() {
            for (tap, &weight) in row.iter().enumerate() {
                panels[(output / WIDE * taps + tap) * WIDE + output % WIDE] = weight;
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(outputs.next_multiple_of(WIDE), 0.0);
        Self { taps, outputs, panels, bias }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&self.panels[..]) + size_of_val(&self.bias[..])
    }

    pub(super) fn cost(&self, lanes: usize) -> usize {
        // A single row's few sums wait for themselves.
        if lanes == 1 { 2 * self.taps * self.outputs.div_ceil(WIDE) } else { self.taps * self.outputs }
    }

    fn panel(&self, panel: usize) -> &[f32] {
        &self.panels[panel * self.taps * WIDE..][..self.taps * WIDE]
    }

    /// The outputs over the inputs from `from` on, one after the other from `to` on.
    #[inline(always)]
    pub(super) fn dense<V: Vector, W: Vector>(&self, from: usize, to: usize, map: Map, arena: &mut [f32]) {
        let places = Places { base: from, step: 0, count: 1, to, to_step: 0, to_output: 1 };
        self.run::<V, W>((0..self.taps).map(|tap| (tap, tap)), places, map, arena);
    }

    /// All outputs at all places.
    #[inline(always)]
    fn run<V: Vector, W: Vector>(
        &self,
        taps: impl Iterator<Item = (usize, usize)> + Clone,
        places: Places,
        map: Map,
        arena: &mut [f32],
    ) {
        for panel in 0..self.bias.len() / WIDE {
            let outputs = (self.outputs - panel * WIDE).min(WIDE);
            let (weights, bias) = (self.panel(panel), &self.bias[panel * WIDE..][..WIDE]);
            let part = Part { weights, bias, first: panel * WIDE, outputs, map };
            match V::LANES {
                1 => part.alone::<W>(taps.clone(), places, arena),
                _ => part.lanes::<V>(taps.clone(), places, arena),
            }
        }
    }
}

/// Where inputs are read and outputs written: at each of `count` places, `step` and `to_step` further than at the one
/// before; the outputs of a place lie `to_output` apart.
#[derive(Clone, Copy)]
struct Places {
    base: usize,
    step: usize,
    count: usize,
    to: usize,
    to_step: usize,
    to_output: usize,
}

/// A panel's share of the work.
#[derive(Clone, Copy)]
struct Part<'m> {
    weights: &'m [f32],
    bias: &'m [f32],
    /// Index of its first output.
    first: usize,
    outputs: usize,
    map: Map,
}

impl Part<'_> {
    /// Sixteen rows: tiles of some places by some outputs.
    #[inline(always)]
    fn lanes<V: Vector>(self, taps: impl Iterator<Item = (usize, usize)> + Clone, places: Places, arena: &mut [f32]) {
        let mut place = 0;
        while place < places.count {
            if V::MANY && places.count - place >= 2 {
                self.outputs_at::<V, 2>(taps.clone(), places, place, arena);
                place += 2;
            } else {
                self.outputs_at::<V, 1>(taps.clone(), places, place, arena);
                place += 1;
            }
        }
    }

    #[inline(always)]
    fn outputs_at<V: Vector, const P: usize>(
        self,
        taps: impl Iterator<Item = (usize, usize)> + Clone,
        places: Places,
        place: usize,
        arena: &mut [f32],
    ) {
        let mut at = 0;
        while at < self.outputs {
            at += match (self.outputs - at, V::MANY) {
                (8.., true) => self.tile::<V, P, 8>(taps.clone(), places, place, at, arena),
                (6..=7, true) => self.tile::<V, P, 6>(taps.clone(), places, place, at, arena),
                (4.., _) => self.tile::<V, P, 4>(taps.clone(), places, place, at, arena),
                (2..=3, _) => self.tile::<V, P, 2>(taps.clone(), places, place, at, arena),
                _ => self.tile::<V, P, 1>(taps.clone(), places, place, at, arena),
            };
        }
    }

    /// `P` places by `C` outputs from the panel's `at` on; returns `C`.
    #[inline(always)]
    fn tile<V: Vector, const P: usize, const C: usize>(
        self,
        taps: impl Iterator<Item = (usize, usize)>,
        places: Places,
        place: usize,
        at: usize,
        arena: &mut [f32],
    ) -> usize {
        let mut sums = [[V::splat(0.0); C]; P];
        for sums in &mut sums {
            for (sum, &bias) in sums.iter_mut().zip(&self.bias[at..at + C]) {
                *sum = V::splat(bias);
            }
        }
        let from = places.base + place * places.step;
        for (offset, tap) in taps {
            let weights = &self.weights[tap * WIDE + at..][..C];
            for (p, sums) in sums.iter_mut().enumerate() {
                let x = V::load(arena, (from + p * places.step + offset) * V::LANES);
                for (sum, &weight) in sums.iter_mut().zip(weights) {
                    *sum = x.mul_add(V::splat(weight), *sum);
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            let to = places.to + (place + p) * places.to_step + (self.first + at) * places.to_output;
            for (c, &sum) in sums.iter().enumerate() {
                self.map.of(sum).store(arena, (to + c * places.to_output) * V::LANES);
            }
        }
        C
    }

    /// One row: the outputs of the panel side by side, at some places.
    #[inline(always)]
    fn alone<W: Vector>(self, taps: impl Iterator<Item = (usize, usize)> + Clone, places: Places, arena: &mut [f32]) {
        let mut place = 0;
        while place < places.count {
            place += match places.count - place {
                4.. => self.panel_at::<W, 4>(taps.clone(), places, place, arena),
                2..=3 => self.panel_at::<W, 2>(taps.clone(), places, place, arena),
                _ => self.panel_at::<W, 1>(taps.clone(), places, place, arena),
            };
        }
    }

    /// At `P` places; returns `P`.
    #[inline(always)]
    fn panel_at<W: Vector, const P: usize>(
        self,
        taps: impl Iterator<Item = (usize, usize)>,
        places: Places,
        place: usize,
        arena: &mut [f32],
    ) -> usize {
        let mut sums = [W::load(self.bias, 0); P];
        let from = places.base + place * places.step;
        for (offset, tap) in taps {
            let weights = W::load(self.weights, tap * WIDE);
            for (p, sum) in sums.iter_mut().enumerate() {
                *sum = W::splat(arena[from + p * places.step + offset]).mul_add(weights, *sum);
            }
        }
        for (p, &sum) in sums.iter().enumerate() {
            let mut lanes = [0.0; WIDE];
            self.map.of(sum).store(&mut lanes, 0);
            let to = places.to + (place + p) * places.to_step + self.first * places.to_output;
            for (c, &x) in lanes[..self.outputs].iter().enumerate() {
                arena[to + c * places.to_output] = x;
            }
        }
        P
    }
}

/// Which inputs the sums are made of.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// So many groups of as many inputs as the matrix has, each group with its own outputs beside each other.
    Groups(usize),
    /// The windows of each group of channels, with a matrix per group.
    Windows(Arc<Windows>),
}

/// A dense layer or a convolution.
#[derive(Clone, Debug)]
pub(crate) struct Products {
    /// One per group of channels.
    pub matrices: Arc<[Matrix]>,
    pub reach: Reach,
    pub map: Map,
}

impl Products {
    pub(crate) fn memory_bytes(&self) -> usize {
        let windows = if let Reach::Windows(windows) = &self.reach { windows.memory_bytes() } else { 0 };
        self.matrices.iter().map(Matrix::memory_bytes).sum::<usize>() + windows
    }

    fn places(&self) -> usize {
        match &self.reach {
            Reach::Groups(groups) => *groups,
            Reach::Windows(windows) => windows.places(),
        }
    }

    pub(super) fn cost(&self, lanes: usize) -> usize {
        self.places() * self.matrices.iter().map(|matrix| matrix.cost(lanes)).sum::<usize>()
    }

    #[inline(always)]
    pub(super) fn run<V: Vector, W: Vector>(&self, from: usize, to: usize, arena: &mut [f32]) {
        match &self.reach {
            Reach::Groups(count) => {
                let Some(matrix) = self.matrices.first() else { return };
                let (step, to_step) = (matrix.taps, matrix.outputs);
                let places = Places { base: from, step, count: *count, to, to_step, to_output: 1 };
                matrix.run::<V, W>((0..matrix.taps).map(|tap| (tap, tap)), places, self.map, arena);
            }
            Reach::Windows(windows) => self.convolve::<V, W>(windows, from, to, arena),
        }
    }

    #[inline(always)]
    fn convolve<V: Vector, W: Vector>(&self, windows: &Windows, from: usize, to: usize, arena: &mut [f32]) {
        let places = windows.places();
        let (mut from, mut to) = (from, to);
        for matrix in self.matrices.iter() {
            for run in &windows.runs {
                let taps = windows.taps(run).iter().map(|&(offset, tap)| (offset as usize, tap as usize));
                let (base, step) = (from + run.base as usize, windows.step);
                let first = to + run.first as usize;
                let at = Places { base, step, count: run.count as usize, to: first, to_step: 1, to_output: places };
                matrix.run::<V, W>(taps, at, self.map, arena);
            }
            from += windows.group;
            to += matrix.outputs * places;
        }
    }
}
