//! From a table to rows ready for the network: checks, split, standardisation, weights.

use std::sync::Arc;

use lunapark_schemas::training::{ClassWeight, DatasetReport, FeatureStatistics};

use crate::Refusal;
use crate::classes::Classes;
use crate::device::Rows;
use crate::draw::draw;
use crate::fingerprint::fingerprint;
use crate::moments::Moments;
use crate::random::Random;
use crate::settings::{Objective, Settings};
use crate::shares::{by_share, threads_for};
use crate::tables::{Feature, Label, Tables, listed};

/// Fewest rows that are trained on: below, neither part says anything.
const MIN_ROWS: usize = 20;
/// Purposes of the random numbers of the two splits.
const TEST_SPLIT: u64 = 1 << 41;
const VALIDATION_SPLIT: u64 = 1 << 42;
/// Purpose of those that draw the rows which judge each epoch.
const WATCHED: u64 = 1 << 43;
/// Rows that judge each epoch, at most: enough for three digits of an AUC.
const WATCHED_ROWS: usize = 1 << 14;

/// Rows that are made together of columns.
const TILE: usize = 128;

/// What the network learns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// One logit: the second of two classes.
    Binary(Classes),
    /// A logit per class.
    Classes(Classes),
    /// A number, of which the network sees `(y - mean) / scale`.
    Number { mean: f64, scale: f64 },
    /// Its own inputs; the classes, where there is a label, tell normal rows (the first) from others.
    Inputs(Option<Classes>),
}

/// Rows whose answers are judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    /// For the network.
    pub rows: Arc<Rows>,
    /// A class's number, or the number that is to be found; empty where there is no label.
    pub truth: Vec<f64>,
    /// The table's event weights.
    pub weights: Vec<f64>,
}

/// A table, ready.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub features: Vec<String>,
    pub target: Target,
    /// The network sees `(x - mean) / scale`, in single precision as the model does.
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    pub train: Arc<Rows>,
    /// What the epochs are judged by: of the validation part, or without one of the test part, as many rows as are needed.
    pub watched: Judged,
    /// The test part; its rows are not standardised, for the trained model to read.
    pub test: Judged,
    pub report: DatasetReport,
    /// Of the table's numbers: a checkpoint goes on with the same table only.
    pub fingerprint: u64,
}

/// Numbers of rows by what is done with them.
struct Parts {
    train: Vec<usize>,
    validation: Vec<usize>,
    test: Vec<usize>,
}

/// The table by columns, with what the label is.
struct Source<'a> {
    tables: &'a Tables,
    target: Target,
    truth: Vec<f64>,
    weights: Vec<f64>,
    threads: usize,
}

