//! A network: layers one after the other, over blocks of rows that stay in the cache.

use std::cell::Cell;

use super::activation::{Activation, softmax};
use super::kernel::Kernel;
use super::layer::{Layer, Rows};

/// Rows that go through all layers before the next ones start: four AVX-512 tiles of 12 rows. With 128 outputs the
/// block is 24 KiB and stays in the first-level cache.
const BLOCK: usize = 48;

/// `(x - mean) / scale`, the division as a product.
#[derive(Debug)]
pub(super) struct Standardize {
    pub mean: Vec<f32>,
    pub inverse_scale: Vec<f32>,
}

impl Standardize {
    fn apply(&self, rows: &[f32], out: &mut [f32]) {
        let width = self.mean.len();
        for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let scaled = row.iter().zip(&self.mean).zip(&self.inverse_scale).map(|((x, mean), by)| (x - mean) * by);
            out.iter_mut().zip(scaled).for_each(|(out, x)| *out = x);
        }
    }
}

/// The whole network. It has at least one layer.
#[derive(Debug)]
pub(crate) struct Network {
    standardize: Option<Standardize>,
    layers: Vec<Layer>,
    /// The answer is the mean squared difference between the last layer's outputs and the standardised inputs.
    reconstructs: bool,
}

thread_local! {
    /// Activations between layers, kept from batch to batch.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl Network {
    pub(super) fn new(standardize: Option<Standardize>, layers: Vec<Layer>) -> Self {
        Self { standardize, layers, reconstructs: false }
    }

    /// The same layers, whose answer is their reconstruction error: the last has as many outputs as the first inputs.
    pub(super) fn reconstructing(self) -> Self {
        Self { reconstructs: true, ..self }
    }

    /// Numbers that a row is answered with.
    fn answers(&self) -> usize {
        if self.reconstructs { 1 } else { self.layers.last().map_or(0, Layer::outputs) }
    }

    #[cfg(feature = "candle")]
    pub(super) fn standardize(&self) -> Option<&Standardize> {
        self.standardize.as_ref()
    }

    #[cfg(feature = "candle")]
    pub(super) fn reconstructs(&self) -> bool {
        self.reconstructs
    }

    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let standardize = self.standardize.as_ref().map_or(0, |s| 2 * size_of_val(&s.mean[..]));
        self.layers.iter().map(Layer::memory_bytes).sum::<usize>() + standardize
    }

    /// Writes the answers of `rows` (row-major) to `answers` (row-major).
    pub(super) fn answer(&self, kernel: Kernel, rows: &[f32], answers: &mut [f32]) {
        let Some(first) = self.layers.first() else { return };
        let half = BLOCK * self.layers.iter().map(Layer::stride).max().unwrap_or(0).max(first.inputs());
        let mut scratch = SCRATCH.take();
        if scratch.len() < 2 * half {
            scratch.resize(2 * half, 0.0);
        }
        let (from, to) = scratch.split_at_mut(half);
        let blocks = rows.chunks(BLOCK * first.inputs()).zip(answers.chunks_mut(BLOCK * self.answers()));
        for (rows, answers) in blocks {
            self.block(kernel, rows, (from, &mut to[..half]), answers);
        }
        SCRATCH.set(scratch);
    }

    fn block(&self, kernel: Kernel, rows: &[f32], scratch: (&mut [f32], &mut [f32]), answers: &mut [f32]) {
        let (mut from, mut to) = scratch;
        let stride = self.layers[0].inputs();
        let count = rows.len() / stride;
        let mut input = Rows { values: rows, stride, rows: count };
        if let Some(standardize) = &self.standardize {
            standardize.apply(rows, from);
            input.values = from;
        }
        for layer in &self.layers {
            kernel.run(layer, input, to);
            std::mem::swap(&mut from, &mut to);
            input = Rows { values: from, stride: layer.stride(), rows: count };
        }
        if self.reconstructs {
            return self.errors(rows, input, answers);
        }
        let width = answers.len() / count;
        let normalized = self.layers.last().is_some_and(|layer| layer.activation() == Activation::Softmax);
        for (answer, row) in answers.chunks_exact_mut(width).zip(input.values.chunks_exact(input.stride)) {
            answer.copy_from_slice(&row[..width]);
            if normalized {
                softmax(answer);
            }
        }
    }

    /// Each row's mean squared error. The standardised rows are gone by now; to make them again costs less than room
    /// for them.
    fn errors(&self, rows: &[f32], outputs: Rows<'_>, answers: &mut [f32]) {
        let width = rows.len() / outputs.rows;
        for (row, (x, y)) in rows.chunks_exact(width).zip(outputs.values.chunks_exact(outputs.stride)).enumerate() {
            let scaled =
                |at: usize| self.standardize.as_ref().map_or(x[at], |s| (x[at] - s.mean[at]) * s.inverse_scale[at]);
            let square = |at: usize| (scaled(at) - y[at]) * (scaled(at) - y[at]);
            answers[row] = (0..width).map(square).sum::<f32>() / width as f32;
        }
    }
}
