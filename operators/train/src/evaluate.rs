//! What a model's answers are worth, under scikit-learn's names and conventions.
//!
//! # Weights
//!
//! Every measure takes event weights, which may be negative as generators make them. The **AUC** is the probability
//! that a signal row has the larger score, with pairs counted by the product of their weights:
//!
//! ```text
//! AUC = Σ_s Σ_b w_s w_b ([x_s > x_b] + ½ [x_s = x_b]) / (Σ_s w_s · Σ_b w_b)
//! ```
//!
//! With positive weights that is `roc_auc_score(y, x, sample_weight=w)`. It needs both sums above zero; with negative
//! weights it may leave [0, 1], as the weighted counts do.

use crate::RocPoint;
pub use crate::delong::{AucPair, auc_pair};

/// Points of a ROC curve that is drawn: finer than a picture shows.
const ROC_POINTS: usize = 512;

/// Rows from the largest score down, in groups of equal scores: score, signal weight, background weight.
fn groups(scores: &[f64], signal: impl Fn(usize) -> bool, weights: &[f64]) -> Vec<(f64, f64, f64)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut groups: Vec<(f64, f64, f64)> = Vec::new();
    for row in order {
        let (s, b) = if signal(row) { (weights[row], 0.0) } else { (0.0, weights[row]) };
        match groups.last_mut() {
            Some(last) if last.0 == scores[row] => *last = (last.0, last.1 + s, last.2 + b),
            _ => groups.push((scores[row], s, b)),
        }
    }
    groups
}

/// The area under the ROC curve (see the module); NaN where a class has no weight.
pub fn auc(scores: &[f64], signal: impl Fn(usize) -> bool, weights: &[f64]) -> f64 {
    let (mut above, mut area, mut background) = (0.0, 0.0, 0.0);
    for (_, s, b) in groups(scores, signal, weights) {
        area += b * (above + 0.5 * s);
        above += s;
        background += b;
    }
    area / (above * background)
}

/// The ROC curve from (0, 0) to (1, 1), thinned.
pub fn roc(scores: &[f64], signal: impl Fn(usize) -> bool, weights: &[f64]) -> Vec<RocPoint> {
    let groups = groups(scores, signal, weights);
    let (all_s, all_b) = groups.iter().fold((0.0, 0.0), |(s, b), group| (s + group.1, b + group.2));
    let (mut s, mut b) = (0.0, 0.0);
    let start = RocPoint { false_positive_rate: 0.0, true_positive_rate: 0.0, threshold: f64::INFINITY };
    let points = groups.iter().map(|group| {
        (s, b) = (s + group.1, b + group.2);
        RocPoint { false_positive_rate: b / all_b, true_positive_rate: s / all_s, threshold: group.0 }
    });
    let all: Vec<_> = std::iter::once(start).chain(points).collect();
    let (last, step) = (all.len() - 1, all.len().div_ceil(ROC_POINTS).max(1));
    all.into_iter()
        .enumerate()
        .filter(|(at, _)| at.is_multiple_of(step) || *at == last)
        .map(|(_, point)| point)
        .collect()
}

/// The mean of a value by the rows' weights.
pub(crate) fn weighted_mean(weights: &[f64], value: impl Fn(usize) -> f64) -> f64 {
    let sum: f64 = weights.iter().enumerate().map(|(row, weight)| weight * value(row)).sum();
    sum / weights.iter().sum::<f64>()
}

/// Share of the rows whose most probable class is theirs; `probabilities` has `classes` per row.
pub fn accuracy(probabilities: &[f64], classes: usize, truth: &[f64], weights: &[f64]) -> f64 {
    let right = |row: usize| {
        let row_of = &probabilities[row * classes..][..classes];
        // The first of equals, as `argmax` has it.
        let best = (1..classes).fold(0, |best, class| if row_of[class] > row_of[best] { class } else { best });
        f64::from(u8::from(best == truth[row] as usize))
    };
    weighted_mean(weights, right)
}

/// Mean negative logarithm of the probability that each row's class got.
pub fn log_loss(probabilities: &[f64], classes: usize, truth: &[f64], weights: &[f64]) -> f64 {
    // scikit-learn clips to the smallest step of the scores' type, here single precision.
    let tiny = f64::from(f32::EPSILON);
    let probability = |row: usize| probabilities[row * classes + truth[row] as usize].clamp(tiny, 1.0 - tiny);
    weighted_mean(weights, |row| -probability(row).ln())
}

/// The mean over the classes of each one's AUC against all others (`multi_class="ovr", average="macro"`).
pub fn auc_ovr(probabilities: &[f64], classes: usize, truth: &[f64], weights: &[f64]) -> f64 {
    let of_class = |class: usize| {
        let scores: Vec<_> = probabilities.iter().skip(class).step_by(classes).copied().collect();
        auc_of_few(&scores, |row| truth[row] as usize == class, weights)
    };
    (0..classes).map(of_class).sum::<f64>() / classes as f64
}

/// [`auc`], where few rows are signal: those alone are sorted, and each other row finds its place among them.
fn auc_of_few(scores: &[f64], signal: impl Fn(usize) -> bool, weights: &[f64]) -> f64 {
    let mut own: Vec<(f64, f64)> =
        (0..scores.len()).filter(|&row| signal(row)).map(|row| (scores[row], weights[row])).collect();
    own.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut all, mut up_to) = (0.0, vec![0.0]);
    up_to.extend(own.iter().map(|(_, weight)| {
        all += weight;
        all
    }));
    let (mut area, mut background) = (0.0, 0.0);
    for row in (0..scores.len()).filter(|&row| !signal(row)) {
        let below = own.partition_point(|(score, _)| *score < scores[row]);
        let equal = own[below..].partition_point(|(score, _)| *score == scores[row]);
        let (first, last) = (up_to[below], up_to[below + equal]);
        area += weights[row] * (all - last + 0.5 * (last - first));
        background += weights[row];
    }
    area / (all * background)
}

/// Root mean squared error, mean absolute error and R².
pub fn regression(answers: &[f64], truth: &[f64], weights: &[f64]) -> [(&'static str, f64); 3] {
    let squared = weighted_mean(weights, |row| (answers[row] - truth[row]).powi(2));
    let absolute = weighted_mean(weights, |row| (answers[row] - truth[row]).abs());
    let mean = weighted_mean(weights, |row| truth[row]);
    let variance = weighted_mean(weights, |row| (truth[row] - mean).powi(2));
    [("rmse", squared.sqrt()), ("mae", absolute), ("r2", 1.0 - squared / variance)]
}
