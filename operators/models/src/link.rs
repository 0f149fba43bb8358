//! Link functions: from the margins that trees add up to the answers that a tool gives.
//!
//! In `f32` the steps are XGBoost's (`src/common/math.h`), in `f64` LightGBM's (`src/objective/*.hpp`), in their order
//! and precision. Each function takes whole rows, so a row's answer depends on that row alone.

use crate::math;

/// 1 / (1 + e^-x) of each.
pub(crate) fn sigmoid(margins: &mut [f32]) {
    margins.iter_mut().for_each(|margin| *margin = math::sigmoid(*margin));
}

/// e^x of each.
pub(crate) fn exp(margins: &mut [f32]) {
    margins.iter_mut().for_each(|margin| *margin = margin.exp());
}

/// e^x of each over the sum of its row, which is taken in double precision.
pub(crate) fn softmax(margins: &mut [f32], width: usize) {
    for row in margins.chunks_exact_mut(width) {
        let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0f64;
        for margin in &mut *row {
            *margin = (*margin - greatest).exp();
            sum += f64::from(*margin);
        }
        row.iter_mut().for_each(|margin| *margin /= sum as f32);
    }
}

/// The index of the greatest of each row, the first where several are.
pub(crate) fn arg_max(margins: &[f32], width: usize) -> Vec<i64> {
    let greatest = |row: &[f32]| (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best });
    margins.chunks_exact(width).map(|row| greatest(row) as i64).collect()
}

/// Each row in ascending order: quantiles that do not cross.
pub(crate) fn sort(margins: &mut [f32], width: usize) {
    margins.chunks_exact_mut(width).for_each(|row| row.sort_by(f32::total_cmp));
}

/// 1 / (1 + e^(-steepness · x)) of each.
pub(crate) fn sigmoid_f64(margins: &mut [f64], steepness: f64) {
    margins.iter_mut().for_each(|margin| *margin = 1.0 / (1.0 + (-steepness * *margin).exp()));
}

/// e^x of each.
pub(crate) fn exp_f64(margins: &mut [f64]) {
    margins.iter_mut().for_each(|margin| *margin = margin.exp());
}

/// ln(1 + e^x) of each.
pub(crate) fn log_one_plus_exp_f64(margins: &mut [f64]) {
    margins.iter_mut().for_each(|margin| *margin = margin.exp().ln_1p());
}

/// sign(x) · x² of each.
pub(crate) fn signed_square_f64(margins: &mut [f64]) {
    margins.iter_mut().for_each(|margin| *margin = sign(*margin) * *margin * *margin);
}

fn sign(x: f64) -> f64 {
    f64::from(u8::from(x > 0.0)) - f64::from(u8::from(x < 0.0))
}

/// e^x of each over the sum of its row.
pub(crate) fn softmax_f64(margins: &mut [f64], width: usize) {
    for row in margins.chunks_exact_mut(width) {
        let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|margin| *margin = (*margin - greatest).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|margin| *margin /= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_adds_up_to_one_and_keeps_rows_apart() {
        let mut margins = [1.0, 2.0, 3.0, 1000.0, -1000.0, 0.0];
        softmax(&mut margins, 3);
        assert_eq!(margins[3..], [1.0, 0.0, 0.0]);
        assert!((margins[2] - 0.665_240_96).abs() < 1e-7 && (margins[..3].iter().sum::<f32>() - 1.0).abs() < 1e-6);
        let mut margins = [0.0, 3f64.ln()];
        softmax_f64(&mut margins, 2);
        assert!((margins[1] - 0.75).abs() < 1e-15);
    }

    #[test]
    fn the_first_of_equals_is_the_label() {
        assert_eq!(arg_max(&[1.0, 3.0, 3.0, 0.0, -0.0, -1.0], 3), [1, 0]);
    }

    #[test]
    fn signed_squares_and_soft_plus_by_hand() {
        let mut margins = [-3.0, 0.0, 2.0];
        signed_square_f64(&mut margins);
        assert_eq!(margins, [-9.0, 0.0, 4.0]);
        let mut margins = [0.0];
        log_one_plus_exp_f64(&mut margins);
        assert_eq!(margins, [2f64.ln()]);
    }
}
