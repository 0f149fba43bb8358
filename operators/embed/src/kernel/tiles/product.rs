//! A product on tiles: two of rows by two of columns at a time, the sums in four more.
//!
//! Each number of the answer is one chain over the depth, whatever rows are beside it, as in the products of vectors.

use std::ops::Range;

use super::super::math::Map;
use super::super::vector::{LANES, Vector};
use super::pack::WIDTH;
use super::{Palette, SIDE, Tile, TileRows, TileWeights, Tiles};

/// Rows of two tiles.
const STRIP: usize = 2 * SIDE;
/// Strips that go through all columns together.
const STRIPS: usize = 8;
/// Rows whose products run through all columns together: with 384 to 1,536 numbers each they stay in the second-level
/// cache.
pub(crate) const TILE_ROWS: usize = STRIPS * STRIP;
/// Tiles over the depth that are summed before the next columns: with two side by side they are 32 KiB of the
/// first-level cache, which has 48 where there are tiles.
const BLOCK_DEPTH: usize = 16;

/// Upper left and right, lower left and right.
type Sums = [Tile; 4];

/// `out = map(rows · weights + bias)`.
#[derive(Debug)]
pub(crate) struct TileProduct<'a> {
    pub rows: &'a TileRows,
    pub weights: &'a TileWeights,
    /// One number per column; empty for none.
    pub bias: &'a [f32],
    pub map: Map,
    pub out: Out<'a>,
}

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Out<'a> {
    /// Rows that begin so many numbers apart.
    Numbers(&'a mut [f32], usize),
    /// Rounded, for the next product.
    Tiles(&'a mut TileRows),
}

impl TileProduct<'_> {
    #[inline(always)]
    pub(super) fn run<V: Vector>(mut self, tiles: &mut impl Tiles) {
        let (whole, left) = (self.rows.count / STRIP, self.rows.count % STRIP);
        if let Out::Tiles(rows) = &mut self.out {
            rows.reset(self.rows.count, self.weights.columns);
        }
        for first in (0..whole).step_by(STRIPS) {
            self.strips::<V>(tiles, first..whole.min(first + STRIPS), [SIDE; 2]);
        }
        if left > 0 {
            self.strips::<V>(tiles, whole..whole + 1, [left.min(SIDE), left.saturating_sub(SIDE)]);
        }
    }

    /// Strips that have as many rows each, in their upper and their lower tile.
    #[inline(always)]
    fn strips<V: Vector>(&mut self, tiles: &mut impl Tiles, strips: Range<usize>, rows: [usize; 2]) {
        tiles.shape(&Palette::of(rows));
        match self.weights.depth <= BLOCK_DEPTH {
            true => self.columns::<V>(tiles, strips, rows, &mut [[Tile::ZERO; 4]; 1]),
            false => self.columns::<V>(tiles, strips, rows, &mut [[Tile::ZERO; 4]; STRIPS]),
        }
    }

    /// All columns, with sums for each strip, or for one where the depth is one part.
    #[inline(always)]
    fn columns<V: Vector>(
        &mut self,
        tiles: &mut impl Tiles,
        strips: Range<usize>,
        rows: [usize; 2],
        sums: &mut [Sums],
    ) {
        let depth = self.weights.depth;
        let step = depth.div_ceil(depth.div_ceil(BLOCK_DEPTH).max(1)).max(1);
        for panel in 0..self.weights.columns.div_ceil(WIDTH) {
            for start in (0..depth).step_by(step) {
                let part = start..depth.min(start + step);
                for (at, strip) in strips.clone().enumerate() {
                    let at = at % sums.len();
                    self.sum(tiles, strip, panel, part.clone(), &mut sums[at]);
                    if part.end == depth {
                        self.finish::<V>(strip * STRIP, rows, panel, &sums[at]);
                    }
                }
            }
        }
    }

    /// Adds a part of the depth to the sums of a strip.
    #[inline(always)]
    fn sum(&self, tiles: &mut impl Tiles, strip: usize, panel: usize, part: Range<usize>, sums: &mut Sums) {
        let (upper, lower) = (self.rows.band(2 * strip), self.rows.band(2 * strip + 1));
        let columns = &self.weights.panel(panel)[part.clone()];
        let upper = &upper[part.clone()];
        match lower.get(part.clone()) {
            Some(lower) => four(tiles, [upper, lower], columns, sums, part.start == 0),
            None => two(tiles, upper, columns, sums, part.start == 0),
        }
    }

    /// Bias and map, while the sums are in the nearest cache.
    #[inline(always)]
    fn finish<V: Vector>(&mut self, first: usize, rows: [usize; 2], panel: usize, sums: &Sums) {
        let bias = self.bias(panel);
        for (half, &count) in rows.iter().enumerate() {
            for row in 0..count {
                let left = V::load(&sums[2 * half].0[row]).add(V::load(&bias[0]));
                let right = V::load(&sums[2 * half + 1].0[row]).add(V::load(&bias[1]));
                let mut lanes = [[0.0; LANES]; 2];
                self.map.of(left).store(&mut lanes[0]);
                self.map.of(right).store(&mut lanes[1]);
                self.put::<V>(first + half * SIDE + row, panel, &lanes);
            }
        }
    }

    /// The biases of two tiles' columns; zeros where there are none.
    #[inline(always)]
    fn bias(&self, panel: usize) -> [[f32; LANES]; 2] {
        let mut lanes = [[0.0; LANES]; 2];
        let bias = self.bias.get(panel * WIDTH..).unwrap_or_default();
        for (lane, &bias) in lanes.as_flattened_mut().iter_mut().zip(bias) {
            *lane = bias;
        }
        lanes
    }

    #[inline(always)]
    fn put<V: Vector>(&mut self, row: usize, panel: usize, lanes: &[[f32; LANES]; 2]) {
        let left = WIDTH.min(self.weights.columns - panel * WIDTH);
        match &mut self.out {
            Out::Numbers(out, stride) => {
                let out = &mut out[row * *stride + panel * WIDTH..];
                match out.as_chunks_mut::<LANES>().0 {
                    [to, beside, ..] if left == WIDTH => (*to, *beside) = (lanes[0], lanes[1]),
                    _ => out[..left].copy_from_slice(&lanes.as_flattened()[..left]),
                }
            }
            Out::Tiles(rows) => V::pair(lanes).store(rows.pairs(row, panel)),
        }
    }
}

