//! The exact scan by codes: see `codes.rs` for why it misses nothing.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::best::{Best, Candidate};
use super::codes::{Codes, Question};
use super::dense::{self, Part, Questions, STEP};
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
        self.lows.offer(Candidate { score: low, segment, row });
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
        for start in range.clone().step_by(STEP) {
            let end = (start + STEP).min(range.end);
            let products = &mut products[..(end - start) * coded.len()];
            self.vnni.products(&self.codes.values[start * stride..end * stride], self.values, stride, products);
            for row in (start..end).filter(|&row| counts.get(row)) {
                let products = &products[(row - start) * coded.len()..][..coded.len()];
                let worth = dense::worth(questions.metric, vectors, row);
                for ((product, question), kept) in products.iter().zip(coded).zip(kept.iter_mut()) {
                    let (low, high) = question.bounds(self.codes.rows[row], *product);
                    kept.offer((worth.of(low, -1.0), worth.of(high, 1.0)), self.number, row as u32);
                }
            }
        }
    }
}
