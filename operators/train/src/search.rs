//! Hyper-parameter search: which values the trials have, how far each rung trains them, and what is better.

use lunapark_schemas::training::{Epoch, Parameters, Search, SearchRange, TrainingRequest};
use serde_json::{Map, Value, json};

use crate::Refusal;
use crate::random::Random;
use crate::settings::Objective;

/// A leaderboard of more trials fits into no status.
const MAX_TRIALS: u32 = 500;
/// More fields than a request has.
const MAX_RANGES: usize = 32;
/// Purpose of the random numbers of the first trial, far from those of a training's epochs.
const FIRST_TRIAL: u64 = 1 << 40;
/// What judges the trials is held out of the rows that would train, as early stopping holds it out: the rows that test the
/// best one must not have chosen it.
const VALIDATION_SPLIT: f64 = 0.1;

/// A search that can be made.
#[derive(Clone, Debug)]
pub struct Ladder {
    search: Search,
    metric: Metric,
    /// Epochs of a trial that is never stopped.
    epochs: u32,
    last: u32,
    judges_best: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Auc,
    Accuracy,
    Loss,
}

impl Ladder {
    /// Of a request that searches; what no trial could be made of is refused.
    pub fn of(request: &TrainingRequest) -> Result<Self, Refusal> {
        let search = request.search.clone().ok_or_else(|| Refusal::request("`search` is missing"))?;
        if !(1..=MAX_TRIALS).contains(&search.trials) {
            let what = format!("`search.trials` is {}; choose 1 to {MAX_TRIALS}", search.trials);
            return Err(Refusal::request(what));
        }
        if search.ranges.is_empty() || search.ranges.len() > MAX_RANGES {
            let what = format!("`search.ranges` has {} fields; name 1 to {MAX_RANGES}", search.ranges.len());
            return Err(Refusal::request(what));
        }
        search.ranges.iter().try_for_each(|(field, range)| check(field, range))?;
        let epochs = request.model_train.epochs.max(1);
        let last = search.trials.next_power_of_two().ilog2().min(epochs.ilog2());
        let (metric, judges_best) = (metric(&search, request)?, request.model_train.early_stopping.is_some());
        let ladder = Self { search, metric, epochs, last, judges_best };
        ladder.request(request, &ladder.parameters(0)).map(|_| ladder)
    }

    /// Number of rungs.
    pub fn rungs(&self) -> u32 {
        self.last + 1
    }

    /// Trials at a rung, at most: half of those before.
    pub fn trials(&self, rung: u32) -> u32 {
        self.search.trials.div_ceil(1 << rung.min(self.last))
    }

    /// Epochs that a trial has been trained in all at the end of a rung: at the last one all of them, at each one before
    /// half.
    pub fn epochs(&self, rung: u32) -> u32 {
        self.epochs.div_ceil(1 << self.last.saturating_sub(rung))
    }

    /// The values of a trial: of seed and number alone.
    pub fn parameters(&self, trial: u32) -> Parameters {
        let mut random = Random::new(self.search.seed, FIRST_TRIAL + u64::from(trial));
        self.search.ranges.iter().map(|(field, range)| (field.clone(), pick(range, &mut random))).collect()
    }

    /// The request of a trial with these values. It says what is held out, so that it trains the same model by itself.
    pub fn request(&self, request: &TrainingRequest, parameters: &Parameters) -> Result<TrainingRequest, Refusal> {
        let wrong = |error: serde_json::Error| Refusal::request(format!("`search.ranges`: {error}"));
        let mut trial = serde_json::to_value(TrainingRequest { search: None, ..request.clone() }).map_err(wrong)?;
        parameters.iter().for_each(|(field, value)| set(&mut trial, field, value.clone()));
        let mut trial: TrainingRequest = serde_json::from_value(trial).map_err(wrong)?;
        // All anomalies test: without them nothing would be judged but the likeness of normal rows.
        let anomalies = Objective::of(request) == Some(Objective::AnomalyDetection);
        if trial.model_train.early_stopping.is_none() && !anomalies {
            trial.dataset.validation_split.get_or_insert(VALIDATION_SPLIT);
        }
        Ok(trial)
    }

