//! Some rows forward and back through all layers, while they are in the cache.

use crate::kernel::{Kernel, Product, Start};
use crate::loss::{self, Loss};
use crate::network::{Parameters, Shape};

use super::Rows;

/// Rows that go through all layers together: with 128 outputs an activation takes 48 KiB, and all of a block stay in
/// the second-level cache.
pub(super) const BLOCK: usize = 96;

/// What a thread needs for a block.
#[derive(Debug)]
pub(super) struct Workspace {
    /// The inputs, then each layer's answers.
    answers: Vec<Vec<f32>>,
    /// Gradients by the sums of a layer, and by those of the layer before.
    gradients: [Vec<f32>; 2],
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl Workspace {
    pub(super) fn new(shape: &Shape) -> Self {
        let strides = shape.layers.iter().map(|layer| layer.stride());
        let widths = std::iter::once(shape.inputs()).chain(strides);
        let answers: Vec<_> = widths.map(|width| vec![0.0; BLOCK * width]).collect();
        let widest = answers.iter().map(Vec::len).max().unwrap_or(0).next_multiple_of(BLOCK * crate::kernel::LANES);
        let gradients = [vec![0.0; widest], vec![0.0; widest]];
        Self { answers, gradients, targets: Vec::new(), weights: Vec::new() }
    }

    fn gather(&mut self, rows: &Rows, which: &[u32]) {
        for (out, &index) in self.answers[0].chunks_exact_mut(rows.width).zip(which) {
            out.copy_from_slice(rows.row(index as usize));
        }
        self.weights.clear();
        self.weights.extend(which.iter().map(|&index| rows.weights[index as usize]));
        if !rows.targets.is_empty() {
            self.targets.clear();
            self.targets.extend(which.iter().map(|&index| rows.targets[index as usize]));
        }
    }
}

/// A network with everything that is the same for all blocks.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub kernel: Kernel,
    pub shape: &'a Shape,
    pub loss: Loss,
    pub parameters: &'a Parameters,
    pub rows: &'a Rows,
}

impl Pass<'_> {
    /// Adds the gradients of these rows, times `scale`, to `gradients`; gives the sum of their losses.
    pub(super) fn learn(&self, which: &[u32], scale: f32, work: &mut Workspace, gradients: &mut [f32]) -> f64 {
        let loss = self.forward(which, scale, work);
        for index in (0..self.shape.layers.len()).rev() {
            self.layer_gradients(index, which.len(), work, gradients);
            if index > 0 {
                self.back(index, which.len(), work);
            }
        }
        loss
    }

    /// Answers of the rows, and the loss with its gradients by the last sums.
    pub(super) fn forward(&self, which: &[u32], scale: f32, work: &mut Workspace) -> f64 {
        work.gather(self.rows, which);
        let count = which.len();
        let mut stride = self.shape.inputs();
        for (index, layer) in self.shape.layers.iter().enumerate() {
            let (before, after) = work.answers.split_at_mut(index + 1);
            let out = &mut after[0][..count * layer.stride()];
            let (weights, bias) = self.parameters.values[layer.weights..].split_at(layer.bias() - layer.weights);
            let product = Product {
                rows: count,
                depth: layer.inputs,
                columns: layer.stride(),
                a: &before[index],
                a_row: stride,
                a_step: 1,
                b: weights,
                start: Start::Bias(bias),
            };
            self.kernel.product(product, out);
            self.kernel.activate(layer.activation, out);
            stride = layer.stride();
        }
        self.loss(count, stride, scale, work)
    }

    fn loss(&self, count: usize, stride: usize, scale: f32, work: &mut Workspace) -> f64 {
        let Workspace { answers, gradients, targets, weights } = work;
        let block = loss::Block {
            answers: &answers[self.shape.layers.len()][..count * stride],
            stride,
            outputs: self.shape.outputs(),
            inputs: &answers[0],
            targets,
            weights,
        };
        self.loss.gradients(&block, scale, &mut gradients[0][..count * stride])
    }

    /// Gradients by a layer's weights (its inputs, transposed, times the gradients by its sums) and by its bias.
    fn layer_gradients(&self, index: usize, count: usize, work: &Workspace, gradients: &mut [f32]) {
        let layer = &self.shape.layers[index];
        let before = if index == 0 { layer.inputs } else { self.shape.layers[index - 1].stride() };
        let by_sums = &work.gradients[0][..count * layer.stride()];
        let product = Product {
            rows: layer.inputs,
            depth: count,
            columns: layer.stride(),
            a: &work.answers[index],
            a_row: 1,
            a_step: before,
            b: by_sums,
            start: Start::Out,
        };
        let (by_weights, by_bias) = gradients[layer.weights..].split_at_mut(layer.bias() - layer.weights);
        self.kernel.product(product, by_weights);
        self.kernel.add_rows(by_sums, &mut by_bias[..layer.stride()]);
    }

    /// Gradients by the sums of the layer before.
    fn back(&self, index: usize, count: usize, work: &mut Workspace) {
        let (layer, before) = (&self.shape.layers[index], &self.shape.layers[index - 1]);
        let [from, to] = &mut work.gradients;
        let to_rows = &mut to[..count * before.stride()];
        let product = Product {
            rows: count,
            depth: layer.outputs,
            columns: before.stride(),
            a: from,
            a_row: layer.stride(),
            a_step: 1,
            b: &self.parameters.transposed[layer.transposed..],
            start: Start::Zero,
        };
        self.kernel.product(product, to_rows);
        self.kernel.slope(before.activation, &work.answers[index][..to_rows.len()], to_rows);
        work.gradients.swap(0, 1);
    }

    /// Answers of some rows, without padding, appended to `out`; gives the sum of their losses.
    pub(super) fn answers(&self, which: &[u32], work: &mut Workspace, out: &mut Vec<f32>) -> f64 {
        let loss = self.forward(which, 0.0, work);
        let Some(last) = self.shape.layers.last() else { return loss };
        let answers = work.answers[self.shape.layers.len()].chunks_exact(last.stride()).take(which.len());
        answers.for_each(|row| out.extend_from_slice(&row[..last.outputs]));
        loss
    }
}
