//! Exact search by vectors: every row that counts is compared with every question.
//!
//! ```text
//!   rows in blocks ─ threads take one at a time ─ inner products of a block with all questions ─ the best few of each
//!                                                      └ candidates ─► scores in double precision, by the metric's formula
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::best::{Best, Candidate};
use super::kernel::Kernel;
use crate::bits::Bits;
use crate::segment::Vectors;
use crate::{IndexError, Metric};

/// Rows that a thread takes at a time: large enough that taking costs nothing, small enough that threads end together.
const BLOCK: usize = 1024;
/// Rows whose products are computed before they are looked at: they stay in the first-level cache's neighbour.
pub(super) const STEP: usize = 64;
/// Candidates beyond those that are asked for, among which rounding may have changed the order.
const SLACK: usize = 16;

/// The vectors of a segment, and which of them count.
pub(crate) struct Part {
    pub(crate) vectors: Arc<Vectors>,
    pub(crate) counts: Arc<Bits>,
}

/// Questions as vectors, one after another.
pub(crate) struct Questions {
    pub(crate) values: Vec<f32>,
    pub(crate) dimension: usize,
    pub(crate) metric: Metric,
}

impl Questions {
    pub(crate) fn new(vectors: &[&[f32]], dimension: usize, metric: Metric) -> Result<Self, IndexError> {
        let sound = |vector: &&[f32]| vector.len() == dimension && vector.iter().all(|x| x.is_finite());
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
}

/// Vectors of fewer numbers are compared as they are: their codes would be padding for the most part.
#[cfg(target_arch = "x86_64")]
const MIN_CODED: usize = 64;

/// The best `most` rows for each question, best first, by the exact score.
pub(crate) fn search(parts: &[Part], questions: &Questions, most: usize, threads: usize) -> Vec<Vec<Candidate>> {
    #[cfg(target_arch = "x86_64")]
    if let Some(vnni) = super::kernel_vnni::Vnni::detect().filter(|_| questions.dimension >= MIN_CODED) {
        return super::bounded::search(vnni, parts, questions, most, threads);
    }
    plain(Kernel::fastest(), parts, questions, most, threads)
}

/// The search that reads the vectors as they are.
fn plain(kernel: Kernel, parts: &[Part], questions: &Questions, most: usize, threads: usize) -> Vec<Vec<Candidate>> {
    let blocks = blocks(parts);
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
    let merged = merge(found, most.saturating_add(SLACK), questions.len());
    let exact = |(question, best): (usize, Best)| exact(parts, questions, question, best.sorted(), most);
    merged.into_iter().enumerate().map(exact).collect()
}

pub(super) fn on_threads<T: Send>(threads: usize, work: &(impl Fn() -> T + Sync)) -> Vec<T> {
    if threads == 1 {
        return vec![work()];
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        // A thread that panicked passes its panic on, as if there had been no thread.
        let join = |other: std::thread::ScopedJoinHandle<'_, T>| match other.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        others.into_iter().map(join).chain([mine]).collect()
    })
}

fn merge(found: Vec<Vec<Best>>, most: usize, questions: usize) -> Vec<Best> {
    let mut merged = vec![Best::new(most); questions];
    for best in found {
        merged.iter_mut().zip(best).for_each(|(merged, best)| merged.merge(best));
    }
    merged
}

/// The blocks of all parts that have a row that counts: part and first row.
pub(super) fn blocks(parts: &[Part]) -> Vec<(usize, std::ops::Range<usize>)> {
    let of = |(part, Part { counts, .. }): (usize, &Part)| {
        let rows = counts.rows();
        let ranges = (0..rows).step_by(BLOCK).map(move |row| row..(row + BLOCK).min(rows));
        ranges.filter(|range| counts.any(range.clone())).map(move |range| (part, range)).collect::<Vec<_>>()
    };
    parts.iter().enumerate().flat_map(of).collect()
}

fn scan(
    parts: &[Part],
    (part, range): &(usize, std::ops::Range<usize>),
    questions: &Questions,
    kernel: Kernel,
    products: &mut [f32],
    best: &mut [Best],
) {
    let Part { vectors, counts } = &parts[*part];
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
pub(super) fn worth(metric: Metric, vectors: &Vectors, row: usize) -> Worth {
    let square = match metric {
        Metric::InnerProduct => 0.0,
        Metric::Cosine | Metric::L2 => f64::from(vectors.squares()[row]),
    };
    match metric {
        Metric::InnerProduct => Worth { scale: 1.0, shift: 0.0 },
        Metric::Cosine if square > 0.0 => Worth { scale: square.sqrt().recip(), shift: 0.0 },
        Metric::Cosine => Worth { scale: 0.0, shift: 0.0 },
        // |x - q|² = |x|² - 2 x·q + |q|², of which the last is the same for all rows.
        Metric::L2 => Worth { scale: 2.0, shift: -square },
    }
}

/// A row's part in what orders rows.
#[derive(Clone, Copy, Default)]
pub(super) struct Worth {
    scale: f64,
    shift: f64,
}

impl Worth {
    /// What a product is worth; `side` says how often what rounding of the row's length may come to is added.
    #[inline]
    pub(super) fn of(self, product: f64, side: f64) -> f64 {
        product * self.scale + self.shift - side * 1e-6 * self.shift
    }
}

/// The candidates by their exact scores.
pub(super) fn exact(
    parts: &[Part],
    questions: &Questions,
    question: usize,
    mut found: Vec<Candidate>,
    most: usize,
) -> Vec<Candidate> {
    let question = questions.get(question);
    for candidate in &mut found {
        let row = parts[candidate.segment as usize].vectors.row(candidate.row as usize);
        let score = score(questions.metric, row, question);
        candidate.score = if questions.metric == Metric::L2 { -score } else { score };
    }
    found.sort_unstable_by(Candidate::order);
    found.truncate(most);
    found
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
    use super::*;
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
            Part { vectors: Arc::new(Vectors::new(values, dimension)), counts }
        };
        sizes.iter().map(|&rows| part(rows)).collect()
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
                    let expected = plain(Kernel::Portable, &parts, &questions, most, 1);
                    assert_eq!(expected[0].len(), most.min(parts.iter().map(|part| part.counts.count()).sum()));
                    assert_eq!(search(&parts, &questions, most, threads), expected, "{dimension} {metric:?} {most}");
                }
            }
        }
    }
}
