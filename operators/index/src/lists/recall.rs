//! How much of what an exact search finds is in the nearest lists: measured on rows that the centres were not made from.
//!
//! Each such row is a question, as it is and once more moved away from where passages lie; what should be found are the ten
//! rows nearest to it, itself not counted. How many of them are in the first so many lists is known from the lists alone,
//! for all numbers of lists at once.

use std::sync::Arc;

use super::Chance;
use super::means::Centres;
use crate::Metric;
use crate::bits::Bits;
use crate::search::{CodeKernel, CodedQuestion, Codes, Part, Questions, exact_rows, nearness};
use crate::segment::Vectors;

/// Rows that are asked for.
const QUESTIONS: usize = 1000;
/// How many neighbours should be found.
const NEAREST: usize = 10;
/// More lists in the next line of the table, in parts of those in this one.
const STEP: f64 = 1.1;

/// How far a row is moved to stand for a question, in parts of its length. Questions are shorter than passages and say it in
/// other words: of Cranfield's, with MiniLM, the ten nearest passages lie in a third more lists than those of passages do,
/// so that what reached 0.97 for these reached 0.95 for them. Moved so far, passages need as many lists as the questions.
const AWAY: f32 = 1.5;

/// The recall by number of lists, ascending in both: of rows as questions, as they are and moved away, what is less counts.
/// What is measured on a sample is taken lower by twice its standard error, so that other questions hardly ever find less.
pub(super) fn measure(
    kernel: CodeKernel,
    vectors: &Arc<Vectors>,
    shuffled: &[u32],
    centres: &Centres,
    lists: &[u32],
    metric: Metric,
    threads: usize,
) -> Vec<(u32, f32)> {
    let asked = &shuffled[shuffled.len().saturating_sub(QUESTIONS)..];
    let rows = Codes::of(&centres.values, vectors.dimension);
    let sorted = Sorted { kernel, vectors, rows, biases: &centres.biases, lists, metric, threads };
    let as_they_are: Vec<Vec<f32>> = asked.iter().map(|&row| vectors.row(row as usize).to_vec()).collect();
    let needed = [moved(&as_they_are), as_they_are].map(|questions| sorted.needed(asked, &questions));
    let mut table: Vec<(u32, f32)> = Vec::new();
    let (mut probes, all) = (1, centres.len() as u32);
    loop {
        let least = needed.iter().map(|needed| lower(needed, probes)).fold(1.0, f32::min);
        let reached = least.max(table.last().map_or(0.0, |last| last.1));
        // All lists have all rows.
        let reached = if probes == all { 1.0 } else { reached };
        table.push((probes, reached));
        if probes == all {
            return table;
        }
        probes = ((f64::from(probes) * STEP) as u32).max(probes + 1).min(all);
    }
}

/// Vectors away from where they were, each in a direction that is chance.
fn moved(vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut chance = Chance::new();
    let moved = |vector: &Vec<f32>| {
        let square = vector.iter().map(|x| x * x).sum::<f32>();
        // Numbers from -1 to 1 have a mean square of a third.
        let far = AWAY * (3.0 * square / vector.len() as f32).sqrt();
        vector.iter().map(|x| x + far * chance.number()).collect()
    };
    vectors.iter().map(moved).collect()
}

/// Vectors that are sorted into lists.
struct Sorted<'a> {
    kernel: CodeKernel,
    vectors: &'a Arc<Vectors>,
    /// The centres.
    rows: Codes,
    biases: &'a [f32],
    /// The list of each vector.
    lists: &'a [u32],
    metric: Metric,
    threads: usize,
}

impl Sorted<'_> {
    /// For each question made from a row, how many lists must be looked into for each of the rows nearest to it.
    fn needed(&self, asked: &[u32], questions: &[Vec<f32>]) -> Vec<Vec<u32>> {
        let found = self.nearest(asked, questions);
        let needed = questions.iter().zip(&found).map(|(question, found)| {
            let question = CodedQuestion::of(question);
            ranks(&nearness(self.kernel, &self.rows, self.biases, &[question]).concat(), found, self.lists)
        });
        needed.collect()
    }

    /// The rows nearest to each question, those that the questions were made from not among them.
    fn nearest(&self, asked: &[u32], questions: &[Vec<f32>]) -> Vec<Vec<u32>> {
        let questions: Vec<&[f32]> = questions.iter().map(Vec::as_slice).collect();
        let Ok(questions) = Questions::new(&questions, self.vectors.dimension, self.metric) else { return Vec::new() };
        let counts = Arc::new(Bits::new(self.vectors.codes().len(), true));
        let parts = [Part::plain(Arc::clone(self.vectors), counts)];
        let found = exact_rows(self.kernel, &parts, &questions, NEAREST + 1, self.threads).unwrap_or_default();
        let others = |(found, &asked): (Vec<u32>, &u32)| -> Vec<u32> {
            found.into_iter().filter(|&row| row != asked).take(NEAREST).collect()
        };
        found.into_iter().zip(asked).map(others).collect()
    }
}

/// How many lists must be looked into for each of these rows.
fn ranks(nearness: &[f32], rows: &[u32], lists: &[u32]) -> Vec<u32> {
    let rank = |row: &u32| {
        let list = lists[*row as usize] as usize;
        let before = |other: &usize| {
            let order = nearness[*other].total_cmp(&nearness[list]);
            order.is_gt() || (order.is_eq() && *other < list)
        };
        1 + (0..nearness.len()).filter(before).count() as u32
    };
    rows.iter().map(rank).collect()
}

/// The mean recall, less twice its standard error.
fn lower(needed: &[Vec<u32>], probes: u32) -> f32 {
    let recall = |ranks: &Vec<u32>| {
        let found = ranks.iter().filter(|&&rank| rank <= probes).count();
        if ranks.is_empty() { 1.0 } else { found as f64 / ranks.len() as f64 }
    };
    let recalls: Vec<f64> = needed.iter().map(recall).collect();
    let count = recalls.len().max(1) as f64;
    let mean = recalls.iter().sum::<f64>() / count;
    let variance = recalls.iter().map(|recall| (recall - mean).powi(2)).sum::<f64>() / count;
    (mean - 2.0 * (variance / count).sqrt()).clamp(0.0, 1.0) as f32
}
