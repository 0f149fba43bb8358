//! A table that is sorted by its label trains and is judged as any other.

use arrow_array::RecordBatch;
use serde_json::{Value, json};

use super::{batch, floats, parse, request, train};
use crate::Tables;
use crate::prepare::prepare;
use crate::random::Random;
use crate::settings::Settings;

/// More than judge an epoch, in either part of a split by halves.
const ROWS: usize = 40_000;
/// The last ones are signal: the first half of the test rows has none.
const SIGNAL: usize = ROWS / 10;

/// Signal behind background, a number that grows with the row and is known worse the larger it is, and weights.
fn table(weight: fn(usize) -> f32) -> RecordBatch {
    let mut random = Random::new(21, 0);
    let label = |row: usize| f32::from(u8::from(row >= ROWS - SIGNAL));
    let x: Vec<f32> = (0..ROWS).map(|row| label(row) + random.uniform(-1.0, 1.0)).collect();
    let near: Vec<f32> = (0..ROWS).map(|row| row as f32 / 1000.0 * (1.0 + random.uniform(-0.2, 0.2))).collect();
    batch(vec![
        ("x", floats(x)),
        ("near", floats(near)),
        ("label", floats((0..ROWS).map(label))),
        ("number", floats((0..ROWS).map(|row| row as f32 / 1000.0))),
        ("weight", floats((0..ROWS).map(weight))),
    ])
}

fn of(objective: &str, label: &str, features: &[&str]) -> Value {
    let train = json!({ "epochs": 2, "batch_size": 256, "seed": 1, "optimizer": { "init_lr": 5e-3 } });
    let dataset = json!({ "path": "-", "label": label, "features": features, "train_test_split": 0.5 });
    let mut request = request(objective, train, dataset);
    request["model"]["architecture"] = json!({ "hidden": [8] });
    request
}

#[test]
fn two_classes_one_behind_the_other_are_judged_as_they_test() {
    let request = of("classification", "label", &["x"]);
    let trained = train(&request, &[table(|_| 1.0)]).unwrap();
    let (last, found) = (trained.history.last().unwrap(), &trained.evaluation);
    assert!((last.val_auc.unwrap() - found["auc"]).abs() < 0.02, "{last:?} {found:?}");
    assert!((last.val_accuracy.unwrap() - found["accuracy"]).abs() < 0.01, "{last:?} {found:?}");
    assert!((last.val_loss - found["log_loss"]).abs() < 0.02, "{last:?} {found:?}");
}

#[test]
fn early_stopping_by_drawn_rows_gives_the_same_bytes_again() {
    let mut request = of("classification", "label", &["x"]);
    request["model_train"]["epochs"] = json!(4);
    request["model_train"]["early_stopping"] = json!({ "patience": 1, "validation_fraction": 0.9 });
    let [one, again] = [(), ()].map(|()| train(&request, &[table(|_| 1.0)]).unwrap());
    assert!(one.artifact == again.artifact && one.history == again.history);
    assert_eq!(one.dataset.samples_validation, 18_000);
}

#[test]
fn a_number_that_grows_down_the_table_is_judged_over_all_of_it() {
    let trained = train(&of("regression", "number", &["near"]), &[table(|_| 1.0)]).unwrap();
    // Of equal numbers from 0 to 40 the deviation is 40 / √12.
    let scale = 40.0 / 12.0_f64.sqrt();
    let (found, last) = (trained.evaluation["rmse"] / scale, trained.history.last().unwrap());
    assert!((last.val_loss.sqrt() / found - 1.0).abs() < 0.05, "{last:?}, {found} in the end");
}

/// Every other signal row takes back nearly all that the one before it gave.
#[test]
fn where_those_drawn_of_a_class_weigh_nothing_all_rows_judge() {
    let weight = |row: usize| match row {
        row if row < ROWS - SIGNAL || row.is_multiple_of(2) => 1.0,
        _ => -0.98,
    };
    let mut judged = Vec::new();
    for seed in 0..40 {
        let mut request = of("classification", "label", &["x"]);
        (request["dataset"]["weights"], request["model_train"]["seed"]) = (json!("weight"), json!(seed));
        let request = parse(&request);
        let tables = Tables::from_batches(&[table(weight)], &request).unwrap();
        // The parts of some seeds weigh nothing themselves.
        let Ok(prepared) = prepare(&tables, &Settings::of(&request).unwrap(), 1) else { continue };
        judged.push(prepared.watched.weights.len());
        let signal = prepared.watched.truth.iter().zip(&prepared.watched.weights).filter(|(truth, _)| **truth > 0.0);
        assert!(signal.map(|(_, weight)| weight).sum::<f64>() > 0.0);
    }
    assert!(judged.iter().all(|rows| [1 << 14, ROWS / 2].contains(rows)), "{judged:?}");
    assert!([1 << 14, ROWS / 2].iter().all(|rows| judged.contains(rows)), "{judged:?}");
}
