//! Inner products of rows and questions in 8-bit numbers with AVX-512 VNNI: four products a lane and instruction.
#![expect(unsafe_code, reason = "vector loads, and calls into code compiled for AVX-512 VNNI")]

use std::arch::x86_64::*;

/// Bytes of a register: rows and questions are padded to whole ones.
pub(super) const WIDTH: usize = 64;

/// Proof that the machine has AVX-512F and VNNI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vnni(());

impl Vnni {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")).then_some(Self(()))
    }

    /// The inner product of each row and each question: `out[question * rows + row]`.
    ///
    /// All rows and questions have `stride` bytes, a multiple of [`WIDTH`].
    pub(super) fn products(self, rows: &[u8], questions: &[i8], stride: usize, out: &mut [i32]) {
        let (n, q) = (rows.len() / stride, questions.len() / stride);
        assert!(stride > 0 && stride.is_multiple_of(WIDTH));
        assert!(rows.len() == n * stride && questions.len() == q * stride && out.len() == n * q);
        // SAFETY: `self` exists only where detection found AVX-512F and VNNI.
        unsafe { products(rows, questions, stride, out) }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn products(rows: &[u8], questions: &[i8], stride: usize, out: &mut [i32]) {
    let (n, q) = (rows.len() / stride, questions.len() / stride);
    let mut row = 0;
    while row < n {
        let here = &rows[row * stride..];
        // One question alone needs many rows at a time, or each sum waits for itself.
        let taken = match n - row {
            8.. if q == 1 => 8,
            4.. => 4,
            _ => 1,
        };
        let mut question = 0;
        while question < q {
            let there = &questions[question * stride..];
            let out = &mut out[question * n + row..];
            question += match (taken, q - question) {
                (8, _) => tile::<8, 1>(here, there, stride, n, out),
                (4, 4..) => tile::<4, 4>(here, there, stride, n, out),
                (4, _) => tile::<4, 1>(here, there, stride, n, out),
                (_, 4..) => tile::<1, 4>(here, there, stride, n, out),
                _ => tile::<1, 1>(here, there, stride, n, out),
            };
        }
        row += taken;
    }
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
    let (rows, questions) = (&rows[..R * stride], &questions[..Q * stride]);
    let mut sums = [[_mm512_setzero_si512(); Q]; R];
    for at in (0..stride).step_by(WIDTH) {
        let mut row = [_mm512_setzero_si512(); R];
        for r in 0..R {
            let bytes = &rows[r * stride + at..][..WIDTH];
            // SAFETY: the slice has a register's bytes.
            row[r] = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        }
        for q in 0..Q {
            let bytes = &questions[q * stride + at..][..WIDTH];
            // SAFETY: the slice has a register's bytes.
            let question = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
            for r in 0..R {
                sums[r][q] = _mm512_dpbusd_epi32(sums[r][q], row[r], question);
            }
        }
    }
    for r in 0..R {
        for q in 0..Q {
            out[q * across + r] = _mm512_reduce_add_epi32(sums[r][q]);
        }
    }
    Q
}
