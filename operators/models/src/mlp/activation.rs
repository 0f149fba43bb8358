//! Activations.

use serde::Deserialize;

use crate::math;

/// What follows a layer's sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Activation {
    Identity,
    Relu,
    Sigmoid,
    Tanh,
    Gelu,
}

impl Activation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Relu => "relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Gelu => "gelu",
        }
    }

    /// Applies it to each value. Inlined into each kernel, so that it is compiled for that instruction set; the
    /// functions of [`math`] give the same bits on all of them.
    #[inline(always)]
    pub(super) fn apply(self, values: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => values.iter_mut().for_each(|x| *x = relu(*x)),
            Activation::Sigmoid => values.iter_mut().for_each(|x| *x = math::sigmoid(*x)),
            Activation::Tanh => values.iter_mut().for_each(|x| *x = math::tanh(*x)),
            Activation::Gelu => values.iter_mut().for_each(|x| *x = math::gelu(*x)),
        }
    }
}

/// Keeps NaN, unlike `max`.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}
