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
    /// Over all outputs of a row; of the last layer only.
    Softmax,
}

impl Activation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Relu => "relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Gelu => "gelu",
            Activation::Softmax => "softmax",
        }
    }

    /// Applies it to each value. Inlined into each kernel, so that it is compiled for that instruction set; the
    /// functions of [`math`] give the same bits on all of them.
    #[inline(always)]
    pub(super) fn apply(self, values: &mut [f32]) {
        match self {
            // The network does it, row by row.
            Activation::Identity | Activation::Softmax => {}
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

/// Makes probabilities of a row's sums, from the largest down, so that no exponential overflows.
pub(crate) fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = math::exp(*x - largest));
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}
