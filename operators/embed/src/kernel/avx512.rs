//! Vectors of sixteen in one AVX-512 register.
#![expect(unsafe_code, reason = "AVX-512 instructions, and calls into code compiled for them")]

use std::arch::x86_64::*;

use super::Task;
use super::vector::{LANES, Vector, plain_pair, plain_pair_add};

/// Proof that the machine has AVX-512F, and whether it multiplies bfloat16 (Cooper Lake, Zen 4 and later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512 {
    bf16: bool,
}

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let bf16 = is_x86_feature_detected!("avx512bf16");
        is_x86_feature_detected!("avx512f").then_some(Self { bf16 })
    }

    pub(super) fn has_bf16(self) -> bool {
        self.bf16
    }

    pub(super) fn run(self, task: Task<'_>) {
        if self.bf16 {
            // SAFETY: detection found AVX-512F and its bfloat16 instructions.
            return unsafe { run_bf16(task) };
        }
        // SAFETY: `self` exists only where detection found AVX-512F.
        unsafe { run(task) }
    }
}

#[target_feature(enable = "avx512f")]
fn run(task: Task<'_>) {
    task.run::<Sixteen<false>>();
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn run_bf16(task: Task<'_>) {
    task.run::<Sixteen<true>>();
}

/// It is made and used only below [`run`], and with `BF16` below [`run_bf16`] and its like for tiles, so each instruction
/// is one that the machine has.
#[derive(Clone, Copy)]
pub(super) struct Sixteen<const BF16: bool>(__m512);

impl<const BF16: bool> Vector for Sixteen<BF16> {
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
    fn pair_add(self, by: Self, plus: Self) -> Self {
        if !BF16 {
            return plain_pair_add(self, by, plus);
        }
        // SAFETY: the bfloat16 instructions as said above; the two types of register have the same bits.
        Self(unsafe { _mm512_dpbf16_ps(plus.0, as_pairs(self.0), as_pairs(by.0)) })
    }
    #[inline(always)]
    fn pair(numbers: &[[f32; LANES]; 2]) -> Self {
        if !BF16 {
            return plain_pair(numbers);
        }
        let [low, high] = [Self::load(&numbers[0]), Self::load(&numbers[1])];
        // SAFETY: the bfloat16 instructions as said above; the two types of register have the same bits.
        Self(unsafe { as_numbers(_mm512_cvtne2ps_pbh(high.0, low.0)) })
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

/// The same bits as the type that bfloat16 instructions take.
#[inline(always)]
fn as_pairs(numbers: __m512) -> __m512bh {
    // SAFETY: both are 64 bytes in which every pattern of bits is a value.
    unsafe { std::mem::transmute(numbers) }
}

/// The same way back.
#[inline(always)]
fn as_numbers(pairs: __m512bh) -> __m512 {
    // SAFETY: both are 64 bytes in which every pattern of bits is a value.
    unsafe { std::mem::transmute(pairs) }
}
