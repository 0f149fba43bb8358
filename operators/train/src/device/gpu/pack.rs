//! The values of all layers side by side: each layer's weights input by input, then its bias, without padding.

use crate::network::{Layer, Shape};

/// Where a layer's weights and bias lie among the values with padding.
fn rows(layer: &Layer) -> std::ops::Range<usize> {
    layer.weights..layer.bias() + layer.stride()
}

/// Takes the padding out.
pub(super) fn packed(shape: &Shape, values: &[f32]) -> Vec<f32> {
    let of_layer = |layer: &Layer| {
        let outputs = layer.outputs;
        values[rows(layer)].chunks_exact(layer.stride()).flat_map(move |row| &row[..outputs])
    };
    shape.layers.iter().flat_map(of_layer).copied().collect()
}

/// Puts zeros in as padding.
pub(super) fn padded(shape: &Shape, mut values: &[f32]) -> Vec<f32> {
    let mut padded = vec![0.0; shape.parameters()];
    for layer in &shape.layers {
        let (of_layer, rest) = values.split_at((layer.inputs + 1) * layer.outputs);
        let pairs = padded[rows(layer)].chunks_exact_mut(layer.stride()).zip(of_layer.chunks_exact(layer.outputs));
        pairs.for_each(|(row, values)| row[..layer.outputs].copy_from_slice(values));
        values = rest;
    }
    padded
}
