//! A network built from the layers of another format.

use super::activation::Activation;
use super::kernel::Kernel;
use super::layer::Layer;
use super::network::Network;
use crate::ModelError;

/// Widest layer that is taken, as in Lunapark's own files.
pub(crate) const MAX_CHAIN_WIDTH: usize = 1 << 14;

/// Layers in order, ready to run on this machine.
#[derive(Debug)]
pub(crate) struct Perceptron {
    network: Network,
    kernel: Kernel,
}

impl Perceptron {
    /// Of layers given by their inputs, weights (`[outputs, inputs]`), bias and activation; each layer has as many
    /// inputs as the one before has outputs, and there is at least one. Fails where the environment names a kernel that is not here.
    pub(crate) fn new(layers: Vec<(usize, Vec<f32>, Vec<f32>, Activation)>) -> Result<Self, ModelError> {
        let layer = |(inputs, weights, bias, activation)| Layer::new(inputs, weights, bias, activation);
        Ok(Self { network: Network::new(None, layers.into_iter().map(layer).collect()), kernel: Kernel::chosen()? })
    }

    /// Writes the answers of `rows` (row-major) to `answers` (row-major).
    pub(crate) fn answer(&self, rows: &[f32], answers: &mut [f32]) {
        self.network.answer(self.kernel, rows, answers);
    }

    /// The layers alone.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) fn outputs(&self) -> usize {
        self.network.layers().last().map_or(0, Layer::outputs)
    }

    /// Widths of the layers and their activations.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.network.layers().iter().map(|layer| (layer.outputs(), layer.activation().name()))
    }

    pub(crate) fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.network.memory_bytes()
    }
}
