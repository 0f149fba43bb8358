//! Whether everything that is trained gets a gradient.

use crate::Refusal;
use crate::network::{Layer, Shape};

/// Rows on which the gradients are checked.
pub(super) const CHECKED_ROWS: usize = 4096;

/// Checks each layer's gradients, which lie as its weights do.
pub(super) fn check(shape: &Shape, gradients: &[f32]) -> Result<(), Refusal> {
    shape.layers.iter().enumerate().try_for_each(|(index, layer)| check_layer(index, layer, gradients))
}

fn check_layer(index: usize, layer: &Layer, gradients: &[f32]) -> Result<(), Refusal> {
    let bias = &gradients[layer.bias()..][..layer.outputs];
    for (name, values) in [("weight", &gradients[layer.weights..layer.bias()]), ("bias", bias)] {
        if !values.iter().all(|value| value.is_finite()) {
            let what = format!("the gradient of layer {index}'s {name} is not finite");
            return Err(Refusal::training(format!("{what}; scale the label or the weights down")));
        }
        if values.iter().all(|&value| value == 0.0) {
            let what = format!("layer {index}'s {name} gets no gradient from the first rows");
            return Err(Refusal::training(format!("{what}; make the layer wider or choose another seed")));
        }
    }
    Ok(())
}
