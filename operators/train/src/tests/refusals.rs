//! What cannot be trained is refused with a sentence that says what to change.

use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, FixedSizeListArray, RecordBatch, StringArray};
use serde_json::{Value, json};

use super::{batch, floats, request, train};
use crate::RefusalKind;

const ROWS: usize = 60;

fn noise(seed: u64) -> ArrayRef {
    let mut random = crate::random::Random::new(seed, 0);
    floats((0..ROWS).map(|_| random.uniform(-1.0, 1.0)))
}

/// Two features, a constant and one with gaps, labels of several sorts, weights.
fn table() -> RecordBatch {
    let of = |value: fn(usize) -> f32| floats((0..ROWS).map(value));
    let words: ArrayRef = Arc::new((0..ROWS).map(|row| Some(["top", "qcd"][row % 2])).collect::<StringArray>());
    batch(vec![
        ("a", noise(1)),
        ("b", noise(2)),
        ("constant", of(|_| 3.0)),
        ("gaps", of(|row| if row < 7 { f32::NAN } else { row as f32 })),
        ("word", words),
        ("y", of(|row| (row % 2) as f32)),
        ("one", of(|_| 1.0)),
        ("rare", of(|row| f32::from(u8::from(row == 0)))),
        ("broken", of(|row| if row == 5 { f32::NAN } else { 0.0 })),
        ("bad_weight", of(|row| if row % 2 == 1 { -1.0 } else { 1.0 })),
        ("nan_weight", of(|row| if row == 2 { f32::INFINITY } else { 1.0 })),
    ])
}

/// A request that can be trained.
fn good() -> Value {
    request("classification", json!({ "epochs": 1 }), json!({ "path": "-", "label": "y", "features": ["a", "b"] }))
}

/// What a changed request is refused with.
fn refused(path: &str, value: Value) -> (RefusalKind, String) {
    let mut request = good();
    let (parents, key) = path.rsplit_once('/').unwrap();
    let mut place = &mut request;
    for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
        place = &mut place[parent];
    }
    place[key] = value;
    let refusal = train(&request, &[table()]).err().unwrap_or_else(|| panic!("{path} was trained"));
    (refusal.kind, refusal.message)
}

#[test]
fn the_good_request_is_trained() {
    train(&good(), &[table()]).unwrap();
}

#[test]
fn data_that_cannot_be_trained_on() {
    for (path, value, says) in [
        ("/dataset/label", json!("lable"), "\"lable\" is not in the table; set `dataset.label` to one of: a, b"),
        ("/dataset/label", json!("one"), "one class only, \"1\"; give rows of at least two classes"),
        ("/dataset/label", json!("rare"), "class \"1\" has too few rows"),
        ("/dataset/label", json!("broken"), "missing or not finite in 1 rows; take these rows out"),
        ("/dataset/features", json!(["a", "nope"]), "feature column \"nope\" is not in the table"),
        ("/dataset/features", json!(["a", "constant"]), "constant over the training part: constant; leave them out"),
        ("/dataset/features", json!(["a", "gaps"]), "\"gaps\" (7 rows); fill them"),
        ("/dataset/features", json!(["a", "word"]), "holds the text \"top\", no number; name only numeric"),
        ("/dataset/weights", json!("bad_weight"), "weights of class \"1\" sum to -30, not above zero"),
        ("/dataset/weights", json!("nan_weight"), "not finite in 1 rows; give each row a finite weight"),
        ("/dataset/weights", json!("nope"), "weights column \"nope\" is not in the table"),
    ] {
        let (kind, message) = refused(path, value.clone());
        assert!(message.contains(says), "{path} = {value}: {message}");
        assert_eq!(kind, RefusalKind::Data, "{message}");
    }
}

