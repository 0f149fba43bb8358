//! The exact scan by codes: see `codes.rs` for why it misses nothing.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::best::{Best, Candidate};
use super::codes::{Codes, Question};
use super::dense::{self, Part, Questions, STEP, Worth};
use super::kernel_vnni::{Vnni, WIDTH};

/// Rows beyond those asked for that are kept before the hopeless ones are sorted out.
const ROOM: usize = 4096;

/// What is known of one question's best rows.
struct Kept {
    lows: Best,
    /// Rows that may be among the best, with their upper bounds.
    rows: Vec<Candidate>,
    room: usize,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self { lows: Best::new(most), rows: Vec::new(), room: ROOM.saturating_add(most) }
    }

    #[inline]
    fn offer(&mut self, (low, high): (f64, f64), segment: u32, row: u32) {
        if high < self.lows.bar() {
            return;
        }
        self.rows.push(Candidate { score: high, segment, row });
        // A bound that is no number is none, and must not set the bar.
        let score = if low.is_nan() { f64::NEG_INFINITY } else { low };
        self.lows.offer(Candidate { score, segment, row });
        if self.rows.len() >= self.room {
            let bar = self.lows.bar();
            self.rows.retain(|row| reaches(row, bar));
            self.room = self.room.max(2 * self.rows.len());
        }
    }
}

/// A bound that is no number says nothing: its row is kept.
fn reaches(row: &Candidate, bar: f64) -> bool {
    row.score >= bar || row.score.is_nan()
}

/// The best `most` rows for each question, best first, by the exact score.
pub(super) fn search(
    vnni: Vnni,
    parts: &[Part],
    questions: &Questions,
    most: usize,
    threads: usize,
) -> Vec<Vec<Candidate>> {
    if most == 0 {
        return vec![Vec::new(); questions.len()];
    }
    if parts.iter().any(|part| !part.vectors.has_codes()) {
        make_codes(parts, threads);
    }
    let codes: Vec<&Codes> = parts.iter().map(|part| part.vectors.codes(WIDTH)).collect();
    let stride = questions.dimension.next_multiple_of(WIDTH);
    let coded: Vec<Question> = (0..questions.len()).map(|at| Question::of(questions.get(at), stride)).collect();
    let values: Vec<i8> = coded.iter().flat_map(|question| question.values.iter().copied()).collect();
    let blocks = dense::blocks(parts);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut kept: Vec<Kept> = (0..questions.len()).map(|_| Kept::new(most)).collect();
        let mut products = vec![0; STEP * questions.len()];
        while let Some((part, range)) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let scan = Scan { vnni, part: &parts[*part], number: *part as u32, codes: codes[*part], values: &values };
            scan.run(range.clone(), questions, &coded, &mut products, &mut kept);
        }
        kept
    };
    let found = dense::on_threads(threads.min(blocks.len()).max(1), &work);
    let join = |(question, rows)| dense::exact(parts, questions, question, rows, most);
    merge(found, most, questions.len()).into_iter().enumerate().map(join).collect()
}

/// The first search of a version waits for its codes: each thread makes those of a segment at a time.
fn make_codes(parts: &[Part], threads: usize) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            part.vectors.codes(WIDTH);
        }
    };
    dense::on_threads(threads.min(parts.len()).max(1), &work);
}

/// The rows of each question whose upper bound reaches the last of the best lower bounds.
fn merge(found: Vec<Vec<Kept>>, most: usize, questions: usize) -> Vec<Vec<Candidate>> {
    let mut all: Vec<(Best, Vec<Candidate>)> = (0..questions).map(|_| (Best::new(most), Vec::new())).collect();
    for kept in found {
        for ((lows, rows), kept) in all.iter_mut().zip(kept) {
            lows.merge(kept.lows);
            rows.extend(kept.rows);
        }
    }
    let hopeful = |(lows, mut rows): (Best, Vec<Candidate>)| {
        let lows = lows.sorted();
        let bar = lows.get(most - 1).map_or(f64::NEG_INFINITY, |last| last.score);
        rows.retain(|row| reaches(row, bar));
        rows
    };
    all.into_iter().map(hopeful).collect()
}

struct Scan<'a> {
    vnni: Vnni,
    part: &'a Part,
    number: u32,
    codes: &'a Codes,
    values: &'a [i8],
}

impl Scan<'_> {
    fn run(
        &self,
        range: Range<usize>,
        questions: &Questions,
        coded: &[Question],
        products: &mut [i32],
        kept: &mut [Kept],
    ) {
        let (Part { vectors, counts }, stride) = (self.part, self.codes.stride);
        let (mut worths, mut highs) = ([Worth::default(); STEP], [0.0; STEP]);
        for start in range.clone().step_by(STEP) {
            let end = (start + STEP).min(range.end);
            let count = end - start;
            let products = &mut products[..count * coded.len()];
            self.vnni.products(&self.codes.values[start * stride..end * stride], self.values, stride, products);
            for (worth, row) in worths.iter_mut().zip(start..end) {
                *worth = dense::worth(questions.metric, vectors, row);
            }
            for ((question, products), kept) in coded.iter().zip(products.chunks_exact(count)).zip(kept.iter_mut()) {
                question.highs(self.codes, start..end, products, &mut highs[..count]);
                let bar = kept.lows.bar();
                // Most rows are too far away: they are seen to be so without their exact bounds.
                for at in (0..count).filter(|&at| !is_below(worths[at].of(highs[at].into(), 2.0), bar)) {
                    let (row, worth) = (start + at, worths[at]);
                    if counts.get(row) {
                        let (low, high) = question.bounds(self.codes.row(row), products[at]);
                        kept.offer((worth.of(low, -1.0), worth.of(high, 1.0)), self.number, row as u32);
                    }
                }
            }
        }
    }
}

/// False for what is no number.
fn is_below(bound: f64, bar: f64) -> bool {
    bound < bar
}
