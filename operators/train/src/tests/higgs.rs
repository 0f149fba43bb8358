//! HIGGS, 7,000 events to train and 500 to test: as good as scikit-learn's and torch's perceptrons trained alike.

use arrow_array::RecordBatch;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{batch, floats, load, request, score, train};
use crate::evaluate::auc;

const FEATURES: usize = 28;
const TEST_ROWS: usize = 500;
const SEEDS: u64 = 10;
/// How far the means of ten seeds may be apart.
const TOLERANCE: f64 = 0.01;

#[derive(Deserialize)]
struct Means {
    mlp_classifier: Mean,
    torch: Mean,
    torch_autoencoder: Mean,
    epochs: u32,
    batch: u32,
    rate: f64,
    decay: f64,
    warm_up: u64,
}

#[derive(Deserialize)]
struct Mean {
    mean: f64,
}

fn means() -> Means {
    serde_json::from_str(include_str!("../../fixtures/means.json")).unwrap()
}

/// Label and features of all 7,500 events, the test events last.
fn events() -> Vec<[f32; FEATURES + 1]> {
    let first = include_bytes!("../../fixtures/higgs-4500.i16").as_chunks::<2>().0;
    let first = first
        .chunks_exact(FEATURES + 1)
        .map(|row| std::array::from_fn(|at| (f64::from(i16::from_le_bytes(row[at])) / 1000.0) as f32));
    let rest = include_str!("../../../../pipelines/assets/higgs-sample.tsv").lines().map(|line| {
        let mut numbers = line.split('\t').map(|number| number.parse::<f32>().unwrap());
        std::array::from_fn(|_| numbers.next().unwrap())
    });
    first.chain(rest).collect()
}

fn table(events: &[[f32; FEATURES + 1]]) -> RecordBatch {
    let names: Vec<_> = (0..=FEATURES).map(|at| if at == 0 { "label".to_owned() } else { format!("x{at}") }).collect();
    let columns = names.iter().enumerate().map(|(at, name)| (&**name, floats(events.iter().map(|event| event[at]))));
    batch(columns.collect())
}

/// Mean AUC on the test events over the seeds. A split that leaves next to nothing to our own test: all that the
/// others train on trains.
fn mean_auc(objective: &str, hidden: Value) -> f64 {
    let (events, means) = (events(), means());
    let (training, test) = events.split_at(events.len() - TEST_ROWS);
    assert_eq!(training.len(), 7_000);
    let table = table(training);
    let rows: Vec<f32> = test.iter().flat_map(|event| &event[1..]).copied().collect();
    let of = |seed: u64| {
        let optimizer = json!({
            "init_lr": means.rate, "weight_decay_rate": means.decay, "num_warm_steps": means.warm_up
        });
        let settings =
            json!({ "epochs": means.epochs, "batch_size": means.batch, "seed": seed, "optimizer": optimizer });
        let dataset = json!({ "path": "-", "label": "label", "train_test_split": 0.0005 });
        let mut request = request(objective, settings, dataset);
        request["model"]["architecture"] = json!({ "hidden": hidden });
        let scores = score(&load(&train(&request, std::slice::from_ref(&table)).unwrap()), &rows);
        auc(&scores, |row| test[row][0] > 0.5, &[1.0; TEST_ROWS])
    };
    (0..SEEDS).map(of).sum::<f64>() / SEEDS as f64
}

#[test]
fn a_perceptron_is_as_good_as_scikit_learns_and_torchs() {
    let (ours, theirs) = (mean_auc("classification", json!([128, 64])), means());
    for (name, mean) in [("scikit-learn", theirs.mlp_classifier.mean), ("torch", theirs.torch.mean)] {
        assert!((ours - mean).abs() < TOLERANCE, "mean AUC {ours}, {name} has {mean}");
    }
}

#[test]
fn an_autoencoder_is_as_good_as_torchs() {
    let (ours, theirs) = (mean_auc("anomaly-detection", json!([56, 7, 56])), means().torch_autoencoder.mean);
    assert!((ours - theirs).abs() < TOLERANCE, "mean AUC {ours}, torch has {theirs}");
}
