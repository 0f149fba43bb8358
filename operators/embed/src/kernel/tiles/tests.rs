//! Products on the model and, where there is one, on the machine's unit, against sums in double precision.

use super::super::math::Map;
use super::super::tests::{noise, rounded};
use super::super::vector::{LANES, Plain, one};
use super::super::{Rows, Set, Task};
use super::check::multiplies;
use super::soft::Soft;
use super::*;

/// The model, and the machine's own unit; that there is none is said aloud.
fn units() -> Vec<Unit> {
    let mut units = vec![Unit::Soft];
    #[cfg(target_arch = "x86_64")]
    units.extend(Amx::detect().ok().map(Unit::Amx));
    if let Err(why) = amx() {
        println!("SKIPPED on real tiles: {why}");
    }
    units
}

fn in_tiles(unit: Unit, values: &[f32], width: usize) -> TileRows {
    let mut rows = TileRows::default();
    put(Set::Tiles(unit), values, width, &mut rows);
    rows
}

fn put(set: Set, values: &[f32], width: usize, rows: &mut TileRows) {
    let from = Rows { values, stride: width, count: values.len() / width };
    set.run(Task::ToTiles(ToTiles { from, width, rows }));
}

/// What a product takes: rows, weights, biases.
struct Case {
    values: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    depth: usize,
}

impl Case {
    fn new(rows: usize, depth: usize, columns: usize) -> Self {
        let (values, weights) = (noise(rows * depth, 1), noise(columns * depth, 2));
        Self { values, weights, bias: noise(columns, 3), depth }
    }