/// Two tiles of rows by two of columns. Tiles 0 to 3 are the sums, 4 and 5 rows, 6 and 7 columns.
#[inline(always)]
fn four<T: Tiles>(tiles: &mut T, [upper, lower]: [&[Tile]; 2], columns: &[[Tile; 2]], sums: &mut Sums, begin: bool) {
    if begin {
        tiles.zero::<0>();
        tiles.zero::<1>();
        tiles.zero::<2>();
        tiles.zero::<3>();
    } else {
        tiles.load::<0>(&sums[0]);
        tiles.load::<1>(&sums[1]);
        tiles.load::<2>(&sums[2]);
        tiles.load::<3>(&sums[3]);
    }
    for ((upper, lower), [left, right]) in upper.iter().zip(lower).zip(columns) {
        tiles.load::<6>(left);
        tiles.load::<4>(upper);
        tiles.multiply::<0, 4, 6>();
        tiles.load::<7>(right);
        tiles.multiply::<1, 4, 7>();
        tiles.load::<5>(lower);
        tiles.multiply::<2, 5, 6>();
        tiles.multiply::<3, 5, 7>();
    }
    tiles.store::<0>(&mut sums[0]);
    tiles.store::<1>(&mut sums[1]);
    tiles.store::<2>(&mut sums[2]);
    tiles.store::<3>(&mut sums[3]);
}

/// The same where there are no rows for a second tile.
#[inline(always)]
fn two<T: Tiles>(tiles: &mut T, upper: &[Tile], columns: &[[Tile; 2]], sums: &mut Sums, begin: bool) {
    if begin {
        tiles.zero::<0>();
        tiles.zero::<1>();
    } else {
        tiles.load::<0>(&sums[0]);
        tiles.load::<1>(&sums[1]);
    }
    for (upper, [left, right]) in upper.iter().zip(columns) {
        tiles.load::<6>(left);
        tiles.load::<4>(upper);
        tiles.multiply::<0, 4, 6>();
        tiles.load::<7>(right);
        tiles.multiply::<1, 4, 7>();
    }
    tiles.store::<0>(&mut sums[0]);
    tiles.store::<1>(&mut sums[1]);
}
