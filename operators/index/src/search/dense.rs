//! Exact search by vectors: every row that counts is compared with every question.
//!
//! ```text
//!   rows in blocks ─ threads take one at a time ─ inner products of a block with all questions ─ the best few of each
//!                                                      └ candidates ─► scores in double precision, by the metric's formula
//! ```

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::best::{Best, Candidate};
use super::bounded;
use super::kernel::Kernel;
use super::kernel_codes::CodeKernel;
use super::part::{Part, Stored};
use super::threads::on_threads;
use crate::segment::Vectors;
use crate::segment::blocks::Room;
use crate::{IndexError, Metric};

/// Rows that a thread takes at a time: large enough that taking costs nothing, small enough that threads end together.
const BLOCK: usize = 1024;
/// Rows whose products are computed before they are looked at: they stay in the first-level cache's neighbour.
pub(super) const STEP: usize = 64;
/// Candidates beyond those that are asked for: where rounding may have changed the order, it is mostly among these.
const SLACK: usize = 16;

/// What a row's square in single precision may be wrong by, as a share of it.
const SQUARE_ROUNDING: f64 = 1e-6;

/// Questions as vectors, one after another.
pub(crate) struct Questions {
    pub(crate) values: Vec<f32>,
    pub(crate) dimension: usize,
    pub(crate) metric: Metric,
}

