//! The kernel for any machine: plain loops over lanes, which the compiler vectorises for its target.

use super::layer::{LANES, Layer, Packing, Panel, Rows, sum_by_halves};

pub(super) fn run(layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
    let out = &mut out[..rows.rows * layer.stride()];
    for (row, out) in rows.values.chunks(rows.stride).zip(out.chunks_exact_mut(layer.stride())) {
        let row = &row[..layer.inputs()];
        match layer.packing() {
            Packing::Panels => layer.panel_iter().for_each(|panel| self::panel(panel, row, out)),
            Packing::Dots => out.iter_mut().zip(layer.dot_iter()).for_each(|(out, (w, b))| *out = dot(row, w) + b),
        }
    }
    layer.activation().apply(out);
}

fn panel(panel: Panel<'_>, row: &[f32], out: &mut [f32]) {
    for first in (0..panel.width).step_by(LANES) {
        let mut sums = [0.0; LANES];
        sums.copy_from_slice(&panel.bias[first..first + LANES]);
        for (&x, weights) in row.iter().zip(panel.weights.chunks_exact(panel.width)) {
            let weights = &weights[first..first + LANES];
            sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum = multiply_add(x, weight, *sum));
        }
        out[panel.first + first..][..LANES].copy_from_slice(&sums);
    }
}

fn dot(row: &[f32], weights: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for (row, weights) in row.chunks(LANES).zip(weights.chunks(LANES)) {
        for (sum, (&x, &weight)) in sums.iter_mut().zip(row.iter().zip(weights)) {
            *sum = multiply_add(x, weight, *sum);
        }
    }
    sum_by_halves(sums)
}

/// Fused where that is one instruction; in software it would be fifty times slower.
#[inline(always)]
fn multiply_add(x: f32, weight: f32, sum: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { x.mul_add(weight, sum) } else { x * weight + sum }
}
