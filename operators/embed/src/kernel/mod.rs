//! The arithmetic, for the instruction set that the machine has: products, softmax, layer normalisation.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod product;
mod rows;
#[cfg(test)]
mod tests;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_variables, reason = "no matrix unit is known there"))]
mod tiles;
mod vector;

use crate::EmbedError;
#[cfg(target_arch = "x86_64")]
use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use avx512::Avx512;
pub(crate) use math::Map;
#[cfg(target_arch = "aarch64")]
use neon::Neon;
pub(crate) use product::{BLOCK_ROWS, Panels, Product, Rows};
pub(crate) use rows::{AddNorm, Distances, Pair, Softmax};
#[cfg(target_arch = "x86_64")]
use tiles::Amx;
pub use tiles::{NoTiles, amx};
pub(crate) use tiles::{Out, TILE_ROWS, TileProduct, TileRows, TileWeights, ToTiles, Unit};
pub(crate) use vector::LANES;
use vector::{Plain, Vector};

/// Names an instruction set (`amx`, `avx512`, `avx2`, `neon`, `portable`) in the place of the fastest one, for tests and
/// measurements. It is read when a model is loaded; scoring models, which have no kernel for `amx`, obey the same variable.
const VARIABLE: &str = "LUNAPARK_KERNEL";

/// What the variable calls the matrix unit of Intel's CPUs.
const AMX: &str = "amx";

/// A piece of work for a kernel.
#[derive(Debug)]
pub(crate) enum Task<'a> {
    Product(Product<'a>),
    Softmax(Softmax<'a>),
    AddNorm(AddNorm<'a>),
    Pair(Pair<'a>),
    ToTiles(ToTiles<'a>),
}

impl Task<'_> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        match self {
            Task::Product(product) => product.run::<V>(),
            Task::Softmax(softmax) => softmax.run::<V>(),
            Task::AddNorm(norm) => norm.run::<V>(),
            Task::Pair(pair) => pair.run::<V>(),
            Task::ToTiles(rows) => rows.run::<V>(),
        }
    }
}

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// A matrix unit, for products in bfloat16, and the vectors beside it.
    Tiles(Unit),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Plain,
}

impl Set {
    /// All that this machine has, the fastest first.
    pub(crate) fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let vector = {
            let amx = Amx::detect().ok().map(|amx| Set::Tiles(Unit::Amx(amx)));
            amx.into_iter().chain(Avx512::detect().map(Set::Avx512)).chain(Avx2::detect().map(Set::Avx2))
        };
        #[cfg(target_arch = "aarch64")]
        let vector = Neon::detect().map(Set::Neon).into_iter();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vector = std::iter::empty();
        vector.chain([Set::Plain]).collect()
    }

    /// The fastest one, or the one that the environment names.
    pub(crate) fn chosen() -> Result<Self, EmbedError> {
        Self::choose(std::env::var(VARIABLE).ok().as_deref())
    }

    fn choose(wanted: Option<&str>) -> Result<Self, EmbedError> {
        let available = Self::available();
        let fits = |set: &&Self| wanted.is_none_or(|wanted| wanted == set.name());
        available.iter().find(fits).copied().ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|set| set.name()).collect();
            let wanted = wanted.unwrap_or_default();
            let why = amx().err().filter(|_| wanted == AMX).map_or_else(String::new, |why| format!(", and {why}"));
            let what = format!("{VARIABLE} is {wanted:?}{why}");
            EmbedError::machine(what, format!("unset it, or give one that this machine has: {}", names.join(", ")))
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Tiles(Unit::Amx(_)) => AMX,
            #[cfg(test)]
            Set::Tiles(Unit::Soft) => "tiles in software",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
            Set::Plain => "portable",
        }
    }

    /// Whether it has instructions for bfloat16; elsewhere products of pairs are right, and slower than those of floats.
    pub(crate) fn has_bf16(self) -> bool {
        match self {
            Set::Tiles(_) => true,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(set) => set.has_bf16(),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => false,
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => false,
            Set::Plain => false,
        }
    }

    /// What it has beside a matrix unit, which is all that products of 32-bit floats need.
    pub(crate) fn vectors(self) -> Self {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Tiles(Unit::Amx(amx)) => Set::Avx512(amx.vectors()),
            #[cfg(test)]
            Set::Tiles(Unit::Soft) => Set::Plain,
            set => set,
        }
    }

    /// Columns of the panels that it takes.
    pub(crate) fn panel(self) -> usize {
        match self {
            Set::Tiles(_) => self.vectors().panel(),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => 2 * LANES,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => LANES,
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => LANES,
            Set::Plain => LANES,
        }
    }

    pub(crate) fn run(self, task: Task<'_>) {
        match self {
            Set::Tiles(_) => self.vectors().run(task),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(set) => set.run(task),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(set) => set.run(task),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(set) => set.run(task),
            Set::Plain => task.run::<Plain>(),
        }
    }
}
