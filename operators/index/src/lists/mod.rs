//! Vectors sorted into lists (IVF), for collections that are too large to compare every vector with every question.
//!
//! ```text
//!   a sample ─► means.rs: k-means ─► centres ─► each vector to its nearest centre's list, as 8-bit numbers
//!                                                                   │
//!   other rows as questions ─► recall.rs: in which lists are their ten nearest? ─► recall by number of lists
//!   (as they are, and moved away)
//!
//!   a question ─► nearest centres ─► their lists ─► candidates ─► exact scores   (search/lists.rs, search/bounded.rs)
//! ```
//!
//! Compaction makes the lists, and they are part of the segment: centres, codes list by list, and the measured recalls. A
//! search names the recall that it wants. Nothing is left to chance but what a fixed seed gives, and all comparisons are of
//! whole numbers, so the same vectors get the same lists on every machine.

mod means;
mod recall;

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, UInt8Array, UInt32Array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, DataType, Field};

use crate::Metric;
use crate::search::{CodeKernel, Codes};
use crate::segment::{Section, Vectors};
use means::Centres;

/// Four times the root of the number of vectors: then comparing with the centres takes as long as with what is in a few
/// lists.
fn count_of(rows: usize) -> usize {
    let count = (4.0 * (rows as f64).sqrt()) as usize;
    count.clamp(1, (rows / 16).max(1))
}

/// Vectors in lists.
pub(crate) struct Listed {
    centres: Centres,
    /// Where each list ends.
    ends: Vec<u32>,
    /// Which vectors, list by list.
    rows: Vec<u32>,
    squares: Vec<f32>,
    codes: Codes,
    recalls: Vec<(u32, f32)>,
}

impl Listed {
    /// Sorts vectors into lists; none where they are so long that their squares are no numbers.
    pub(crate) fn of(values: ScalarBuffer<f32>, dimension: usize, metric: Metric, threads: usize) -> Option<Self> {
        let (kernel, threads) = (CodeKernel::fastest(), threads.max(1));
        let vectors = Arc::new(Vectors::new(values, dimension));
        let count = vectors.codes().len();
        if count == 0 || !vectors.squares().iter().all(|square| square.is_finite()) {
            return None;
        }
        let shuffled = shuffled(count);
        let centres = means::centres(kernel, &vectors, &shuffled, count_of(count), metric, threads);
        let lists = centres.nearest(kernel, vectors.codes(), threads);
        let (ends, rows) = sorted(&lists, centres.len());
        let recalls = recall::measure(kernel, &vectors, &shuffled, &centres, &lists, metric, threads);
        let squares = vectors.squares();
        let squares = rows.iter().map(|&row| squares[row as usize]).collect();
        Some(Self { codes: vectors.codes().picked(&rows), centres, ends, rows, squares, recalls })
    }

    /// The tables that hold it.
    pub(crate) fn columns(self, dimension: usize) -> Result<Vec<(Section, Vec<ArrayRef>)>, ArrowError> {
        let whole = |values: Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(values)) };
        let float = |values: ScalarBuffer<f32>| -> ArrayRef { Arc::new(Float32Array::new(values, None)) };
        let Codes { values, stride, meaning } = self.codes;
        let (probes, recalls): (Vec<u32>, Vec<f32>) = self.recalls.into_iter().unzip();
        let centres = list(DataType::Float32, dimension, float(self.centres.values.into()))?;
        let codes = list(DataType::UInt8, stride, Arc::new(UInt8Array::new(values, None)))?;
        let numbers = [self.squares.into(), meaning.scale, meaning.rest, meaning.length].map(float);
        let coded = std::iter::once(whole(self.rows)).chain(numbers).chain([codes]).collect();
        Ok(vec![
            (Section::Lists, vec![whole(self.ends), float(self.centres.biases.into()), centres]),
            (Section::Codes, coded),
            (Section::Recalls, vec![whole(probes), float(recalls.into())]),
        ])
    }
}