/// On so many threads; one more describes the table meanwhile.
pub(crate) fn prepare(tables: &Tables, settings: &Settings, threads: usize) -> Result<Prepared, Refusal> {
    let describe = || (fingerprint(tables), tables.features.iter().map(statistics).collect::<Vec<_>>());
    let arrange = || arrange(tables, settings, threads_for(tables.rows, threads));
    let (prepared, (fingerprint, features)) = match threads {
        0 | 1 => (arrange(), describe()),
        _ => std::thread::scope(|scope| {
            let described = scope.spawn(describe);
            let arranged = arrange();
            (arranged, described.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        }),
    };
    let prepared = prepared?;
    Ok(Prepared { fingerprint, report: DatasetReport { features, ..prepared.report }, ..prepared })
}

/// Everything but the description of the table.
fn arrange(tables: &Tables, settings: &Settings, threads: usize) -> Result<Prepared, Refusal> {
    if tables.rows < MIN_ROWS {
        let what = format!("{} rows are too few to train and test", tables.rows);
        return Err(Refusal::data(format!("{what}; give at least {MIN_ROWS}")));
    }
    check_features(tables)?;
    let weights = tables.weights.clone().unwrap_or_else(|| vec![1.0; tables.rows]);
    let (target, truth) = target(tables, settings)?;
    let mut source = Source { tables, target, truth, weights, threads };
    source.check_weights(0..tables.rows, "")?;
    let parts = source.split(settings)?;
    source.check_weights(parts.train.iter().copied(), " in the training part")?;
    source.check_weights(parts.test.iter().copied(), " in the test part")?;
    let (mean, scale) = standardisation(tables, &parts.train, threads)?;
    source.scale_numbers(&parts.train)?;
    let by_row = source.loss_weights(settings, &parts.train)?;
    let standardised = |which: &[usize]| source.rows(which, Some((&mean, &scale)), &by_row);
    let held_out = if parts.validation.is_empty() { &parts.test } else { &parts.validation };
    let watched = source.watched(held_out, settings.seed);
    source.check_weights(watched.iter().copied(), " in the rows that judge each epoch")?;
    Ok(Prepared {
        features: tables.features.iter().map(|feature| feature.name.clone()).collect(),
        train: Arc::new(standardised(&parts.train)),
        watched: source.judged(&watched, standardised(&watched)),
        test: source.judged(&parts.test, source.rows(&parts.test, None, &by_row)),
        report: source.report(&parts),
        fingerprint: 0,
        target: source.target.clone(),
        mean: mean.clone(),
        scale: scale.clone(),
    })
}

fn check_features(tables: &Tables) -> Result<(), Refusal> {
    let bad = |values: &[f32]| values.iter().filter(|value| !value.is_finite()).count();
    let found: Vec<_> = tables
        .features
        .iter()
        .map(|feature| (feature, bad(&feature.values)))
        .filter(|(_, count)| *count > 0)
        .map(|(feature, count)| format!("\"{}\" ({count} rows)", feature.name))
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = found.iter().map(String::as_str).collect();
    let what = format!("features are missing (null or NaN) or infinite: {}", listed(&names));
    Err(Refusal::data(format!("{what}; fill them, drop these rows, or leave them out of `dataset.features`")))
}

/// What the label says about each row.
fn target(tables: &Tables, settings: &Settings) -> Result<(Target, Vec<f64>), Refusal> {
    let Some(label) = &tables.label else { return Ok((Target::Inputs(None), Vec::new())) };
    if settings.objective == Objective::Regression {
        return match label {
            Label::Numbers(values) => Ok((Target::Number { mean: 0.0, scale: 1.0 }, values.clone())),
            Label::Words(_) => {
                let what = "the label column holds words, and regression needs numbers";
                Err(Refusal::data(format!("{what}; use another column, or the objective classification")))
            }
        };
    }
    let (classes, numbers) = Classes::of(label)?;
    match (settings.objective, classes.names.len()) {
        (Objective::AnomalyDetection, _) => Ok((Target::Inputs(Some(classes)), numbers)),
        (_, 1) => {
            let what = format!("the label has one class only, \"{}\"", classes.names[0]);
            Err(Refusal::data(format!("{what}; give rows of at least two classes")))
        }
        (_, 2) => Ok((Target::Binary(classes), numbers)),
        _ => Ok((Target::Classes(classes), numbers)),
    }
}

impl Target {
    pub(crate) fn classes(&self) -> Option<&Classes> {
        match self {
            Target::Binary(classes) | Target::Classes(classes) => Some(classes),
            Target::Inputs(classes) => classes.as_ref(),
            Target::Number { .. } => None,
        }
    }

    /// Outputs of the network.
    pub(crate) fn width(&self, features: usize) -> usize {
        match self {
            Target::Binary(_) | Target::Number { .. } => 1,
            Target::Classes(classes) => classes.names.len(),
            Target::Inputs(_) => features,
        }
    }
}

impl Source<'_> {
    fn class(&self, row: usize) -> usize {
        if self.target.classes().is_some() { self.truth[row] as usize } else { 0 }
    }

    fn class_names(&self) -> &[String] {
        self.target.classes().map_or(&[], |classes| &classes.names)
    }

    /// AUC, losses and class weights divide by a class's weight: it must be above zero.
    fn check_weights(&self, rows: impl Iterator<Item = usize>, of: &str) -> Result<(), Refusal> {
        let names = self.class_names();
        let mut sums = vec![(0u64, 0.0f64); names.len().max(1)];
        for row in rows {
            let sum = &mut sums[self.class(row)];
            *sum = (sum.0 + 1, sum.1 + self.weights[row]);
        }
        // A part without anomalies is no fault.
        let may_lack = matches!(self.target, Target::Inputs(_));
        match sums.iter().position(|(count, sum)| (*count > 0 || !may_lack) && *sum <= 0.0) {
            None => Ok(()),
            Some(class) => {
                let which = names.get(class).map_or_else(String::new, |name| format!(" of class \"{name}\""));
                let what = format!("the weights{which}{of} sum to {}, not above zero", sums[class].1);
                Err(Refusal::data(format!("{what}; give more rows of positive weight")))
            }
        }
    }

    /// Rows of a part that judge each epoch. Where signed weights leave nothing of a class to those drawn, all of them do.
    fn watched(&self, part: &[usize], seed: u64) -> Vec<usize> {
        let (classes, random) = (self.class_names().len().max(1), Random::new(seed, WATCHED));
        let drawn = draw(part, WATCHED_ROWS, classes, |row| self.class(row), random);
        if self.check_weights(drawn.iter().copied(), "").is_ok() { drawn } else { part.to_vec() }
    }

    /// Test and validation rows by seed, from each class its share.
    fn split(&self, settings: &Settings) -> Result<Parts, Refusal> {
        let all: Vec<usize> = (0..self.tables.rows).collect();
        let (mut train, mut test) = self.part(&all, settings.test_share, settings.seed, TEST_SPLIT)?;
        if let Target::Inputs(Some(_)) = self.target {
            test.extend(train.extract_if(.., |row| self.class(*row) != 0));
            test.sort_unstable();
        }
        let mut validation = Vec::new();
        if let Some(share) = settings.validation_share {
            (train, validation) = self.part(&train, share, settings.seed, VALIDATION_SPLIT)?;
        }
        Ok(Parts { train, validation, test })
    }

    /// The rows without a share of each class, and that share, both in order.
    fn part(&self, rows: &[usize], share: f64, seed: u64, purpose: u64) -> Result<(Vec<usize>, Vec<usize>), Refusal> {
        let mut of_class = vec![Vec::new(); self.class_names().len().max(1)];
        rows.iter().for_each(|&row| of_class[self.class(row)].push(row));
        let mut taken = vec![false; self.tables.rows];
        for (class, mut rows) in of_class.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            if rows.len() < 2 {
                let name = self.class_names().get(class).map_or("", String::as_str);
                let what = format!("class \"{name}\" has too few rows for every part of the split");
                return Err(Refusal::data(format!("{what}; give it more rows or leave it out")));
            }
            Random::new(seed, purpose + class as u64).shuffle(&mut rows);
            let count = ((rows.len() as f64 * share).round() as usize).clamp(1, rows.len() - 1);
            rows[..count].iter().for_each(|&row| taken[row] = true);
        }
        Ok(rows.iter().partition(|row| !taken[**row]))
    }

    /// Brings the numbers of a regression to mean 0 and deviation 1 over the training part.
    fn scale_numbers(&mut self, train: &[usize]) -> Result<(), Refusal> {
        if let Target::Number { .. } = self.target {
            let part: Vec<f64> = train.iter().map(|&row| self.truth[row]).collect();
            let Moments { mean, deviation: scale, .. } = Moments::of(&part);
            if scale <= 0.0 || !scale.is_finite() {
                let what = "the label is the same number in all training rows";
                return Err(Refusal::data(format!("{what}; use a column that varies")));
            }
            self.target = Target::Number { mean, scale };
        }
        Ok(())
    }

    /// Event weight times class weight, with mean 1 over the training part.
    fn loss_weights(&self, settings: &Settings, train: &[usize]) -> Result<Vec<f32>, Refusal> {
        let classes = self.class_weights(settings.class_weight.as_ref(), train)?;
        let weight = |row: usize| self.weights[row] * classes.get(self.class(row)).copied().unwrap_or(1.0);
        let mean = train.iter().map(|&row| weight(row)).sum::<f64>() / train.len() as f64;
        if mean <= 0.0 || !mean.is_finite() {
            let what = "the weights of the training part do not sum above zero";
            return Err(Refusal::data(format!("{what}; give more rows of positive weight")));
        }
        Ok((0..self.tables.rows).map(|row| (weight(row) / mean) as f32).collect())
    }

    fn class_weights(&self, rule: Option<&ClassWeight>, train: &[usize]) -> Result<Vec<f64>, Refusal> {
        let names = self.class_names();
        match rule {
            None => Ok(Vec::new()),
            Some(ClassWeight::Rule(_)) => {
                let mut sums = vec![0.0; names.len()];
                train.iter().for_each(|&row| sums[self.class(row)] += self.weights[row]);
                let all: f64 = sums.iter().sum();
                Ok(sums.iter().map(|sum| all / (names.len() as f64 * sum)).collect())
            }
            Some(ClassWeight::Each(each)) => match each.keys().find(|label| !names.contains(label)) {
                None => Ok(names.iter().map(|name| each.get(name).copied().unwrap_or(1.0)).collect()),
                Some(label) => {
                    let names: Vec<_> = names.iter().map(String::as_str).collect();
                    let what = format!("`model_train.class_weight` names \"{}\"", label.escape_debug());
                    Err(Refusal::request(format!("{what}; the label's classes are {}", listed(&names))))
                }
            },
        }
    }

    /// Rows for the network; with mean and scale standardised. Rows that are not normal count nothing for a
    /// reconstruction's loss.
    fn rows(&self, which: &[usize], standardise: Option<(&[f32], &[f32])>, weights: &[f32]) -> Rows {
        let weight = |row: usize| match &self.target {
            Target::Inputs(_) if self.class(row) != 0 => 0.0,
            _ => weights[row],
        };
        let target = |row: usize| match &self.target {
            Target::Inputs(_) => None,
            Target::Number { mean, scale } => Some(((self.truth[row] - mean) / scale) as f32),
            Target::Binary(_) | Target::Classes(_) => Some(self.truth[row] as f32),
        };
        Rows {
            width: self.tables.features.len(),
            inputs: self.inputs(which, standardise),
            targets: which.iter().filter_map(|&row| target(row)).collect(),
            weights: which.iter().map(|&row| weight(row)).collect(),
        }
    }

    /// Columns to rows: each thread makes its share of the rows.
    fn inputs(&self, which: &[usize], standardise: Option<(&[f32], &[f32])>) -> Vec<f32> {
        let width = self.tables.features.len();
        let mut inputs = vec![0.0; which.len() * width];
        let share = which.len().div_ceil(self.threads).max(1);
        std::thread::scope(|scope| {
            let mut shares = inputs.chunks_mut(share * width).zip(which.chunks(share));
            let first = shares.next();
            shares.for_each(|(rows, which)| drop(scope.spawn(move || self.fill(rows, which, standardise))));
            first.into_iter().for_each(|(rows, which)| self.fill(rows, which, standardise));
        });
        inputs
    }

    /// A tile of rows takes its values of one column after the other: a column is read in its order, and the tile stays in
    /// the core's cache.
    fn fill(&self, rows: &mut [f32], which: &[usize], standardise: Option<(&[f32], &[f32])>) {
        let features = &self.tables.features;
        for (rows, which) in rows.chunks_mut(TILE * features.len()).zip(which.chunks(TILE)) {
            for (at, feature) in features.iter().enumerate() {
                let (mean, factor) = standardise.map_or((0.0, 1.0), |(mean, scale)| (mean[at], 1.0 / scale[at]));
                let inputs = rows.chunks_exact_mut(features.len()).zip(which);
                inputs.for_each(|(inputs, &row)| inputs[at] = (feature.values[row] - mean) * factor);
            }
        }
    }

    fn judged(&self, which: &[usize], rows: Rows) -> Judged {
        let truth = if self.truth.is_empty() { Vec::new() } else { which.iter().map(|&row| self.truth[row]).collect() };
        Judged { rows: Arc::new(rows), truth, weights: which.iter().map(|&row| self.weights[row]).collect() }
    }

    fn report(&self, parts: &Parts) -> DatasetReport {
        let rows = self.tables.rows;
        DatasetReport {
            samples_train: parts.train.len() as u64,
            samples_validation: parts.validation.len() as u64,
            samples_test: parts.test.len() as u64,
            unlabelled: self.tables.unlabelled,
            features: Vec::new(),
            class_balance: self.target.classes().map_or_else(Vec::new, |classes| {
                classes.balance((0..rows).map(|row| (self.class(row), self.weights[row])))
            }),
        }
    }
}

