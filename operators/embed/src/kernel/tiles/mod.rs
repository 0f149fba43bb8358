//! Products on tiles: a matrix unit (Intel AMX) multiplies sixteen rows of 64 bytes by as many columns at once.
//!
//! ```text
//!  weights, when a model is loaded    rounded, in tiles ───┐                    pack.rs
//!  what goes in    rounded, in tiles ──┐                   │
//!                                      ▼                   ▼
//!  two tiles of rows, two of columns, four of sums: all eight                   product.rs
//!                  │   by the unit: `amx.rs`, or in tests its model, `soft.rs`
//!                  ▼
//!  bias and map ── 32-bit floats, or rounded again, in tiles for the next product
//! ```
//!
//! `amx.rs` is written to Intel's manual on machines without AMX. Three things hold it to it: the tests run its very
//! instructions on the model, which is the manual's pseudocode (`trap.rs`); where there is a unit, it must multiply
//! whole numbers exactly before it is used (`check.rs`); and what it leaves undone is told by [`amx`].

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(any(test, target_arch = "x86_64"))]
mod check;
mod pack;
mod product;
#[cfg(test)]
mod soft;
#[cfg(test)]
mod tests;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod trap;

use super::vector::LANES;
#[cfg(target_arch = "x86_64")]
pub(crate) use amx::Amx;
pub(crate) use pack::{TileRows, TileWeights, ToTiles};
pub(crate) use product::{Out, TILE_ROWS, TileProduct};

/// Rows of a tile.
const SIDE: usize = 16;
/// Bytes of a tile's row.
const LINE: usize = 64;

/// Why no matrix unit is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTiles {
    /// There is none.
    #[error("the CPU has no AMX tiles for bfloat16")]
    Absent,
    /// What goes around the tiles is not there.
    #[error("the CPU has AMX tiles, but no AVX-512 for bfloat16, which the kernel needs beside them")]
    Vectors,
    /// The operating system keeps it from programs.
    #[error("the CPU has AMX tiles, but the system does not let programs use them: Linux does from 5.16 on")]
    Refused,
    /// It does not multiply as this version expects.
    #[error("the CPU has AMX tiles, but they multiply otherwise than its maker says: please report it")]
    Wrong,
}

/// Whether text encoders in bf16 use the CPU's matrix tiles (Intel AMX), or why not.
pub fn amx() -> Result<(), NoTiles> {
    #[cfg(target_arch = "x86_64")]
    return Amx::detect().map(|_| ());
    #[cfg(not(target_arch = "x86_64"))]
    Err(NoTiles::Absent)
}

/// What multiplies tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
    /// The model, which is slow.
    #[cfg(test)]
    Soft,
}

impl Unit {
    pub(crate) fn run(self, product: TileProduct<'_>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx(amx) => amx.run(product),
            #[cfg(test)]
            Unit::Soft => product.run::<super::Plain>(&mut soft::Soft::default()),
        }
    }
}

/// A tile as it lies in memory, a row in each cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Tile([[f32; LANES]; SIDE]);

impl Tile {
    const ZERO: Self = Self([[0.0; LANES]; SIDE]);
}

/// The shapes of the eight tiles, as `LDTILECFG` reads them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Palette {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a tile's row; only eight tiles are there.
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Palette {
    /// So many rows of the upper and of the lower tile, all columns; tiles without rows are not there.
    fn of(rows: [usize; 2]) -> Self {
        let [upper, lower] = rows.map(|rows| rows as u8);
        let mut palette = Self { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        palette.rows[..8].copy_from_slice(&[upper, upper, lower, lower, upper, lower, SIDE as u8, SIDE as u8]);
        for (bytes, &rows) in palette.bytes.iter_mut().zip(&palette.rows) {
            *bytes = if rows > 0 { LINE as u16 } else { 0 };
        }
        palette
    }
}

/// A unit's eight tiles, which are numbered from 0.
trait Tiles {
    /// Gives all tiles these shapes, and zeros; nothing else may come first.
    fn shape(&mut self, palette: &Palette);
    fn zero<const TILE: usize>(&mut self);
    fn load<const TILE: usize>(&mut self, from: &Tile);
    /// Adds the products of pairs of bfloat16: rows by columns, whose rows are the depth.
    fn multiply<const SUMS: usize, const ROWS: usize, const COLUMNS: usize>(&mut self);
    /// Rows that the tile does not have stay as they are.
    fn store<const TILE: usize>(&mut self, to: &mut Tile);
}
