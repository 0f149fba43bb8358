//! Which instruction set evaluates a forest.

#[cfg(target_arch = "aarch64")]
use super::kernel_neon::Neon;
use super::kernel_portable::Portable;
use super::lower::Lowered;
use super::number::Number;
use super::{Forest, Precision};
#[cfg(target_arch = "x86_64")]
use super::{kernel_avx2::Avx2, kernel_avx512::Avx512};
use crate::{ModelError, instructions};

/// Names the walk from node to node where an instruction set is named, to measure what the lowered form brings.
const LITERAL: &str = "literal";

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Portable(Portable),
}

impl Set {
    /// All that this machine has, the fastest first.
    pub(super) fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vector = Avx512::detect().map(Set::Avx512).into_iter().chain(Avx2::detect().map(Set::Avx2));
        #[cfg(target_arch = "aarch64")]
        let vector = Neon::detect().map(Set::Neon).into_iter();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vector = std::iter::empty();
        vector.chain([Set::Portable(Portable)])
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
            Set::Portable(_) => "portable",
        }
    }

    /// Writes the margins of each row of `rows`, both row-major.
    pub(super) fn margins<T: Number>(self, forest: &Lowered<T>, rows: &[T], margins: &mut [T]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(set) => set.margins(forest, rows, margins),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(set) => set.margins(forest, rows, margins),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(set) => set.margins(forest, rows, margins),
            Set::Portable(set) => set.margins(forest, rows, margins),
        }
    }
}

/// How a forest is evaluated.
#[derive(Debug)]
pub(super) enum Kernel {
    Single(Set, Box<Lowered<f32>>),
    Double(Set, Box<Lowered<f64>>),
    /// From node to node, by the words of the format: forests that do not fit the lowered form.
    Literal,
}

impl Kernel {
    /// What the environment names, else the fastest.
    pub(super) fn chosen(forest: &Forest) -> Result<Self, ModelError> {
        if instructions::wanted().is_some_and(|wanted| wanted == LITERAL) {
            return Ok(Kernel::Literal);
        }
        let available: Vec<_> = Set::available().collect();
        Ok(Self::new(forest, instructions::chosen(&available, Set::name)?))
    }

    pub(super) fn new(forest: &Forest, set: Set) -> Self {
        let kernel = match forest.spec.precision {
            Precision::Single => Lowered::new(forest).map(|lowered| Kernel::Single(set, Box::new(lowered))),
            Precision::Double => Lowered::new(forest).map(|lowered| Kernel::Double(set, Box::new(lowered))),
        };
        kernel.unwrap_or(Kernel::Literal)
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Kernel::Single(set, _) | Kernel::Double(set, _) => set.name(),
            Kernel::Literal => LITERAL,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Kernel::Single(_, lowered) => lowered.memory_bytes(),
            Kernel::Double(_, lowered) => lowered.memory_bytes(),
            Kernel::Literal => 0,
        }
    }
}