fn statistics(Feature { name, values }: &Feature) -> FeatureStatistics {
    let Moments { present, mean, deviation, min, max } = Moments::of(values);
    FeatureStatistics { name: name.clone(), min, max, mean, std: deviation, missing: values.len() as u64 - present }
}

/// Mean and deviation of each feature over the training part; each thread looks at its share of the features.
fn standardisation(tables: &Tables, train: &[usize], threads: usize) -> Result<(Vec<f32>, Vec<f32>), Refusal> {
    let share = |features: &[Feature]| {
        let mut part = Vec::with_capacity(train.len());
        let moments = features.iter().map(|feature| {
            part.clear();
            part.extend(train.iter().map(|&row| feature.values[row]));
            let moments = Moments::of(&part);
            (moments.mean, moments.deviation)
        });
        moments.collect::<Vec<_>>()
    };
    let all = by_share(&tables.features, threads, share).concat();
    // Beside rounding, a constant's deviation is zero.
    let constant = |(mean, scale): &(f64, f64)| *scale <= mean.abs() * 1e-7 || (1.0 / *scale as f32).is_infinite();
    let names: Vec<_> = tables.features.iter().zip(&all).filter(|(_, m)| constant(m)).map(|(f, _)| &*f.name).collect();
    if !names.is_empty() {
        let what = format!("features are constant over the training part: {}", listed(&names));
        return Err(Refusal::data(format!("{what}; leave them out of `dataset.features`")));
    }
    Ok(all.into_iter().map(|(mean, scale)| (mean as f32, scale as f32)).unzip())
}
