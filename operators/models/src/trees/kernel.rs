//! Which kernel evaluates a forest.

use super::{Forest, literal};
#[cfg(target_arch = "x86_64")]
use super::{heap::Heaps, kernel_avx512::Avx512};

/// A kernel with the layout of the trees that it needs.
#[derive(Debug)]
pub(super) enum Kernel {
    /// Padded trees in vector registers.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Heaps),
    /// Any trees, any machine.
    Literal,
}

impl Kernel {
    /// The fastest one for this forest on this machine.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn best(forest: &Forest) -> Self {
        let fast = Avx512::detect().zip(Heaps::new(forest));
        fast.map_or(Kernel::Literal, |(avx512, heaps)| Kernel::Avx512(avx512, heaps))
    }

    /// The fastest one for this forest on this machine.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn best(_: &Forest) -> Self {
        Kernel::Literal
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(..) => "avx512",
            Kernel::Literal => "portable",
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(_, heaps) => heaps.memory_bytes(),
            Kernel::Literal => 0,
        }
    }

    /// Writes the margin of each row of `rows` (row-major) to `margins`.
    pub(super) fn margins(&self, forest: &Forest, rows: &[f32], margins: &mut [f32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(avx512, heaps) => avx512.margins(heaps, forest, rows, margins),
            Kernel::Literal => literal::margins(forest, rows, margins),
        }
    }
}
