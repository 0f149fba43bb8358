//! Matrices in tiles: rounded to bfloat16, and in the order in which a product loads them.

use super::super::Rows;
use super::super::vector::{LANES, Vector, one};
use super::{SIDE, Tile};

/// Numbers of a row that are in one tile, two in a word.
const DEPTH: usize = 2 * LANES;
/// Columns that two tiles have side by side. A tile's row of the next product has as many numbers.
pub(super) const WIDTH: usize = 2 * LANES;

/// A matrix by whose columns rows are multiplied.
#[derive(Debug, Default)]
pub(crate) struct TileWeights {
    /// Numbers of a column, which a row must have.
    pub height: usize,
    /// Tiles over the depth.
    pub(super) depth: usize,
    pub(super) columns: usize,
    /// Two tiles side by side, over the depth, then the next columns. A tile's row is a pair of each column; what is
    /// beyond the last column or the depth is zeros.
    tiles: Vec<[Tile; 2]>,
}

impl TileWeights {
    /// The columns lie one after the other, as the weights of a linear layer do in torch.
    pub(crate) fn pack(columns: &[f32], height: usize) -> Self {
        let mut weights = Self::default();
        weights.reset(height, columns.len() / height.max(1));
        for (column, numbers) in columns.chunks_exact(height.max(1)).enumerate() {
            weights.set_column(column, numbers);
        }
        weights
    }

    /// Makes room for another matrix, of zeros, and keeps the memory.
    pub(crate) fn reset(&mut self, height: usize, columns: usize) {
        (self.height, self.depth, self.columns) = (height, height.div_ceil(DEPTH), columns);
        self.tiles.clear();
        self.tiles.resize(columns.div_ceil(WIDTH) * self.depth, [Tile::ZERO; 2]);
    }

    pub(crate) fn set_column(&mut self, column: usize, numbers: &[f32]) {
        let (side, lane) = (column % WIDTH / LANES, column % LANES);
        let panel = &mut self.tiles[column / WIDTH * self.depth..][..self.depth];
        for (tiles, numbers) in panel.iter_mut().zip(numbers.chunks(DEPTH)) {
            let (pairs, last) = numbers.as_chunks();
            for (row, &[low, high]) in tiles[side].0.iter_mut().zip(pairs) {
                row[lane] = one(low, high);
            }
            if let [low] = last {
                tiles[side].0[pairs.len()][lane] = one(*low, 0.0);
            }
        }
    }

    /// Sets what all columns have at two depths, `at` and the next one; `at` is even.
    pub(crate) fn set_rows(&mut self, at: usize, [low, high]: [&[f32]; 2]) {
        let panels = self.tiles.chunks_exact_mut(self.depth.max(1));
        for ((tiles, low), high) in panels.zip(low.chunks(WIDTH)).zip(high.chunks(WIDTH)) {
            let sides = tiles[at / DEPTH].iter_mut().zip(low.chunks(LANES).zip(high.chunks(LANES)));
            for (tile, (low, high)) in sides {
                let lanes = tile.0[at % DEPTH / 2].iter_mut();
                lanes.zip(low.iter().zip(high)).for_each(|(lane, (&low, &high))| *lane = one(low, high));
            }
        }
    }

    /// The tiles of some columns over the depth.
    #[inline(always)]
    pub(super) fn panel(&self, panel: usize) -> &[[Tile; 2]] {
        &self.tiles[panel * self.depth..][..self.depth]
    }
}

/// Rows that go into a product.
#[derive(Debug, Default)]
pub(crate) struct TileRows {
    pub(super) count: usize,
    /// Tiles over the depth.
    pub(super) depth: usize,
    /// Tiles over the depth, sixteen rows after sixteen rows. Behind them may be what is left of larger ones.
    tiles: Vec<Tile>,
}

impl TileRows {
    /// Makes room for other rows, and keeps the memory; each row is written before it is read.
    pub(super) fn reset(&mut self, count: usize, numbers: usize) {
        (self.count, self.depth) = (count, numbers.div_ceil(DEPTH));
        let tiles = count.div_ceil(SIDE) * self.depth;
        if self.tiles.len() < tiles {
            self.tiles.resize(tiles, Tile::ZERO);
        }
    }

    /// Sixteen rows, or what is left of them; no tiles where there are none.
    #[inline(always)]
    pub(super) fn band(&self, band: usize) -> &[Tile] {
        if band * SIDE < self.count { &self.tiles[band * self.depth..][..self.depth] } else { &[] }
    }

    /// Where the pairs of a row are that a tile has.
    #[inline(always)]
    pub(super) fn pairs(&mut self, row: usize, tile: usize) -> &mut [f32; LANES] {
        &mut self.tiles[row / SIDE * self.depth + tile].0[row % SIDE]
    }
}

/// Rounds rows that lie `stride` apart, and puts them in tiles.
#[derive(Debug)]
pub(crate) struct ToTiles<'a> {
    pub from: Rows<'a>,
    /// Numbers of a row.
    pub width: usize,
    pub rows: &'a mut TileRows,
}

impl ToTiles<'_> {
    #[inline(always)]
    pub(in crate::kernel) fn run<V: Vector>(self) {
        let Self { from: Rows { values, stride, count }, width, rows } = self;
        rows.reset(count, width);
        for (band, tiles) in (0..count.div_ceil(SIDE)).zip(rows.tiles.chunks_exact_mut(rows.depth.max(1))) {
            let first = band * SIDE;
            for (at, tile) in tiles.iter_mut().enumerate() {
                for (row, pairs) in (first..count.min(first + SIDE)).zip(&mut tile.0) {
                    round::<V>(&values[row * stride + at * DEPTH..row * stride + width], pairs);
                }
            }
        }
    }
}

/// The first numbers as pairs; zeros where there are no more.
#[inline(always)]
fn round<V: Vector>(numbers: &[f32], pairs: &mut [f32; LANES]) {
    if let Some(numbers) = numbers.as_chunks().0.first_chunk() {
        return V::pair(numbers).store(pairs);
    }
    let mut padded = [[0.0; LANES]; 2];
    let numbers = &numbers[..numbers.len().min(DEPTH)];
    padded.as_flattened_mut()[..numbers.len()].copy_from_slice(numbers);
    V::pair(&padded).store(pairs);
}