    /// `auc`, `accuracy` or `loss`.
    pub fn metric(&self) -> &'static str {
        match self.metric {
            Metric::Auc => "auc",
            Metric::Accuracy => "accuracy",
            Metric::Loss => "loss",
        }
    }

    /// The metric as people read it.
    pub fn shown(&self, score: f64) -> f64 {
        if self.metric == Metric::Loss { -score } else { score }
    }

    /// How good a trial is after its epochs, more is better. With early stopping its best epoch counts, as its weights do.
    pub fn score(&self, history: &[Epoch]) -> Result<f64, Refusal> {
        let lower = |a: &&Epoch, b: &&Epoch| a.val_loss.total_cmp(&b.val_loss);
        let epoch = if self.judges_best { history.iter().min_by(lower) } else { history.last() };
        let epoch = epoch.ok_or_else(|| Refusal::training("the trial ended before its first epoch"))?;
        let score = match self.metric {
            Metric::Auc => epoch.val_auc,
            Metric::Accuracy => epoch.val_accuracy,
            Metric::Loss => Some(-epoch.val_loss),
        };
        score.filter(|score| score.is_finite()).ok_or_else(|| {
            let name = self.metric();
            Refusal::request(format!("`search.metric` is `{name}`, which this objective and data have not; try `loss`"))
        })
    }
}

fn metric(search: &Search, request: &TrainingRequest) -> Result<Metric, Refusal> {
    match search.metric.as_deref() {
        None if Objective::of(request) == Some(Objective::Classification) => Ok(Metric::Auc),
        None | Some("loss") => Ok(Metric::Loss),
        Some("auc") => Ok(Metric::Auc),
        Some("accuracy") => Ok(Metric::Accuracy),
        Some(other) => {
            Err(Refusal::request(format!("`search.metric` is `{other}`; write `auc`, `accuracy` or `loss`")))
        }
    }
}

fn check(field: &str, range: &SearchRange) -> Result<(), Refusal> {
    let wrong = |what: &str| Err(Refusal::request(format!("`search.ranges.{field}` {what}")));
    let searched = field.starts_with("model_train.") || field.starts_with("model.architecture.");
    if !searched || field.split('.').any(str::is_empty) {
        return wrong("is no field that can be searched; name one of `model_train` or `model.architecture`");
    }
    if field == "model_train.epochs" {
        return wrong("is what halving shares out; search another field");
    }
    let ordered = |[low, high]: &[f64; 2]| low.is_finite() && high.is_finite() && low < high;
    match range {
        SearchRange::Linear(ends) if ordered(ends) => Ok(()),
        SearchRange::Log(ends) if ordered(ends) && ends[0] > 0.0 => Ok(()),
        SearchRange::Int([low, high]) if low < high && high.checked_sub(*low).is_some() => Ok(()),
        SearchRange::Choice(values) if !values.is_empty() => Ok(()),
        SearchRange::Choice(_) => wrong("has no values; name some"),
        SearchRange::Log(_) => wrong("is no range: write two numbers above 0, the smaller one first"),
        _ => wrong("is no range: write two numbers, the smaller one first"),
    }
}

fn pick(range: &SearchRange, random: &mut Random) -> Value {
    // 53 bits fill a number's mantissa.
    let share = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    match range {
        SearchRange::Linear([low, high]) => json!(low + (high - low) * share),
        SearchRange::Log([low, high]) => json!((low.ln() + (high.ln() - low.ln()) * share).exp().clamp(*low, *high)),
        SearchRange::Int([low, high]) => {
            let count = (i128::from(*high) - i128::from(*low) + 1) as f64;
            json!(low.saturating_add((count * share) as i64).min(*high))
        }
        SearchRange::Choice(values) => {
            values.get((values.len() as f64 * share) as usize).or(values.last()).cloned().unwrap_or_default()
        }
    }
}

