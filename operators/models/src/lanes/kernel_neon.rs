//! Vectors of sixteen in four NEON registers.
#![expect(unsafe_code, reason = "NEON instructions, and calls into code compiled for them")]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::program::{Engine, Task};
use super::vector::{Vector, WIDE};

/// Proof that the machine has NEON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    pub(super) fn run(self, engine: &Engine, task: Task<'_>) {
        // SAFETY: `self` exists only where detection found NEON.
        unsafe { run(engine, task) }
    }
}

#[target_feature(enable = "neon")]
fn run(engine: &Engine, task: Task<'_>) {
    engine.run::<Quads>(task);
}

/// Floats of one register.
const QUAD: usize = 4;

/// It is made and used only below [`run`], so each instruction is one that the machine has.
#[derive(Clone, Copy)]
struct Quads([float32x4_t; WIDE / QUAD]);

impl Quads {
    #[inline(always)]
    fn each(self, of: impl Fn(float32x4_t) -> float32x4_t) -> Self {
        Self(self.0.map(of))
    }

    #[inline(always)]
    fn both(self, other: Self, of: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        Self(std::array::from_fn(|at| of(self.0[at], other.0[at])))
    }
}

impl Vector for Quads {
    const LANES: usize = WIDE;
    const MANY: bool = false;

    #[inline(always)]
    fn load(from: &[f32], at: usize) -> Self {
        let from = &from[at..at + WIDE];
        // SAFETY: a slice of sixteen; NEON as said above.
        Self(std::array::from_fn(|quad| unsafe { vld1q_f32(from.as_ptr().add(quad * QUAD)) }))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], at: usize) {
        let to = &mut to[at..at + WIDE];
        for (quad, numbers) in self.0.into_iter().enumerate() {
            // SAFETY: a slice of sixteen; NEON as said above.
            unsafe { vst1q_f32(to.as_mut_ptr().add(quad * QUAD), numbers) };
        }
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: NEON as said above.
        Self([unsafe { vdupq_n_f32(x) }; WIDE / QUAD])
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
    fn sqrt(self) -> Self {
        // SAFETY: NEON as said above.
        self.each(|x| unsafe { vsqrtq_f32(x) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: NEON as said above.
        self.each(|x| unsafe { vabsq_f32(x) })
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        // By each bit of the mask the second or the third.
        // SAFETY: NEON as said above.
        self.both(sign, |this, sign| unsafe { vbslq_f32(vdupq_n_u32(1 << 31), sign, this) })
    }
    #[inline(always)]
    fn less(self, than: Self, then: Self, or: Self) -> Self {
        let of = |at: usize| {
            // SAFETY: NEON as said above.
            unsafe { vbslq_f32(vcltq_f32(self.0[at], than.0[at]), then.0[at], or.0[at]) }
        };
        Self(std::array::from_fn(of))
    }
    #[inline(always)]
    fn power(self, zero: f32) -> Self {
        let from = 127i32.wrapping_sub(zero.to_bits() as i32);
        self.each(|x| {
            // SAFETY: NEON as said above.
            unsafe {
                let exponent = vaddq_s32(vreinterpretq_s32_f32(x), vdupq_n_s32(from));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
            }
        })
    }
    #[inline(always)]
    fn turn(rows: &[f32], from: usize, stride: usize, arena: &mut [f32], to: usize) {
        for lane in (0..WIDE).step_by(QUAD) {
            let four: [Self; QUAD] = std::array::from_fn(|row| Self::load(rows, from + (lane + row) * stride));
            for quad in 0..WIDE / QUAD {
                let columns = turned(four.map(|row| row.0[quad]));
                for (at, column) in columns.into_iter().enumerate() {
                    let place = &mut arena[to + (quad * QUAD + at) * WIDE + lane..][..QUAD];
                    // SAFETY: a slice of four; NEON as said above.
                    unsafe { vst1q_f32(place.as_mut_ptr(), column) };
                }
            }
        }
    }
}

/// The columns of four rows of four.
#[inline(always)]
fn turned([a, b, c, d]: [float32x4_t; QUAD]) -> [float32x4_t; QUAD] {
    // SAFETY: NEON as said above.
    unsafe {
        let (even, odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
        let (even2, odd2) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
        [
            vcombine_f32(vget_low_f32(even), vget_low_f32(even2)),
            vcombine_f32(vget_low_f32(odd), vget_low_f32(odd2)),
            vcombine_f32(vget_high_f32(even), vget_high_f32(even2)),
            vcombine_f32(vget_high_f32(odd), vget_high_f32(odd2)),
        ]
    }
}
