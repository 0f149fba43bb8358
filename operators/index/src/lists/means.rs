//! The centres of lists: k-means over a sample, its comparisons in 8-bit numbers.
//!
//! For inner product and cosine the directions count: centres have length 1, and the nearest one has the largest product.
//! For the Euclidean distance a centre is a mean, and half the square of its length is taken off the product.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Metric;
use crate::search::{CodeKernel, CodedQuestion, Codes, on_threads};
use crate::segment::Vectors;

/// Rounds after which centres hardly move.
const ROUNDS: usize = 10;
/// Vectors of the sample for each centre.
const SAMPLE: usize = 64;
/// Rows and centres that are compared at a time: both stay in the second-level cache.
const ROWS: usize = 256;
const CENTRES: usize = 128;
/// How far the two halves of a list that is cut in two are moved apart, in parts of their numbers.
const APART: f32 = 1.0 / 1024.0;

/// The centres of lists.
pub(super) struct Centres {
    dimension: usize,
    directions: bool,
    pub(super) values: Vec<f32>,
    /// What is taken off a centre's product.
    pub(super) biases: Vec<f32>,
    coded: Vec<CodedQuestion>,
}

/// The centres of so many lists; the sample is the beginning of the shuffled rows.
pub(super) fn centres(
    kernel: CodeKernel,
    vectors: &Vectors,
    shuffled: &[u32],
    count: usize,
    metric: Metric,
    threads: usize,
) -> Centres {
    let sample = &shuffled[..shuffled.len().min(count.saturating_mul(SAMPLE))];
    let codes = vectors.codes().picked(sample);
    let first = sample[..count].iter().flat_map(|&row| vectors.row(row as usize)).copied().collect();
    let mut centres = Centres::of(first, vectors.dimension, metric != Metric::L2);
    for _ in 0..ROUNDS {
        let lists = centres.nearest(kernel, &codes, threads);
        centres = centres.moved(vectors, sample, &lists);
    }
    centres
}

impl Centres {
    fn of(mut values: Vec<f32>, dimension: usize, directions: bool) -> Self {
        let mut biases = Vec::with_capacity(values.len() / dimension);
        for centre in values.chunks_exact_mut(dimension) {
            let square = centre.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            if directions && square > 0.0 {
                centre.iter_mut().for_each(|x| *x = (f64::from(*x) / square.sqrt()) as f32);
            }
            biases.push(if directions { 0.0 } else { ((square / 2.0) as f32).min(f32::MAX) });
        }
        let coded = values.chunks_exact(dimension).map(CodedQuestion::of).collect();
        Self { dimension, directions, values, biases, coded }
    }

    pub(super) fn len(&self) -> usize {
        self.coded.len()
    }

    /// The list of each row; of lists as near as each other the first.
    pub(super) fn nearest(&self, kernel: CodeKernel, codes: &Codes, threads: usize) -> Vec<u32> {
        let (next, count) = (AtomicUsize::new(0), codes.len().div_ceil(ROWS));
        let work = || {
            let mut found = Vec::new();
            let mut products = vec![0; ROWS * CENTRES];
            loop {
                let part = next.fetch_add(1, Ordering::Relaxed);
                if part >= count {
                    return found;
                }
                let rows = part * ROWS..((part + 1) * ROWS).min(codes.len());
                found.push((part, self.nearest_of(kernel, codes, rows, &mut products)));
            }
        };
        let mut all: Vec<(usize, Vec<u32>)> = on_threads(threads.min(count).max(1), &work).concat();
        all.sort_unstable_by_key(|(part, _)| *part);
        all.into_iter().flat_map(|(_, lists)| lists).collect()
    }

    fn nearest_of(
        &self,
        kernel: CodeKernel,
        codes: &Codes,
        rows: std::ops::Range<usize>,
        products: &mut [i32],
    ) -> Vec<u32> {
        let (count, stride) = (rows.len(), codes.stride);
        let bytes = &codes.values[rows.start * stride..rows.end * stride];
        let scales = &codes.meaning.scale[rows];
        let (mut best, mut lists) = (vec![f32::NEG_INFINITY; count], vec![0_u32; count]);
        for (block, centres) in self.coded.chunks(CENTRES).enumerate() {
            let values: Vec<i8> = centres.iter().flat_map(|centre| centre.values.iter().copied()).collect();
            let products = &mut products[..count * centres.len()];
            kernel.products(bytes, &values, stride, products);
            for (at, (centre, products)) in centres.iter().zip(products.chunks_exact(count)).enumerate() {
                let list = block * CENTRES + at;
                let (scale, bias) = (centre.scale as f32, self.biases[list]);
                for row in 0..count {
                    let near = (products[row] - centre.shift) as f32 * scale * scales[row] - bias;
                    if near > best[row] {
                        (best[row], lists[row]) = (near, list as u32);
                    }
                }
            }
        }
        lists
    }

    /// Each centre in the middle of its list; one whose list is empty takes half of the longest.
    fn moved(&self, vectors: &Vectors, sample: &[u32], lists: &[u32]) -> Self {
        let dimension = self.dimension;
        let (mut sums, mut counts) = (vec![0.0_f64; self.values.len()], vec![0_u32; self.len()]);
        for (&row, &list) in sample.iter().zip(lists) {
            let vector = vectors.row(row as usize);
            let square = f64::from(vectors.squares()[row as usize]);
            let weight = if self.directions && square > 0.0 { square.sqrt().recip() } else { 1.0 };
            let sum = &mut sums[list as usize * dimension..][..dimension];
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += weight * f64::from(*x));
            counts[list as usize] += 1;
        }
        let mut values = self.values.clone();
        for (list, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let place = list * dimension..(list + 1) * dimension;
            let mean = sums[place.clone()].iter().map(|sum| (sum / f64::from(count)) as f32);
            values[place].iter_mut().zip(mean).for_each(|(x, mean)| *x = mean);
        }
        cut_longest(&mut values, &mut counts, dimension);
        Self::of(values, dimension, self.directions)
    }
}

/// Gives each empty list one half of the longest one.
fn cut_longest(values: &mut [f32], counts: &mut [u32], dimension: usize) {
    for empty in 0..counts.len() {
        if counts[empty] > 0 {
            continue;
        }
        let longest = (0..counts.len()).max_by_key(|&list| counts[list]).unwrap_or(empty);
        counts[empty] = counts[longest] / 2;
        counts[longest] -= counts[empty];
        for at in 0..dimension {
            let sign = if at % 2 == 0 { APART } else { -APART };
            let x = values[longest * dimension + at];
            values[longest * dimension + at] = x * (1.0 + sign);
            values[empty * dimension + at] = x * (1.0 - sign);
        }
    }
}
