//! What is told of two versions: counted as events go by, and at the end from the rows that were kept.
//!
//! Counts, shares, correlation and differences take every row. The Kolmogorov–Smirnov distance and the AUCs need the
//! scores themselves: of more than [`MOST_ROWS`] rows, those of a share of the events are kept, chosen by a hash of the
//! event's position, the same ones every time.

use lunapark_schemas::labels::Class;
use lunapark_train::evaluate::{AucPair, auc_pair};

use super::super::models::distribution::kolmogorov_smirnov;
use super::streams::Answer;
use crate::labels::Sieve;

/// Rows that are kept: 80 MiB of them. A sample of so many tells a distance of distributions to 0.002.
const MOST_ROWS: usize = 1 << 21;

/// A row with the scores of both models; NaN where one has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    place: u64,
    pub scores: [f64; 2],
    pub label: Option<(Class, f64)>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Events that both scored.
    pub events: u64,
    /// Events that only one scored.
    pub only: [u64; 2],
    /// Events of both whose scores cannot be read, or differ in number.
    pub unread: u64,
    /// Rows that both scored.
    pub rows: u64,
    /// Rows that each scored, and those of them at or above the threshold.
    pub own: [(u64, u64); 2],
    /// Rows of both at or above the threshold.
    pub above: [u64; 2],
    pub up: u64,
    pub down: u64,
    /// Sum and greatest of the absolute differences.
    pub sum: f64,
    pub largest: f64,
    pub labelled: u64,
}

/// Means and second moments of both scores, without storing them.
/// Source: Welford, Technometrics 4 (1962) 419; for two variables as Bennett et al., CLUSTER 2009.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: [f64; 2],
    square: [f64; 2],
    product: f64,
}

impl Moments {
    fn add(&mut self, scores: [f64; 2]) {
        self.count += 1.0;
        let before = [0, 1].map(|side: usize| scores[side] - self.mean[side]);
        for side in [0, 1] {
            self.mean[side] += before[side] / self.count;
            self.square[side] += before[side] * (scores[side] - self.mean[side]);
        }
        self.product += before[0] * (scores[1] - self.mean[1]);
    }

    /// Pearson's; `None` where a model's scores are all the same.
    fn correlation(&self) -> Option<f64> {
        let scale = (self.square[0] * self.square[1]).sqrt();
        (scale > 0.0).then(|| (self.product / scale).clamp(-1.0, 1.0))
    }
}

/// Collects what two versions said.
pub(super) struct Measures {
    threshold: f64,
    pub counts: Counts,
    moments: Moments,
    rows: Vec<Row>,
    sieve: Sieve,
    most: usize,
}

impl Measures {
    pub(super) fn new(threshold: f64) -> Self {
        let (counts, moments, rows, sieve) = Default::default();
        Self { threshold, counts, moments, rows, sieve, most: MOST_ROWS }
    }

    /// Takes an event: its position, the answers, its label.
    pub(super) fn add(
        &mut self,
        (partition, offset): (i32, i64),
        pair: [Option<Answer>; 2],
        label: Option<(Class, f64)>,
    ) {
        let place = mix(mix(partition as u64 + 1) ^ offset as u64);
        match pair {
            [Some(one), Some(other)] => {
                self.counts.events += 1;
                match one.scores.zip(other.scores).filter(|(one, other)| one.len() == other.len()) {
                    Some((one, other)) => {
                        one.into_iter().zip(other).for_each(|(one, other)| self.row(place, [one, other], label));
                    }
                    None => self.counts.unread += 1,
                }
            }
            [one, other] => {
                for (side, answer) in [one, other].into_iter().enumerate() {
                    let Some(answer) = answer else { continue };
                    self.counts.only[side] += 1;
                    for score in answer.scores.unwrap_or_default() {
                        let mut scores = [None, None];
                        scores[side] = score;
                        self.row(place, scores, label);
                    }
                }
            }
        }
    }

    fn row(&mut self, place: u64, scores: [Option<f64>; 2], label: Option<(Class, f64)>) {
        let scores = scores.map(|score| score.filter(|score| score.is_finite()));
        for (own, score) in self.counts.own.iter_mut().zip(scores) {
            own.0 += u64::from(score.is_some());
            own.1 += u64::from(score.is_some_and(|score| score >= self.threshold));
        }
        if let [Some(one), Some(other)] = scores {
            self.pair([one, other]);
            self.counts.labelled += u64::from(label.is_some());
        }
        if scores != [None, None] && self.sieve.keeps(place) {
            let scores = scores.map(|score| score.unwrap_or(f64::NAN));
            self.rows.push(Row { place, scores, label });
            self.thin();
        }
    }

