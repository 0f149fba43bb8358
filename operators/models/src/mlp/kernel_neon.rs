//! The NEON kernel: tiles of up to 6 rows by 16 outputs, whose 24 sums stay in registers over all inputs.
#![expect(unsafe_code, reason = "vector loads and stores, and calls into code compiled for NEON")]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::activation::Activation;
use super::layer::{LANES, Layer, Packing, Panel, Rows};

/// Floats of one register.
const QUAD: usize = 4;
/// Registers of sixteen outputs, and of a whole panel's.
const COLUMN: usize = LANES / QUAD;
const PANEL: usize = 2 * COLUMN;

/// Proof that the machine has NEON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    pub(super) fn run(self, layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
        // SAFETY: `self` exists only where detection found NEON.
        unsafe { run(layer, rows, &mut out[..rows.rows * layer.stride()]) }
    }
}

#[target_feature(enable = "neon")]
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

/// All rows of one panel, a column of sixteen outputs at a time; one or two rows leave registers for both columns, and
/// need them: their few sums would wait for themselves.
#[target_feature(enable = "neon")]
fn panel_rows(layer: &Layer, panel: Panel<'_>, rows: Rows<'_>, out: &mut [f32]) {
    let out = &mut out[panel.first..];
    match (rows.rows, panel.width / QUAD) {
        (1, PANEL) => {
            tile::<1, PANEL>(layer, panel, 0, rows.values, rows.stride, out);
        }
        (2, PANEL) => {
            tile::<2, PANEL>(layer, panel, 0, rows.values, rows.stride, out);
        }
        _ => (0..panel.width).step_by(LANES).for_each(|column| column_rows(layer, panel, column, rows, out)),
    }
}

/// Sixteen outputs of all rows; `out` begins with the panel's first. No row of many is left to a tile of its own.
#[target_feature(enable = "neon")]
fn column_rows(layer: &Layer, panel: Panel<'_>, column: usize, rows: Rows<'_>, out: &mut [f32]) {
    let mut row = 0;
    while row < rows.rows {
        let x = &rows.values[row * rows.stride..];
        let out = &mut out[row * layer.stride() + column..];
        row += match rows.rows - row {
            1 => tile::<1, COLUMN>(layer, panel, column, x, rows.stride, out),
            2 => tile::<2, COLUMN>(layer, panel, column, x, rows.stride, out),
            3 => tile::<3, COLUMN>(layer, panel, column, x, rows.stride, out),
            4 | 7 | 8 => tile::<4, COLUMN>(layer, panel, column, x, rows.stride, out),
            5 => tile::<5, COLUMN>(layer, panel, column, x, rows.stride, out),
            _ => tile::<6, COLUMN>(layer, panel, column, x, rows.stride, out),
        };
    }
}

/// `ROWS` rows by `QUADS` registers of outputs from `column` on; returns `ROWS`.
#[target_feature(enable = "neon")]
fn tile<const ROWS: usize, const QUADS: usize>(
    layer: &Layer,
    panel: Panel<'_>,
    column: usize,
    x: &[f32],
    x_stride: usize,
    out: &mut [f32],
) -> usize {
    let (inputs, out_stride) = (layer.inputs(), layer.stride());
    assert!(column + QUADS * QUAD <= panel.width && panel.bias.len() == panel.width);
    assert!(panel.weights.len() == inputs * panel.width);
    assert!(x.len() >= (ROWS - 1) * x_stride + inputs && out.len() >= (ROWS - 1) * out_stride + QUADS * QUAD);
    // SAFETY: the bias has `panel.width` values, at least `column + QUADS * QUAD`, as asserted.
    let bias = unsafe { load::<QUADS>(panel.bias.as_ptr().add(column)) };
    let mut sums = [bias; ROWS];
    for input in 0..inputs {
        // SAFETY: `inputs` times `panel.width` weights, as asserted.
        let weights = unsafe { load::<QUADS>(panel.weights.as_ptr().add(input * panel.width + column)) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `ROWS - 1` has `inputs` values, as asserted.
            let value = vdupq_n_f32(unsafe { *x.as_ptr().add(row * x_stride + input) });
            for (sum, &weight) in sums.iter_mut().zip(&weights) {
                *sum = vfmaq_f32(*sum, value, weight);
            }
        }
    }
    let relu = layer.activation() == Activation::Relu;
    for (row, sums) in sums.iter().enumerate() {
        for (quad, &sum) in sums.iter().enumerate() {
            let sum = if relu { positive(sum) } else { sum };
            // SAFETY: row `ROWS - 1` of the answers has `QUADS * QUAD` places, as asserted.
            unsafe { vst1q_f32(out.as_mut_ptr().add(row * out_stride + quad * QUAD), sum) };
        }
    }
    ROWS
}

/// ReLU. NaN and -0 stay what they are, which NEON's own maximum would change.
#[inline]
#[target_feature(enable = "neon")]
fn positive(sum: float32x4_t) -> float32x4_t {
    let zero = vdupq_n_f32(0.0);
    vbslq_f32(vcltq_f32(sum, zero), zero, sum)
}

/// # Safety
/// `QUADS` times four floats can be read at `from`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load<const QUADS: usize>(from: *const f32) -> [float32x4_t; QUADS] {
    let mut quads = [vdupq_n_f32(0.0); QUADS];
    for (quad, values) in quads.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *values = unsafe { vld1q_f32(from.add(quad * QUAD)) };
    }
    quads
}

#[target_feature(enable = "neon")]
fn dots(layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
    for (row, out) in rows.values.chunks(rows.stride).zip(out.chunks_exact_mut(layer.stride())) {
        let row = &row[..layer.inputs()];
        for (out, (weights, bias)) in out.iter_mut().zip(layer.dot_iter()) {
            *out = dot(row, weights) + bias;
        }
    }
}

#[target_feature(enable = "neon")]
fn dot(row: &[f32], weights: &[f32]) -> f32 {
    let (whole, row_rest) = row.as_chunks();
    let (whole_weights, weights_rest) = weights.as_chunks();
    let mut sums = [vdupq_n_f32(0.0); COLUMN];
    whole.iter().zip(whole_weights).for_each(|(x, weights)| add_products(&mut sums, x, weights));
    if !row_rest.is_empty() {
        add_products(&mut sums, &padded(row_rest), &padded(weights_rest));
    }
    total(sums)
}

#[inline]
#[target_feature(enable = "neon")]
fn add_products(sums: &mut [float32x4_t; COLUMN], x: &[f32; LANES], weights: &[f32; LANES]) {
    // SAFETY: both are arrays of sixteen.
    let (x, weights) = unsafe { (load::<COLUMN>(x.as_ptr()), load::<COLUMN>(weights.as_ptr())) };
    for (sum, (x, weight)) in sums.iter_mut().zip(x.into_iter().zip(weights)) {
        *sum = vfmaq_f32(*sum, x, weight);
    }
}

/// The sum of sixteen partial sums, by halves as [`sum_by_halves`](super::layer::sum_by_halves) adds them.
#[inline]
#[target_feature(enable = "neon")]
fn total(sums: [float32x4_t; COLUMN]) -> f32 {
    let four = vaddq_f32(vaddq_f32(sums[0], sums[2]), vaddq_f32(sums[1], sums[3]));
    let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
}

/// Fewer than sixteen values, zeros behind them.
#[inline]
fn padded(values: &[f32]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes[..values.len()].copy_from_slice(values);
    lanes
}
