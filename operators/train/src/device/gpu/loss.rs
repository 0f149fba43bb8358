//! The losses of [`crate::loss`] on tensors, written so that no exponential overflows.

use candle_core::{D, DType, Result, Tensor};

use super::pass::{Batch, sigmoid};
use crate::loss::Loss;

/// Each row's loss, and its gradient by the row's sums. `numbers` are those of the outputs.
pub(super) fn losses(loss: Loss, sums: &Tensor, batch: &Batch, numbers: &Tensor) -> Result<(Tensor, Tensor)> {
    match loss {
        Loss::Logistic => logistic(sums, &batch.targets),
        Loss::Softmax => softmax(sums, &batch.targets, numbers),
        Loss::Squared => squared(sums, &batch.targets),
        Loss::Reconstruction => squared(sums, &batch.inputs),
    }
}

/// `max(z, 0) - t·z + ln(1 + e^-|z|)`.
fn logistic(z: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
    let rest = z.abs()?.neg()?.exp()?.affine(1.0, 1.0)?.log()?;
    let loss = ((z.relu()? - (z * targets)?)? + rest)?;
    Ok((loss, (sigmoid(z)? - targets)?))
}

/// `ln Σ e^z - z[target]`, from the largest logit down.
fn softmax(z: &Tensor, targets: &Tensor, numbers: &Tensor) -> Result<(Tensor, Tensor)> {
    let z = z.broadcast_sub(&z.max_keepdim(D::Minus1)?)?;
    let powers = z.exp()?;
    let sum = powers.sum_keepdim(D::Minus1)?;
    let truth = targets.broadcast_eq(numbers)?.to_dtype(DType::F32)?;
    let loss = (sum.log()? - (&z * &truth)?.sum_keepdim(D::Minus1)?)?;
    Ok((loss, (powers.broadcast_div(&sum)? - truth)?))
}

/// The mean over the outputs.
fn squared(answers: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
    let share = 1.0 / answers.dim(D::Minus1)? as f64;
    let difference = (answers - targets)?;
    let loss = difference.sqr()?.sum_keepdim(D::Minus1)?.affine(share, 0.0)?;
    Ok((loss, difference.affine(2.0 * share, 0.0)?))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn extreme_logits_have_finite_losses_and_gradients() {
        let row = |values: &[f32]| Tensor::from_slice(values, (1, values.len()), &Device::Cpu).unwrap();
        let numbers = row(&[0.0, 1.0, 2.0]);
        let found = |(loss, gradients): (Tensor, Tensor)| -> (f32, Vec<f32>) {
            (loss.flatten_all().unwrap().to_vec1().unwrap()[0], gradients.flatten_all().unwrap().to_vec1().unwrap())
        };
        for z in [-1e30f32, -200.0, 0.0, 200.0, 1e30] {
            for target in [0.0, 1.0] {
                let (loss, gradients) = found(logistic(&row(&[z]), &row(&[target])).unwrap());
                assert!(loss.is_finite() && loss >= 0.0 && gradients[0].abs() <= 1.0, "{z}: {loss} {gradients:?}");
            }
            let (loss, gradients) = found(softmax(&row(&[z, 0.0, 1.0]), &row(&[1.0]), &numbers).unwrap());
            assert!(loss.is_finite() && gradients.iter().all(|g| g.abs() <= 1.0), "{z}: {loss} {gradients:?}");
        }
        let (loss, _) = found(logistic(&row(&[0.0]), &row(&[1.0])).unwrap());
        assert!((loss - std::f32::consts::LN_2).abs() < 1e-6);
    }
}