impl Questions {
    pub(crate) fn new(vectors: &[&[f32]], dimension: usize, metric: Metric) -> Result<Self, IndexError> {
        let finite = |vector: &[f32]| vector.iter().fold(true, |finite, x| finite & x.is_finite());
        let sound = |vector: &&[f32]| vector.len() == dimension && finite(vector);
        if !vectors.iter().all(sound) {
            let why = format!("its vector must have {dimension} finite numbers, as the collection's have");
            return Err(IndexError::refused("a question", why));
        }
        Ok(Self { values: vectors.concat(), dimension, metric })
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    pub(super) fn get(&self, question: usize) -> &[f32] {
        &self.values[question * self.dimension..][..self.dimension]
    }

    /// Turns what orders the rows of a question, as [`Worth`] gives it, into their scores, which hold the question's length
    /// as well.
    pub(super) fn scored(&self, question: usize) -> impl Fn(f64) -> f64 + use<> {
        let question = self.get(question);
        let square = sum(question, question, |a, b| a * b);
        let (scale, shift) = match self.metric {
            Metric::Cosine if square > 0.0 => (square.sqrt().recip(), 0.0),
            Metric::InnerProduct | Metric::Cosine => (1.0, 0.0),
            Metric::L2 => (1.0, -square),
        };
        move |worth| worth * scale + shift
    }

    /// How much more a row may be worth than its product in single precision says, where none is longer than `longest`.
    /// A sum of `n` products is wrong by at most `n` roundings of the lengths' product (Higham, Accuracy and Stability of
    /// Numerical Algorithms, 3.1); a square's rounding is [`SQUARE_ROUNDING`].
    fn rounding(&self, question: usize, longest: f64) -> f64 {
        let question = self.get(question);
        let length = sum(question, question, |a, b| a * b).sqrt();
        let product = self.dimension as f64 * f64::from(f32::EPSILON) * length;
        match self.metric {
            Metric::InnerProduct => product * longest,
            Metric::Cosine => product + SQUARE_ROUNDING * length,
            Metric::L2 => 2.0 * product * longest + SQUARE_ROUNDING * longest * longest,
        }
    }

    /// Some of them.
    pub(super) fn picked(&self, some: &[usize]) -> Self {
        let vectors: Vec<&[f32]> = some.iter().map(|&question| self.get(question)).collect();
        Self { values: vectors.concat(), ..*self }
    }
}

/// Vectors of fewer numbers are compared as they are: their codes would be padding for the most part.
const MIN_CODED: usize = 64;

/// Rows that may be the best for a question, the most promising first.
pub(super) struct Hopeful {
    /// With scores that are no less than the exact ones.
    pub(super) rows: Vec<Candidate>,
    /// No other row has a better score than this.
    pub(super) others: f64,
}

impl Hopeful {
    /// The best `most` rows, best first, by the exact score.
    fn best(
        self,
        parts: &[Part],
        questions: &Questions,
        question: usize,
        most: usize,
    ) -> Result<Vec<Candidate>, IndexError> {
        let mut rows = self.rows;
        exact(parts, questions, question, &mut rows, &mut Room::default())?;
        rows.sort_unstable_by(Candidate::order);
        rows.truncate(most);
        Ok(rows)
    }
}

/// Rows among which the best `most` for each question are.
pub(super) fn search(
    parts: &[Part],
    questions: &Questions,
    most: usize,
    threads: usize,
) -> Result<Vec<Hopeful>, IndexError> {
    let kernel = CodeKernel::fastest();
    let listed = parts.iter().any(|part| matches!(part.vectors, Stored::Listed(_)));
    if listed || (kernel.is_fast() && questions.dimension >= MIN_CODED) {
        return Ok(bounded::search(kernel, parts, questions, most, threads));
    }
    plain(Kernel::fastest(), parts, questions, most, threads)
}

/// The rows of the only part that are nearest to each question.
pub(crate) fn exact_rows(
    kernel: CodeKernel,
    parts: &[Part; 1],
    questions: &Questions,
    most: usize,
    threads: usize,
) -> Result<Vec<Vec<u32>>, IndexError> {
    let hopeful = bounded::search(kernel, parts, questions, most, threads);
    let rows = |(question, hopeful): (usize, Hopeful)| -> Result<Vec<u32>, IndexError> {
        Ok(hopeful.best(parts, questions, question, most)?.iter().map(|candidate| candidate.row).collect())
    };
    hopeful.into_iter().enumerate().map(rows).collect()
}

/// The search that reads the vectors as they are.
fn plain(
    kernel: Kernel,
    parts: &[Part],
    questions: &Questions,
    most: usize,
    threads: usize,
) -> Result<Vec<Hopeful>, IndexError> {
    let numbered = parts.iter().enumerate();
    let blocks: Vec<_> = numbered.flat_map(|(number, part)| blocks(part).map(move |range| (number, range))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut best = vec![Best::new(most.saturating_add(SLACK)); questions.len()];
        let mut products = vec![0.0; STEP * questions.len()];
        while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            scan(parts, block, questions, kernel, &mut products, &mut best);
        }
        best
    };
    let found = on_threads(threads.min(blocks.len()).max(1), &work);
    let kept = most.saturating_add(SLACK);
    let merged = merge(found, kept, questions.len());
    let longest = longest(parts);
    let hopeful = |(question, best): (usize, Best)| {
        let rows = best.sorted();
        let last = rows.get(kept.wrapping_sub(1)).map(|last| last.score + questions.rounding(question, longest));
        let others = last.map_or(f64::NEG_INFINITY, questions.scored(question));
        let rows = Hopeful { rows, others }.best(parts, questions, question, kept)?;
        Ok(Hopeful { rows, others })
    };
    merged.into_iter().enumerate().map(hopeful).collect()
}

/// The length of the longest vector.
fn longest(parts: &[Part]) -> f64 {
    let squares = |part: &Part| match &part.vectors {
        Stored::Plain(vectors) => vectors.squares().iter().copied().fold(0.0, f32::max),
        _ => 0.0,
    };
    f64::from(parts.iter().map(squares).fold(0.0, f32::max)).sqrt()
}

fn merge(found: Vec<Vec<Best>>, most: usize, questions: usize) -> Vec<Best> {
    let mut merged = vec![Best::new(most); questions];
    for best in found {
        merged.iter_mut().zip(best).for_each(|(merged, best)| merged.merge(best));
    }
    merged
}

