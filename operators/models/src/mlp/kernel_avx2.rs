//! The AVX2 kernel: tiles of up to 6 rows by 16 outputs, whose 12 sums stay in registers over all inputs.
#![expect(unsafe_code, reason = "vector loads and stores, and calls into code compiled for AVX2")]

use std::arch::x86_64::*;

use super::activation::Activation;
use super::layer::{LANES, Layer, Packing, Panel, Rows, sum_by_halves};

/// Floats of one register; sixteen lanes are two of them.
const HALF: usize = 8;

/// Proof that the machine has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    pub(super) fn run(self, layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
        // SAFETY: `self` exists only where detection found AVX2 and FMA.
        unsafe { run(layer, rows, &mut out[..rows.rows * layer.stride()]) }
    }
}

#[target_feature(enable = "avx2,fma")]
fn run(layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
    match layer.packing() {
        Packing::Panels => layer.panel_iter().for_each(|panel| panel_rows(layer, panel, rows, out)),
        Packing::Dots => dots(layer, rows, out),
    }
    // A tile that goes through ReLU does so before it leaves its registers.
    if layer.packing() == Packing::Dots || layer.activation() != Activation::Relu {
        layer.activation().apply(out);
    }
}

/// All rows of one panel, a column of sixteen outputs at a time.
#[target_feature(enable = "avx2,fma")]
fn panel_rows(layer: &Layer, panel: Panel<'_>, rows: Rows<'_>, out: &mut [f32]) {
    for column in (0..panel.width).step_by(LANES) {
        let mut row = 0;
        while row < rows.rows {
            let x = &rows.values[row * rows.stride..];
            let out = &mut out[row * layer.stride() + panel.first + column..];
            row += match rows.rows - row {
                6.. => tile::<6>(layer, panel, column, x, rows.stride, out),
                3.. => tile::<3>(layer, panel, column, x, rows.stride, out),
                _ => tile::<1>(layer, panel, column, x, rows.stride, out),
            };
        }
    }
}

/// `ROWS` rows by sixteen outputs from `column` on; returns `ROWS`.
#[target_feature(enable = "avx2,fma")]
fn tile<const ROWS: usize>(
    layer: &Layer,
    panel: Panel<'_>,
    column: usize,
    x: &[f32],
    x_stride: usize,
    out: &mut [f32],
) -> usize {
    let (inputs, out_stride) = (layer.inputs(), layer.stride());
    assert!(column + LANES <= panel.width && panel.bias.len() == panel.width);
    assert!(panel.weights.len() == inputs * panel.width);
    assert!(x.len() >= (ROWS - 1) * x_stride + inputs && out.len() >= (ROWS - 1) * out_stride + LANES);
    // SAFETY: the bias has `panel.width` values, at least `column + LANES`, as asserted.
    let bias = unsafe { load(panel.bias.as_ptr().add(column)) };
    let mut sums = [bias; ROWS];
    for input in 0..inputs {
        // SAFETY: `inputs` times `panel.width` weights, as asserted.
        let weights = unsafe { load(panel.weights.as_ptr().add(input * panel.width + column)) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `ROWS - 1` has `inputs` values, as asserted.
            let value = _mm256_set1_ps(unsafe { *x.as_ptr().add(row * x_stride + input) });
            sums[0] = _mm256_fmadd_ps(value, weights[0], sums[0]);
            sums[1] = _mm256_fmadd_ps(value, weights[1], sums[1]);
        }
    }
    let relu = layer.activation() == Activation::Relu;
    for (row, sums) in sums.iter().enumerate() {
        // The second operand is the one that `max` keeps where it is NaN.
        let sums = if relu { sums.map(|sum| _mm256_max_ps(_mm256_setzero_ps(), sum)) } else { *sums };
        // SAFETY: row `ROWS - 1` of the answers has `LANES` places, as asserted.
        unsafe { store(out.as_mut_ptr().add(row * out_stride), sums) };
    }
    ROWS
}

/// # Safety
/// Sixteen floats can be read at `from`.
#[target_feature(enable = "avx2,fma")]
unsafe fn load(from: *const f32) -> [__m256; 2] {
    // SAFETY: the caller's promise.
    unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(HALF))] }
}

/// # Safety
/// Sixteen floats can be written at `to`.
#[target_feature(enable = "avx2,fma")]
unsafe fn store(to: *mut f32, values: [__m256; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        _mm256_storeu_ps(to, values[0]);
        _mm256_storeu_ps(to.add(HALF), values[1]);
    }
}

#[target_feature(enable = "avx2,fma")]
fn dots(layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
    for (row, out) in rows.values.chunks(rows.stride).zip(out.chunks_exact_mut(layer.stride())) {
        let row = &row[..layer.inputs()];
        for (out, (weights, bias)) in out.iter_mut().zip(layer.dot_iter()) {
            *out = dot(row, weights) + bias;
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn dot(row: &[f32], weights: &[f32]) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 2];
    for (row, weights) in row.chunks(LANES).zip(weights.chunks(LANES)) {
        let (x, weight) = (padded(row), padded(weights));
        sums = [_mm256_fmadd_ps(x[0], weight[0], sums[0]), _mm256_fmadd_ps(x[1], weight[1], sums[1])];
    }
    let mut lanes = [0.0; LANES];
    // SAFETY: an array of sixteen.
    unsafe { store(lanes.as_mut_ptr(), sums) };
    sum_by_halves(lanes)
}

/// Up to sixteen values, zeros behind them.
#[target_feature(enable = "avx2,fma")]
fn padded(values: &[f32]) -> [__m256; 2] {
    let mut lanes = [0.0; LANES];
    let values = match values.first_chunk::<LANES>() {
        Some(whole) => whole,
        None => {
            lanes[..values.len()].copy_from_slice(values);
            &lanes
        }
    };
    // SAFETY: an array of sixteen.
    unsafe { load(values.as_ptr()) }
}
