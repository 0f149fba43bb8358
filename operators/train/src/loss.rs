//! The losses, on the sums of the last layer, and their gradients.

use lunapark_models::math;

/// What a network is trained to make small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Cross-entropy of one logit; the target is 0 or 1.
    Logistic,
    /// Cross-entropy of a logit per class; the target is the class's number.
    Softmax,
    /// Squared error of one answer.
    Squared,
    /// Mean squared error between the answers and the inputs.
    Reconstruction,
}

/// Rows of a block: answers and gradients lie `stride` apart.
pub(crate) struct Block<'a> {
    pub answers: &'a [f32],
    pub stride: usize,
    pub outputs: usize,
    /// The network's inputs, `outputs` per row, for the reconstruction.
    pub inputs: &'a [f32],
    pub targets: &'a [f32],
    pub weights: &'a [f32],
}

impl Loss {
    /// The weighted sum of the rows' losses; `gradients` get `scale` times its derivative, and zeros as padding.
    pub(crate) fn gradients(self, block: &Block<'_>, scale: f32, gradients: &mut [f32]) -> f64 {
        let rows = block.answers.chunks_exact(block.stride).zip(gradients.chunks_exact_mut(block.stride));
        let mut sum = 0.0;
        for (row, (answers, gradients)) in rows.enumerate() {
            let (answers, (gradients, padding)) = (&answers[..block.outputs], gradients.split_at_mut(block.outputs));
            let weight = block.weights[row];
            let loss = match self {
                Loss::Logistic => logistic(answers[0], block.targets[row], &mut gradients[0]),
                Loss::Softmax => softmax(answers, block.targets[row] as usize, gradients),
                Loss::Squared => squared(answers, &block.targets[row..=row], gradients),
                Loss::Reconstruction => squared(answers, &block.inputs[row * block.outputs..], gradients),
            };
            sum += f64::from(weight) * f64::from(loss);
            gradients.iter_mut().for_each(|gradient| *gradient *= weight * scale);
            padding.fill(0.0);
        }
        sum
    }
}

/// `ln(1 + e^z) - t·z`, written so that no exponential overflows.
fn logistic(z: f32, target: f32, gradient: &mut f32) -> f32 {
    *gradient = math::sigmoid(z) - target;
    z.max(0.0) - z * target + math::exp(-z.abs()).ln_1p()
}

/// `ln Σ e^z - z[target]`, from the largest logit down.
fn softmax(logits: &[f32], target: usize, gradients: &mut [f32]) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    gradients.iter_mut().zip(logits).for_each(|(gradient, z)| *gradient = math::exp(z - largest));
    let sum: f32 = gradients.iter().sum();
    gradients.iter_mut().for_each(|gradient| *gradient /= sum);
    gradients[target] -= 1.0;
    sum.ln() - (logits[target] - largest)
}

/// The mean over the outputs, as torch's `MSELoss` has it.
fn squared(answers: &[f32], targets: &[f32], gradients: &mut [f32]) -> f32 {
    let share = 1.0 / answers.len() as f32;
    let mut sum = 0.0;
    for ((answer, target), gradient) in answers.iter().zip(targets).zip(gradients) {
        let difference = answer - target;
        sum += difference * difference;
        *gradient = 2.0 * share * difference;
    }
    share * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_logits_have_finite_losses_and_gradients() {
        for z in [-1e30f32, -200.0, 0.0, 200.0, 1e30] {
            for target in [0.0, 1.0] {
                let mut gradient = f32::NAN;
                let loss = logistic(z, target, &mut gradient);
                assert!(loss.is_finite() && loss >= 0.0 && gradient.abs() <= 1.0, "{z} {target}: {loss} {gradient}");
            }
            let mut gradients = [0.0; 3];
            let loss = softmax(&[z, 0.0, 1.0], 1, &mut gradients);
            assert!(loss.is_finite() && gradients.iter().all(|g| g.abs() <= 1.0), "{z}: {loss} {gradients:?}");
        }
        let mut gradient = 0.0;
        assert!((logistic(0.0, 1.0, &mut gradient) - std::f32::consts::LN_2).abs() < 1e-6);
    }
}