/// The blocks of a part, as places of its codes, that have a row that counts.
pub(super) fn blocks(part: &Part) -> impl Iterator<Item = Range<usize>> {
    let rows = part.rows();
    let ranges = (0..rows).step_by(BLOCK).map(move |row| row..(row + BLOCK).min(rows));
    ranges.filter(|range| part.any_at(range.clone()))
}

fn scan(
    parts: &[Part],
    (part, range): &(usize, Range<usize>),
    questions: &Questions,
    kernel: Kernel,
    products: &mut [f32],
    best: &mut [Best],
) {
    let Part { vectors: Stored::Plain(vectors), counts, .. } = &parts[*part] else { return };
    let (dimension, count) = (questions.dimension, questions.len());
    for start in range.clone().step_by(STEP) {
        let end = (start + STEP).min(range.end);
        let products = &mut products[..(end - start) * count];
        kernel.products(&vectors.values[start * dimension..end * dimension], &questions.values, dimension, products);
        for row in (start..end).filter(|&row| counts.get(row)) {
            let products = &products[(row - start) * count..][..count];
            let worth = worth(questions.metric, vectors, row);
            for (product, best) in products.iter().zip(best.iter_mut()) {
                let score = worth.of(f64::from(*product), 0.0);
                if score >= best.bar() {
                    best.offer(Candidate { score, segment: *part as u32, row: row as u32 });
                }
            }
        }
    }
}

/// Turns a row's inner product into what orders the rows of a question: more is better.
fn worth(metric: Metric, vectors: &Vectors, row: usize) -> Worth {
    match metric {
        Metric::InnerProduct => Worth::default(),
        Metric::Cosine | Metric::L2 => Worth::of_square(metric, vectors.squares()[row]),
    }
}

/// A row's part in what orders rows.
#[derive(Clone, Copy)]
pub(super) struct Worth {
    scale: f64,
    shift: f64,
}

impl Default for Worth {
    /// The product itself.
    fn default() -> Self {
        Self { scale: 1.0, shift: 0.0 }
    }
}

impl Worth {
    /// Of a row whose length has this square.
    pub(super) fn of_square(metric: Metric, square: f32) -> Self {
        let square = f64::from(square);
        match metric {
            Metric::InnerProduct => Self::default(),
            Metric::Cosine if square > 0.0 => Self { scale: square.sqrt().recip(), shift: 0.0 },
            Metric::Cosine => Self { scale: 0.0, shift: 0.0 },
            // |x - q|² = |x|² - 2 x·q + |q|², of which the last is the same for all rows.
            Metric::L2 => Self { scale: 2.0, shift: -square },
        }
    }

    /// What a product is worth; `side` says how often what rounding of the row's length may come to is added.
    #[inline]
    pub(super) fn of(self, product: f64, side: f64) -> f64 {
        product * self.scale + self.shift - side * SQUARE_ROUNDING * self.shift
    }
}

/// Gives candidates their exact scores, and sorts them by segment.
pub(super) fn exact(
    parts: &[Part],
    questions: &Questions,
    question: usize,
    found: &mut [Candidate],
    room: &mut Room,
) -> Result<(), IndexError> {
    let (metric, question) = (questions.metric, questions.get(question));
    found.sort_by_key(|candidate| candidate.segment);
    for found in found.chunk_by_mut(|a, b| a.segment == b.segment) {
        let rows: Vec<usize> = found.iter().map(|candidate| candidate.row as usize).collect();
        parts[found[0].segment as usize].each_vector(&rows, room, |at, vector| {
            let score = score(metric, vector, question);
            found[at].score = if metric == Metric::L2 { -score } else { score };
        })?;
    }
    Ok(())
}

/// How near two vectors are, by the metric's formula in double precision.
pub(crate) fn score(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::InnerProduct => sum(a, b, |a, b| a * b),
        Metric::L2 => sum(a, b, |a, b| (a - b) * (a - b)),
        Metric::Cosine => {
            let square = |x| sum(x, x, |x, y| x * y);
            match (square(a) * square(b)).sqrt() {
                0.0 => 0.0,
                lengths => sum(a, b, |a, b| a * b) / lengths,
            }
        }
    }
}

