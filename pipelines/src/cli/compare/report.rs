//! A comparison as a table, as JSON, as a picture, and as names for conditions.

use lunapark_schemas::labels::Class;
use lunapark_train::evaluate::roc;
use lunapark_train::picture::{self, Sample};
use serde_json::{Value, json};

use super::super::output::{Table, number, printable};
use super::gather::Compared;
use super::measures::{Row, scores_of};

/// Names that a condition may use, with what they mean.
pub(in crate::cli) const NAMES: [(&str, &str); 18] = [
    ("events", "events that both scored"),
    ("rows", "rows that both scored"),
    ("labelled", "rows of both with a label"),
    ("agreement", "share of the rows with the same decision"),
    ("flipped", "share of the rows with another decision"),
    ("flipped_up", "rows whose decision becomes one for it"),
    ("flipped_down", "rows whose decision becomes one against it"),
    ("ks", "Kolmogorov-Smirnov distance of the scores"),
    ("rate", "share of the rows at or above the threshold"),
    ("rate_live", "the same of the live version"),
    ("rate_change", "rate less rate_live"),
    ("correlation", "of the scores"),
    ("mean_difference", "mean absolute difference of the scores"),
    ("largest_difference", "largest absolute difference of the scores"),
    ("auc", "AUC on the labelled events"),
    ("auc_live", "the same of the live version"),
    ("auc_difference", "auc less auc_live"),
    ("auc_difference_deviation", "standard deviation of auc_difference"),
];

/// Those of them that only events which both scored can tell.
pub(in crate::cli) const OF_PAIRS: [&str; 9] = [
    "events",
    "rows",
    "agreement",
    "flipped",
    "flipped_up",
    "flipped_down",
    "correlation",
    "mean_difference",
    "largest_difference",
];

impl Compared {
    /// The value of a name of [`NAMES`], where it is known.
    pub(in crate::cli) fn value(&self, name: &str) -> Option<f64> {
        let (found, counts) = (&self.findings, &self.findings.counts);
        let aucs = found.aucs.as_ref();
        let paired = |count: u64| found.paired.then_some(count as f64);
        match name {
            "events" => Some(counts.events as f64),
            "rows" => Some(counts.rows as f64),
            "labelled" => Some(counts.labelled as f64),
            "agreement" => found.flipped.map(|flipped| 1.0 - flipped),
            "flipped" => found.flipped,
            "flipped_up" => paired(counts.up),
            "flipped_down" => paired(counts.down),
            "ks" => found.distance,
            "rate" => found.rates[1],
            "rate_live" => found.rates[0],
            "rate_change" => found.rate_change(),
            "correlation" => found.correlation,
            "mean_difference" => found.mean_difference,
            "largest_difference" => found.largest_difference,
            "auc" => aucs.map(|aucs| aucs.auc[1]),
            "auc_live" => aucs.map(|aucs| aucs.auc[0]),
            "auc_difference" => aucs.map(|aucs| aucs.difference),
            "auc_difference_deviation" => aucs.map(|aucs| aucs.difference_deviation),
            _ => None,
        }
    }

    /// Whether both scored some of the same events.
    pub(in crate::cli) fn paired(&self) -> bool {
        self.findings.paired
    }

    /// Events that both scored. Of two that score `apart`, a canary and the live version, those of the one that scored
    /// fewer, unless there are events of both from before.
    pub(in crate::cli) fn events(&self, apart: bool) -> u64 {
        let counts = &self.findings.counts;
        match apart && !self.paired() {
            true => counts.only[0].min(counts.only[1]),
            false => counts.events,
        }
    }
}

pub(super) fn document(compared: &Compared) -> Value {
    let (found, counts) = (&compared.findings, &compared.findings.counts);
    let (auc, deviation) = match &found.aucs {
        Some(aucs) => (aucs.auc.map(Some), aucs.deviation.map(Some)),
        None => ([None; 2], [None; 2]),
    };
    json!({
        "a": compared.models[0],
        "b": compared.models[1],
        "paired": found.paired,
        "events": counts.events,
        "only_a": counts.only[0],
        "only_b": counts.only[1],
        "unread": counts.unread,
        "rows": counts.rows,
        "threshold": found.threshold,
        "agreement": compared.value("agreement"),
        "flipped": found.flipped,
        "flipped_up": counts.up,
        "flipped_down": counts.down,
        "kolmogorov_smirnov": found.distance,
        "rate_a": found.rates[0],
        "rate_b": found.rates[1],
        "rate_change": found.rate_change(),
        "correlation": found.correlation,
        "mean_difference": found.mean_difference,
        "largest_difference": found.largest_difference,
        "labelled": counts.labelled,
        "broken_labels": compared.broken,
        "label_share": compared.label_share,
        "auc_a": auc[0],
        "auc_b": auc[1],
        "auc_a_deviation": deviation[0],
        "auc_b_deviation": deviation[1],
        "auc_difference": compared.value("auc_difference"),
        "auc_difference_deviation": compared.value("auc_difference_deviation"),
        "scores_kept": found.share,
    })
}

