//! Whether a unit multiplies, found out before it is used.

use super::super::Rows;
use super::super::math::Map;
use super::super::vector::Plain;
use super::{Out, TileProduct, TileRows, TileWeights, ToTiles};

/// Sizes that end within a tile, and need two strips and two parts of the depth.
const ROWS: usize = 53;
const COLUMNS: usize = 45;
const DEPTH: usize = 550;

/// Whether a product of whole numbers is right to the last bit. They are small enough that every order of the sums
/// gives the same: what a unit may do otherwise than the manual says, such as to round in another order, does no harm.
pub(super) fn multiplies(run: impl FnOnce(TileProduct<'_>)) -> bool {
    let values: Vec<f32> = (0..ROWS * DEPTH).map(|at| (at % 11) as f32 - 5.0).collect();
    let weights: Vec<f32> = (0..COLUMNS * DEPTH).map(|at| (at % 13) as f32 - 6.0).collect();
    let mut rows = TileRows::default();
    let from = Rows { values: &values, stride: DEPTH, count: ROWS };
    ToTiles { from, width: DEPTH, rows: &mut rows }.run::<Plain>();
    let packed = TileWeights::pack(&weights, DEPTH);
    let mut out = vec![f32::NAN; ROWS * COLUMNS];
    run(TileProduct {
        rows: &rows,
        weights: &packed,
        bias: &[],
        map: Map::Identity,
        out: Out::Numbers(&mut out, COLUMNS),
    });
    let right = |(at, &number): (usize, &f32)| {
        let (row, column) = (&values[at / COLUMNS * DEPTH..], &weights[at % COLUMNS * DEPTH..]);
        number == row[..DEPTH].iter().zip(column).map(|(a, b)| a * b).sum::<f32>()
    };
    out.iter().enumerate().all(right)
}
