//! A matrix unit in software, after the pseudocode of Intel's manual (volume 2: LDTILECFG, TILELOADD, TDPBF16PS,
//! TILESTORED). What the instructions refuse, it refuses.

use super::super::vector::LANES;
use super::{LINE, Palette, SIDE, Tile, Tiles};

/// Words of a tile; those beyond its shape are zeros.
type Words = [[u32; LANES]; SIDE];

/// The eight tiles.
#[derive(Clone, Debug)]
pub(super) struct Soft {
    /// Rows of each tile and words of a row; none before the shapes are given.
    shapes: Option<[(usize, usize); 8]>,
    tiles: [Words; 8],
}

impl Default for Soft {
    fn default() -> Self {
        Self::NEW
    }
}

impl Soft {
    pub(super) const NEW: Self = Self { shapes: None, tiles: [[[0; LANES]; SIDE]; 8] };

    /// `LDTILECFG`.
    pub(super) fn configure(&mut self, palette: &Palette) {
        assert!(palette.palette == 1 && palette.start_row == 0 && palette.reserved == [0; 14], "{palette:?}");
        assert!(palette.bytes[8..] == [0; 8] && palette.rows[8..] == [0; 8], "there are eight tiles: {palette:?}");
        *self = Self::NEW;
        self.shapes = Some(std::array::from_fn(|tile| {
            let (rows, bytes) = (usize::from(palette.rows[tile]), usize::from(palette.bytes[tile]));
            assert!(
                rows <= SIDE && bytes <= LINE && bytes.is_multiple_of(4) && (rows == 0) == (bytes == 0),
                "{palette:?}"
            );
            (rows, bytes / 4)
        }));
    }

    /// `TILERELEASE`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn release(&mut self) {
        *self = Self::NEW;
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_released(&self) -> bool {
        self.shapes.is_none()
    }

    /// Rows and words of a tile that is there.
    pub(super) fn shape_of(&self, tile: usize) -> (usize, usize) {
        let shape = self.shapes.expect("tiles have shapes before they are used")[tile];
        assert!(shape.0 > 0, "tile {tile} is not there");
        shape
    }

    /// `TILEZERO`.
    pub(super) fn clear(&mut self, tile: usize) {
        self.shape_of(tile);
        self.tiles[tile] = [[0; LANES]; SIDE];
    }

    /// `TILELOADD`, with what reads a word of a row.
    pub(super) fn read(&mut self, tile: usize, word: impl Fn(usize, usize) -> u32) {
        let (rows, words) = self.shape_of(tile);
        self.clear(tile);
        for (row, to) in self.tiles[tile][..rows].iter_mut().enumerate() {
            to[..words].iter_mut().enumerate().for_each(|(at, to)| *to = word(row, at));
        }
    }

    /// `TILESTORED`, with what writes a word of a row.
    pub(super) fn write(&self, tile: usize, mut word: impl FnMut(usize, usize, u32)) {
        let (rows, words) = self.shape_of(tile);
        for (row, from) in self.tiles[tile][..rows].iter().enumerate() {
            from[..words].iter().enumerate().for_each(|(at, &from)| word(row, at, from));
        }
    }

    /// `TDPBF16PS`: the first numbers of all pairs are summed, and the second ones, and then both added.
    pub(super) fn add_products(&mut self, sums: usize, rows: usize, columns: usize) {
        let [(m, n), (of_rows, k), (of_columns, wide)] = [sums, rows, columns].map(|tile| self.shape_of(tile));
        assert!(sums != rows && rows != columns && sums != columns, "three different tiles");
        assert!(of_rows == m && of_columns == k && wide == n, "{m}x{n} of {of_rows}x{k} and {of_columns}x{wide}");
        for row in 0..m {
            let mut both = [[0.0; LANES]; 2];
            for at in 0..k {
                let x = halves(self.tiles[rows][row][at]);
                for column in 0..n {
                    let by = halves(self.tiles[columns][at][column]);
                    for (sum, (x, by)) in both.iter_mut().zip(x.into_iter().zip(by)) {
                        sum[column] = normal(x.mul_add(by, sum[column]));
                    }
                }
            }
            for (column, sum) in self.tiles[sums][row][..n].iter_mut().enumerate() {
                let added = normal(both[0][column] + both[1][column]);
                *sum = normal(normal(f32::from_bits(*sum)) + added).to_bits();
            }
        }
    }
}

/// The two numbers of a pair.
fn halves(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)].map(normal)
}

/// Zero in the place of a number too small for all its digits, on the way in and out.
fn normal(number: f32) -> f32 {
    if number.is_subnormal() { 0f32.copysign(number) } else { number }
}

impl Tiles for Soft {
    fn shape(&mut self, palette: &Palette) {
        self.configure(palette);
    }
    fn zero<const TILE: usize>(&mut self) {
        self.clear(TILE);
    }
    fn load<const TILE: usize>(&mut self, from: &Tile) {
        self.read(TILE, |row, at| from.0[row][at].to_bits());
    }
    fn multiply<const SUMS: usize, const ROWS: usize, const COLUMNS: usize>(&mut self) {
        self.add_products(SUMS, ROWS, COLUMNS);
    }
    fn store<const TILE: usize>(&mut self, to: &mut Tile) {
        self.write(TILE, |row, at, word| to.0[row][at] = f32::from_bits(word));
    }
}
