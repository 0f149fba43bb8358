//! The booster `gblinear`: a weight per feature and output, a bias per output (`src/gbm/gblinear.cc`).

use crate::ModelError;

/// Weights of all features, row-major with a column per output; the last row holds the biases.
#[derive(Debug)]
pub(super) struct Linear {
    /// The first output's base score: it counts for every output (`base_score(0)`).
    base: f32,
    outputs: usize,
    weights: Vec<f32>,
    features: usize,
}

impl Linear {
    pub(super) fn new(features: usize, base: &[f64], weights: &[f32]) -> Result<Self, ModelError> {
        let (outputs, found) = (base.len(), weights.len());
        if found != (features + 1) * outputs {
            let what = format!("{found} weights for {features} features and {outputs} outputs, one bias each");
            return Err(ModelError::unreadable(what));
        }
        if let Some(at) = weights.iter().position(|weight| !weight.is_finite()) {
            return Err(ModelError::unreadable(format!("weights[{at}] is {}", weights[at])));
        }
        let base = base.first().map_or(0.0, |&base| base as f32);
        Ok(Self { base, outputs, weights: weights.to_vec(), features })
    }

    /// Margins of all rows; a missing value adds nothing.
    pub(super) fn margins(&self, rows: &[f32], margins: &mut [f32]) {
        let outputs = self.outputs;
        let (weights, biases) = self.weights.split_at(self.features * outputs);
        for (row, margins) in rows.chunks_exact(self.features).zip(margins.chunks_exact_mut(outputs)) {
            for (output, margin) in margins.iter_mut().enumerate() {
                let start = biases[output] + self.base;
                let present = row.iter().zip(weights[output..].iter().step_by(outputs)).filter(|(x, _)| !x.is_nan());
                *margin = present.fold(start, |sum, (x, weight)| sum + x * weight);
            }
        }
    }

    pub(super) fn parameters(&self) -> usize {
        self.weights.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }
}
