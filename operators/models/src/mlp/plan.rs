//! A network taken apart, for those who run it elsewhere.

use super::layer::{Layer, Packing};
use super::network::Network;
use crate::device::{Dense, Plan};

impl Network {
    /// Plain weights, in order.
    pub(crate) fn plan(&self) -> Plan {
        let inputs = self.layers().first().map_or(0, Layer::inputs);
        let standardize = self.standardize().map(|s| (s.mean.clone(), s.inverse_scale.clone()));
        let layers = self.layers().iter().map(dense).collect();
        Plan { inputs, standardize, layers, reconstructs: self.reconstructs() }
    }
}

fn dense(layer: &Layer) -> Dense {
    Dense {
        inputs: layer.inputs(),
        outputs: layer.outputs(),
        weights: weights(layer),
        bias: bias(layer),
        activation: layer.activation(),
    }
}

/// `[outputs, inputs]`, as they were before the layer packed them.
fn weights(layer: &Layer) -> Vec<f32> {
    if layer.packing() == Packing::Dots {
        return layer.dot_iter().flat_map(|(weights, _)| weights.iter().copied()).collect();
    }
    let mut plain = vec![0.0; layer.outputs() * layer.inputs()];
    for panel in layer.panel_iter() {
        let outputs = panel.width.min(layer.outputs() - panel.first);
        for (input, column) in panel.weights.chunks_exact(panel.width).enumerate() {
            let places = plain[panel.first * layer.inputs() + input..].iter_mut().step_by(layer.inputs());
            places.zip(&column[..outputs]).for_each(|(place, weight)| *place = *weight);
        }
    }
    plain
}

fn bias(layer: &Layer) -> Vec<f32> {
    match layer.packing() {
        Packing::Dots => layer.dot_iter().map(|(_, bias)| bias).collect(),
        Packing::Panels => layer.panel_iter().flat_map(|panel| panel.bias).copied().take(layer.outputs()).collect(),
    }
}
