//! Inner products with AVX-512 and AVX2: tiles of rows and questions whose sums stay in registers.
#![expect(unsafe_code, reason = "vector loads, and calls into code compiled for AVX-512 and AVX2")]

use std::arch::x86_64::*;

use super::tiles::tiles;

/// Proof that the machine has AVX-512F.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

/// Proof that the machine has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    pub(super) fn products(self, rows: &[f32], questions: &[f32], dimension: usize, out: &mut [f32]) {
        // SAFETY: `self` exists only where detection found AVX-512F.
        unsafe { products_512(rows, questions, dimension, out) }
    }
}

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    pub(super) fn products(self, rows: &[f32], questions: &[f32], dimension: usize, out: &mut [f32]) {
        // SAFETY: `self` exists only where detection found AVX2 and FMA.
        unsafe { products_256(rows, questions, dimension, out) }
    }

    /// See [`CodeKernel::products`](super::kernel_codes::CodeKernel::products), which has checked the lengths.
    pub(super) fn code_products(self, rows: &[u8], questions: &[i8], stride: usize, out: &mut [i32]) {
        // SAFETY: `self` exists only where detection found AVX2 and FMA.
        unsafe { code_products_256(rows, questions, stride, out) }
    }
}

#[target_feature(enable = "avx512f")]
fn products_512(rows: &[f32], questions: &[f32], dimension: usize, out: &mut [f32]) {
    tiles!(tile_512, rows, questions, dimension, out, 8, 4, 6)
}

#[target_feature(enable = "avx2,fma")]
fn products_256(rows: &[f32], questions: &[f32], dimension: usize, out: &mut [f32]) {
    tiles!(tile_256, rows, questions, dimension, out, 8, 2, 4)
}

/// The products of `R` rows and `Q` questions; gives `Q`.
#[target_feature(enable = "avx512f")]
#[inline]
fn tile_512<const R: usize, const Q: usize>(
    rows: &[f32],
    questions: &[f32],
    dimension: usize,
    stride: usize,
    out: &mut [f32],
) -> usize {
    let (rows, questions) = (&rows[..R * dimension], &questions[..Q * dimension]);
    let mut sums = [[_mm512_setzero_ps(); Q]; R];
    let mut at = 0;
    while at < dimension {
        let left = dimension - at;
        let mask: __mmask16 = if left >= 16 { u16::MAX } else { (1 << left) - 1 };
        let mut row = [_mm512_setzero_ps(); R];
        for r in 0..R {
            let from = &rows[r * dimension + at..][..left.min(16)];
            // SAFETY: the mask admits as many numbers as the slice has.
            row[r] = unsafe { _mm512_maskz_loadu_ps(mask, from.as_ptr()) };
        }
        for q in 0..Q {
            let from = &questions[q * dimension + at..][..left.min(16)];
            // SAFETY: the mask admits as many numbers as the slice has.
            let question = unsafe { _mm512_maskz_loadu_ps(mask, from.as_ptr()) };
            for r in 0..R {
                sums[r][q] = _mm512_fmadd_ps(row[r], question, sums[r][q]);
            }
        }
        at += 16;
    }
    for r in 0..R {
        for q in 0..Q {
            out[r * stride + q] = _mm512_reduce_add_ps(sums[r][q]);
        }
    }
    Q
}

/// The products of `R` rows and `Q` questions; gives `Q`.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn tile_256<const R: usize, const Q: usize>(
    rows: &[f32],
    questions: &[f32],
    dimension: usize,
    stride: usize,
    out: &mut [f32],
) -> usize {
    let (rows, questions) = (&rows[..R * dimension], &questions[..Q * dimension]);
    let mut sums = [[_mm256_setzero_ps(); Q]; R];
    let whole = dimension / 8 * 8;
    let mut at = 0;
    while at < whole {
        let mut row = [_mm256_setzero_ps(); R];
        for r in 0..R {
            let from = &rows[r * dimension + at..][..8];
            // SAFETY: the slice has eight numbers.
            row[r] = unsafe { _mm256_loadu_ps(from.as_ptr()) };
        }
        for q in 0..Q {
            let from = &questions[q * dimension + at..][..8];
            // SAFETY: the slice has eight numbers.
            let question = unsafe { _mm256_loadu_ps(from.as_ptr()) };
            for r in 0..R {
                sums[r][q] = _mm256_fmadd_ps(row[r], question, sums[r][q]);
            }
        }
        at += 8;
    }
    for r in 0..R {
        for q in 0..Q {
            let rest: f32 = (whole..dimension).map(|i| rows[r * dimension + i] * questions[q * dimension + i]).sum();
            out[r * stride + q] = sum_256(sums[r][q]) + rest;
        }
    }
    Q
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn sum_256(lanes: __m256) -> f32 {
    let half = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
}

/// Inner products of 8-bit numbers, widened to 16 bits: the instruction for 8 would cut off large sums.
#[target_feature(enable = "avx2,fma")]
fn code_products_256(rows: &[u8], questions: &[i8], stride: usize, out: &mut [i32]) {
    let count = rows.len() / stride;
    for (question, out) in questions.chunks_exact(stride).zip(out.chunks_exact_mut(count.max(1))) {
        let mut places = out.iter_mut();
        let mut fours = rows.chunks_exact(4 * stride);
        for four in fours.by_ref() {
            let sums = code_tile_256::<4>(four, question, stride);
            places.by_ref().zip(sums).take(4).for_each(|(place, sum)| *place = sum);
        }
        for (row, place) in fours.remainder().chunks_exact(stride).zip(places) {
            [*place] = code_tile_256::<1>(row, question, stride);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn code_tile_256<const R: usize>(rows: &[u8], question: &[i8], stride: usize) -> [i32; R] {
    let mut sums = [_mm256_setzero_si256(); R];
    for at in (0..stride).step_by(16) {
        let bytes = &question[at..][..16];
        // SAFETY: the slice has sixteen numbers.
        let question = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
        for r in 0..R {
            let bytes = &rows[r * stride + at..][..16];
            // SAFETY: the slice has sixteen numbers.
            let row = _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(row, question));
        }
    }
    sums.map(|lanes| {
        let half = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
        let pair = _mm_add_epi32(half, _mm_shuffle_epi32::<0b_10_11>(half));
        _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32::<0b_01>(pair)))
    })
}