fn list(item: DataType, length: usize, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    Ok(Arc::new(FixedSizeListArray::try_new(Arc::new(Field::new("item", item, false)), length, values, None)?))
}

/// All rows in an order that is chance, but the same each time.
fn shuffled(count: usize) -> Vec<u32> {
    let (mut rows, mut chance): (Vec<u32>, _) = ((0..count as u32).collect(), Chance::new());
    for at in (1..count).rev() {
        rows.swap(at, (chance.next() % (at as u64 + 1)) as usize);
    }
    rows
}

/// Numbers that are chance, but the same each time: xorshift by Marsaglia.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From -1 to 1: the upper 24 bits, which single precision holds.
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

/// Where each list ends, and its rows in ascending order.
fn sorted(lists: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut ends = vec![0_u32; count];
    lists.iter().for_each(|&list| ends[list as usize] += 1);
    let mut sum = 0;
    let mut next: Vec<u32> = Vec::with_capacity(count);
    for end in &mut ends {
        next.push(sum);
        sum += *end;
        *end = sum;
    }
    let mut rows = vec![0; lists.len()];
    for (row, &list) in (0..).zip(lists) {
        let place = &mut next[list as usize];
        rows[*place as usize] = row;
        *place += 1;
    }
    (ends, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::Dice;

    /// Vectors around twenty centres.
    pub(super) fn clustered(dice: &mut Dice, count: usize, dimension: usize) -> ScalarBuffer<f32> {
        let centres: Vec<f32> = (0..20 * dimension).map(|_| dice.number()).collect();
        let mut vector = || {
            let at = dice.below(20) as usize * dimension;
            centres[at..at + dimension].iter().map(|x| x + 0.3 * dice.number()).collect::<Vec<f32>>()
        };
        (0..count).flat_map(|_| vector()).collect::<Vec<f32>>().into()
    }

    #[test]
    fn every_vector_is_in_one_list_whatever_they_are() {
        let mut dice = Dice(3);
        let equal: ScalarBuffer<f32> = vec![0.5; 70 * 300].into();
        let zeros: ScalarBuffer<f32> = vec![0.0; 70 * 40].into();
        for values in [clustered(&mut dice, 3000, 70), equal, zeros, clustered(&mut dice, 1, 70)] {
            for metric in [Metric::InnerProduct, Metric::Cosine, Metric::L2] {
                let listed = Listed::of(values.clone(), 70, metric, 1).unwrap();
                let count = values.len() / 70;
                let mut rows = listed.rows.clone();
                rows.sort_unstable();
                assert!(rows.iter().copied().eq(0..count as u32));
                assert_eq!((listed.ends.len(), listed.ends.last()), (count_of(count), Some(&(count as u32))));
                assert!(listed.centres.values.iter().all(|x| x.is_finite()));
            }
        }
        assert!(Listed::of(vec![1e30; 70].into(), 70, Metric::L2, 1).is_none());
    }

    #[test]
    fn lists_are_the_same_with_any_number_of_threads() {
        let mut dice = Dice(4);
        let values = clustered(&mut dice, 4000, 96);
        let of = |threads| {
            let listed = Listed::of(values.clone(), 96, Metric::Cosine, threads).unwrap();
            (listed.ends, listed.rows, listed.recalls, listed.centres.values)
        };
        assert_eq!(of(1), of(3));
    }

    #[test]
    fn recalls_ascend_to_one() {
        let mut dice = Dice(5);
        let listed = Listed::of(clustered(&mut dice, 5000, 64), 64, Metric::L2, 2).unwrap();
        assert!(listed.recalls.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        let (first, last) = (listed.recalls[0], listed.recalls[listed.recalls.len() - 1]);
        assert!(first.0 == 1 && first.1 < 0.9 && last.1 > 0.99, "{:?}", listed.recalls);
    }
}
