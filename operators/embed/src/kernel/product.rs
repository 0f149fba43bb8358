//! Matrix products: rows by panels of columns, sums in registers.
//!
//! Each number of the answer is one chain of multiply-adds over the depth, whatever rows are beside it. So a row's
//! answer has the same bits in any company.

use super::math::Map;
use super::vector::{LANES, Vector, one};

/// Rows whose products run through all panels together: with 384 to 1,536 numbers each they stay in the second-level
/// cache. A multiple of every tile's rows.
pub(crate) const BLOCK_ROWS: usize = 240;
/// Depth that is summed before the next panel part: with 32 columns it is 32 KiB of the first-level cache.
const BLOCK_DEPTH: usize = 256;

/// A matrix whose columns lie side by side in panels, as the registers of an instruction set take them.
#[derive(Debug, Default)]
pub(crate) struct Panels {
    /// Numbers of a column, or pairs of them.
    pub depth: usize,
    pub columns: usize,
    /// Columns of a panel.
    width: usize,
    /// Whether each number is two of bfloat16, as those of the rows must be.
    pub pairs: bool,
    /// Panel after panel, in each `depth` times `width` numbers; columns beyond the last are zeros.
    values: Vec<f32>,
}

impl Panels {
    /// Makes room for another matrix, and keeps the memory.
    pub(crate) fn reset(&mut self, depth: usize, columns: usize, width: usize) {
        (self.depth, self.columns, self.width, self.pairs) = (depth, columns, width, false);
        self.values.clear();
        self.values.resize(columns.div_ceil(width) * width * depth, 0.0);
    }

    /// The columns lie one after the other, as the weights of a linear layer do in torch.
    pub(crate) fn pack(columns: &[f32], depth: usize, width: usize) -> Self {
        let mut panels = Self::default();
        panels.reset(depth, columns.len() / depth.max(1), width);
        for (column, numbers) in columns.chunks_exact(depth.max(1)).enumerate() {
            panels.set_column(column, numbers);
        }
        panels
    }

    /// The same, rounded to bfloat16, two numbers in the room of one; `depth` is even.
    pub(crate) fn pack_pairs(columns: &[f32], depth: usize, width: usize) -> Self {
        let pairs: Vec<f32> = columns.as_chunks().0.iter().map(|&[low, high]| one(low, high)).collect();
        Self { pairs: true, ..Self::pack(&pairs, depth / 2, width) }
    }

    pub(crate) fn set_column(&mut self, column: usize, numbers: &[f32]) {
        let start = column / self.width * self.width * self.depth + column % self.width;
        for (slot, &number) in self.values[start..].iter_mut().step_by(self.width).zip(numbers) {
            *slot = number;
        }
    }

    /// Sets what all columns have at one depth.
    pub(crate) fn set_row(&mut self, at: usize, numbers: &[f32]) {
        let panel = self.width * self.depth;
        for (number, values) in numbers.chunks(self.width).zip(self.values.chunks_exact_mut(panel)) {
            values[at * self.width..][..number.len()].copy_from_slice(number);
        }
    }

    /// Row after row, each with the numbers of all columns at one depth, as a device takes them.
    #[cfg(feature = "candle")]
    pub(crate) fn unpacked(&self) -> Vec<f32> {
        let mut rows = vec![0.0; self.depth * self.columns];
        for (panel, values) in self.values.chunks_exact((self.width * self.depth).max(1)).enumerate() {
            let first = panel * self.width;
            let count = self.width.min(self.columns - first);
            for (row, values) in rows.chunks_exact_mut(self.columns).zip(values.chunks_exact(self.width)) {
                row[first..first + count].copy_from_slice(&values[..count]);
            }
        }
        rows
    }
}

/// Rows that lie `stride` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub count: usize,
}

/// `out = map(rows · panels + bias)`.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    pub rows: Rows<'a>,
    pub panels: &'a Panels,
    /// One number per column; empty for none.
    pub bias: &'a [f32],
    pub map: Map,
    pub out: &'a mut [f32],
    /// From one row of `out` to the next.
    pub stride: usize,
}

