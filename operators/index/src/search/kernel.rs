//! Inner products of rows and questions, with the fastest instructions that the machine has.
//!
//! Rows are read once for all questions: a tile of rows and questions keeps its sums in registers. The sums of different
//! instruction sets differ in their last bits, so they only choose candidates; scores are computed anew from those.

#[cfg(target_arch = "aarch64")]
use super::kernel_neon::Neon;
#[cfg(target_arch = "x86_64")]
use super::kernel_x86::{Avx2, Avx512};

/// The instructions that compute inner products.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Portable,
}

impl Kernel {
    /// All that this machine has, the fastest first.
    pub(crate) fn available() -> Vec<Kernel> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::detect().map(Kernel::Avx512));
            all.extend(Avx2::detect().map(Kernel::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(Neon::detect().map(Kernel::Neon));
        all.push(Kernel::Portable);
        all
    }

    /// The fastest.
    pub(crate) fn fastest() -> Kernel {
        Kernel::available().first().copied().unwrap_or(Kernel::Portable)
    }

    /// The inner product of each row and each question: `out[row * questions + question]`.
    ///
    /// All slices hold whole vectors of `dimension` numbers; `out` has a place for each pair.
    pub(crate) fn products(self, rows: &[f32], questions: &[f32], dimension: usize, out: &mut [f32]) {
        let (n, q) = (rows.len() / dimension, questions.len() / dimension);
        assert!(rows.len() == n * dimension && questions.len() == q * dimension && out.len() == n * q);
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) => kernel.products(rows, questions, dimension, out),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(kernel) => kernel.products(rows, questions, dimension, out),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon(kernel) => kernel.products(rows, questions, dimension, out),
            Kernel::Portable => portable(rows, questions, dimension, out),
        }
    }
}

/// Sums side by side, which a compiler turns into whatever lanes there are.
const LANES: usize = 16;

fn portable(rows: &[f32], questions: &[f32], dimension: usize, out: &mut [f32]) {
    let count = questions.len() / dimension;
    for (row, out) in rows.chunks_exact(dimension).zip(out.chunks_exact_mut(count.max(1))) {
        for (question, out) in questions.chunks_exact(dimension).zip(out) {
            *out = product(row, question);
        }
    }
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::Dice;

    #[test]
    fn all_kernels_agree_with_the_sum_in_double_precision() {
        let mut dice = Dice(7);
        for kernel in Kernel::available() {
            for (rows, questions, dimension) in
                [(1, 1, 1), (3, 2, 15), (9, 7, 16), (17, 13, 33), (8, 6, 384), (5, 1, 100), (0, 3, 8)]
            {
                let a: Vec<f32> = (0..rows * dimension).map(|_| dice.number()).collect();
                let b: Vec<f32> = (0..questions * dimension).map(|_| dice.number()).collect();
                let mut out = vec![f32::NAN; rows * questions];
                kernel.products(&a, &b, dimension, &mut out);
                for (at, found) in out.iter().enumerate() {
                    let (a, b) = (&a[at / questions * dimension..], &b[at % questions * dimension..]);
                    let expected: f64 = (0..dimension).map(|i| f64::from(a[i]) * f64::from(b[i])).sum();
                    let what = (kernel, rows, questions, dimension, at);
                    assert!((f64::from(*found) - expected).abs() < 1e-4, "{what:?}: {found} {expected}");
                }
            }
        }
    }
}
