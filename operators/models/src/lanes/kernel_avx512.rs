//! Vectors of sixteen in one AVX-512 register.
#![expect(unsafe_code, reason = "AVX-512 instructions, and calls into code compiled for them")]

use std::arch::x86_64::*;

use super::program::{Engine, Task};
use super::vector::{Vector, WIDE};

/// Proof that the machine has AVX-512F.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    pub(super) fn run(self, engine: &Engine, task: Task<'_>) {
        // SAFETY: `self` exists only where detection found AVX-512F.
        unsafe { run(engine, task) }
    }
}

#[target_feature(enable = "avx512f")]
fn run(engine: &Engine, task: Task<'_>) {
    engine.run::<Sixteen>(task);
}

/// It is made and used only below [`run`], so each instruction is one that the machine has.
#[derive(Clone, Copy)]
struct Sixteen(__m512);

impl Vector for Sixteen {
    const LANES: usize = WIDE;
    const MANY: bool = true;

    #[inline(always)]
    fn load(from: &[f32], at: usize) -> Self {
        let from = &from[at..at + WIDE];
        // SAFETY: a slice of sixteen; AVX-512F as said above.
        Self(unsafe { _mm512_loadu_ps(from.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], at: usize) {
        let to = &mut to[at..at + WIDE];
        // SAFETY: a slice of sixteen; AVX-512F as said above.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) };
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_fmadd_ps(self.0, by.0, plus.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe {
            let (mask, this, sign) =
                (_mm512_set1_epi32(i32::MIN), _mm512_castps_si512(self.0), _mm512_castps_si512(sign.0));
            // By each bit of the mask the second or the third.
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xca>(mask, sign, this))
        })
    }
    #[inline(always)]
    fn less(self, than: Self, then: Self, or: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, than.0), or.0, then.0) })
    }
    #[inline(always)]
    fn power(self, zero: f32) -> Self {
        let from = 127i32.wrapping_sub(zero.to_bits() as i32);
        // SAFETY: AVX-512F as said above.
        Self(unsafe {
            let exponent = _mm512_add_epi32(_mm512_castps_si512(self.0), _mm512_set1_epi32(from));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        })
    }
    #[inline(always)]
    fn turn(rows: &[f32], from: usize, stride: usize, arena: &mut [f32], to: usize) {
        let mut all = [Self::splat(0.0); WIDE];
        for (lane, row) in all.iter_mut().enumerate() {
            *row = Self::load(rows, from + lane * stride);
        }
        // Rows four and eight apart exchange quarters; rows of one quarter then exchange single numbers.
        for lane in [0, 1, 2, 3, 8, 9, 10, 11] {
            let (a, b) = (all[lane].0, all[lane + 4].0);
            // SAFETY: AVX-512F as said above.
            unsafe {
                all[lane] = Self(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b));
                all[lane + 4] = Self(_mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
            }
        }
        for lane in 0..8 {
            let (a, b) = (all[lane].0, all[lane + 8].0);
            // SAFETY: AVX-512F as said above.
            unsafe {
                all[lane] = Self(_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b));
                all[lane + 8] = Self(_mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
            }
        }
        for first in [0, 4, 8, 12] {
            // SAFETY: AVX-512F as said above.
            unsafe {
                let [a, b, c, d] = [all[first].0, all[first + 1].0, all[first + 2].0, all[first + 3].0];
                let (low, high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let (low2, high2) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                all[first] = Self(_mm512_shuffle_ps::<0b01_00_01_00>(low, low2));
                all[first + 1] = Self(_mm512_shuffle_ps::<0b11_10_11_10>(low, low2));
                all[first + 2] = Self(_mm512_shuffle_ps::<0b01_00_01_00>(high, high2));
                all[first + 3] = Self(_mm512_shuffle_ps::<0b11_10_11_10>(high, high2));
            }
        }
        // The columns that registers 0, 4, 8 and 12 begin with.
        for (first, column) in [(0, 0), (4, 8), (8, 4), (12, 12)] {
            for at in 0..4 {
                all[first + at].store(arena, to + (column + at) * WIDE);
            }
        }
    }
}
