//! The layers of a network and where their values lie.

use crate::kernel::{Activation, LANES};
use crate::random::Random;

/// Purpose of the random numbers of the first weights.
const FIRST_WEIGHTS: u64 = 1 << 40;

/// One dense layer. Its weights lie input by input, each with a row of outputs padded to [`LANES`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    pub activation: Activation,
    /// Where its weights begin; the bias follows them.
    pub weights: usize,
    /// Where its transposed weights begin, output by output, each with a row of padded inputs.
    pub transposed: usize,
}

impl Layer {
    /// Outputs with padding: floats from one row of answers to the next.
    pub(crate) fn stride(&self) -> usize {
        self.outputs.next_multiple_of(LANES)
    }

    /// Where its bias begins.
    pub(crate) fn bias(&self) -> usize {
        self.weights + self.inputs * self.stride()
    }

    /// Where the next layer's weights begin.
    fn end(&self) -> usize {
        self.bias() + self.stride()
    }
}

/// All layers; there is at least one.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub layers: Vec<Layer>,
}

impl Shape {
    /// Of widths from the input on. The last layer has no activation: the loss knows what follows it.
    pub(crate) fn new(widths: &[usize], activation: Activation) -> Self {
        let (mut layers, mut weights, mut transposed) = (Vec::new(), 0, 0);
        for (index, pair) in widths.windows(2).enumerate() {
            let activation = if index + 2 < widths.len() { activation } else { Activation::Identity };
            let layer = Layer { inputs: pair[0], outputs: pair[1], activation, weights, transposed };
            weights = layer.end();
            transposed += layer.outputs * layer.inputs.next_multiple_of(LANES);
            layers.push(layer);
        }
        Self { layers }
    }

    pub(crate) fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.inputs)
    }

    pub(crate) fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.outputs)
    }

    /// Floats of all weights and biases with their padding, which stays zero.
    pub(crate) fn parameters(&self) -> usize {
        self.layers.last().map_or(0, Layer::end)
    }

    fn transposed(&self) -> usize {
        self.layers.iter().map(|layer| layer.outputs * layer.inputs.next_multiple_of(LANES)).sum()
    }

    /// The first weights: uniform within 1/√inputs, as torch's `Linear` has them; biases are zero. He's wider ones cost
    /// 0.03 of AUC on the 7,000 HIGGS events (torch with them, too): a small table is learnt by heart from them.
    pub(crate) fn first_weights(&self, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, FIRST_WEIGHTS);
        let mut values = vec![0.0; self.parameters()];
        for layer in &self.layers {
            let bound = 1.0 / (layer.inputs as f32).sqrt();
            for row in values[layer.weights..layer.bias()].chunks_exact_mut(layer.stride()) {
                row[..layer.outputs].iter_mut().for_each(|weight| *weight = random.uniform(-bound, bound));
            }
        }
        values
    }

    /// A layer's weights as `[outputs, inputs]` and its bias, without padding.
    pub(crate) fn unpadded(&self, layer: &Layer, values: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let at = |output: usize, input: usize| values[layer.weights + input * layer.stride() + output];
        let weights = (0..layer.outputs).flat_map(|output| (0..layer.inputs).map(move |input| at(output, input)));
        (weights.collect(), values[layer.bias()..][..layer.outputs].to_vec())
    }
}

/// The weights, and the transposed ones that carry gradients back.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    pub values: Vec<f32>,
    pub transposed: Vec<f32>,
}

impl Parameters {
    pub(crate) fn new(shape: &Shape, values: Vec<f32>) -> Self {
        let mut parameters = Self { values, transposed: vec![0.0; shape.transposed()] };
        parameters.transpose(shape);
        parameters
    }

    /// Brings the transposed weights up to date. The first layer's are not needed: no gradient goes back to the rows.
    pub(crate) fn transpose(&mut self, shape: &Shape) {
        for layer in shape.layers.iter().skip(1) {
            let (stride, row) = (layer.stride(), layer.inputs.next_multiple_of(LANES));
            let weights = &self.values[layer.weights..layer.bias()];
            let transposed = &mut self.transposed[layer.transposed..][..layer.outputs * row];
            // Squares of a register's width, so that what is read and what is written both stay in the cache.
            for first in (0..layer.inputs).step_by(LANES) {
                let inputs = LANES.min(layer.inputs - first);
                for (output, out) in transposed.chunks_exact_mut(row).enumerate() {
                    let column = weights[first * stride + output..].iter().step_by(stride);
                    out[first..first + inputs].iter_mut().zip(column).for_each(|(out, weight)| *out = *weight);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_weights_are_the_weights_and_padding_is_zero() {
        let shape = Shape::new(&[3, 5, 18, 2], Activation::Relu);
        let parameters = Parameters::new(&shape, shape.first_weights(1));
        for layer in &shape.layers[1..] {
            let row = layer.inputs.next_multiple_of(LANES);
            for output in 0..layer.outputs {
                for input in 0..row {
                    let found = parameters.transposed[layer.transposed + output * row + input];
                    let at = layer.weights + input * layer.stride() + output;
                    let expected = if input < layer.inputs { parameters.values[at] } else { 0.0 };
                    assert_eq!(found, expected);
                }
            }
        }
        let real: usize = shape.layers.iter().map(|layer| layer.inputs * layer.outputs).sum();
        assert_eq!(parameters.values.iter().filter(|value| **value != 0.0).count(), real);
    }
}
