//! The arithmetic of a step, by instruction set.
//!
//! Each sum of a product is one chain of multiply-adds in order of the depth, so AVX-512, AVX2 and NEON give the
//! same bits; the portable kernel rounds twice where the target has no fused multiply-add.

mod elementwise;
mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod vector;

pub(crate) use elementwise::{Activation, AdamW};
#[cfg(feature = "candle")]
pub(crate) use elementwise::{BETA1, BETA2, EPSILON};
#[cfg(target_arch = "aarch64")]
use vector::neon;
#[cfg(target_arch = "x86_64")]
use vector::{avx2, avx512};

/// Floats of an AVX-512 register; all columns are padded to a multiple of it.
pub(crate) const LANES: usize = 16;

/// `rows × depth` times `depth × columns`. Elements of `a` lie `a_row` and `a_step` apart, so it may be transposed;
/// the columns of `b` lie side by side, and their number is a multiple of [`LANES`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
    pub a: &'a [f32],
    pub a_row: usize,
    pub a_step: usize,
    pub b: &'a [f32],
    pub start: Start<'a>,
}

/// What the sums begin with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    Zero,
    /// One value per column.
    Bias(&'a [f32]),
    /// What is there already.
    Out,
}

impl Product<'_> {
    /// Panics where a slice is too short: the kernels rely on it.
    fn check(&self, out: &[f32]) {
        let last = |count: usize| count.saturating_sub(1);
        assert!(self.rows > 0 && self.depth > 0 && self.columns > 0 && self.columns.is_multiple_of(LANES));
        assert!(self.a.len() > last(self.rows) * self.a_row + last(self.depth) * self.a_step);
        assert!(self.b.len() >= self.depth * self.columns && out.len() >= self.rows * self.columns);
        if let Start::Bias(bias) = self.start {
            assert!(bias.len() >= self.columns);
        }
    }
}

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Proof),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Proof),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Proof),
    Portable,
}

/// Calls the function of the kernel's own module.
macro_rules! dispatch {
    ($kernel:expr, $function:ident, $($argument:expr),*) => {
        match $kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(proof) => proof.$function($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(proof) => proof.$function($($argument),*),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon(proof) => proof.$function($($argument),*),
            Kernel::Portable => portable::$function($($argument),*),
        }
    };
}

impl Kernel {
    /// The fastest of this machine.
    pub(crate) fn fastest() -> Self {
        Self::available().next().unwrap_or(Kernel::Portable)
    }

    /// All that this machine has, the fastest first.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vector =
            avx512::Proof::detect().map(Kernel::Avx512).into_iter().chain(avx2::Proof::detect().map(Kernel::Avx2));
        #[cfg(target_arch = "aarch64")]
        let vector = neon::Proof::detect().map(Kernel::Neon).into_iter();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vector = std::iter::empty();
        vector.chain([Kernel::Portable])
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon(_) => "neon",
            Kernel::Portable => "portable",
        }
    }

    /// Writes the product to `out`, row by row without gaps.
    #[inline]
    pub(crate) fn product(self, product: Product<'_>, out: &mut [f32]) {
        product.check(out);
        dispatch!(self, product, product, out);
    }

    /// Applies an activation to each value.
    pub(crate) fn activate(self, activation: Activation, values: &mut [f32]) {
        dispatch!(self, activate, activation, values);
    }

    /// Multiplies each gradient with the activation's slope, which is known from its answer.
    pub(crate) fn slope(self, activation: Activation, answers: &[f32], gradients: &mut [f32]) {
        dispatch!(self, slope, activation, answers, gradients);
    }

    /// Adds the rows of `values` to `sums`.
    pub(crate) fn add_rows(self, values: &[f32], sums: &mut [f32]) {
        dispatch!(self, add_rows, values, sums);
    }

    /// One step of the optimizer: weights, first and second moments, gradients.
    pub(crate) fn adamw(self, rule: AdamW, weights: &mut [f32], moments: (&mut [f32], &mut [f32]), gradients: &[f32]) {
        dispatch!(self, adamw, rule, weights, moments, gradients);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn noise(random: &mut Random, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.uniform(-1.0, 1.0)).collect()
    }

    #[test]
    fn all_kernels_give_the_product_in_double_precision_and_vectors_the_same_bits() {
        let mut random = Random::new(1, 2);
        for (rows, depth, columns, transposed) in
            [(1, 1, 16, false), (13, 28, 32, false), (25, 7, 48, true), (28, 96, 128, true), (64, 1, 16, true)]
        {
            let (a_row, a_step) = if transposed { (1, rows + 3) } else { (depth + 2, 1) };
            let a = noise(&mut random, (rows + 3) * (depth + 3));
            let b = noise(&mut random, depth * columns);
            let (bias, old) = (noise(&mut random, columns), noise(&mut random, rows * columns));
            for start in [Start::Zero, Start::Bias(&bias), Start::Out] {
                let product = Product { rows, depth, columns, a: &a, a_row, a_step, b: &b, start };
                let mut fused: Option<Vec<u32>> = None;
                for kernel in Kernel::available() {
                    let mut out = old.clone();
                    kernel.product(product, &mut out);
                    for (at, &found) in out.iter().enumerate() {
                        let (row, column) = (at / columns, at % columns);
                        let term =
                            |k: usize| f64::from(a[row * a_row + k * a_step]) * f64::from(b[k * columns + column]);
                        let first = match start {
                            Start::Zero => 0.0,
                            Start::Bias(bias) => bias[column],
                            Start::Out => old[at],
                        };
                        let exact = f64::from(first) + (0..depth).map(term).sum::<f64>();
                        assert!((f64::from(found) - exact).abs() < 2e-5, "{kernel:?} {rows}x{depth}x{columns}");
                    }
                    if kernel != Kernel::Portable || cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                        let bits: Vec<_> = out.iter().map(|x| x.to_bits()).collect();
                        assert_eq!(*fused.get_or_insert_with(|| bits.clone()), bits, "{kernel:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn slopes_are_the_derivatives() {
        for kernel in Kernel::available() {
            for activation in [Activation::Identity, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
                for x in [-1.5f32, -0.25, 0.5, 2.0] {
                    let at = |x: f32| {
                        let mut value = [x];
                        kernel.activate(activation, &mut value);
                        value[0]
                    };
                    let (step, mut slope) = (1e-2, [1.0]);
                    kernel.slope(activation, &[at(x)], &mut slope);
                    let difference = (at(x + step) - at(x - step)) / (2.0 * step);
                    assert!((slope[0] - difference).abs() < 1e-3, "{activation:?} at {x}");
                }
            }
        }
    }
}
