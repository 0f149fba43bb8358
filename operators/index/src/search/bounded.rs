//! The scan by codes, of all rows or of those in some lists: see `codes.rs` for why the first one misses nothing.
//!
//! ```text
//!   all rows        blocks of places, each for all questions
//!   some lists      first those that are the nearest one of any question: then most of what follows is seen to be too far
//!                   away. Then the others. Each is read once for all questions that look into it
//! ```
//!
//! Threads share what they know of each question's best rows; which rows are left in the end does not depend on who found
//! them first.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow_buffer::MutableBuffer;

use super::best::{Best, Candidate};
use super::codes::{Question, likely};
use super::dense::{self, Hopeful, Questions, STEP, Worth};
use super::kernel_codes::CodeKernel;
use super::lists;
use super::part::{Part, Stored};
use super::threads::{each, on_threads};
use crate::Metric;
use crate::bits::Bits;

/// Rows beyond those asked for that are kept before the hopeless ones are sorted out.
const ROOM: usize = 4096;
/// Rows for which there is room from the first one on.
const FIRST: usize = 128;
/// Places that are looked at in one go.
const BLOCK: usize = 4096;
/// Comparisons of a row with a question that are worth a thread of their own: starting one takes as long.
const WORTH_A_THREAD: usize = 8192;
/// Questions that are, where each is a matter of microseconds.
const WORTH_A_THREAD_TOGETHER: usize = 32;

/// What is known of one question's best rows, by all threads: what one of them finds spares the others work.
struct Kept {
    /// The bar of the rows, as the bits of a number: most rows are below it, and nobody waits to be told so.
    bar: AtomicU64,
    rows: Mutex<Rows>,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self { bar: AtomicU64::new(f64::NEG_INFINITY.to_bits()), rows: Mutex::new(Rows::new(most)) }
    }

    /// What an upper bound must reach; may be too low by what others are about to say.
    #[inline]
    fn bar(&self) -> f64 {
        f64::from_bits(self.bar.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all threads what those know that had the rows.
    fn tell(&self, rows: MutexGuard<'_, Rows>) {
        self.bar.store(rows.lows.bar().to_bits(), Ordering::Relaxed);
    }

    /// The rows whose upper bound reaches the last of the best lower bounds.
    fn hopeful(&self, most: usize, scored: impl Fn(f64) -> f64) -> Hopeful {
        let Rows { lows, mut rows, .. } = std::mem::replace(&mut *self.lock(), Rows::new(0));
        let bar = lows.sorted().get(most - 1).map_or(f64::NEG_INFINITY, |last| last.score);
        rows.retain(|row| row.score >= bar);
        rows.iter_mut().for_each(|row| row.score = scored(row.score));
        rows.sort_unstable_by(Candidate::order);
        Hopeful { rows, others: scored(bar.next_down()) }
    }
}

/// The rows of one question that may be among the best.
struct Rows {
    lows: Best,
    /// With their upper bounds.
    rows: Vec<Candidate>,
    room: usize,
}

impl Rows {
    fn new(most: usize) -> Self {
        Self { lows: Best::new(most), rows: Vec::new(), room: ROOM.saturating_add(most) }
    }

    #[inline]
    fn offer(&mut self, (low, high): (f64, f64), segment: u32, row: u32) {
        if high < self.lows.bar() {
            return;
        }
        if self.rows.capacity() == 0 {
            // Memory that grows on one thread after the other has them wait for each other.
            self.rows.reserve(FIRST);
        }
        // A bound that is no number is none: its row is kept, and does not set the bar.
        let high = if high.is_nan() { f64::INFINITY } else { high };
        self.rows.push(Candidate { score: high, segment, row });
        let score = if low.is_nan() { f64::NEG_INFINITY } else { low };
        self.lows.offer(Candidate { score, segment, row });
        if self.rows.len() >= self.room {
            let bar = self.lows.bar();
            self.rows.retain(|row| row.score >= bar);
            self.room = self.room.max(2 * self.rows.len());
        }
    }
}

/// Places of a part to be compared with some questions.
struct Item {
    part: usize,
    places: Range<usize>,
    /// None: all.
    asked: Option<Vec<u32>>,
}

/// Rows among which the best `most` for each question are.
pub(super) fn search(
    kernel: CodeKernel,
    parts: &[Part],
    questions: &Questions,
    most: usize,
    threads: usize,
) -> Vec<Hopeful> {
    if most == 0 || questions.len() == 0 {
        return (0..questions.len()).map(|_| Hopeful { rows: Vec::new(), others: f64::INFINITY }).collect();
    }
    make_codes(parts, threads);
    let some = threads.min(questions.len().div_ceil(WORTH_A_THREAD_TOGETHER));
    let coded: Vec<Question> = each(some, questions.len(), |at| Question::of(questions.get(at)));
    let items = items(kernel, parts, &coded, threads);
    let all = Asked::all(&coded);
    let kept: Vec<Kept> = coded.iter().map(|_| Kept::new(most)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut room = Room { products: vec![0; STEP * questions.len()], picked: MutableBuffer::new(0) };
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            scan(kernel, &parts[item.part], item, questions.metric, &all, &mut room, &kept);
        }
    };
    let comparisons = |item: &Item| item.places.len() * item.asked.as_ref().map_or(questions.len(), Vec::len);
    let worth = items.iter().map(comparisons).sum::<usize>() / WORTH_A_THREAD;
    on_threads(threads.min(items.len()).min(worth).max(1), &work);
    each(some, questions.len(), |at| kept[at].hopeful(most, questions.scored(at)))
}

