//! One layer, its weights packed in the order in which the kernels read them.

use super::activation::Activation;

/// Outputs per column of weights: one AVX-512 register.
pub(super) const LANES: usize = 16;
/// Up to so many outputs, a dot product per output beats a column that is mostly padding.
const MAX_DOT_OUTPUTS: usize = 4;

/// How a layer's weights lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Panels of two columns (32 outputs), each panel input by input; an odd last column is a panel of its own.
    Panels,
    /// Output by output, as in the file.
    Dots,
}

/// A layer ready to run.
#[derive(Debug)]
pub(super) struct Layer {
    inputs: usize,
    outputs: usize,
    activation: Activation,
    packing: Packing,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// Packs `weights`, `[outputs, inputs]` row by row. Both lengths were checked by the reader.
    pub(super) fn new(inputs: usize, weights: Vec<f32>, bias: Vec<f32>, activation: Activation) -> Self {
        let outputs = bias.len();
        let packing = if outputs <= MAX_DOT_OUTPUTS { Packing::Dots } else { Packing::Panels };
        let mut layer = Self { inputs, outputs, activation, packing, weights, bias };
        if packing == Packing::Panels {
            layer.weights = layer.panels();
            layer.bias.resize(layer.stride(), 0.0);
        }
        layer
    }

    fn panels(&self) -> Vec<f32> {
        let mut packed = vec![0.0; self.stride() * self.inputs];
        for (output, row) in self.weights.chunks_exact(self.inputs).enumerate() {
            let panel = output / (2 * LANES) * (2 * LANES);
            let width = self.panel_width(panel);
            for (input, &weight) in row.iter().enumerate() {
                packed[panel * self.inputs + input * width + output - panel] = weight;
            }
        }
        packed
    }

    fn panel_width(&self, first_output: usize) -> usize {
        (self.stride() - first_output).min(2 * LANES)
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn activation(&self) -> Activation {
        self.activation
    }

    pub(super) fn packing(&self) -> Packing {
        self.packing
    }

    /// Floats from one row of answers to the next.
    pub(super) fn stride(&self) -> usize {
        match self.packing {
            Packing::Panels => self.outputs.next_multiple_of(LANES),
            Packing::Dots => self.outputs,
        }
    }

    /// The panels: first output, weights, bias.
    pub(super) fn panel_iter(&self) -> impl Iterator<Item = Panel<'_>> {
        (0..self.stride()).step_by(2 * LANES).map(|first| {
            let width = self.panel_width(first);
            let weights = &self.weights[first * self.inputs..(first + width) * self.inputs];
            Panel { first, width, weights, bias: &self.bias[first..first + width] }
        })
    }

    /// The weights and the bias of each output.
    pub(super) fn dot_iter(&self) -> impl Iterator<Item = (&[f32], f32)> {
        self.weights.chunks_exact(self.inputs).zip(self.bias.iter().copied())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }
}

/// Up to 32 outputs of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel<'a> {
    /// Index of the first output.
    pub first: usize,
    /// 16 or 32.
    pub width: usize,
    /// `width` weights per input.
    pub weights: &'a [f32],
    /// `width` of them.
    pub bias: &'a [f32],
}

/// Rows that a layer reads: `rows` of them, `stride` floats apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub rows: usize,
}

/// Sum of sixteen partial sums, by halves; every kernel adds in this order.
#[inline(always)]
pub(super) fn sum_by_halves(mut lanes: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}
