//! Each objective from the table to a model that scores.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::types::Float32Type;
use arrow_array::{
    Array as _, ArrayRef, BooleanArray, FixedSizeListArray, Int64Array, ListArray, RecordBatch, StringArray,
};
use serde_json::{Value, json};

use super::{batch, floats, load, parse, physics, request, score, train};
use crate::random::Random;
use crate::{Ladder, Tables, Trained, Trainer};

const ROWS: usize = 1200;

/// Two features around a centre per class, and what a label is made of: the class's number.
pub(super) fn blobs() -> (Vec<f32>, Vec<f32>, Vec<usize>) {
    let mut random = Random::new(11, 0);
    let centres = [(100.0, 0.001), (104.0, 0.001), (102.0, 0.005)];
    let class: Vec<usize> = (0..ROWS).map(|row| row % 3).collect();
    let x = class.iter().map(|&class| centres[class].0 + random.uniform(-1.2, 1.2)).collect();
    let y = class.iter().map(|&class| centres[class].1 + random.uniform(-1.2e-3, 1.2e-3)).collect();
    (x, y, class)
}

fn settings() -> Value {
    json!({ "epochs": 15, "batch_size": 32, "seed": 3, "optimizer": { "init_lr": 5e-3 } })
}

fn classify(label: ArrayRef, settings: Value) -> Trained {
    let (x, y, _) = blobs();
    let table = batch(vec![("x", floats(x)), ("label", label), ("y", floats(y))]);
    train(&request("classification", settings, json!({ "path": "-", "label": "label" })), &[table]).unwrap()
}

pub(super) fn words() -> ArrayRef {
    Arc::new(blobs().2.iter().map(|&class| Some(["top", "qcd", "b"][class])).collect::<StringArray>())
}

#[test]
fn many_classes_by_words() {
    let trained = classify(words(), settings());
    assert!(trained.evaluation["accuracy"] > 0.97 && trained.evaluation["auc"] > 0.99, "{:?}", trained.evaluation);
    let loaded = load(&trained);
    let output = &loaded.model.signature().outputs[0];
    assert_eq!((output.fields.join(" "), output.width), ("b qcd top".to_owned(), 3));
    assert_eq!(**loaded.model.signature(), trained.signature);
    // The rows that test have judged the epochs, too.
    let last = trained.history.last().unwrap();
    let judged = last.val_auc.unwrap() - trained.evaluation["auc"];
    assert!(judged.abs() < 1e-3 && (last.val_accuracy.unwrap() - trained.evaluation["accuracy"]).abs() < 1e-9);
    let probabilities = score(&loaded, &[100.0, 0.001, 104.0, 0.001, 102.0, 0.005]);
    for (row, class) in probabilities.chunks_exact(3).zip([2, 1, 0]) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-6 && row[class] > 0.9, "{row:?}");
    }
    let classes: Vec<_> = trained.dataset.class_balance.iter().map(|class| (&*class.class, class.rows)).collect();
    assert_eq!(classes, [("b", 400), ("qcd", 400), ("top", 400)]);
    assert!(trained.roc.is_empty());
}

#[test]
fn two_classes_by_booleans_integers_or_text_are_the_same_model() {
    let is_top: Vec<bool> = blobs().2.iter().map(|&class| class == 0).collect();
    let booleans = classify(Arc::new(BooleanArray::from(is_top.clone())), settings());
    let integers = classify(Arc::new(Int64Array::from_iter(is_top.iter().map(|&top| i64::from(top)))), settings());
    let text = is_top.iter().map(|&top| Some(if top { "1" } else { "0" }));
    let text = classify(Arc::new(text.collect::<StringArray>()), settings());
    assert!(booleans.artifact == integers.artifact && text.artifact == integers.artifact);
    assert!(integers.evaluation["auc"] > 0.99, "{:?}", integers.evaluation);
    assert_eq!(integers.dataset.class_balance[1].class, "1");
    assert_eq!(load(&integers).model.signature().outputs[0].name, "probability");
    let names: Vec<_> = integers.pictures.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["loss.svg", "roc.svg", "scores.svg"]);
    assert!(integers.pictures.iter().all(|(_, svg)| svg.starts_with("<svg") && svg.ends_with("</svg>\n")));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let one = classify(words(), settings());
    assert!(classify(words(), settings()).artifact == one.artifact);
    let mut other = settings();
    other["seed"] = json!(4);
    assert!(classify(words(), other).artifact != one.artifact);
}

