//! Vectors against single numbers, and rows side by side against rows alone, on every instruction set of the machine.

use std::sync::Arc;

use super::*;
use crate::math;
use crate::tests::digest;

fn lanes(set: Set, op: Op, width: usize) -> Lanes {
    let slots = width.next_multiple_of(ALIGN);
    let step = Step { op, inputs: vec![0], outputs: vec![slots], scratch: 0 };
    let (input, output) = (Port { slot: 0, width }, Port { slot: slots, width });
    Lanes::on(set, Engine { steps: vec![step], inputs: vec![input], outputs: vec![output] }, 2 * slots)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn sweep(count: usize) -> Vec<f32> {
    let odd = [0.0, -0.0, 1e-40, 1e30, -1e30, 87.5, -87.5, 0.624_999, 0.625, f32::INFINITY, f32::NEG_INFINITY];
    odd.into_iter()
        .cycle()
        .zip(0..count)
        .map(|(odd, at)| if at % 5 == 0 { odd } else { at as f32 * 7e-3 - 9.0 })
        .collect()
}

/// The function that a map stands for.
type Exact = fn(f32) -> f32;

#[test]
fn functions_have_the_bits_of_the_single_numbers() {
    let pairs: [(Map, Exact); 3] =
        [(Map::Sigmoid, math::sigmoid), (Map::Tanh, math::tanh), (Map::Relu, |x| if x < 0.0 { 0.0 } else { x })];
    for set in Set::available() {
        for (map, of) in pairs {
            let (width, rows) = (37, 70);
            let values = sweep(width * rows);
            let expected: Vec<f32> = values.iter().map(|&x| of(x)).collect();
            let found = lanes(set, Op::Each(map, width), width).run(&[&values], rows);
            assert_eq!(bits(&found[0]), bits(&expected), "{map:?} on {}", set.name());
        }
    }
}

#[test]
fn rows_come_back_as_they_went_in() {
    for set in Set::available() {
        for (width, rows) in [(1, 16), (15, 16), (16, 16), (17, 33), (48, 5), (100, 64)] {
            let values: Vec<f32> = (0..width * rows).map(|at| at as f32).collect();
            let moves = Op::Moves(Moves::new((0..width as u32).map(|at| (0, at))));
            let found = lanes(set, moves, width).run(&[&values], rows);
            assert_eq!(found[0], values, "{width} numbers, {rows} rows on {}", set.name());
        }
    }
}

fn matrix(taps: usize, outputs: usize) -> Matrix {
    let number = |at: usize| ((at * 7919) % 83) as f32 / 83.0 - 0.47;
    let weights: Vec<f32> = (0..taps * outputs).map(number).collect();
    Matrix::new(taps, &weights, &weights[..outputs])
}

/// Layers over rows of 36 numbers and how many they answer: dense, convolution, pooling, recurrent, probabilities.
fn layers() -> Vec<(Op, usize)> {
    let geometry = Geometry {
        channels: 2,
        input: [3, 4],
        kernel: [2, 3],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [[0, 1], [1, 0]],
    };
    let windows = |channels| Arc::new(Windows::new(&Geometry { channels, ..geometry }).unwrap());
    let products =
        |matrices: Vec<Matrix>, reach| Op::Products(Products { matrices: matrices.into(), reach, map: Map::Tanh });
    let recurrent = |cell| {
        let direction = Direction { cell, reverse: true, first_state: vec![0.1; 5], first_cell: vec![0.2; 5] };
        Op::Recurrent(Recurrent { directions: [direction].into(), steps: 9, inputs: 4, hidden: 5 })
    };
    vec![
        (products(vec![matrix(12, 23)], Reach::Groups(3)), 69),
        (products(vec![matrix(12, 7)], Reach::Windows(windows(2))), 63),
        (products((0..3).map(|_| matrix(6, 1)).collect(), Reach::Windows(windows(1))), 27),
        (Op::Pool(Pool { kind: PoolKind::Average(None), channels: 3, windows: windows(1) }), 27),
        (recurrent(RecurrentCell::Gru { gates: matrix(9, 10), new: matrix(9, 5) }), 45),
        (recurrent(RecurrentCell::Lstm { gates: matrix(9, 15), new: matrix(9, 5) }), 45),
        (Op::Softmax(Softmax { groups: 4, width: 9 }), 36),
    ]
}

#[test]
fn layers_answer_a_row_alike_alone_and_in_any_company() {
    let (width, rows) = (36, 41);
    let values: Vec<f32> = sweep(width * rows).into_iter().map(|x| x.clamp(-3.0, 3.0)).collect();
    let mut all = Vec::new();
    for (op, wide) in layers() {
        let mut first: Option<Vec<u32>> = None;
        for set in Set::available() {
            let to = width.next_multiple_of(ALIGN);
            let scratch = to + wide.next_multiple_of(ALIGN);
            let room = scratch + op.scratch().next_multiple_of(ALIGN);
            let step = Step { op: op.clone(), inputs: vec![0], outputs: vec![to], scratch };
            let (input, output) = (Port { slot: 0, width }, Port { slot: to, width: wide });
            let engine = Engine { steps: vec![step], inputs: vec![input], outputs: vec![output] };
            let mut lanes = Lanes::on(set, engine, room);
            lanes.side_by_side = 1;
            let together = bits(&lanes.run(&[&values], rows)[0]);
            lanes.side_by_side = WIDE + 1;
            assert_eq!(bits(&lanes.run(&[&values], rows)[0]), together, "{op:?} on {}", set.name());
            // Without a fused multiply-add the sums are rounded twice.
            if set.name() != "portable" || cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                assert_eq!(*first.get_or_insert_with(|| together.clone()), together, "{op:?} on {}", set.name());
            }
        }
        all.extend(first.unwrap_or_default());
    }
    // On any processor that fuses.
    let found = digest(all.iter().copied());
    assert!(all.is_empty() || found == 0xf0dd_7da4_b946_1584, "{found:#x}");
}

#[test]
fn windows_list_what_lies_inside() {
    let geometry = Geometry {
        channels: 1,
        input: [1, 5],
        kernel: [1, 3],
        strides: [1, 2],
        dilations: [1, 1],
        pads: [[0, 0], [1, 1]],
    };
    let windows = Windows::new(&geometry).unwrap();
    assert_eq!((windows.places(), windows.fewest(), windows.meetings()), (3, 2, 7));
    assert!(Windows::new(&Geometry { strides: [1, 0], ..geometry }).is_none());
    assert!(Windows::new(&Geometry { kernel: [1, 9], ..geometry }).is_none());
    assert!(Windows::new(&Geometry { pads: [[0, 0], [usize::MAX, 1]], ..geometry }).is_none());
}
