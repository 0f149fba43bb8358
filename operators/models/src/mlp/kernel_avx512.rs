//! The AVX-512 kernel: tiles of up to 12 rows by 32 outputs, whose 24 sums stay in registers over all inputs.
#![expect(unsafe_code, reason = "vector loads and stores, and calls into code compiled for AVX-512")]

use std::arch::x86_64::*;

use super::activation::Activation;
use super::layer::{LANES, Layer, Packing, Panel, Rows};

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
    // A tile that goes through ReLU does so before it leaves its registers.
    if layer.packing() == Packing::Dots || layer.activation() != Activation::Relu {
        layer.activation().apply(out);
    }
}

/// All rows of one panel, whose weights stay in the first-level cache meanwhile.
#[target_feature(enable = "avx512f")]
fn panel_rows(layer: &Layer, panel: Panel<'_>, rows: Rows<'_>, out: &mut [f32]) {
    let mut row = 0;
    while row < rows.rows {
        let x = &rows.values[row * rows.stride..];
        let out = &mut out[row * layer.stride() + panel.first..];
        let left = rows.rows - row;
        row += match panel.width {
            LANES => some_rows::<1>(left, layer, panel, x, rows.stride, out),
            _ => some_rows::<2>(left, layer, panel, x, rows.stride, out),
        };
    }
}

/// A tile of as many rows as are left, up to 12: no row is left to a tile of its own, where a sum would wait for itself.
#[target_feature(enable = "avx512f")]
fn some_rows<const COLUMNS: usize>(
    left: usize,
    layer: &Layer,
    panel: Panel<'_>,
    x: &[f32],
    x_stride: usize,
    out: &mut [f32],
) -> usize {
    match left {
        1 => tile::<1, COLUMNS>(layer, panel, x, x_stride, out),
        2 => tile::<2, COLUMNS>(layer, panel, x, x_stride, out),
        3 => tile::<3, COLUMNS>(layer, panel, x, x_stride, out),
        4 => tile::<4, COLUMNS>(layer, panel, x, x_stride, out),
        5 => tile::<5, COLUMNS>(layer, panel, x, x_stride, out),
        6 => tile::<6, COLUMNS>(layer, panel, x, x_stride, out),
        7 => tile::<7, COLUMNS>(layer, panel, x, x_stride, out),
        8 | 16 => tile::<8, COLUMNS>(layer, panel, x, x_stride, out),
        9 => tile::<9, COLUMNS>(layer, panel, x, x_stride, out),
        10 => tile::<10, COLUMNS>(layer, panel, x, x_stride, out),
        11 => tile::<11, COLUMNS>(layer, panel, x, x_stride, out),
        _ => tile::<12, COLUMNS>(layer, panel, x, x_stride, out),
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

/// Sixteen rows at a time, whose sums are then added up side by side.
#[target_feature(enable = "avx512f")]
fn dots(layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
    let (inputs, outputs) = (layer.inputs(), layer.stride());
    for (rows_of_tile, out) in rows.values.chunks(LANES * rows.stride).zip(out.chunks_mut(LANES * outputs)) {
        let count = out.len() / outputs;
        for (output, (weights, bias)) in layer.dot_iter().enumerate() {
            let mut sums = [_mm512_setzero_ps(); LANES];
            for (sums, row) in sums.iter_mut().zip(rows_of_tile.chunks(rows.stride)).take(count) {
                *sums = products(&row[..inputs], weights);
            }
            let mut dots = [0.0; LANES];
            let sums = _mm512_add_ps(sums_by_halves(sums), _mm512_set1_ps(bias));
            // SAFETY: an array of sixteen.
            unsafe { _mm512_storeu_ps(dots.as_mut_ptr(), sums) };
            out.iter_mut().skip(output).step_by(outputs).zip(dots).for_each(|(out, dot)| *out = dot);
        }
    }
}

/// Sixteen partial sums of the products of a row with an output's weights.
#[inline]
#[target_feature(enable = "avx512f")]
fn products(row: &[f32], weights: &[f32]) -> __m512 {
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
    sums
}

/// The sum of each register's lanes, by halves as [`sum_by_halves`](super::layer::sum_by_halves) adds them: each step
/// puts what is left of two registers into one.
#[inline]
#[target_feature(enable = "avx512f")]
fn sums_by_halves(sums: [__m512; LANES]) -> __m512 {
    let mut eight = [_mm512_setzero_ps(); 8];
    for (sum, pair) in eight.iter_mut().zip(sums.as_chunks::<2>().0) {
        let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(pair[0], pair[1]);
        *sum = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_10_11_10>(pair[0], pair[1]));
    }
    let mut four = [_mm512_setzero_ps(); 4];
    for (sum, pair) in four.iter_mut().zip(eight.as_chunks::<2>().0) {
        let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(pair[0], pair[1]);
        *sum = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(pair[0], pair[1]));
    }
    let mut two = [_mm512_setzero_ps(); 2];
    for (sum, pair) in two.iter_mut().zip(four.as_chunks::<2>().0) {
        let low = _mm512_shuffle_ps::<0b01_00_01_00>(pair[0], pair[1]);
        *sum = _mm512_add_ps(low, _mm512_shuffle_ps::<0b11_10_11_10>(pair[0], pair[1]));
    }
    let low = _mm512_shuffle_ps::<0b10_00_10_00>(two[0], two[1]);
    let sum = _mm512_add_ps(low, _mm512_shuffle_ps::<0b11_01_11_01>(two[0], two[1]));
    // Register `r` came to lie in element `r / 4` of quarter `r % 4`.
    let place = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    _mm512_permutexvar_ps(place, sum)
}