/// A sum over pairs in double precision, in an order that is the same on all machines.
fn sum(a: &[f32], b: &[f32], of: impl Fn(f64, f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += of(a[lane].into(), b[lane].into());
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| of((*a).into(), (*b).into()));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::bits::Bits;
    use crate::search::tests::Dice;

    /// Vectors around a few centres, so that many scores are near one another.
    fn parts(dice: &mut Dice, dimension: usize, sizes: &[usize]) -> Vec<Part> {
        let centres: Vec<f32> = (0..8 * dimension).map(|_| dice.number()).collect();
        let mut part = |rows: usize| {
            let mut values = Vec::new();
            for _ in 0..rows {
                let centre = dice.below(8) as usize * dimension;
                values.extend((0..dimension).map(|at| centres[centre + at] + 0.05 * dice.number()));
            }
            let counts = Arc::new(Bits::of(rows, |row| row % 10 > 0));
            Part::plain(Arc::new(Vectors::new(values.into(), dimension)), counts)
        };
        sizes.iter().map(|&rows| part(rows)).collect()
    }

    /// No row is better than it is said to be.
    fn check_bounds(parts: &[Part], questions: &Questions, question: usize, hopeful: &Hopeful) {
        let bounds: HashMap<(u32, u32), f64> =
            hopeful.rows.iter().map(|row| ((row.segment, row.row), row.score)).collect();
        for (number, part) in parts.iter().enumerate() {
            let rows = (0..part.rows()).filter(|&row| part.counts.get(row));
            let mut rows: Vec<Candidate> =
                rows.map(|row| Candidate { score: 0.0, segment: number as u32, row: row as u32 }).collect();
            exact(parts, questions, question, &mut rows, &mut Room::default()).unwrap();
            for row in rows {
                let bound = bounds.get(&(row.segment, row.row)).copied().unwrap_or(hopeful.others);
                assert!(row.score <= bound, "{row:?} is better than {bound}");
            }
        }
        assert!(hopeful.rows.is_sorted_by(|a, b| a.score >= b.score));
    }

    #[test]
    fn the_scan_by_codes_and_the_plain_one_find_the_same() {
        let mut dice = Dice(41);
        for (dimension, sizes, count) in [(64, &[3000, 1, 700][..], 1), (100, &[900, 1100], 7), (384, &[2500], 5)] {
            let parts = parts(&mut dice, dimension, sizes);
            for metric in [Metric::InnerProduct, Metric::Cosine, Metric::L2] {
                let vector = |dice: &mut Dice| (0..dimension).map(|_| dice.number()).collect::<Vec<f32>>();
                let vectors: Vec<Vec<f32>> = (0..count).map(|_| vector(&mut dice)).collect();
                let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
                let questions = Questions::new(&vectors, dimension, metric).unwrap();
                for (most, threads) in [(1, 1), (40, 2), (5000, 1), (0, 1)] {
                    let best = |hopeful: Vec<Hopeful>| -> Vec<Vec<Candidate>> {
                        let best =
                            |(question, hopeful): (usize, Hopeful)| hopeful.best(&parts, &questions, question, most);
                        hopeful.into_iter().enumerate().map(|hopeful| best(hopeful).unwrap()).collect()
                    };
                    let expected = best(plain(Kernel::Portable, &parts, &questions, most, 1).unwrap());
                    assert_eq!(expected[0].len(), most.min(parts.iter().map(|part| part.count).sum()));
                    for kernel in CodeKernel::available() {
                        let hopeful = bounded::search(kernel, &parts, &questions, most, threads);
                        hopeful.iter().enumerate().for_each(|(question, hopeful)| {
                            check_bounds(&parts, &questions, question, hopeful);
                        });
                        assert_eq!(best(hopeful), expected, "{kernel:?} {dimension} {metric:?} {most}");
                    }
                }
            }
        }
    }
}
