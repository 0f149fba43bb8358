//! The kernel for any machine: plain loops over lanes, which the compiler vectorises for its target.

use super::elementwise::{self, Activation, AdamW};
use super::{LANES, Product, Start};

pub(super) fn product(product: Product<'_>, out: &mut [f32]) {
    let columns = product.columns;
    for (row, out) in out.chunks_exact_mut(columns).take(product.rows).enumerate() {
        for (first, out) in (0..columns).step_by(LANES).zip(out.chunks_exact_mut(LANES)) {
            let mut sums = [0.0f32; LANES];
            match product.start {
                Start::Zero => {}
                Start::Bias(bias) => sums.copy_from_slice(&bias[first..first + LANES]),
                Start::Out => sums.copy_from_slice(out),
            }
            for (step, b) in product.b.chunks_exact(columns).take(product.depth).enumerate() {
                let a = product.a[row * product.a_row + step * product.a_step];
                let b = &b[first..first + LANES];
                sums.iter_mut().zip(b).for_each(|(sum, &b)| *sum = multiply_add(a, b, *sum));
            }
            out.copy_from_slice(&sums);
        }
    }
}

/// Fused where that is one instruction; in software it would be fifty times slower.
#[inline(always)]
fn multiply_add(a: f32, b: f32, sum: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, sum) } else { a * b + sum }
}

pub(super) fn activate(activation: Activation, values: &mut [f32]) {
    activation.apply(values);
}

pub(super) fn slope(activation: Activation, answers: &[f32], gradients: &mut [f32]) {
    activation.slope(answers, gradients);
}

pub(super) fn add_rows(values: &[f32], sums: &mut [f32]) {
    elementwise::add_rows(values, sums);
}

pub(super) fn adamw(rule: AdamW, weights: &mut [f32], moments: (&mut [f32], &mut [f32]), gradients: &[f32]) {
    rule.apply(weights, moments, gradients);
}