/// The first search of a version waits for its codes: each thread makes those of a segment at a time.
fn make_codes(parts: &[Part], threads: usize) {
    let made = |part: &Part| match &part.vectors {
        Stored::Plain(vectors) => vectors.has_codes(),
        Stored::Listed(_) => true,
    };
    if !parts.iter().all(made) {
        each(threads, parts.len(), |part| parts[part].codes().len());
    }
}

/// What is to be done, the most promising first.
fn items(kernel: CodeKernel, parts: &[Part], coded: &[Question], threads: usize) -> Vec<Item> {
    let (mut first, mut others) = (Vec::new(), Vec::new());
    for (number, part) in parts.iter().enumerate() {
        match (&part.vectors, part.probes) {
            (Stored::Listed(listed), Some(probes)) => {
                let chosen = lists::choose_all(kernel, part, listed, probes, coded, threads);
                let cut = |list: u32| (number, listed.lists.range(list as usize));
                let (nearest, farther) = pairs(&chosen, listed.lists.len());
                first.extend(by_list(nearest, chosen.len(), cut));
                others.extend(by_list(farther, chosen.len(), cut));
            }
            _ => others.extend(blocks(part, number)),
        }
    }
    first.extend(others);
    first
}

/// A list, and a question that looks into it.
type Pair = (u32, u32);

/// Which question looks into which lists: first those lists that are the nearest one of any question, as each should be
/// read once for all its questions; then the others.
fn pairs(chosen: &[Vec<u32>], lists: usize) -> (Vec<Pair>, Vec<Pair>) {
    let mut is_nearest = Bits::new(lists, false);
    chosen.iter().filter_map(|chosen| chosen.first()).for_each(|&list| is_nearest.set(list as usize));
    let (mut nearest, mut farther) = (Vec::new(), Vec::new());
    for (question, chosen) in (0..).zip(chosen) {
        for &list in chosen {
            let pairs = if is_nearest.get(list as usize) { &mut nearest } else { &mut farther };
            pairs.push((list, question));
        }
    }
    (nearest, farther)
}

/// Each list once for all that look into it; for a single question in the order in which it has chosen them.
fn by_list(mut pairs: Vec<Pair>, questions: usize, cut: impl Fn(u32) -> (usize, Range<usize>)) -> Vec<Item> {
    if questions > 1 {
        pairs.sort_unstable();
    }
    let item = |pairs: &[Pair]| {
        let (part, all) = cut(pairs[0].0);
        let asked: Vec<u32> = pairs.iter().map(|(_, question)| *question).collect();
        let asked = (questions > 1).then_some(asked);
        let (end, starts) = (all.end, all.step_by(BLOCK));
        starts.map(move |start| Item { part, places: start..(start + BLOCK).min(end), asked: asked.clone() })
    };
    pairs.chunk_by(|a, b| a.0 == b.0).flat_map(item).collect()
}

