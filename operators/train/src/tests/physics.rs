//! Simulated problems: nearly as good as their likelihood ratio.

use arrow_array::RecordBatch;
use serde_json::{Value, json};

use super::{batch, floats, load, request, score, train};
use crate::evaluate::auc;
use crate::random::Random;
use crate::simulate::{PROBLEMS, Problem, Sample};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn table(sample: Sample, more: Option<(&str, Vec<f32>)>) -> RecordBatch {
    let features = NAMES.into_iter().zip(sample.columns).map(|(name, values)| (name, floats(values)));
    let more = more.map(|(name, values)| (name, floats(values)));
    batch(features.chain([("label", floats(sample.labels))]).chain(more).collect())
}

/// The Gaussian problem with weights of both signs.
pub(super) fn gaussian(rows: usize, seed: u64) -> RecordBatch {
    let mut random = Random::new(seed, 99);
    let weights = (0..rows).map(|_| if random.uniform(0.0, 1.0) < 0.1 { -0.5 } else { 1.0 }).collect();
    table((PROBLEMS[0].sample)(rows, seed), Some(("weight", weights)))
}

/// AUC of a training, and of the likelihood ratio on the same events, which did not train.
fn compare(problem: Problem, settings: Value) -> (f64, f64) {
    let mut request = request("classification", settings, json!({ "path": "-", "label": "label" }));
    request["dataset"]["train_test_split"] = json!(0.05);
    let trained = train(&request, &[table((problem.sample)(40_000, 1), None)]).unwrap();
    let test = (problem.sample)(100_000, 2);
    let rows = test.rows();
    let of = |scores: &[f64]| auc(scores, |row| test.labels[row] > 0.5, &vec![1.0; test.labels.len()]);
    let optimum: Vec<f64> = rows.chunks_exact(test.columns.len()).map(problem.ratio).collect();
    (of(&score(&load(&trained), &rows)), of(&optimum))
}

fn assert_near_optimum((found, optimum): (f64, f64)) {
    assert!(optimum > 0.6 && found <= optimum + 0.002, "{found} over {optimum}: the ratio is not the optimum");
    assert!(found - 0.5 >= 0.98 * (optimum - 0.5), "{found}, the likelihood ratio has {optimum}");
}

#[test]
fn gaussians_are_separated_as_by_their_likelihood_ratio() {
    let settings = json!({ "epochs": 8, "batch_size": 256, "seed": 1, "optimizer": { "init_lr": 2e-3 } });
    assert_near_optimum(compare(PROBLEMS[0], settings));
}

#[test]
fn a_resonance_is_separated_as_by_its_likelihood_ratio() {
    let settings = json!({ "epochs": 20, "batch_size": 256, "seed": 1, "optimizer": { "init_lr": 3e-3 } });
    assert_near_optimum(compare(PROBLEMS[1], settings));
}
