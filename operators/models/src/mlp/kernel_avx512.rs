//! The AVX-512 kernel: tiles of up to 12 rows by 32 outputs, whose 24 sums stay in registers over all inputs.
#![expect(unsafe_code, reason = "vector loads and stores, and calls into code compiled for AVX-512")]

use std::arch::x86_64::*;

use super::activation::Activation;
use super::layer::{LANES, Layer, Packing, Panel, Rows, sum_by_halves};

/// Proof that the machine has AVX-512F.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    pub(super) fn run(self, layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
        // SAFETY: `self` exists only where detection found AVX-512F.
        unsafe { run(layer, rows, &mut out[..rows.rows * layer.stride()]) }
    }
}

#[target_feature(enable = "avx512f")]
fn run(layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
    match layer.packing() {
        Packing::Panels => layer.panel_iter().for_each(|panel| panel_rows(layer, panel, rows, out)),
        Packing::Dots => dots(layer, rows, out),
    }
    layer.activation().apply(out);
}

/// All rows of one panel, whose weights stay in the first-level cache meanwhile.
#[target_feature(enable = "avx512f")]
fn panel_rows(layer: &Layer, panel: Panel<'_>, rows: Rows<'_>, out: &mut [f32]) {
    let mut row = 0;
    while row < rows.rows {
        let x = &rows.values[row * rows.stride..];
        let out = &mut out[row * layer.stride() + panel.first..];
        row += match (panel.width == LANES, rows.rows - row) {
            (false, 12..) => tile::<12, 2>(layer, panel, x, rows.stride, out),
            (false, 6..) => tile::<6, 2>(layer, panel, x, rows.stride, out),
            (false, 3..) => tile::<3, 2>(layer, panel, x, rows.stride, out),
            (false, _) => tile::<1, 2>(layer, panel, x, rows.stride, out),
            (true, 12..) => tile::<12, 1>(layer, panel, x, rows.stride, out),
            (true, 6..) => tile::<6, 1>(layer, panel, x, rows.stride, out),
            (true, _) => tile::<1, 1>(layer, panel, x, rows.stride, out),
        };
    }
}

/// `ROWS` rows by `COLUMNS` registers of outputs; returns `ROWS`.
#[target_feature(enable = "avx512f")]
fn tile<const ROWS: usize, const COLUMNS: usize>(
    layer: &Layer,
    panel: Panel<'_>,
    x: &[f32],
    x_stride: usize,
    out: &mut [f32],
) -> usize {
    let (inputs, out_stride) = (layer.inputs(), layer.stride());
    assert!(panel.width == COLUMNS * LANES && panel.bias.len() == panel.width);
    assert!(panel.weights.len() == inputs * panel.width);
    assert!(x.len() >= (ROWS - 1) * x_stride + inputs && out.len() >= (ROWS - 1) * out_stride + panel.width);
    let mut sums = [[_mm512_setzero_ps(); COLUMNS]; ROWS];
    for column in 0..COLUMNS {
        // SAFETY: the bias has `COLUMNS * LANES` values, as asserted.
        let bias = unsafe { _mm512_loadu_ps(panel.bias.as_ptr().add(column * LANES)) };
        sums.iter_mut().for_each(|sums| sums[column] = bias);
    }
    for input in 0..inputs {
        let mut weights = [_mm512_setzero_ps(); COLUMNS];
        for (column, weights) in weights.iter_mut().enumerate() {
            // SAFETY: `inputs` times `COLUMNS * LANES` weights, as asserted.
            *weights = unsafe { _mm512_loadu_ps(panel.weights.as_ptr().add((input * COLUMNS + column) * LANES)) };
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `ROWS - 1` has `inputs` values, as asserted.
            let value = _mm512_set1_ps(unsafe { *x.as_ptr().add(row * x_stride + input) });
            for (sum, &weight) in sums.iter_mut().zip(&weights) {
                *sum = _mm512_fmadd_ps(value, weight, *sum);
            }
        }
    }
    let relu = layer.activation() == Activation::Relu;
    for (row, sums) in sums.iter().enumerate() {
        for (column, &sum) in sums.iter().enumerate() {
            // The second operand is the one that `max` keeps where it is NaN.
            let sum = if relu { _mm512_max_ps(_mm512_setzero_ps(), sum) } else { sum };
            // SAFETY: row `ROWS - 1` of the answers has `COLUMNS * LANES` places, as asserted.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(row * out_stride + column * LANES), sum) };
        }
    }
    ROWS
}

#[target_feature(enable = "avx512f")]
fn dots(layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
    for (row, out) in rows.values.chunks(rows.stride).zip(out.chunks_exact_mut(layer.stride())) {
        let row = &row[..layer.inputs()];
        for (out, (weights, bias)) in out.iter_mut().zip(layer.dot_iter()) {
            *out = dot(row, weights) + bias;
        }
    }
}

#[target_feature(enable = "avx512f")]
fn dot(row: &[f32], weights: &[f32]) -> f32 {
    let (row_chunks, row_rest) = row.as_chunks::<LANES>();
    let (weight_chunks, weight_rest) = weights.as_chunks::<LANES>();
    let mut sums = _mm512_setzero_ps();
    for (x, weight) in row_chunks.iter().zip(weight_chunks) {
        // SAFETY: both are arrays of sixteen.
        let (x, weight) = unsafe { (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(weight.as_ptr())) };
        sums = _mm512_fmadd_ps(x, weight, sums);
    }
    let rest = row_rest.len().min(weight_rest.len());
    if rest > 0 {
        let mask = (1u16 << rest) - 1;
        // SAFETY: the mask keeps the loads within the first `rest` values of each.
        let (x, weight) = unsafe {
            (_mm512_maskz_loadu_ps(mask, row_rest.as_ptr()), _mm512_maskz_loadu_ps(mask, weight_rest.as_ptr()))
        };
        sums = _mm512_mask3_fmadd_ps(x, weight, sums, mask);
    }
    let mut lanes = [0.0; LANES];
    // SAFETY: an array of sixteen.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), sums) };
    sum_by_halves(lanes)
}