/// The blocks of a part that have a row that counts.
fn blocks(part: &Part, number: usize) -> impl Iterator<Item = Item> {
    let places = dense::blocks(part);
    places.map(move |places| Item { part: number, places, asked: None })
}

/// Questions, and their numbers side by side.
struct Asked<'a> {
    coded: &'a [Question],
    values: MutableBuffer,
}

impl<'a> Asked<'a> {
    fn all(coded: &'a [Question]) -> Self {
        let mut values = MutableBuffer::new(0);
        Question::side_by_side(coded.iter(), &mut values);
        Self { coded, values }
    }
}

/// A thread's room for what it computes.
struct Room {
    products: Vec<i32>,
    picked: MutableBuffer,
}

fn scan(
    kernel: CodeKernel,
    part: &Part,
    item: &Item,
    metric: Metric,
    all: &Asked<'_>,
    Room { products, picked }: &mut Room,
    kept: &[Kept],
) {
    let values = match &item.asked {
        None => &all.values,
        Some(asked) => {
            Question::side_by_side(asked.iter().map(|&question| &all.coded[question as usize]), picked);
            &*picked
        }
    };
    let values = values.typed_data::<i8>();
    let count = item.asked.as_ref().map_or(all.coded.len(), Vec::len);
    let question_at = |at: usize| item.asked.as_ref().map_or(at, |asked| asked[at] as usize);
    let codes = part.codes();
    let share = if part.probes.is_some() { likely(all.coded[0].dimension()) } else { 1.0 };
    for start in item.places.clone().step_by(STEP) {
        let places = start..(start + STEP).min(item.places.end);
        let products = &mut products[..places.len() * count];
        kernel.products(&codes.values[start * codes.stride..places.end * codes.stride], values, codes.stride, products);
        let step = Step { part, number: item.part as u32, metric, share, places: places.clone() };
        kernel.run(|| {
            for (at, products) in products.chunks_exact(places.len()).enumerate() {
                let question = question_at(at);
                step.look(&all.coded[question], products, &kept[question]);
            }
        });
    }
}

/// A few places whose products with some questions are known.
struct Step<'a> {
    part: &'a Part,
    number: u32,
    metric: Metric,
    share: f64,
    places: Range<usize>,
}

impl Step<'_> {
    /// Offers what may be among the best. Most rows are too far away: they are seen to be so without their exact bounds.
    #[inline]
    fn look(&self, question: &Question, products: &[i32], kept: &Kept) {
        let (codes, count) = (self.part.codes(), products.len());
        let mut highs = [0.0; STEP];
        let highs = &mut highs[..count];
        question.highs(codes, self.places.clone(), products, self.share, highs);
        let mut bar = kept.bar();
        if self.metric == Metric::InnerProduct {
            // In single precision, and all at once; the bar rather too low.
            let low_bar = (bar as f32).next_down();
            if highs.iter().fold(true, |below, high| below & (*high < low_bar)) {
                return;
            }
        }
        let mut rows = None;
        for at in 0..count {
            let place = self.places.start + at;
            let worth = self.part.worth_at(self.metric, place);
            if !is_below(worth.of(highs[at].into(), 2.0), bar) {
                let rows = rows.get_or_insert_with(|| kept.lock());
                self.offer(question, (place, products[at]), worth, rows);
                bar = rows.lows.bar();
            }
        }
        if let Some(rows) = rows {
            kept.tell(rows);
        }
    }

    fn offer(&self, question: &Question, (place, product): (usize, i32), worth: Worth, rows: &mut Rows) {
        let row = self.part.row_at(place);
        if self.part.counts.get(row) {
            let (low, high) = question.bounds(self.part.codes().row(place), product, self.share);
            rows.offer((worth.of(low, -1.0), worth.of(high, 1.0)), self.number, row as u32);
        }
    }
}

/// False for what is no number.
fn is_below(bound: f64, bar: f64) -> bool {
    bound < bar
}