impl Product<'_> {
    #[inline(always)]
    pub(super) fn run<V: Vector>(mut self) {
        let depth = self.panels.depth;
        let blocks = depth.div_ceil(BLOCK_DEPTH).max(1);
        let step = depth.div_ceil(blocks).max(1);
        for first in (0..self.rows.count).step_by(BLOCK_ROWS) {
            let end = self.rows.count.min(first + BLOCK_ROWS);
            for column in (0..self.panels.columns).step_by(V::COLUMNS * LANES) {
                for start in (0..depth).step_by(step) {
                    let part = Part { column, start, end: depth.min(start + step) };
                    self.strips::<V>(first, end, part);
                }
            }
        }
    }

    #[inline(always)]
    fn strips<V: Vector>(&mut self, first: usize, end: usize, part: Part) {
        let mut row = first;
        while row < end {
            let count = V::ROWS.min(end - row);
            match (V::COLUMNS, self.panels.pairs) {
                (1, false) => self.strip::<V, 1, false>(row, count, part),
                (1, true) => self.strip::<V, 1, true>(row, count, part),
                (_, false) => self.strip::<V, 2, false>(row, count, part),
                (_, true) => self.strip::<V, 2, true>(row, count, part),
            }
            if part.end == self.panels.depth {
                self.finish::<V>(row, count, part.column);
            }
            row += count;
        }
    }

    #[inline(always)]
    fn strip<V: Vector, const C: usize, const PAIRS: bool>(&mut self, row: usize, count: usize, part: Part) {
        macro_rules! tiles {
            ($($rows:literal)*) => {
                match count {
                    $($rows if $rows <= V::ROWS => self.tile::<V, $rows, C, PAIRS>(row, part),)*
                    _ => {}
                }
            };
        }
        tiles!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

    /// `R` rows by one panel over a part of the depth.
    #[inline(always)]
    fn tile<V: Vector, const R: usize, const C: usize, const PAIRS: bool>(&mut self, row: usize, part: Part) {
        let depth = part.end - part.start;
        let from = |r: usize| &self.rows.values[(row + r) * self.rows.stride + part.start..][..depth];
        let rows: [&[f32]; R] = std::array::from_fn(from);
        let width = C * LANES;
        let panel = &self.panels.values[part.column * self.panels.depth + part.start * width..][..depth * width];
        let panel = &panel.as_chunks::<LANES>().0.as_chunks::<C>().0[..depth];
        // The sums pass through an array: only so are they in registers in between.
        let mut held = [[[0.0; LANES]; C]; R];
        if part.start > 0 {
            self.read(&mut held, row, part.column);
        }
        let mut sums = [[V::splat(0.0); C]; R];
        for r in 0..R {
            for c in 0..C {
                sums[r][c] = V::load(&held[r][c]);
            }
        }
        for at in 0..depth {
            let mut columns = [V::splat(0.0); C];
            for c in 0..C {
                columns[c] = V::load(&panel[at][c]);
            }
            for r in 0..R {
                let x = V::splat(rows[r][at]);
                for c in 0..C {
                    sums[r][c] = match PAIRS {
                        true => x.pair_add(columns[c], sums[r][c]),
                        false => x.mul_add(columns[c], sums[r][c]),
                    };
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                sums[r][c].store(&mut held[r][c]);
            }
        }
        self.write(&held, row, part.column);
    }

    /// What `out` has from this row and column on.
    #[inline(always)]
    fn read<const R: usize, const C: usize>(&self, held: &mut [[[f32; LANES]; C]; R], row: usize, column: usize) {
        let width = (self.panels.columns - column).min(C * LANES);
        for (r, held) in held.iter_mut().enumerate() {
            let from = &self.out[(row + r) * self.stride + column..][..width];
            held.as_flattened_mut()[..width].copy_from_slice(from);
        }
    }

    /// The same way back.
    #[inline(always)]
    fn write<const R: usize, const C: usize>(&mut self, held: &[[[f32; LANES]; C]; R], row: usize, column: usize) {
        let width = (self.panels.columns - column).min(C * LANES);
        for (r, held) in held.iter().enumerate() {
            let to = &mut self.out[(row + r) * self.stride + column..][..width];
            to.copy_from_slice(&held.as_flattened()[..width]);
        }
    }

    /// Bias and map, while the numbers are in the nearest cache.
    #[inline(always)]
    fn finish<V: Vector>(&mut self, row: usize, count: usize, column: usize) {
        if self.bias.is_empty() && self.map == Map::Identity {
            return;
        }
        let left = self.panels.columns - column;
        for at in (0..left.min(V::COLUMNS * LANES)).step_by(LANES) {
            let bias = match self.bias.get(column..) {
                Some(bias) if !bias.is_empty() => load::<V>(bias, at, left),
                _ => V::splat(0.0),
            };
            for r in row..row + count {
                let numbers = &mut self.out[r * self.stride + column..];
                let sum = load::<V>(numbers, at, left).add(bias);
                store(self.map.of(sum), numbers, at, left);
            }
        }
    }
}

/// A panel by the column that it begins with, and the part of its depth.
#[derive(Clone, Copy)]
struct Part {
    column: usize,
    start: usize,
    end: usize,
}

/// Sixteen numbers from `at` on, of which only `count` are there; the others are zeros.
#[inline(always)]
fn load<V: Vector>(from: &[f32], at: usize, count: usize) -> V {
    if at + LANES <= count {
        let mut lanes = [0.0; LANES];
        lanes.copy_from_slice(&from[at..at + LANES]);
        return V::load(&lanes);
    }
    let mut lanes = [0.0; LANES];
    for (lane, &number) in lanes.iter_mut().zip(&from[at.min(count)..count]) {
        *lane = number;
    }
    V::load(&lanes)
}

/// The same way back.
#[inline(always)]
fn store<V: Vector>(vector: V, to: &mut [f32], at: usize, count: usize) {
    let mut lanes = [0.0; LANES];
    vector.store(&mut lanes);
    if at + LANES <= count {
        to[at..at + LANES].copy_from_slice(&lanes);
        return;
    }
    for (number, lane) in to[at.min(count)..count].iter_mut().zip(lanes) {
        *number = lane;
    }
}
