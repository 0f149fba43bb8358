//! A network as any machine may hold it: plain weights, in order.

use super::owner::Widths;
use super::shapes::TRIED;
use crate::mlp::Activation;

/// A network of dense layers; there is at least one.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub inputs: usize,
    /// What is taken away from each input, and what it is multiplied with then.
    pub standardize: Option<(Vec<f32>, Vec<f32>)>,
    pub layers: Vec<Dense>,
    /// The answer is the mean squared difference between the last layer's outputs and the standardised inputs.
    pub reconstructs: bool,
}

/// `activation(weights · x + bias)`.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    pub inputs: usize,
    pub outputs: usize,
    /// `[outputs, inputs]`, row by row.
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    pub activation: Activation,
}

impl Plan {
    pub(super) fn widths(&self) -> Widths {
        let outputs = self.layers.iter().map(|layer| layer.outputs);
        let last = outputs.clone().next_back().unwrap_or(0);
        let widest = outputs.max().unwrap_or(0).max(self.inputs);
        Widths { inputs: self.inputs, answers: if self.reconstructs { 1 } else { last }, widest }
    }

    /// Whether a row's outputs become probabilities at the end.
    pub(super) fn normalizes(&self) -> bool {
        !self.reconstructs && self.layers.last().is_some_and(|layer| layer.activation == Activation::Softmax)
    }

    /// Bytes of its weights.
    pub(super) fn bytes(&self) -> usize {
        let numbers: usize = self.layers.iter().map(|layer| layer.weights.len() + layer.bias.len()).sum();
        (numbers + if self.standardize.is_some() { 2 * self.inputs } else { 0 }) * size_of::<f32>()
    }

    /// Rows to try the device with: spread around the mean as the network's own inputs are, the same each time.
    pub(super) fn trial_rows(&self) -> Vec<f32> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 22) as f32 - 2.0
        };
        let value = |column: usize, x: f32| match &self.standardize {
            Some((mean, by)) => mean[column] + x / by[column],
            None => x,
        };
        (0..TRIED * self.inputs).map(|at| value(at % self.inputs, noise())).collect()
    }
}