#[test]
fn a_search_among_many_classes_compares_aucs() {
    let mut request = request("classification", settings(), json!({ "path": "-", "label": "label" }));
    request["search"] = json!({ "trials": 2, "ranges": { "model_train.seed": { "int": [1, 9] } } });
    let (ladder, request) = (Ladder::of(&parse(&request)).unwrap(), parse(&request));
    let trial = serde_json::to_value(ladder.request(&request, &ladder.parameters(0)).unwrap()).unwrap();
    let (x, y, _) = blobs();
    let trained = train(&trial, &[batch(vec![("x", floats(x)), ("label", words()), ("y", floats(y))])]).unwrap();
    assert_eq!(ladder.metric(), "auc");
    assert!(ladder.score(&trained.history).unwrap() > 0.99, "{:?}", trained.history);
    let report = &trained.dataset;
    assert_eq!((report.samples_train, report.samples_validation, report.samples_test), (864, 96, 240));
}

#[test]
fn class_weights_move_the_scores_towards_the_heavy_class() {
    let rare: ArrayRef = Arc::new(Int64Array::from_iter((0..ROWS as i64).map(|row| i64::from(row % 7 == 0))));
    let mean = |weight: Value| {
        let mut settings = settings();
        settings["class_weight"] = weight;
        let (x, y, _) = blobs();
        let rows: Vec<f32> = x.into_iter().zip(y).flat_map(|(x, y)| [x, y]).collect();
        score(&load(&classify(rare.clone(), settings)), &rows).iter().sum::<f64>() / ROWS as f64
    };
    let (plain, balanced) = (mean(Value::Null), mean(json!("balanced")));
    // The label is noise: the score is the class's share of the weight.
    assert!((plain - 1.0 / 7.0).abs() < 0.07 && (balanced - 0.5).abs() < 0.1, "{plain} {balanced}");
    assert!((mean(json!({ "0": 1.0, "1": 6.0 })) - 0.5).abs() < 0.1);
}

#[test]
fn event_weights_of_both_signs_train_and_judge() {
    let early = json!({ "patience": 2 });
    let settings = json!({ "epochs": 40, "batch_size": 64, "early_stopping": early, "optimizer": { "init_lr": 3e-3 } });
    let dataset = json!({ "path": "-", "label": "label", "weights": "weight" });
    let trained = train(&request("classification", settings, dataset), &[physics::gaussian(3000, 5)]).unwrap();
    assert!(trained.evaluation["auc"] > 0.65, "{:?}", trained.evaluation);
    assert!(trained.history.len() < 40, "stopped early");
    assert_eq!(trained.signature.inputs[0].fields, ["a", "b", "c", "d"]);
    let report = trained.dataset;
    assert_eq!((report.samples_train, report.samples_validation, report.samples_test), (2160, 240, 600));
    assert!(report.class_balance[0].weight < report.class_balance[0].rows as f64);
}

#[test]
fn a_regression_answers_in_the_labels_own_units() {
    let mut random = Random::new(12, 0);
    let (x, y): (Vec<f32>, Vec<f32>) = (0..ROWS).map(|_| (random.uniform(-1.0, 1.0), random.uniform(2.0, 3.0))).unzip();
    let label: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 1000.0 + 50.0 * x * x + 20.0 * y).collect();
    let table = batch(vec![("x", floats(x)), ("y", floats(y)), ("energy", floats(label))]);
    let trained =
        train(&request("regression", settings(), json!({ "path": "-", "label": "energy" })), &[table]).unwrap();
    assert!(trained.evaluation["r2"] > 0.98 && trained.evaluation["rmse"] < 2.0, "{:?}", trained.evaluation);
    let answer = score(&load(&trained), &[0.5, 2.5])[0];
    assert!((answer - 1062.5).abs() < 5.0, "{answer}");
    assert_eq!(trained.dataset.features[1].name, "y");
    assert!((trained.dataset.features[1].mean - 2.5).abs() < 0.05 && trained.dataset.features[1].missing == 0);
}

