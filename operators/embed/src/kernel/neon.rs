//! Vectors of sixteen in four NEON registers.
#![expect(unsafe_code, reason = "NEON instructions, and calls into code compiled for them")]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::Task;
use super::vector::{LANES, Vector};

/// Proof that the machine has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    pub(super) fn run(self, task: Task<'_>) {
        // SAFETY: `self` exists only where detection found NEON.
        unsafe { run(task) }
    }
}

#[target_feature(enable = "neon")]
fn run(task: Task<'_>) {
    task.run::<Quads>();
}

/// Floats of one register.
const QUAD: usize = 4;

/// It is made and used only below [`run`], so each instruction is one that the machine has.
#[derive(Clone, Copy)]
struct Quads([float32x4_t; LANES / QUAD]);

impl Quads {
    #[inline(always)]
    fn both(self, other: Self, of: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        Self(std::array::from_fn(|at| of(self.0[at], other.0[at])))
    }
}

impl Vector for Quads {
    // 24 of the 32 registers are sums.
    const ROWS: usize = 6;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        // SAFETY: an array of sixteen; NEON as said above.
        Self(std::array::from_fn(|quad| unsafe { vld1q_f32(from.as_ptr().add(quad * QUAD)) }))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        for (quad, numbers) in self.0.into_iter().enumerate() {
            // SAFETY: an array of sixteen; NEON as said above.
            unsafe { vst1q_f32(to.as_mut_ptr().add(quad * QUAD), numbers) };
        }
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: NEON as said above.
        Self([unsafe { vdupq_n_f32(x) }; LANES / QUAD])
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: NEON as said above.
        self.both(other, |a, b| unsafe { vaddq_f32(a, b) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: NEON as said above.
        self.both(other, |a, b| unsafe { vsubq_f32(a, b) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: NEON as said above.
        self.both(other, |a, b| unsafe { vmulq_f32(a, b) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: NEON as said above.
        self.both(other, |a, b| unsafe { vdivq_f32(a, b) })
    }
    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        // SAFETY: NEON as said above.
        Self(std::array::from_fn(|at| unsafe { vfmaq_f32(plus.0[at], self.0[at], by.0[at]) }))
    }
    // NEON's own maximum and minimum give NaN where either is NaN.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: NEON as said above.
        self.both(other, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: NEON as said above.
        self.both(other, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }
    #[inline(always)]
    fn power(self, zero: f32) -> Self {
        let from = 127i32.wrapping_sub(zero.to_bits() as i32);
        Self(self.0.map(|x| {
            // SAFETY: NEON as said above.
            unsafe {
                let exponent = vaddq_s32(vreinterpretq_s32_f32(x), vdupq_n_s32(from));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
            }
        }))
    }
}