    fn pair(&mut self, [one, other]: [f64; 2]) {
        let counts = &mut self.counts;
        let above = [one, other].map(|score| score >= self.threshold);
        counts.rows += 1;
        counts.up += u64::from(!above[0] && above[1]);
        counts.down += u64::from(above[0] && !above[1]);
        (0..2).for_each(|side| counts.above[side] += u64::from(above[side]));
        counts.sum += (other - one).abs();
        counts.largest = counts.largest.max((other - one).abs());
        self.moments.add([one, other]);
    }

    fn thin(&mut self) {
        while self.rows.len() > self.most && self.sieve.share() > f64::MIN_POSITIVE {
            self.sieve.finer();
            let sieve = self.sieve;
            self.rows.retain(|row| sieve.keeps(row.place));
        }
    }

    pub(super) fn finish(mut self) -> Findings {
        let counts = self.counts;
        // Without an event that both scored, their distributions over different events are still worth a look.
        let paired = counts.rows > 0;
        if paired {
            self.rows.retain(|row| row.scores.iter().all(|score| score.is_finite()));
        }
        let labelled = match paired {
            true => counts.labelled,
            false => self.rows.iter().filter(|row| row.label.is_some()).count() as u64,
        };
        let counts = Counts { labelled, ..counts };
        let rates = [0, 1].map(|side: usize| match paired {
            true => ratio(counts.above[side], counts.rows),
            false => ratio(counts.own[side].1, counts.own[side].0),
        });
        let some = |value: f64| paired.then_some(value);
        Findings {
            threshold: self.threshold,
            paired,
            rates,
            flipped: ratio(counts.up + counts.down, counts.rows),
            correlation: self.moments.correlation().filter(|_| paired),
            mean_difference: some(counts.sum / counts.rows as f64),
            largest_difference: some(counts.largest),
            distance: distance(&self.rows),
            aucs: if paired { paired_aucs(&self.rows) } else { separate_aucs(&self.rows) },
            share: self.sieve.share(),
            rows: self.rows,
            counts,
        }
    }
}

/// The finish of SplitMix64. Source: Steele, Lea, Flood, OOPSLA 2014.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The finite scores of one model.
pub(super) fn scores_of(rows: &[Row], side: usize) -> impl Iterator<Item = (f64, Option<(Class, f64)>)> {
    rows.iter().map(move |row| (row.scores[side], row.label)).filter(|(score, _)| score.is_finite())
}

fn distance(rows: &[Row]) -> Option<f64> {
    let [one, other] = [0, 1].map(|side| {
        let mut scores: Vec<f64> = scores_of(rows, side).map(|(score, _)| score).collect();
        scores.sort_unstable_by(f64::total_cmp);
        scores
    });
    (!one.is_empty() && !other.is_empty()).then(|| kolmogorov_smirnov(&one, &other))
}

fn paired_aucs(rows: &[Row]) -> Option<AucPair> {
    let labelled: Vec<_> = rows.iter().filter_map(|row| Some((row.scores, row.label?))).collect();
    let [one, other] = [0, 1].map(|side: usize| labelled.iter().map(|(s, _)| s[side]).collect::<Vec<f64>>());
    let weights: Vec<f64> = labelled.iter().map(|(_, (_, weight))| *weight).collect();
    auc_pair([&one, &other], |row| labelled[row].1.0 == Class::Signal, &weights)
}

/// Of different events: the uncertainties have nothing in common.
fn separate_aucs(rows: &[Row]) -> Option<AucPair> {
    let of = |side: usize| {
        let labelled: Vec<_> = scores_of(rows, side).filter_map(|(score, label)| Some((score, label?))).collect();
        let scores: Vec<f64> = labelled.iter().map(|(score, _)| *score).collect();
        let weights: Vec<f64> = labelled.iter().map(|(_, (_, weight))| *weight).collect();
        auc_pair([&scores, &scores], |row| labelled[row].1.0 == Class::Signal, &weights)
    };
    let (one, other) = (of(0)?, of(1)?);
    Some(AucPair {
        auc: [one.auc[0], other.auc[0]],
        deviation: [one.deviation[0], other.deviation[0]],
        difference: other.auc[0] - one.auc[0],
        difference_deviation: one.deviation[0].hypot(other.deviation[0]),
    })
}

/// The finished comparison. What cannot be known is `None`.
pub(super) struct Findings {
    pub threshold: f64,
    /// Whether both scored some of the same events; else distributions of different events are compared.
    pub paired: bool,
    pub counts: Counts,
    /// Share of the rows at or above the threshold.
    pub rates: [Option<f64>; 2],
    pub flipped: Option<f64>,
    pub correlation: Option<f64>,
    pub mean_difference: Option<f64>,
    pub largest_difference: Option<f64>,
    pub distance: Option<f64>,
    pub aucs: Option<AucPair>,
    /// Share of the events of which the scores were kept.
    pub share: f64,
    pub rows: Vec<Row>,
}

