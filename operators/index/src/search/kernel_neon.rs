//! Inner products with NEON: tiles of rows and questions whose sums stay in registers.
#![expect(unsafe_code, reason = "vector loads, and calls into code compiled for NEON")]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::tiles::tiles;

/// Floats of one register.
const QUAD: usize = 4;

/// Proof that the machine has NEON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    pub(super) fn products(self, rows: &[f32], questions: &[f32], dimension: usize, out: &mut [f32]) {
        // SAFETY: `self` exists only where detection found NEON.
        unsafe { products(rows, questions, dimension, out) }
    }
}

#[target_feature(enable = "neon")]
fn products(rows: &[f32], questions: &[f32], dimension: usize, out: &mut [f32]) {
    tiles!(tile, rows, questions, dimension, out, 8, 4, 4)
}

/// The products of `R` rows and `Q` questions; gives `Q`.
#[target_feature(enable = "neon")]
#[inline]
fn tile<const R: usize, const Q: usize>(
    rows: &[f32],
    questions: &[f32],
    dimension: usize,
    stride: usize,
    out: &mut [f32],
) -> usize {
    let (rows, questions) = (&rows[..R * dimension], &questions[..Q * dimension]);
    let mut sums = [[vdupq_n_f32(0.0); Q]; R];
    let whole = dimension / QUAD * QUAD;
    let mut at = 0;
    while at < whole {
        let mut row = [vdupq_n_f32(0.0); R];
        for r in 0..R {
            row[r] = load(&rows[r * dimension + at..]);
        }
        for q in 0..Q {
            let question = load(&questions[q * dimension + at..]);
            for r in 0..R {
                sums[r][q] = vfmaq_f32(sums[r][q], row[r], question);
            }
        }
        at += QUAD;
    }
    for r in 0..R {
        for q in 0..Q {
            let rest: f32 = (whole..dimension).map(|i| rows[r * dimension + i] * questions[q * dimension + i]).sum();
            out[r * stride + q] = vaddvq_f32(sums[r][q]) + rest;
        }
    }
    Q
}

#[target_feature(enable = "neon")]
#[inline]
fn load(from: &[f32]) -> float32x4_t {
    let from = &from[..QUAD];
    // SAFETY: a slice of four.
    unsafe { vld1q_f32(from.as_ptr()) }
}
