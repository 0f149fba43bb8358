//! Inner products of rows and questions in 8-bit numbers with AVX-512 VNNI: four products a lane and instruction.
//!
//! Sixteen sums are added up across their lanes at once: one by one, that would take longer than the products.
#![expect(unsafe_code, reason = "vector loads and stores, and calls into code compiled for AVX-512 VNNI")]

use std::arch::x86_64::*;

use super::kernel_codes::WIDTH;

/// Proof that the machine has AVX-512F and VNNI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vnni(());

impl Vnni {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")).then_some(Self(()))
    }

    /// See [`CodeKernel::products`](super::kernel_codes::CodeKernel::products), which has checked the lengths.
    pub(super) fn products(self, rows: &[u8], questions: &[i8], stride: usize, out: &mut [i32]) {
        // SAFETY: `self` exists only where detection found AVX-512F and VNNI.
        unsafe { products(rows, questions, stride, out) }
    }

    /// See [`CodeKernel::run`](super::kernel_codes::CodeKernel::run).
    #[inline]
    pub(super) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        // SAFETY: `self` exists only where detection found AVX-512F and VNNI.
        unsafe { run(work) }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn run<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn products(rows: &[u8], questions: &[i8], stride: usize, out: &mut [i32]) {
    let (n, q) = (rows.len() / stride, questions.len() / stride);
    let mut row = 0;
    while row < n {
        let here = &rows[row * stride..];
        // Few questions need many rows at a time, or each sum waits for itself.
        let taken = match n - row {
            16.. if q < 4 => 16,
            4.. => 4,
            _ => 1,
        };
        let mut question = 0;
        while question < q {
            let there = &questions[question * stride..];
            let out = &mut out[question * n + row..];
            question += match (taken, q - question) {
                (16, _) => alone(here, there, stride, out),
                (4, 4..) => four_by_four(here, there, stride, n, out),
                (4, _) => tile::<4, 1>(here, there, stride, n, out),
                (_, 4..) => tile::<1, 4>(here, there, stride, n, out),
                _ => tile::<1, 1>(here, there, stride, n, out),
            };
        }
        row += taken;
    }
}

/// The sums of `R` rows and `Q` questions, lane by lane.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn sums<const R: usize, const Q: usize>(rows: &[u8], questions: &[i8], stride: usize) -> [[__m512i; R]; Q] {
    let count = stride / WIDTH;
    let (rows, questions) = (rows.as_chunks::<WIDTH>().0, questions.as_chunks::<WIDTH>().0);
    // Slices of one length that is known here: nothing is left to check at each step.
    let mut row_at: [&[[u8; WIDTH]]; R] = [&[]; R];
    let mut question_at: [&[[i8; WIDTH]]; Q] = [&[]; Q];
    for r in 0..R {
        row_at[r] = &rows[r * count..][..count];
    }
    for q in 0..Q {
        question_at[q] = &questions[q * count..][..count];
    }
    let mut sums = [[_mm512_setzero_si512(); R]; Q];
    for at in 0..count {
        let mut row = [_mm512_setzero_si512(); R];
        for r in 0..R {
            // SAFETY: the array has a register's bytes.
            row[r] = unsafe { _mm512_loadu_si512(row_at[r][at].as_ptr().cast()) };
        }
        for q in 0..Q {
            // SAFETY: the array has a register's bytes.
            let question = unsafe { _mm512_loadu_si512(question_at[q][at].as_ptr().cast()) };
            for r in 0..R {
                sums[q][r] = _mm512_dpbusd_epi32(sums[q][r], row[r], question);
            }
        }
    }
    sums
}

/// The products of sixteen rows and one question; gives 1. Each row is read to its end before the next one, as memory is
/// read ahead: of sixteen at a time it would not be.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn alone(rows: &[u8], question: &[i8], stride: usize, out: &mut [i32]) -> usize {
    let mut sums = [_mm512_setzero_si512(); 16];
    for (row, sum) in rows[..16 * stride].chunks_exact(stride).zip(&mut sums) {
        for (row, question) in row.chunks_exact(WIDTH).zip(question.chunks_exact(WIDTH)) {
            // SAFETY: both slices have a register's bytes.
            let (row, question) =
                unsafe { (_mm512_loadu_si512(row.as_ptr().cast()), _mm512_loadu_si512(question.as_ptr().cast())) };
            *sum = _mm512_dpbusd_epi32(*sum, row, question);
        }
    }
    out[..16].copy_from_slice(&added(&sums));
    1
}

/// The products of four rows and four questions; gives 4.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn four_by_four(rows: &[u8], questions: &[i8], stride: usize, across: usize, out: &mut [i32]) -> usize {
    let sums = sums::<4, 4>(rows, questions, stride);
    for (q, added) in added(sums.as_flattened()).chunks_exact(4).enumerate() {
        out[q * across..][..4].copy_from_slice(added);
    }
    4
}

/// The sum of the lanes of each of sixteen registers.
#[target_feature(enable = "avx512f")]
#[inline]
fn added(all: &[__m512i]) -> [i32; 16] {
    let mut added = [0_i32; 16];
    // SAFETY: the array has a register's numbers.
    unsafe { _mm512_storeu_si512(added.as_mut_ptr().cast(), across_lanes(all)) };
    added
}

/// The same in one register.
#[target_feature(enable = "avx512f")]
#[inline]
fn across_lanes(all: &[__m512i]) -> __m512i {
    let mut fours = [_mm512_setzero_si512(); 4];
    for (four, sums) in fours.iter_mut().zip(all.chunks_exact(4)) {
        let pair = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (low, high) = (pair(sums[0], sums[1]), pair(sums[2], sums[3]));
        *four = _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
    }
    let join = |a, b| _mm512_add_epi32(_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
    join(join(fours[0], fours[1]), join(fours[2], fours[3]))
}

/// The products of `R` rows and `Q` questions; gives `Q`.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn tile<const R: usize, const Q: usize>(
    rows: &[u8],
    questions: &[i8],
    stride: usize,
    across: usize,
    out: &mut [i32],
) -> usize {
    let sums = sums::<R, Q>(rows, questions, stride);
    for q in 0..Q {
        for r in 0..R {
            out[q * across + r] = _mm512_reduce_add_epi32(sums[q][r]);
        }
    }
    Q
}
