//! A batch forward and back through all layers.

use candle_core::{Result, Tensor};

use super::loss::losses;
use crate::kernel::Activation;
use crate::loss::Loss;
use crate::network::Shape;

/// Rows of a step: inputs, and a column of targets and one of weights.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub inputs: Tensor,
    pub targets: Tensor,
    pub weights: Tensor,
}

impl Batch {
    /// The same of each tensor.
    pub(super) fn each(&self, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { inputs: of(&self.inputs)?, targets: of(&self.targets)?, weights: of(&self.weights)? })
    }
}

/// A layer's part of all values.
struct Dense {
    /// `[inputs, outputs]`.
    weights: Tensor,
    /// `[1, outputs]`.
    bias: Tensor,
    activation: Activation,
}

/// A network with everything that is the same for all batches.
pub(super) struct Pass<'a> {
    loss: Loss,
    numbers: &'a Tensor,
    layers: Vec<Dense>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(shape: &Shape, loss: Loss, numbers: &'a Tensor, values: &Tensor) -> Result<Self> {
        let mut at = 0;
        let mut part = |rows: usize, columns: usize| {
            let part = values.narrow(0, at, rows * columns)?.reshape((rows, columns));
            at += rows * columns;
            part
        };
        let layers = shape.layers.iter().map(|layer| {
            let (weights, bias) = (part(layer.inputs, layer.outputs)?, part(1, layer.outputs)?);
            Ok(Dense { weights, bias, activation: layer.activation })
        });
        Ok(Self { loss, numbers, layers: layers.collect::<Result<_>>()? })
    }

    /// The sum of the rows' losses, and `scale` times its gradients by all values.
    pub(super) fn learn(&self, batch: &Batch, scale: f32) -> Result<(Tensor, Tensor)> {
        let (answers, sums) = self.forward(batch)?;
        let (loss, gradients) = losses(self.loss, &sums, batch, self.numbers)?;
        let by_sums = gradients.broadcast_mul(&batch.weights.affine(f64::from(scale), 0.0)?)?;
        Ok((sum(&loss, batch)?, self.back(&answers, by_sums)?))
    }

    /// The sums of the last layer, and the sum of the rows' losses.
    pub(super) fn answers(&self, batch: &Batch) -> Result<(Tensor, Tensor)> {
        let (_, sums) = self.forward(batch)?;
        let (loss, _) = losses(self.loss, &sums, batch, self.numbers)?;
        let loss = sum(&loss, batch)?;
        Ok((sums, loss))
    }

    /// What goes into each layer, and what comes out of the last one.
    fn forward(&self, batch: &Batch) -> Result<(Vec<Tensor>, Tensor)> {
        let (mut inputs, mut x) = (Vec::with_capacity(self.layers.len()), batch.inputs.clone());
        for layer in &self.layers {
            let sums = x.matmul(&layer.weights)?.broadcast_add(&layer.bias)?;
            inputs.push(std::mem::replace(&mut x, activated(layer.activation, &sums)?));
        }
        Ok((inputs, x))
    }

    /// Gradients by all values, from those by the last sums.
    fn back(&self, inputs: &[Tensor], mut by_sums: Tensor) -> Result<Tensor> {
        let mut parts = Vec::with_capacity(2 * self.layers.len());
        for (index, (layer, x)) in self.layers.iter().zip(inputs).enumerate().rev() {
            parts.push(by_sums.sum(0)?);
            parts.push(x.t()?.matmul(&by_sums)?.flatten_all()?);
            if index > 0 {
                let by_answers = by_sums.matmul(&layer.weights.t()?)?;
                by_sums = slope(self.layers[index - 1].activation, x, &by_answers)?;
            }
        }
        parts.reverse();
        Tensor::cat(&parts, 0)
    }
}

/// In double precision: an epoch has millions of them.
fn sum(losses: &Tensor, batch: &Batch) -> Result<Tensor> {
    (losses * &batch.weights)?.to_dtype(candle_core::DType::F64)?.sum_all()
}

/// candle's relu makes 0 of NaN, so its elu of slope 0 stands for it; and it has no logistic function of its own.
fn activated(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.elu(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
    }
}

pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    x.affine(0.5, 0.0)?.tanh()?.affine(0.5, 0.5)
}

/// Gradients by a layer's sums, from its answers and the gradients by them.
fn slope(activation: Activation, answers: &Tensor, gradients: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(gradients.clone()),
        Activation::Relu => gradients * answers.sign()?,
        Activation::Tanh => gradients * answers.sqr()?.affine(-1.0, 1.0)?,
        Activation::Sigmoid => gradients * (answers - answers.sqr()?)?,
    }
}
