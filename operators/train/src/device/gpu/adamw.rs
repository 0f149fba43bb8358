//! The optimizer of [`AdamW`] on tensors.

use candle_core::{Result, Tensor};

use crate::kernel::{AdamW, BETA1, BETA2, EPSILON};

/// What it carries from step to step: the values of all layers, and their moments.
pub(super) struct Moved {
    pub weights: Tensor,
    pub first: Tensor,
    pub second: Tensor,
}

impl Moved {
    /// After one more step.
    pub(super) fn step(&self, rule: AdamW, gradients: &Tensor) -> Result<Self> {
        let mixed = |old: &Tensor, new: &Tensor, beta: f32| {
            old.affine(f64::from(beta), 0.0)? + new.affine(f64::from(1.0 - beta), 0.0)?
        };
        let first = mixed(&self.first, gradients, BETA1)?;
        let second = mixed(&self.second, &gradients.sqr()?, BETA2)?;
        let width = second.sqrt()?.affine(f64::from(rule.correction), f64::from(EPSILON))?;
        let step = (first.affine(f64::from(rule.rate), 0.0)? / width)?;
        let weights = (self.weights.affine(f64::from(rule.keep), 0.0)? - step)?;
        Ok(Self { weights, first, second })
    }
}