    fn run(&self, run: impl FnOnce(TileProduct<'_>), values: &[f32], unit: Unit, map: Map) -> Vec<f32> {
        let rows = in_tiles(unit, values, self.depth);
        let weights = TileWeights::pack(&self.weights, self.depth);
        let mut out = vec![f32::NAN; values.len() / self.depth * self.bias.len()];
        run(TileProduct {
            rows: &rows,
            weights: &weights,
            bias: &self.bias,
            map,
            out: Out::Numbers(&mut out, self.bias.len()),
        });
        out
    }

    fn on(&self, unit: Unit, values: &[f32], map: Map) -> Vec<f32> {
        self.run(|product| unit.run(product), values, unit, map)
    }

    fn assert_right(&self, unit: Unit) {
        let (columns, depth) = (self.bias.len(), self.depth);
        for (at, number) in self.on(unit, &self.values, Map::Relu).into_iter().enumerate() {
            let (row, column) = (at / columns, at % columns);
            let pairs = self.values[row * depth..][..depth].iter().zip(&self.weights[column * depth..][..depth]);
            let sum: f64 = pairs.map(|(a, b)| rounded(*a) * rounded(*b)).sum();
            let expected = (sum + f64::from(self.bias[column])).max(0.0);
            let apart = (f64::from(number) - expected).abs();
            assert!(apart < 1e-4, "{unit:?} depth {depth}, {columns} columns, {row} {column}: {number} {expected}");
        }
    }
}

#[test]
fn products_are_those_of_rounded_numbers_at_any_number_of_rows() {
    for unit in units() {
        for rows in 1..70 {
            Case::new(rows, 70, 45).assert_right(unit);
        }
    }
}

#[test]
fn products_are_those_of_rounded_numbers_at_any_size() {
    for unit in units() {
        for (rows, depth, columns) in
            [(1, 2, 1), (13, 32, 32), (33, 34, 33), (25, 1026, 16), (290, 96, 17), (48, 512, 64)]
        {
            Case::new(rows, depth, columns).assert_right(unit);
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    for unit in units() {
        let case = Case::new(300, 600, 40);
        let together = case.on(unit, &case.values, Map::Gelu);
        for row in [0, 1, 15, 16, 31, 32, 255, 256, 287, 288, 299] {
            let alone = case.on(unit, &case.values[row * case.depth..][..case.depth], Map::Gelu);
            assert_eq!(alone, together[row * 40..][..40], "{unit:?} row {row}");
        }
    }
}

#[test]
fn what_goes_into_the_next_product_is_the_answer_rounded() {
    for unit in units() {
        let case = Case::new(37, 64, 70);
        let numbers = case.on(unit, &case.values, Map::Gelu);
        let mut expected = in_tiles(unit, &numbers, 70);
        let (rows, weights) = (in_tiles(unit, &case.values, 64), TileWeights::pack(&case.weights, 64));
        let mut between = TileRows::default();
        let (bias, map) = (&case.bias[..], Map::Gelu);
        unit.run(TileProduct { rows: &rows, weights: &weights, bias, map, out: Out::Tiles(&mut between) });
        assert_eq!((between.count, between.depth), (37, 3));
        for (row, tile) in (0..37).flat_map(|row| (0..3).map(move |tile| (row, tile))) {
            let bits = |rows: &mut TileRows| rows.pairs(row, tile).map(f32::to_bits);
            assert_eq!(bits(&mut between), bits(&mut expected), "{unit:?} row {row}, tile {tile}");
        }
    }
}

#[test]
fn room_is_kept_from_larger_rows_to_smaller_ones() {
    let (large, small) = (Case::new(80, 320, 40), Case::new(21, 34, 40));
    let mut rows = in_tiles(Unit::Soft, &large.values, 320);
    put(Set::Plain, &small.values, 34, &mut rows);
    let weights = TileWeights::pack(&small.weights, 34);
    let mut out = vec![f32::NAN; 21 * 40];
    let (bias, map) = (&small.bias[..], Map::Identity);
    Unit::Soft.run(TileProduct { rows: &rows, weights: &weights, bias, map, out: Out::Numbers(&mut out, 40) });
    assert_eq!(out, small.on(Unit::Soft, &small.values, Map::Identity));
}

#[test]
fn weights_set_row_by_row_are_those_set_column_by_column() {
    let (height, columns) = (37, 45);
    let by_columns = TileWeights::pack(&noise(height * columns, 4), height);
    let numbers = &noise(height * columns, 4);
    let mut by_rows = TileWeights::default();
    by_rows.reset(height, columns);
    let row = |at: usize| (0..columns).map(move |column| if at < height { numbers[column * height + at] } else { 0.0 });
    for at in (0..height).step_by(2) {
        let [low, high] = [at, at + 1].map(|at| row(at).collect::<Vec<_>>());
        by_rows.set_rows(at, [&low, &high]);
    }
    let bits = |weights: &TileWeights| -> Vec<u32> {
        let panels = (0..2).flat_map(|panel| weights.panel(panel));
        panels.flatten().flat_map(|tile| tile.0.as_flattened()).map(|word| word.to_bits()).collect()
    };
    assert_eq!(bits(&by_rows), bits(&by_columns));
}

#[test]
fn rows_may_lie_apart_where_they_come_from_and_where_they_go() {
    let (case, stride) = (Case::new(20, 40, 48), 60);
    let expected = case.on(Unit::Soft, &case.values, Map::Identity);
    let mut apart = vec![f32::NAN; 20 * stride];
    apart.chunks_exact_mut(stride).zip(case.values.chunks(40)).for_each(|(to, from)| to[..40].copy_from_slice(from));
    let mut rows = TileRows::default();
    let from = Rows { values: &apart[..19 * stride + 40], stride, count: 20 };
    Set::Plain.run(Task::ToTiles(ToTiles { from, width: 40, rows: &mut rows }));
    let weights = TileWeights::pack(&case.weights, 40);
    let (bias, map, mut out) = (&case.bias[..], Map::Identity, vec![7.0; 19 * stride + 48]);
    Unit::Soft.run(TileProduct { rows: &rows, weights: &weights, bias, map, out: Out::Numbers(&mut out, stride) });
    for (to, expected) in out.chunks(stride).zip(expected.chunks(48)) {
        assert!(to[..48] == *expected && to[48..].iter().all(|&number| number == 7.0));
    }
}

/// A unit that never forgets its sums.
struct Stubborn(Soft);

impl Tiles for Stubborn {
    fn shape(&mut self, palette: &Palette) {
        self.0.shape(palette);
    }
    fn zero<const TILE: usize>(&mut self) {}
    fn load<const TILE: usize>(&mut self, from: &Tile) {
        self.0.load::<TILE>(from);
    }
    fn multiply<const SUMS: usize, const ROWS: usize, const COLUMNS: usize>(&mut self) {
        self.0.multiply::<SUMS, ROWS, COLUMNS>();
    }
    fn store<const TILE: usize>(&mut self, to: &mut Tile) {
        self.0.store::<TILE>(to);
    }
}

#[test]
fn a_unit_that_multiplies_wrongly_is_found_out() {
    assert!(multiplies(|product| product.run::<Plain>(&mut Soft::default())));
    assert!(!multiplies(|product| product.run::<Plain>(&mut Stubborn(Soft::default()))));
    assert!(!multiplies(|_| {}));
}

/// Shapes of a product of three tiles: rows, pairs of the depth, columns.
fn shapes(rows: u8, pairs: u8, columns: u8) -> Palette {
    let mut palette = Palette::of([0, 0]);
    let words = |words: u8| 4 * u16::from(words);
    (palette.rows, palette.bytes) = ([0; 16], [0; 16]);
    palette.rows[..3].copy_from_slice(&[rows, rows, pairs]);
    palette.bytes[..3].copy_from_slice(&[words(columns), words(pairs), words(columns)]);
    palette
}

/// Each word of a tile.
fn filled(of: impl Fn(usize, usize) -> f32) -> Tile {
    Tile(std::array::from_fn(|row| std::array::from_fn(|at| of(row, at))))
}

#[test]
fn tiles_of_part_of_the_rows_and_columns_leave_the_rest_alone() {
    let mut unit = Soft::default();
    unit.shape(&shapes(3, 2, 5));
    unit.zero::<0>();
    unit.load::<1>(&filled(|row, at| one(row as f32, at as f32)));
    unit.load::<2>(&filled(|row, at| one(at as f32, 10.0 + row as f32)));
    unit.multiply::<0, 1, 2>();
    let mut out = filled(|_, _| 77.0);
    unit.store::<0>(&mut out);
    for (row, at) in (0..SIDE).flat_map(|row| (0..LANES).map(move |at| (row, at))) {
        let expected = if row < 3 && at < 5 { 2.0 * (row * at) as f32 + 11.0 } else { 77.0 };
        assert_eq!(out.0[row][at], expected, "{row} {at}");
    }
}

/// One sum over pairs, by the model.
fn summed(pairs: &[[[f32; 2]; 2]], before: f32) -> f32 {
    let mut unit = Soft::default();
    unit.shape(&shapes(1, pairs.len() as u8, 1));
    unit.load::<0>(&filled(|_, _| before));
    unit.load::<1>(&filled(|_, at| pairs.get(at).map_or(0.0, |[[low, high], _]| one(*low, *high))));
    unit.load::<2>(&filled(|row, _| pairs.get(row).map_or(0.0, |[_, [low, high]]| one(*low, *high))));
    unit.multiply::<0, 1, 2>();
    let mut out = Tile::ZERO;
    unit.store::<0>(&mut out);
    out.0[0][0]
}

#[test]
fn sums_are_rounded_in_the_manuals_order() {
    let large = 2f32.powi(24);
    // First numbers with first ones, second with second: neither sum loses its small part.
    assert_eq!(summed(&[[[large, 1.0], [1.0, 1.0]], [[-large, 1.0], [1.0, 1.0]]], 0.0), 2.0);
    // Within one of the sums the order is that of the depth.
    assert_eq!(summed(&[[[large, 0.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]], [[-large, 0.0], [1.0, 0.0]]], 0.0), 0.0);
    // What was there comes last.
    assert_eq!(summed(&[[[1.0, 1.0], [1.0, 1.0]]], large), large + 2.0);
}

#[test]
fn numbers_too_small_for_all_their_digits_are_zero() {
    let (small, least) = (f32::MIN_POSITIVE / 4.0, f32::MIN_POSITIVE);
    assert_eq!(summed(&[[[small, 0.0], [1e30, 0.0]]], 0.0), 0.0);
    assert_eq!(summed(&[[[0.0, 0.0], [0.0, 0.0]]], small), 0.0);
    assert_eq!(summed(&[[[least, 0.0], [0.5, 0.0]]], 0.0), 0.0);
    assert_eq!(summed(&[[[least, 0.0], [2.0, 0.0]]], 0.0), 2.0 * least);
}

#[test]
#[should_panic(expected = "3x1 of 3x2 and 4x1")]
fn tiles_whose_shapes_do_not_fit_are_refused() {
    let mut unit = Soft::default();
    let mut palette = shapes(3, 2, 1);
    palette.rows[2] = 4;
    unit.shape(&palette);
    unit.multiply::<0, 1, 2>();
}

#[test]
#[should_panic(expected = "tile 3 is not there")]
fn a_tile_without_rows_is_not_there() {
    let mut unit = Soft::default();
    unit.shape(&Palette::of([16, 0]));
    unit.zero::<3>();
}

#[test]
fn shapes_lie_as_the_instruction_reads_them() {
    assert_eq!((size_of::<Palette>(), align_of::<Palette>(), size_of::<Tile>()), (64, 64, 1024));
    assert_eq!(std::mem::offset_of!(Palette, bytes), 16);
    assert_eq!(std::mem::offset_of!(Palette, rows), 48);
}

/// The instructions themselves, on a CPU that has none of them.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn the_instructions_do_what_the_model_does() {
    use super::amx::Held;
    assert_ne!(amx(), Err(NoTiles::Wrong), "this CPU's tiles do not multiply as the manual says");
    if amx() != Err(NoTiles::Absent) {
        return println!("SKIPPED: this CPU has AMX tiles, which the other tests use");
    }
    trap::install();
    #[expect(unsafe_code, reason = "the handler does what the CPU lacks")]
    // SAFETY: the tiles are the handler's.
    let held = || unsafe { Held::new() };
    assert!(multiplies(|product| product.run::<Plain>(&mut held())));
    for (rows, depth, columns) in [(1, 2, 1), (16, 64, 32), (33, 70, 45), (300, 1026, 96)] {
        let case = Case::new(rows, depth, columns);
        let mut held = held();
        let run = |product: TileProduct<'_>| product.run::<Plain>(&mut held);
        let ours = case.run(run, &case.values, Unit::Soft, Map::Gelu);
        assert!(!trap::is_released());
        drop(held);
        assert!(trap::is_released());
        assert_eq!(ours, case.on(Unit::Soft, &case.values, Map::Gelu), "{rows} {depth} {columns}");
    }
}