impl Findings {
    pub(super) fn rate_change(&self) -> Option<f64> {
        let [one, other] = self.rates;
        other.zip(one).map(|(other, one)| other - one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(score: f64) -> Option<Answer> {
        Some(Answer::of(vec![Some(score)]))
    }

    fn labelled(number: usize) -> Option<(Class, f64)> {
        Some((if number.is_multiple_of(2) { Class::Signal } else { Class::Background }, 1.0))
    }

    #[test]
    fn what_two_versions_said_is_counted_as_by_hand() {
        let mut measures = Measures::new(0.5);
        let scores = [(0.9, 0.8), (0.4, 0.6), (0.7, 0.2), (0.1, 0.1)];
        for (offset, (one, other)) in scores.into_iter().enumerate() {
            measures.add((0, offset as i64), [answer(one), answer(other)], labelled(offset));
        }
        measures.add((0, 4), [answer(0.3), None], None);
        measures.add((0, 5), [answer(0.3), Some(Answer::of(vec![Some(0.1), Some(0.2)]))], None);
        measures.add((0, 6), [answer(0.3), Some(Answer::of(vec![None]))], None);
        let found = measures.finish();
        let Counts { events, only, unread, rows, up, down, labelled, .. } = found.counts;
        assert_eq!((events, only, unread, rows, up, down, labelled), (6, [1, 0], 1, 4, 1, 1, 4));
        assert_eq!((found.flipped, found.rates, found.rate_change()), (Some(0.5), [Some(0.5), Some(0.5)], Some(0.0)));
        // Sorted: 0.1 0.4 0.7 0.9 and 0.1 0.2 0.6 0.8.
        assert_eq!(found.distance, Some(0.25));
        let aucs = found.aucs.unwrap();
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-12;
        assert!(near(aucs.auc[0], 1.0) && near(aucs.auc[1], 0.75) && near(aucs.difference, -0.25), "{aucs:?}");
        let correlation = found.correlation.unwrap();
        // numpy.corrcoef([.9, .4, .7, .1], [.8, .6, .2, .1])[0, 1]
        assert!((correlation - 0.626_938_5).abs() < 1e-6, "{correlation}");
        assert!((found.mean_difference.unwrap() - 0.2).abs() < 1e-12);
    }

    #[test]
    fn versions_that_share_no_event_are_compared_by_their_distributions_alone() {
        let mut measures = Measures::new(0.5);
        for number in 0..40 {
            let pair = if number < 20 { [answer(number as f64 / 20.0), None] } else { [None, answer(0.9)] };
            measures.add((0, number as i64), pair, labelled(number));
        }
        let found = measures.finish();
        assert!(!found.paired && found.flipped.is_none() && found.correlation.is_none());
        assert_eq!((found.rates, found.counts.only, found.counts.labelled), ([Some(0.5), Some(1.0)], [20, 20], 40));
        // All but the last of the first version's scores lie below 0.9.
        assert!((found.distance.unwrap() - 0.9).abs() < 1e-12);
        let aucs = found.aucs.unwrap();
        assert!((aucs.auc[0] - 0.45).abs() < 1e-12 && (aucs.auc[1] - 0.5).abs() < 1e-12, "{aucs:?}");
        assert!((aucs.difference_deviation - aucs.deviation[0].hypot(aucs.deviation[1])).abs() < 1e-12);
    }

    #[test]
    fn more_rows_than_are_kept_leave_counts_exact_and_the_distance_near() {
        let measure = |most: usize| {
            let mut measures = Measures { most, ..Measures::new(0.5) };
            for number in 0..20_000_i64 {
                let score = mix(number as u64) as f64 / u64::MAX as f64;
                measures.add((1, number), [answer(score), answer(score.sqrt())], None);
            }
            measures.finish()
        };
        let (all, some) = (measure(20_000), measure(5_000));
        assert_eq!((all.counts, all.rates, all.correlation), (some.counts, some.rates, some.correlation));
        assert!(all.share == 1.0 && some.share <= 0.25 && some.rows.len() <= 5_000, "{}", some.rows.len());
        // The distance of x and √x is 1/4; 1,500 rows are within 0.04 of it in all but one of a million draws.
        assert!((all.distance.unwrap() - 0.25).abs() < 0.02, "{:?}", all.distance);
        assert!(some.rows.len() > 1_500 && (some.distance.unwrap() - 0.25).abs() < 0.06, "{:?}", some.distance);
    }
}