/// Puts a value at a dotted path; objects on the way are made where they are missing.
fn set(value: &mut Value, field: &str, to: Value) {
    let mut place = value;
    for part in field.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else { return };
        place = members.entry(part).or_insert(Value::Null);
    }
    *place = to;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(search: Value) -> TrainingRequest {
        serde_json::from_value(json!({
            "model": { "objective": "classification", "name": "m" },
            "model_train": { "epochs": 20 },
            "dataset": { "path": "t.csv", "label": "y" },
            "search": search
        }))
        .unwrap()
    }

    fn search() -> Value {
        json!({ "trials": 10, "ranges": {
            "model_train.optimizer.init_lr": { "log": [1e-4, 1e-1] },
            "model_train.optimizer.weight_decay_rate": { "linear": [0.0, 0.1] },
            "model_train.batch_size": { "int": [16, 32] },
            "model.architecture.hidden": { "choice": [[8], [16, 16]] }
        } })
    }

    #[test]
    fn the_weaker_half_leaves_at_each_rung_and_the_last_trains_all_epochs() {
        let ladder = Ladder::of(&request(search())).unwrap();
        let rungs: Vec<_> = (0..ladder.rungs()).map(|rung| (ladder.trials(rung), ladder.epochs(rung))).collect();
        assert_eq!(rungs, [(10, 2), (5, 3), (3, 5), (2, 10), (1, 20)]);
        let mut short = request(search());
        short.model_train.epochs = 2;
        let ladder = Ladder::of(&short).unwrap();
        assert_eq!((ladder.rungs(), ladder.trials(1), ladder.epochs(1)), (2, 5, 2));
        let mut one = search();
        one["trials"] = json!(1);
        let ladder = Ladder::of(&request(one)).unwrap();
        assert_eq!((ladder.rungs(), ladder.trials(0), ladder.epochs(0)), (1, 1, 20));
    }

    #[test]
    fn values_lie_in_their_ranges_differ_and_depend_on_the_seed_alone() {
        let request = request(search());
        let ladder = Ladder::of(&request).unwrap();
        let mut rates = Vec::new();
        for trial in 0..10 {
            let made = ladder.request(&request, &ladder.parameters(trial)).unwrap();
            assert_eq!(ladder.parameters(trial), Ladder::of(&request).unwrap().parameters(trial));
            let train = &made.model_train;
            assert!((1e-4..=1e-1).contains(&train.optimizer.init_lr) && (16..=32).contains(&train.batch_size));
            assert!((0.0..=0.1).contains(&train.optimizer.weight_decay_rate));
            assert!([vec![8], vec![16, 16]].contains(&made.model.architecture.unwrap().hidden));
            assert!(made.search.is_none());
            rates.push(train.optimizer.init_lr.to_bits());
        }
        rates.sort_unstable();
        rates.dedup();
        assert_eq!(rates.len(), 10);
    }

    #[test]
    fn where_no_metric_is_named_the_objective_has_one() {
        for (objective, metric) in [("classification", "auc"), ("regression", "loss"), ("anomaly-detection", "loss")] {
            let mut request = request(search());
            request.model.objective = objective.into();
            assert_eq!(Ladder::of(&request).unwrap().metric(), metric, "{objective}");
        }
    }

    #[test]
    fn the_rows_that_test_the_best_do_not_choose_it() {
        let trial = |change: fn(&mut TrainingRequest)| {
            let mut request = request(search());
            change(&mut request);
            let ladder = Ladder::of(&request).unwrap();
            ladder.request(&request, &ladder.parameters(0)).unwrap().dataset.validation_split
        };
        assert_eq!(trial(|_| {}), Some(VALIDATION_SPLIT));
        assert_eq!(trial(|request| request.dataset.validation_split = Some(0.3)), Some(0.3));
        // It holds rows out by itself.
        assert_eq!(trial(|request| request.model_train.early_stopping = Some(Default::default())), None);
        assert_eq!(trial(|request| request.model.objective = "anomaly-detection".into()), None);
    }

    #[test]
    fn what_cannot_be_searched_is_refused_by_name() {
        for (field, range, word) in [
            ("model_train.epochs", json!({ "int": [1, 2] }), "halving"),
            ("model.name", json!({ "choice": ["a"] }), "no field"),
            ("dataset.path", json!({ "choice": ["/etc/passwd"] }), "no field"),
            ("model_train.seed", json!({ "int": [2, 1] }), "smaller one first"),
            ("model_train.optimizer.init_lr", json!({ "log": [0.0, 1.0] }), "above 0"),
            ("model_train.batch_size", json!({ "choice": [] }), "no values"),
            ("model_train.batch_sise", json!({ "int": [1, 2] }), "batch_sise"),
            ("model_train.batch_size", json!({ "choice": ["many"] }), "search.ranges"),
        ] {
            let error = Ladder::of(&request(json!({ "trials": 4, "ranges": { field: range } }))).unwrap_err();
            assert!(error.message.contains(word), "{field}: {error}");
        }
        for (key, value) in [("trials", json!(0)), ("trials", json!(100_000)), ("metric", json!("beauty"))] {
            let mut search = search();
            search[key] = value;
            let error = Ladder::of(&request(search)).unwrap_err();
            assert!(error.message.contains(key), "{error}");
        }
    }

    #[test]
    fn a_score_is_larger_for_the_better() {
        let epoch = |val_loss, val_auc| Epoch { val_loss, val_auc: Some(val_auc), ..Default::default() };
        let history = [epoch(0.3, 0.9), epoch(0.5, 0.7)];
        let mut request = request(search());
        let ladder = Ladder::of(&request).unwrap();
        assert_eq!((ladder.score(&history).unwrap(), ladder.shown(0.7)), (0.7, 0.7));
        request.search.as_mut().unwrap().metric = Some("loss".into());
        let ladder = Ladder::of(&request).unwrap();
        assert_eq!((ladder.score(&history).unwrap(), ladder.shown(-0.5)), (-0.5, 0.5));
        request.model_train.early_stopping = Some(Default::default());
        request.search.as_mut().unwrap().metric = Some("auc".into());
        assert_eq!(Ladder::of(&request).unwrap().score(&history).unwrap(), 0.9);
        request.search.as_mut().unwrap().metric = Some("accuracy".into());
        assert!(Ladder::of(&request).unwrap().score(&history).unwrap_err().message.contains("accuracy"));
    }
}
