//! Which numbers of rows are used, on devices that round differently.

use super::super::owner::Widths;
use super::super::shapes::{Probe, Shapes, TRIED};

const WIDTHS: Widths = Widths { inputs: 1, answers: 1, widest: 1 };

fn rows() -> Vec<f32> {
    (0..TRIED).map(|x| x as f32 + 0.25).collect()
}

/// A device that adds `error(shape, place)` bits to each answer.
fn found(error: impl Fn(usize, usize) -> u32) -> (Shapes, Probe) {
    let run = |rows: &[f32], shape: usize| {
        assert_eq!(rows.len(), shape);
        Ok(rows.iter().enumerate().map(|(at, x)| f32::from_bits(x.to_bits() + error(shape, at))).collect())
    };
    Shapes::found(WIDTHS, &rows(), run).unwrap()
}

fn cuts(shapes: &Shapes, rows: usize) -> Vec<(usize, usize)> {
    shapes.cut(rows).collect()
}

#[test]
fn all_shapes_are_used_where_all_agree() {
    let (shapes, probe) = found(|_, _| 0);
    assert!(probe.same_bits);
    assert_eq!(probe.answers, rows());
    assert_eq!(cuts(&shapes, 1), [(1, 64)]);
    assert_eq!(cuts(&shapes, 65), [(65, 256)]);
    assert_eq!(cuts(&shapes, 16_384), [(16_384, 16_384)]);
    assert_eq!(cuts(&shapes, 33_000), [(16_384, 16_384), (16_384, 16_384), (232, 256)]);
    assert_eq!(cuts(&shapes, 0), []);
}

#[test]
fn the_most_shapes_that_agree_are_kept() {
    let (shapes, probe) = found(|shape, _| u32::from(shape > 1_024));
    assert!(probe.same_bits);
    assert_eq!(cuts(&shapes, 3_000), [(1_024, 1_024), (1_024, 1_024), (952, 1_024)]);
    let (shapes, _) = found(|shape, _| u32::from(shape < 1_024));
    assert_eq!((cuts(&shapes, 1), shapes.largest()), (vec![(1, 1_024)], 16_384));
}

#[test]
fn a_shape_whose_places_differ_is_not_used() {
    let (shapes, probe) = found(|shape, place| u32::from(shape == 4_096 && place == 4_095));
    assert!(probe.same_bits);
    assert_eq!(cuts(&shapes, 4_000), [(4_000, 16_384)]);
}

#[test]
fn where_no_shape_agrees_with_itself_it_is_said() {
    let (shapes, probe) = found(|_, place| u32::from(place == 62));
    assert!(!probe.same_bits);
    assert_eq!(cuts(&shapes, 65), [(65, 256)]);
}

#[test]
fn a_wide_network_takes_fewer_rows_at_once() {
    let widths = Widths { inputs: 1, answers: 1, widest: 1 << 14 };
    let (shapes, _) = Shapes::found(widths, &rows(), |rows, _| Ok(rows.to_vec())).unwrap();
    assert_eq!(shapes.largest(), 4_096);
}

#[test]
fn too_few_answers_are_an_error() {
    let error = Shapes::found(WIDTHS, &rows(), |rows, _| Ok(rows[1..].to_vec())).unwrap_err();
    assert!(error.contains("answered by 63 numbers"), "{error}");
}