/// Points on a circle in four dimensions, and odd ones off it.
pub(super) fn circle() -> RecordBatch {
    let mut random = Random::new(13, 0);
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for row in 0..ROWS {
        let (angle, odd) = (random.uniform(0.0, std::f32::consts::TAU), row.is_multiple_of(10));
        let (x, y) = (angle.cos(), angle.sin());
        let (z, w) = if odd { (-x - y, y) } else { (x + y, x - y) };
        rows.push(Some([x, y, z, w].map(Some)));
        labels.push(i64::from(odd));
    }
    let list = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, 4);
    batch(vec![("point", Arc::new(list)), ("odd", Arc::new(Int64Array::from(labels)))])
}

#[test]
fn an_autoencoder_finds_what_does_not_fit() {
    let mut request = request("anomaly-detection", settings(), json!({ "path": "-", "label": "odd" }));
    request["model"]["architecture"] = json!({ "hidden": [16, 2, 16], "activation": "tanh" });
    let trained = train(&request, &[circle()]).unwrap();
    assert!(trained.evaluation["auc"] > 0.95, "{:?}", trained.evaluation);
    assert!(!trained.roc.is_empty() && trained.history.iter().all(|epoch| epoch.val_auc.is_some()));
    assert_eq!(trained.dataset.samples_train, 864, "no odd row trains");
    let loaded = load(&trained);
    assert_eq!(loaded.model.signature().inputs[0].fields, ["point_0", "point_1", "point_2", "point_3"]);
    let scores = score(&loaded, &[0.6, 0.8, 1.4, -0.2, 0.6, 0.8, -1.4, 0.8]);
    assert!(scores[0] < 0.2 && scores[1] > 2.0 * scores[0], "{scores:?}");
}

/// As a text has them, where nothing says how long the lists are.
#[test]
fn lists_of_one_length_are_a_feature_per_element_and_others_are_refused() {
    let table = |lists: ListArray| {
        let label: Int64Array = (0..lists.len() as i64).map(|row| Some(row % 2)).collect();
        batch(vec![("input", Arc::new(lists)), ("label", Arc::new(label))])
    };
    let row =
        |n: usize, width: usize| Some((0..width).map(|at| Some(((n * 7 + at * 3) % 11) as f32)).collect::<Vec<_>>());
    let lists = |width: fn(usize) -> usize| {
        ListArray::from_iter_primitive::<Float32Type, _, _>((0..60).map(|n| row(n, width(n))))
    };
    let request = request("classification", settings(), json!({ "path": "-", "label": "label" }));
    let trained = train(&request, &[table(lists(|_| 3)), table(lists(|_| 3))]).unwrap();
    let names: Vec<_> = trained.dataset.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!((names, trained.dataset.features[0].max), (vec!["input_0", "input_1", "input_2"], 10.0));
    let refused = train(&request, &[table(lists(|n| if n == 40 { 2 } else { 3 }))]).unwrap_err();
    assert!(refused.message.contains("lists of 3 and of 2 values"), "{}", refused.message);
}

#[test]
fn an_autoencoder_needs_no_label() {
    let dataset = json!({ "path": "-", "features": ["point"] });
    let trained = train(&request("anomaly-detection", settings(), dataset), &[circle()]).unwrap();
    assert_eq!(trained.evaluation.keys().collect::<Vec<_>>(), ["reconstruction_error"]);
    assert!(trained.evaluation["reconstruction_error"] < 1.0);
}

#[test]
fn progress_counts_steps_and_epochs_to_the_end() {
    let request = parse(&request("classification", settings(), json!({ "path": "-", "label": "label" })));
    let tables = Tables::from_batches(&[physics::gaussian(200, 1)], &request).unwrap();
    let mut job = crate::Perceptrons::default().start(&request, tables, None).unwrap();
    let (mut last, mut slices) = (0, 0);
    loop {
        let progress = job.step(Duration::ZERO).unwrap();
        assert!(progress.step > last && progress.steps == 75 && progress.epochs == 15);
        (last, slices) = (progress.step, slices + 1);
        if progress.done {
            assert_eq!((progress.step, progress.epoch, slices), (75, 15, 75));
            assert!(progress.metric.is_some() && job.history().len() == 15);
            return;
        }
    }
}
