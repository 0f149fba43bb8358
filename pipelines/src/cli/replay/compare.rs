//! What would have been different: flipped decisions, agreement, and the distance of the score distributions.

use lunapark_train::picture;
use serde_json::{Value, json};

use super::super::output::{Table, number};
use super::answers::{Answer, scores};
use super::distributions::Distributions;
use super::recorded;

/// Collects pairs of a recorded and a replayed result.
pub(super) struct Comparison {
    threshold: f64,
    counts: Counts,
    distributions: Distributions,
}

/// What is counted while events go by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    /// Events whose payloads agree in every bit.
    identical: u64,
    different: u64,
    only_recorded: u64,
    only_replayed: u64,
    /// Events whose scores cannot be read.
    unread: u64,
    rows: u64,
    up: u64,
    down: u64,
    /// Rows at or above the threshold, recorded and replayed.
    above: [u64; 2],
    largest: f64,
    sum: f64,
}

/// The finished comparison.
pub(super) struct Diff {
    threshold: f64,
    counts: Counts,
    distributions: Distributions,
    rates: (f64, f64),
}

impl Comparison {
    pub(super) fn new(threshold: f64) -> Self {
        Self { threshold, counts: Counts::default(), distributions: Distributions::new() }
    }

    pub(super) fn add(&mut self, recorded: Option<&recorded::Result>, answer: &Answer) {
        match (recorded, answer) {
            (Some(recorded), Answer::Result { value, headers }) => {
                match recorded.value == *value {
                    true => self.counts.identical += 1,
                    false => self.counts.different += 1,
                }
                let (old, new) = (scores(&recorded.value, recorded.headers.view()), scores(value, headers.view()));
                match old.zip(new).filter(|(old, new)| old.len() == new.len()) {
                    Some((old, new)) => old.into_iter().zip(new).for_each(|(old, new)| self.row(old, new)),
                    None => self.counts.unread += 1,
                }
            }
            (Some(_), Answer::Rejected(_) | Answer::Filtered) => self.counts.only_recorded += 1,
            (None, Answer::Result { .. }) => self.counts.only_replayed += 1,
            (None, Answer::Rejected(_) | Answer::Filtered) => {}
        }
    }

    fn row(&mut self, old: Option<f64>, new: Option<f64>) {
        let Some((old, new)) = old.zip(new) else { return };
        self.counts.rows += 1;
        self.counts.up += u64::from(old < self.threshold && new >= self.threshold);
        self.counts.down += u64::from(old >= self.threshold && new < self.threshold);
        self.counts.largest = self.counts.largest.max((new - old).abs());
        self.counts.sum += (new - old).abs();
        self.counts.above[0] += u64::from(old >= self.threshold);
        self.counts.above[1] += u64::from(new >= self.threshold);
        self.distributions.add(old, new);
    }

    pub(super) fn finish(self) -> Diff {
        let [recorded, replayed] = self.counts.above.map(|above| ratio(above, self.counts.rows));
        let Self { threshold, counts, distributions } = self;
        Diff { threshold, counts, distributions, rates: (recorded, replayed) }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Diff {
    fn agreement(&self) -> f64 {
        if self.counts.rows == 0 { 1.0 } else { 1.0 - ratio(self.counts.up + self.counts.down, self.counts.rows) }
    }

    fn mean(&self) -> f64 {
        if self.counts.rows == 0 { 0.0 } else { self.counts.sum / self.counts.rows as f64 }
    }

    pub(super) fn document(&self) -> Value {
        let Counts { identical, different, only_recorded, only_replayed, unread, rows, up, down, largest, .. } =
            self.counts;
        json!({
            "identical": identical,
            "different": different,
            "only_recorded": only_recorded,
            "only_replayed": only_replayed,
            "unread": unread,
            "rows": rows,
            "threshold": self.threshold,
            "flipped": up + down,
            "flipped_up": up,
            "flipped_down": down,
            "agreement": self.agreement(),
            "kolmogorov_smirnov": self.distributions.distance(),
            "rate_recorded": self.rates.0,
            "rate_replayed": self.rates.1,
            "mean_difference": self.mean(),
            "largest_difference": largest,
        })
    }

    pub(super) fn table(&self) -> Table {
        let counts = &self.counts;
        let mut table = Table::new(&["compared with the recorded results", ">"]);
        let mut row = |what: &str, value: String| {
            table.row([what.to_owned(), value]);
        };
        row("events alike in every bit", number(counts.identical));
        row("events that differ", number(counts.different));
        row("events with a recorded result only", number(counts.only_recorded));
        row("events with a replayed result only", number(counts.only_replayed));
        row("events whose scores cannot be read", number(counts.unread));
        row("rows compared", number(counts.rows));
        row(&format!("decisions that flip up at {}", self.threshold), number(counts.up));
        row(&format!("decisions that flip down at {}", self.threshold), number(counts.down));
        row("agreement", format!("{:.4}", self.agreement()));
        row("Kolmogorov-Smirnov distance", format!("{:.4}", self.distributions.distance()));
        row("share at or above the threshold, recorded", format!("{:.4}", self.rates.0));
        row("share at or above the threshold, replayed", format!("{:.4}", self.rates.1));
        row("mean difference of scores", format!("{:.6}", self.mean()));
        row("largest difference of scores", format!("{:.6}", counts.largest));
        table
    }
}

impl Diff {
    /// Histograms of the rows' scores: recorded, and replayed with this model.
    pub(super) fn picture(&self, model: &str) -> String {
        let names = ["recorded".to_owned(), format!("replayed with {model}")];
        picture::histogram("Scores of the rows compared", "score", &self.distributions.samples(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_shows_both_sides() {
        let picture = |pairs: &[(f64, f64)]| {
            let mut comparison = Comparison::new(0.5);
            pairs.iter().for_each(|(old, new)| comparison.row(Some(*old), Some(*new)));
            comparison.finish().picture("higgs/2")
        };
        let (one, turned) = (picture(&[(0.1, 0.9), (0.2, 0.9)]), picture(&[(0.9, 0.1), (0.9, 0.2)]));
        assert!(one.starts_with("<svg") && one.contains("recorded") && one.contains("replayed with higgs/2"), "{one}");
        assert_ne!(one, turned);
    }

    #[test]
    fn flips_are_counted_both_ways() {
        let mut comparison = Comparison::new(0.5);
        for (old, new) in [(0.4, 0.6), (0.6, 0.4), (0.5, 0.5), (0.1, 0.2)] {
            comparison.row(Some(old), Some(new));
        }
        comparison.row(None, Some(1.0));
        let diff = comparison.finish();
        assert_eq!((diff.counts.rows, diff.counts.up, diff.counts.down), (4, 1, 1));
        assert_eq!((diff.agreement(), diff.rates), (0.5, (0.5, 0.5)));
    }
}
