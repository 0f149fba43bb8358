//! Vectors of sixteen in one AVX-512 register.
#![expect(unsafe_code, reason = "AVX-512 instructions, and calls into code compiled for them")]

use std::arch::x86_64::*;

use super::Task;
use super::vector::{LANES, Vector};

/// Proof that the machine has AVX-512F.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    pub(super) fn run(self, task: Task<'_>) {
        // SAFETY: `self` exists only where detection found AVX-512F.
        unsafe { run(task) }
    }
}

#[target_feature(enable = "avx512f")]
fn run(task: Task<'_>) {
    task.run::<Sixteen>();
}

/// It is made and used only below [`run`], so each instruction is one that the machine has.
#[derive(Clone, Copy)]
struct Sixteen(__m512);

impl Vector for Sixteen {
    // 24 of the 32 registers are sums.
    const ROWS: usize = 12;
    const COLUMNS: usize = 2;

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        // SAFETY: an array of sixteen; AVX-512F as said above.
        Self(unsafe { _mm512_loadu_ps(from.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        // SAFETY: an array of sixteen; AVX-512F as said above.
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
    fn mul_add(self, by: Self, plus: Self) -> Self {
        // SAFETY: AVX-512F as said above.
        Self(unsafe { _mm512_fmadd_ps(self.0, by.0, plus.0) })
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
    fn power(self, zero: f32) -> Self {
        let from = 127i32.wrapping_sub(zero.to_bits() as i32);
        // SAFETY: AVX-512F as said above.
        Self(unsafe {
            let exponent = _mm512_add_epi32(_mm512_castps_si512(self.0), _mm512_set1_epi32(from));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        })
    }
}
