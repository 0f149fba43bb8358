//! Which instruction set evaluates a forest.

use super::kernel_portable::Portable;
use super::lower::Lowered;
use super::number::Number;
use super::{Forest, Precision};
#[cfg(target_arch = "x86_64")]
use super::{kernel_avx2::Avx2, kernel_avx512::Avx512};
use crate::ModelError;

/// Names an instruction set in the place of the fastest one, for tests and measurements.
const VARIABLE: &str = "LUNAPARK_KERNEL";

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

impl Set {
    /// All that this machine has, the fastest first.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn available() -> impl Iterator<Item = Self> {
        let avx512 = Avx512::detect().map(Set::Avx512);
        let avx2 = Avx2::detect().map(Set::Avx2);
        avx512.into_iter().chain(avx2).chain([Set::Portable(Portable)])
    }

    /// All that this machine has, the fastest first.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn available() -> impl Iterator<Item = Self> {
        std::iter::once(Set::Portable(Portable))
    }

    /// The one that the environment names, else the fastest.
    pub(super) fn chosen() -> Result<Self, ModelError> {
        let wanted = std::env::var(VARIABLE).ok();
        let fits = |set: &Set| wanted.as_ref().is_none_or(|wanted| wanted == set.name());
        Self::available().find(fits).ok_or_else(|| {
            let names: Vec<_> = Self::available().map(Set::name).collect();
            let what = format!("{VARIABLE} is {:?}", wanted.unwrap_or_default());
            ModelError::unsupported(what, format!("unset it, or give one that this machine has: {}", names.join(", ")))
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
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
            Kernel::Literal => "literal",
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
