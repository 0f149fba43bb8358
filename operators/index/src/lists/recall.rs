//! How much of what an exact search finds is in the nearest lists: measured on rows that the centres were not made from.
//!
//! Each such row is a question; what should be found are the ten rows nearest to it, itself not counted. How many of them
//! are in the first so many lists is known from the lists alone, for all numbers of lists at once.

use std::sync::Arc;

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

/// The recall by number of lists, ascending in both; what is measured on a sample is taken lower by twice its
/// standard error, so that other questions hardly ever find less.
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
    let found = nearest(kernel, vectors, asked, metric, threads);
    let rows = Codes::of(&centres.values, vectors.dimension);
    let needed = asked.iter().zip(&found).map(|(&asked, found)| {
        let question = CodedQuestion::of(vectors.row(asked as usize));
        ranks(&nearness(kernel, &rows, &centres.biases, &[question]).concat(), found, lists)
    });
    let needed: Vec<Vec<u32>> = needed.collect();
    let mut table: Vec<(u32, f32)> = Vec::new();
    let (mut probes, all) = (1, centres.len() as u32);
    loop {
        let reached = lower(&needed, probes).max(table.last().map_or(0.0, |last| last.1));
        // All lists have all rows.
        let reached = if probes == all { 1.0 } else { reached };
        table.push((probes, reached));
        if probes == all {
            return table;
        }
        probes = ((f64::from(probes) * STEP) as u32).max(probes + 1).min(all);
    }
}

/// The rows nearest to each of these rows, themselves not among them.
fn nearest(kernel: CodeKernel, vectors: &Arc<Vectors>, asked: &[u32], metric: Metric, threads: usize) -> Vec<Vec<u32>> {
    let rows: Vec<&[f32]> = asked.iter().map(|&row| vectors.row(row as usize)).collect();
    let Ok(questions) = Questions::new(&rows, vectors.dimension, metric) else { return Vec::new() };
    let counts = Arc::new(Bits::new(vectors.codes().len(), true));
    let parts = [Part::plain(Arc::clone(vectors), counts)];
    let found = exact_rows(kernel, &parts, &questions, NEAREST + 1, threads).unwrap_or_default();
    let others = |(found, &asked): (Vec<u32>, &u32)| -> Vec<u32> {
        found.into_iter().filter(|&row| row != asked).take(NEAREST).collect()
    };
    found.into_iter().zip(asked).map(others).collect()
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