pub(super) fn table(compared: &Compared) -> Table {
    let (found, counts) = (&compared.findings, &compared.findings.counts);
    let [a, b] = compared.models.each_ref().map(|model| printable(model.as_bytes()));
    let mut table = Table::new(&["compared", ">"]);
    let mut row = |what: &str, value: String| {
        table.row([what.to_owned(), value]);
    };
    let known = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    row("A", a);
    row("B", b);
    row("events scored by both", number(counts.events));
    row("events scored by A only", number(counts.only[0]));
    row("events scored by B only", number(counts.only[1]));
    row("events whose scores cannot be read", number(counts.unread));
    row("rows scored by both", number(counts.rows));
    row(&format!("agreement at {}", found.threshold), known(compared.value("agreement")));
    row("decisions that flip up from A to B", number(counts.up));
    row("decisions that flip down from A to B", number(counts.down));
    row("Kolmogorov-Smirnov distance", known(found.distance));
    row("share at or above the threshold, A", known(found.rates[0]));
    row("share at or above the threshold, B", known(found.rates[1]));
    row("change of that share", found.rate_change().map_or_else(|| "-".to_owned(), |c| format!("{c:+.4}")));
    row("correlation of the scores", known(found.correlation));
    row("mean difference of the scores", known(found.mean_difference));
    row("largest difference of the scores", known(found.largest_difference));
    row("rows with a label", number(counts.labelled));
    if let Some(aucs) = &found.aucs {
        row("AUC of A", format!("{:.4} ± {:.4}", aucs.auc[0], aucs.deviation[0]));
        row("AUC of B", format!("{:.4} ± {:.4}", aucs.auc[1], aucs.deviation[1]));
        row("AUC, B less A", format!("{:+.4} ± {:.4}", aucs.difference, aucs.difference_deviation));
    }
    if !found.paired {
        row("no event was scored by both: distributions over", "different events".to_owned());
    }
    if found.share < 1.0 {
        row("distance and AUCs from a sample of the events", format!("{:.2} %", 100.0 * found.share));
    }
    if compared.label_share < 1.0 {
        row("labels held", format!("{:.2} %", 100.0 * compared.label_share));
    }
    table
}

/// Histograms of both, by class where there are labels, and then their ROC curves beside them.
pub(super) fn picture(compared: &Compared) -> String {
    let rows = &compared.findings.rows;
    let samples = compared.models.iter().enumerate().flat_map(|(side, name)| samples(rows, side, name));
    let scores = picture::histogram("Scores", "score", &samples.collect::<Vec<_>>());
    let Some(aucs) = &compared.findings.aucs else { return scores };
    let curve = |side: usize| {
        let labelled: Vec<_> = scores_of(rows, side).filter_map(|(score, label)| Some((score, label?))).collect();
        let scores: Vec<f64> = labelled.iter().map(|(score, _)| *score).collect();
        let weights: Vec<f64> = labelled.iter().map(|(_, (_, weight))| *weight).collect();
        let points = roc(&scores, |row| labelled[row].1.0 == Class::Signal, &weights);
        picture::roc_curve(format!("{}, AUC {:.4}", compared.models[side], aucs.auc[side]), &points)
    };
    picture::beside(&[scores, picture::rocs("ROC", vec![curve(0), curve(1)])])
}

fn samples(rows: &[Row], side: usize, name: &str) -> Vec<Sample> {
    let of = |name: String, class: Option<Class>| {
        let chosen = scores_of(rows, side).filter(|(_, label)| class.is_none() || label.map(|(c, _)| c) == class);
        let weight = |label: Option<(Class, f64)>| class.and(label).map_or(1.0, |(_, weight)| weight);
        let (values, weights) = chosen.map(|(score, label)| (score, weight(label))).unzip();
        Sample { name, values, weights }
    };
    if rows.iter().all(|row| row.label.is_none()) {
        return vec![of(name.to_owned(), None)];
    }
    let classes = [("background", Class::Background), ("signal", Class::Signal)];
    classes.map(|(what, class)| of(format!("{name} {what}"), Some(class))).into()
}

#[cfg(test)]
mod tests {
    use super::super::measures::Measures;
    use super::super::streams::Answer;
    use super::*;

    /// So many events scored by both, by the first alone, and by the second alone; all with labels.
    fn compared([both, one, other]: [i64; 3]) -> Compared {
        let mut measures = Measures::new(0.5);
        let answer = |scored: bool, offset: i64| scored.then(|| Answer::of(vec![Some((offset % 7) as f64 / 7.0)]));
        for offset in 0..both + one + other {
            let pair = [answer(offset < both + one, offset), answer(offset < both || offset >= both + one, offset + 1)];
            let class = if offset % 2 == 0 { Class::Signal } else { Class::Background };
            measures.add((0, offset), pair, Some((class, 1.0)));
        }
        let models = ["a/1", "a/2"].map(str::to_owned);
        Compared { models, findings: measures.finish(), label_share: 1.0, broken: 0, first_broken: None }
    }

    #[test]
    fn events_of_a_canary_are_counted_for_each_and_pairs_where_there_are_some() {
        for (counts, apart, together) in [([0, 40, 10], 10, 0), ([0, 10, 40], 10, 0), ([3, 40, 10], 3, 3)] {
            let compared = compared(counts);
            assert_eq!((compared.events(true), compared.events(false)), (apart, together), "{counts:?}");
        }
    }

    #[test]
    fn without_pairs_exactly_the_names_of_pairs_are_not_known() {
        let (apart, together) = (compared([0, 40, 40]), compared([40, 0, 0]));
        for (name, _) in NAMES {
            let counted = |compared: &Compared| compared.value(name).filter(|_| !["events", "rows"].contains(&name));
            assert_eq!(counted(&apart).is_none(), OF_PAIRS.contains(&name), "{name}");
            assert!(together.value(name).is_some(), "{name}");
        }
    }
}