#[test]
fn requests_that_ask_for_what_is_not_there() {
    for (path, value, says) in [
        ("/model/objective", json!("clustering"), "set `model.objective` to one of: classification, regression"),
        ("/model/path", json!("bert"), "take `model.path` out"),
        ("/model/architecture", json!({ "hidden": [8192, 8192] }), "at most 50000000"),
        ("/model/architecture", json!({ "hidden": [0] }), "use widths of 1 to"),
        ("/model/architecture", json!({ "hidden": [8], "activation": "swish" }), "relu, tanh or sigmoid"),
        ("/model_train/epochs", json!(0), "`model_train.epochs` cannot be used; set it to 1 to"),
        ("/model_train/batch_size", json!(0), "`model_train.batch_size`"),
        ("/model_train/optimizer", json!({ "name": "SGD" }), "set `model_train.optimizer.name` to AdamW"),
        ("/model_train/optimizer", json!({ "init_lr": -1.0 }), "`model_train.optimizer.init_lr`"),
        ("/model_train/early_stopping", json!({ "patience": 0 }), "early_stopping.patience"),
        ("/model_train/class_weight", json!("heavy"), "write \"balanced\""),
        ("/model_train/class_weight", json!({ "2": 1.0 }), "names \"2\"; the label's classes are 0, 1"),
        ("/model_train/class_weight", json!({ "1": -1.0 }), "give each label a positive number"),
        ("/dataset/train_test_split", json!(1.0), "`dataset.train_test_split`"),
        ("/dataset/validation_split", json!(0.0), "`dataset.validation_split` cannot be used; set it to a share"),
        ("/dataset/features", json!(["a", "a"]), "names \"a\" twice"),
        ("/dataset/features", json!(["a", "y"]), "\"y\" is a feature and the label"),
        ("/dataset/label", Value::Null, "set `dataset.label` to its column"),
    ] {
        let (kind, message) = refused(path, value.clone());
        assert!(message.contains(says), "{path} = {value}: {message}");
        assert_eq!(kind, RefusalKind::Request, "{message}");
    }
}

#[test]
fn two_shares_that_judge_the_epochs() {
    let mut request = good();
    request["dataset"]["validation_split"] = json!(0.2);
    train(&request, &[table()]).unwrap();
    request["model_train"]["early_stopping"] = json!({});
    let message = train(&request, &[table()]).err().unwrap().message;
    assert!(message.contains("take `dataset.validation_split` out"), "{message}");
}

#[test]
fn lists_that_are_missing_or_empty() {
    let of = |width: i32| {
        let lists = (0..ROWS).map(|row| (row != 3).then(|| vec![Some(row as f32); width as usize]));
        let lists: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(lists, width));
        let labels = floats((0..ROWS).map(|row| (row % 2) as f32));
        let request = request("classification", json!({ "epochs": 1 }), json!({ "path": "-", "label": "y" }));
        train(&request, &[batch(vec![("x", lists), ("y", labels)])]).err().unwrap().message
    };
    assert!(of(2).contains("\"x_0\" (1 rows), \"x_1\" (1 rows)"), "{}", of(2));
    assert!(of(0).contains("\"x\" holds empty lists"), "{}", of(0));
}

#[test]
fn too_few_rows() {
    let refusal = train(&good(), &[table().slice(0, 19)]).err().unwrap();
    assert_eq!(refusal.message, "19 rows are too few to train and test; give at least 20");
    assert!(train(&good(), &[]).err().unwrap().message.contains("no rows"));
}

#[test]
fn a_regression_on_words_or_on_one_number() {
    for (label, says) in [("word", "regression needs numbers"), ("one", "the same number in all training rows")] {
        let mut request = good();
        request["model"]["objective"] = json!("regression");
        request["dataset"]["label"] = json!(label);
        let message = train(&request, &[table()]).err().unwrap().message;
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_training_that_runs_away_says_so() {
    let mut request = good();
    request["model"]["objective"] = json!("regression");
    request["model"]["architecture"] = json!({ "hidden": [64, 64, 64] });
    request["model_train"] = json!({ "epochs": 400, "optimizer": { "init_lr": 10.0, "weight_decay_rate": 1.0 } });
    let message = train(&request, &[table()]).err().unwrap().message;
    assert!(message.contains("not finite") && message.contains("lower `model_train.optimizer.init_lr`"), "{message}");
}
