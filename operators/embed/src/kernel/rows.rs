//! What is done to whole rows: softmax, layer normalisation, rounding to bfloat16.

use super::math::exp;
use super::vector::{LANES, Vector, one};

/// Numbers become pairs of bfloat16, as [`Panels::pack_pairs`](super::Panels::pack_pairs) wants its rows.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub numbers: &'a [f32],
    /// Half as many.
    pub pairs: &'a mut [f32],
}

impl Pair<'_> {
    #[inline(always)]
    pub(super) fn run<V: Vector>(self) {
        let (numbers, tail) = self.numbers.as_chunks::<{ 2 * LANES }>();
        let (pairs, pairs_tail) = self.pairs.as_chunks_mut::<LANES>();
        for (pairs, numbers) in pairs.iter_mut().zip(numbers) {
            if let [numbers] = numbers.as_chunks::<LANES>().0.as_chunks::<2>().0 {
                V::pair(numbers).store(pairs);
            }
        }
        for (pair, &[low, high]) in pairs_tail.iter_mut().zip(tail.as_chunks().0) {
            *pair = one(low, high);
        }
    }
}

/// Below every score that a model gives: a number that is not there weighs nothing.
const NOTHING: f32 = -1e30;

/// Biases by the distance from query to key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Distances<'a> {
    /// One number per distance, the most negative first.
    pub table: &'a [f32],
    /// Where in it the distance from the first row to the first key is.
    pub first: usize,
}

/// The scores of some queries become weights, whose sum is one.
#[derive(Debug)]
pub(crate) struct Softmax<'a> {
    pub scores: &'a mut [f32],
    /// From one query to the next, a multiple of the lanes.
    pub stride: usize,
    /// Keys.
    pub keys: usize,
    pub distances: Option<Distances<'a>>,
}

impl Softmax<'_> {
    #[inline(always)]
    pub(super) fn run<V: Vector>(self) {
        for (query, scores) in self.scores.chunks_exact_mut(self.stride).enumerate() {
            if let Some(distances) = self.distances {
                // The next query is one step farther from every key.
                let biases = &distances.table[distances.first - query..][..self.keys];
                for (score, bias) in scores.iter_mut().zip(biases) {
                    *score += bias;
                }
            }
            scores[self.keys..].fill(NOTHING);
            weigh::<V>(scores.as_chunks_mut().0);
        }
    }
}

#[inline(always)]
fn weigh<V: Vector>(scores: &mut [[f32; LANES]]) {
    let mut greatest = V::splat(NOTHING);
    for lanes in scores.iter() {
        greatest = V::load(lanes).max(greatest);
    }
    let greatest = V::splat(greatest.greatest());
    let mut sum = V::splat(0.0);
    for lanes in scores.iter_mut() {
        let power = exp(V::load(lanes).sub(greatest));
        sum = sum.add(power);
        power.store(lanes);
    }
    let share = V::splat(1.0 / sum.sum());
    for lanes in scores.iter_mut() {
        V::load(lanes).mul(share).store(lanes);
    }
}

/// `rows = normalised(rows + added) * gain + shift`, each row by its own mean and variance.
#[derive(Debug)]
pub(crate) struct AddNorm<'a> {
    pub rows: &'a mut [f32],
    pub added: &'a [f32],
    pub gain: &'a [f32],
    pub shift: &'a [f32],
    pub epsilon: f32,
}

impl AddNorm<'_> {
    #[inline(always)]
    pub(super) fn run<V: Vector>(self) {
        let width = self.gain.len();
        for (row, added) in self.rows.chunks_exact_mut(width).zip(self.added.chunks_exact(width)) {
            let mean = add::<V>(row, added) / width as f32;
            let variance = squares::<V>(row, mean) / width as f32;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            shape::<V>(row, self.gain, self.shift, mean, scale);
        }
    }
}

/// Adds, and returns the sum of the row.
#[inline(always)]
fn add<V: Vector>(row: &mut [f32], added: &[f32]) -> f32 {
    let ((row, row_tail), (added, added_tail)) = (row.as_chunks_mut(), added.as_chunks());
    let mut sum = V::splat(0.0);
    for (lanes, added) in row.iter_mut().zip(added) {
        let both = V::load(lanes).add(V::load(added));
        both.store(lanes);
        sum = sum.add(both);
    }
    let mut sum = sum.sum();
    for (number, added) in row_tail.iter_mut().zip(added_tail) {
        *number += added;
        sum += *number;
    }
    sum
}

/// The sum of the squared distances from the mean.
#[inline(always)]
fn squares<V: Vector>(row: &[f32], mean: f32) -> f32 {
    let (row, tail) = row.as_chunks();
    let mut sum = V::splat(0.0);
    for lanes in row {
        let distance = V::load(lanes).sub(V::splat(mean));
        sum = distance.mul_add(distance, sum);
    }
    let mut sum = sum.sum();
    for number in tail {
        sum += (number - mean) * (number - mean);
    }
    sum
}

#[inline(always)]
fn shape<V: Vector>(row: &mut [f32], gain: &[f32], shift: &[f32], mean: f32, scale: f32) {
    let (row, row_tail) = row.as_chunks_mut();
    let ((gain, gain_tail), (shift, shift_tail)) = (gain.as_chunks(), shift.as_chunks());
    for ((lanes, gain), shift) in row.iter_mut().zip(gain).zip(shift) {
        let normal = V::load(lanes).sub(V::splat(mean)).mul(V::splat(scale));
        normal.mul_add(V::load(gain), V::load(shift)).store(lanes);
    }
    for ((number, gain), shift) in row_tail.iter_mut().zip(gain_tail).zip(shift_tail) {
        *number = (*number - mean) * scale * gain + shift;
    }
}
