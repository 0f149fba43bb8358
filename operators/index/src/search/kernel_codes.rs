//! Inner products of rows and questions in 8-bit numbers, with the fastest instructions that the machine has.
//!
//! Sums of whole numbers are the same in every order: all machines find the same lists and candidates. There is no kernel
//! for NEON: its products of bytes need both of one sign, and what widens them the compiler writes as well.

#[cfg(target_arch = "x86_64")]
use super::kernel_vnni::Vnni;
#[cfg(target_arch = "x86_64")]
use super::kernel_x86::Avx2;

/// Rows and questions are padded to a multiple of this: a register of AVX-512.
pub(crate) const WIDTH: usize = 64;

/// The instructions that compute inner products of codes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CodeKernel {
    #[cfg(target_arch = "x86_64")]
    Vnni(Vnni),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable,
}

impl CodeKernel {
    /// All that this machine has, the fastest first.
    pub(crate) fn available() -> Vec<CodeKernel> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Vnni::detect().map(CodeKernel::Vnni));
            all.extend(Avx2::detect().map(CodeKernel::Avx2));
        }
        all.push(CodeKernel::Portable);
        all
    }

    /// The fastest.
    pub(crate) fn fastest() -> CodeKernel {
        CodeKernel::available().first().copied().unwrap_or(CodeKernel::Portable)
    }

    /// True where codes are compared faster than the numbers that they stand for, even if memory were no matter.
    pub(super) fn is_fast(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            CodeKernel::Vnni(_) => true,
            _ => false,
        }
    }

    /// Does some work as the compiler does it with this kernel's instructions; what is not inlined does not get them.
    #[inline]
    pub(super) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            #[cfg(target_arch = "x86_64")]
            CodeKernel::Vnni(kernel) => kernel.run(work),
            _ => work(),
        }
    }

    /// The inner product of each row and each question: `out[question * rows + row]`.
    ///
    /// All rows and questions have `stride` bytes, a multiple of [`WIDTH`]; `out` has a place for each pair.
    pub(crate) fn products(self, rows: &[u8], questions: &[i8], stride: usize, out: &mut [i32]) {
        assert!(stride > 0 && stride.is_multiple_of(WIDTH));
        let (n, q) = (rows.len() / stride, questions.len() / stride);
        assert!(rows.len() == n * stride && questions.len() == q * stride && out.len() == n * q);
        match self {
            #[cfg(target_arch = "x86_64")]
            CodeKernel::Vnni(kernel) => kernel.products(rows, questions, stride, out),
            #[cfg(target_arch = "x86_64")]
            CodeKernel::Avx2(kernel) => kernel.code_products(rows, questions, stride, out),
            CodeKernel::Portable => portable(rows, questions, stride, out),
        }
    }
}

fn portable(rows: &[u8], questions: &[i8], stride: usize, out: &mut [i32]) {
    let count = rows.len() / stride;
    for (question, out) in questions.chunks_exact(stride).zip(out.chunks_exact_mut(count.max(1))) {
        for (row, out) in rows.chunks_exact(stride).zip(out) {
            *out = row.iter().zip(question).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::Dice;

    #[test]
    fn all_kernels_give_the_same_sums() {
        let mut dice = Dice(77);
        for (rows, questions, stride) in
            [(1, 1, 64), (3, 2, 128), (16, 1, 384), (37, 1, 64), (37, 2, 128), (37, 3, 384), (21, 9, 384), (0, 3, 64)]
        {
            let a: Vec<u8> = (0..rows * stride).map(|_| dice.next() as u8).collect();
            let b: Vec<i8> = (0..questions * stride).map(|_| dice.next() as i8).collect();
            let mut expected = vec![0; rows * questions];
            portable(&a, &b, stride, &mut expected);
            for kernel in CodeKernel::available() {
                let mut out = vec![-1; rows * questions];
                kernel.products(&a, &b, stride, &mut out);
                assert_eq!(out, expected, "{kernel:?}, {rows} rows, {questions} questions of {stride}");
            }
        }
    }
}
