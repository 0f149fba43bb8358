//! The kernels of x86-64 and aarch64: tiles whose sums stay in registers over the whole depth.
#![expect(unsafe_code, reason = "vector loads and stores, and calls into code compiled for an instruction set")]

/// A kernel of one instruction set: its features, its registers and how many rows a tile of two registers has.
macro_rules! kernel {
    ($module:ident, $arch:ident, $detected:ident, $features:literal, [$($feature:tt),*], $lanes:literal,
     [$($rows:literal),*], $most:literal, $zero:path, $load:ident, $store:ident, $splat:ident, $multiply_add:path,
     $vector:ident) => {
        pub(super) mod $module {
            use std::arch::$arch::*;

            use super::super::elementwise::{self, Activation, AdamW};
            use super::super::{Product, Start};

            /// Floats of a register.
            const WIDTH: usize = $lanes;

            /// Proof that the machine has the instruction set.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub(crate) struct Proof(());

            impl Proof {
                pub(crate) fn detect() -> Option<Self> {
                    ($(std::arch::$detected!($feature))&&*).then_some(Self(()))
                }

                pub(crate) fn product(self, product: Product<'_>, out: &mut [f32]) {
                    // SAFETY: a proof exists only where detection found the features.
                    unsafe { self::product(product, out) }
                }

                pub(crate) fn activate(self, activation: Activation, values: &mut [f32]) {
                    // SAFETY: as above.
                    unsafe { self::activate(activation, values) }
                }

                pub(crate) fn slope(self, activation: Activation, answers: &[f32], gradients: &mut [f32]) {
                    // SAFETY: as above.
                    unsafe { self::slope(activation, answers, gradients) }
                }

                pub(crate) fn add_rows(self, values: &[f32], sums: &mut [f32]) {
                    // SAFETY: as above.
                    unsafe { self::add_rows(values, sums) }
                }

                pub(crate) fn adamw(
                    self,
                    rule: AdamW,
                    weights: &mut [f32],
                    moments: (&mut [f32], &mut [f32]),
                    gradients: &[f32],
                ) {
                    // SAFETY: as above.
                    unsafe { self::adamw(rule, weights, moments, gradients) }
                }
            }

            #[target_feature(enable = $features)]
            fn activate(activation: Activation, values: &mut [f32]) {
                activation.apply(values);
            }

            #[target_feature(enable = $features)]
            fn slope(activation: Activation, answers: &[f32], gradients: &mut [f32]) {
                activation.slope(answers, gradients);
            }

            #[target_feature(enable = $features)]
            fn add_rows(values: &[f32], sums: &mut [f32]) {
                elementwise::add_rows(values, sums);
            }

            #[target_feature(enable = $features)]
            fn adamw(rule: AdamW, weights: &mut [f32], moments: (&mut [f32], &mut [f32]), gradients: &[f32]) {
                rule.apply(weights, moments, gradients);
            }

            /// Two registers of columns at a time; a last odd one alone.
            #[target_feature(enable = $features)]
            fn product(product: Product<'_>, out: &mut [f32]) {
                let mut column = 0;
                while column < product.columns {
                    let two = product.columns - column >= 2 * WIDTH;
                    let mut row = 0;
                    while row < product.rows {
                        let left = product.rows - row;
                        row += match two {
                            true => some_rows::<2>(left, product, row, column, out),
                            false => some_rows::<1>(left, product, row, column, out),
                        };
                    }
                    column += if two { 2 * WIDTH } else { WIDTH };
                }
            }

            #[target_feature(enable = $features)]
            fn some_rows<const REGISTERS: usize>(
                left: usize,
                product: Product<'_>,
                row: usize,
                column: usize,
                out: &mut [f32],
            ) -> usize {
                match left {
                    $($rows => tile::<$rows, REGISTERS>(product, row, column, out),)*
                    _ => tile::<$most, REGISTERS>(product, row, column, out),
                }
            }

            /// `ROWS` rows by `REGISTERS` registers of columns; returns `ROWS`.
            #[target_feature(enable = $features)]
            fn tile<const ROWS: usize, const REGISTERS: usize>(
                product: Product<'_>,
                row: usize,
                column: usize,
                out: &mut [f32],
            ) -> usize {
                let Product { depth, columns, a_row, a_step, .. } = product;
                assert!(row + ROWS <= product.rows && column + REGISTERS * WIDTH <= columns);
                assert!(product.a.len() > (row + ROWS - 1) * a_row + (depth - 1) * a_step);
                assert!(product.b.len() >= depth * columns && out.len() >= (row + ROWS) * columns);
                let mut sums = start::<ROWS, REGISTERS>(product.start, row, column, columns, out);
                for step in 0..depth {
                    let mut b = [$zero(); REGISTERS];
                    for (register, b) in b.iter_mut().enumerate() {
                        // SAFETY: `b` has `depth` rows of `columns`, and this column is among them, as asserted.
                        *b = unsafe {
                            $load(product.b.as_ptr().add(step * columns + column + register * WIDTH))
                        };
                    }
                    for (index, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: the last row at the last step is within `a`, as asserted.
                        let a = unsafe { *product.a.as_ptr().add((row + index) * a_row + step * a_step) };
                        for (sum, &b) in sums.iter_mut().zip(&b) {
                            *sum = $multiply_add($splat(a), b, *sum);
                        }
                    }
                }
                for (index, sums) in sums.iter().enumerate() {
                    for (register, &sum) in sums.iter().enumerate() {
                        let at = (row + index) * columns + column + register * WIDTH;
                        // SAFETY: `out` has `row + ROWS` rows of `columns`, as asserted.
                        unsafe { $store(out.as_mut_ptr().add(at), sum) };
                    }
                }
                ROWS
            }

            /// What the sums of a tile begin with. The tile has checked the lengths but the bias's.
            #[inline]
            #[target_feature(enable = $features)]
            fn start<const ROWS: usize, const REGISTERS: usize>(
                start: Start<'_>,
                row: usize,
                column: usize,
                columns: usize,
                out: &[f32],
            ) -> [[$vector; REGISTERS]; ROWS] {
                let mut sums = [[$zero(); REGISTERS]; ROWS];
                for (index, sums) in sums.iter_mut().enumerate() {
                    for (register, sum) in sums.iter_mut().enumerate() {
                        let column = column + register * WIDTH;
                        let from = match start {
                            Start::Zero => continue,
                            Start::Bias(bias) => &bias[column..column + WIDTH],
                            Start::Out => &out[(row + index) * columns + column..][..WIDTH],
                        };
                        // SAFETY: a slice of a register's width.
                        *sum = unsafe { $load(from.as_ptr()) };
                    }
                }
                sums
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernel!(
    avx512,
    x86_64,
    is_x86_feature_detected,
    "avx512f",
    ["avx512f"],
    16,
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    12,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    __m512
);
#[cfg(target_arch = "x86_64")]
kernel!(
    avx2,
    x86_64,
    is_x86_feature_detected,
    "avx2,fma",
    ["avx2", "fma"],
    8,
    [1, 2, 3, 4, 5],
    6,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    __m256
);
#[cfg(target_arch = "aarch64")]
kernel!(
    neon,
    aarch64,
    is_aarch64_feature_detected,
    "neon",
    ["neon"],
    4,
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    12,
    super::arm::zero,
    vld1q_f32,
    vst1q_f32,
    vdupq_n_f32,
    super::arm::multiply_add,
    float32x4_t
);

/// What x86 has instructions for, in the same order.
#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn zero() -> float32x4_t {
        vdupq_n_f32(0.0)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn multiply_add(x: float32x4_t, by: float32x4_t, plus: float32x4_t) -> float32x4_t {
        vfmaq_f32(plus, x, by)
    }
}
