//! Which instruction set runs a layer.
//!
//! Each output is one chain of multiply-adds over the inputs in order, starting from the bias (or, in a layer of few
//! outputs, sixteen such chains added by halves), whatever the number of rows: so a row's answer does not depend on
//! its neighbours. AVX-512, AVX2 and NEON fuse each multiply-add and give the same bits; so does the portable kernel
//! where the target has a fused multiply-add, elsewhere it rounds twice and stays within 1e-5.

#[cfg(target_arch = "aarch64")]
use super::kernel_neon::Neon;
use super::layer::{Layer, Rows};
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{kernel_avx2::Avx2, kernel_avx512::Avx512};
use crate::{ModelError, instructions};

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Portable,
}

impl Kernel {
    /// The one that the environment names, else the fastest.
    pub(super) fn chosen() -> Result<Self, ModelError> {
        let available: Vec<_> = Self::available().collect();
        instructions::chosen(&available, Self::name)
    }

    /// All that this machine has, the fastest first.
    pub(super) fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vector = Avx512::detect().map(Kernel::Avx512).into_iter().chain(Avx2::detect().map(Kernel::Avx2));
        #[cfg(target_arch = "aarch64")]
        let vector = Neon::detect().map(Kernel::Neon).into_iter();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vector = std::iter::empty();
        vector.chain([Kernel::Portable])
    }

    pub(super) fn name(self) -> &'static str {
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

    /// Runs a layer over `rows`; the answers lie `layer.stride()` apart in `out`.
    pub(super) fn run(self, layer: &Layer, rows: Rows<'_>, out: &mut [f32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) => kernel.run(layer, rows, out),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(kernel) => kernel.run(layer, rows, out),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon(kernel) => kernel.run(layer, rows, out),
            Kernel::Portable => portable::run(layer, rows, out),
        }
    }
}
