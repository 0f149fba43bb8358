//! Vectors of sixteen in two AVX registers.
#![expect(unsafe_code, reason = "AVX2 instructions, and calls into code compiled for them")]

use std::arch::x86_64::*;

use super::Task;
use super::vector::{LANES, Vector};

/// Proof that the machine has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    pub(super) fn run(self, task: Task<'_>) {
        // SAFETY: `self` exists only where detection found AVX2 and FMA.
        unsafe { run(task) }
    }
}

#[target_feature(enable = "avx2,fma")]
fn run(task: Task<'_>) {
    task.run::<Pair>();
}

/// Floats of one register.
const HALF: usize = LANES / 2;

/// It is made and used only below [`run`], so each instruction is one that the machine has.
#[derive(Clone, Copy)]
struct Pair(__m256, __m256);

impl Vector for Pair {
    // 12 of the 16 registers are sums.
    const ROWS: usize = 6;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        // SAFETY: an array of sixteen; AVX2 as said above.
        unsafe { Self(_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(HALF))) }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        // SAFETY: an array of sixteen; AVX2 as said above.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), self.0);
            _mm256_storeu_ps(to.as_mut_ptr().add(HALF), self.1);
        }
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: AVX2 as said above.
        let x = unsafe { _mm256_set1_ps(x) };
        Self(x, x)
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: AVX2 and FMA as said above.
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: AVX2 and FMA as said above.
        unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: AVX2 and FMA as said above.
        unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: AVX2 and FMA as said above.
        unsafe { Self(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
    }
    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        // SAFETY: AVX2 and FMA as said above.
        unsafe { Self(_mm256_fmadd_ps(self.0, by.0, plus.0), _mm256_fmadd_ps(self.1, by.1, plus.1)) }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: AVX2 and FMA as said above.
        unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: AVX2 and FMA as said above.
        unsafe { Self(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
    }
    #[inline(always)]
    fn power(self, zero: f32) -> Self {
        // SAFETY: AVX2 as said above.
        unsafe {
            let from = _mm256_set1_epi32(127i32.wrapping_sub(zero.to_bits() as i32));
            let low = _mm256_add_epi32(_mm256_castps_si256(self.0), from);
            let high = _mm256_add_epi32(_mm256_castps_si256(self.1), from);
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)), _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)))
        }
    }
}
