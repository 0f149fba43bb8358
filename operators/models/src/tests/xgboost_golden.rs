//! XGBoost models of every make and age against the answers of the XGBoost that wrote them: 10,000 rows with missing,
//! denormal and huge values and values equal to thresholds (`fixtures/xgboost_models.py`).

use serde_json::{Value, json};

use super::agreement::{check_alone_and_in_batches, fault, numbers};
use super::*;
use crate::Format;

/// Names of the fixtures, and whether the answer is the same bits: where it is the sum of the leaves itself. Before
/// version 1.3 the base score was added last.
const MODELS: [(&str, bool); 29] = [
    ("1.0.2-logistic.json", false),
    ("1.0.2-softprob.json", false),
    ("1.0.2-linear.json", false),
    ("1.2.1-logitraw.json", false),
    ("1.7.6-softmax.ubj", true),
    ("1.7.6-categorical.json", true),
    ("1.7.6-dart.json", false),
    ("2.1.4-vectors.ubj", true),
    ("2.1.4-categorical.json", false),
    ("2.1.4-poisson.ubj", false),
    ("3.0.5-absolute.ubj", true),
    ("3.0.5-quantiles.json", true),
    ("3.2.0-softprob.ubj", false),
    ("3.2.0-softmax.json", true),
    ("3.2.0-hinge.ubj", true),
    ("3.2.0-dart.ubj", false),
    ("3.2.0-categorical.ubj", false),
    ("3.2.0-vectors.json", true),
    ("3.2.0-targets.json", false),
    ("3.2.0-quantiles.ubj", true),
    ("3.2.0-squaredlog.ubj", true),
    ("3.2.0-pseudohuber.ubj", true),
    ("3.2.0-gamma.ubj", false),
    ("3.2.0-tweedie.ubj", false),
    ("3.2.0-cox.ubj", false),
    ("3.2.0-aft.ubj", false),
    ("3.2.0-pairwise.ubj", true),
    ("3.2.0-ndcg.json", true),
    ("3.2.0-gblinear.ubj", false),
];

fn rows() -> Vec<f32> {
    floats(&fixture("xgboost/rows.f32"))
}

fn model(name: &str) -> Loaded {
    loaded(&fixture(&format!("xgboost/{name}")), name)
}

fn answers(name: &str) -> Vec<f64> {
    let (stem, _) = name.rsplit_once('.').unwrap();
    floats(&fixture(&format!("xgboost/{stem}.f32"))).into_iter().map(f64::from).collect()
}

#[test]
fn every_make_and_age_answers_as_its_own_xgboost() {
    let faults: Vec<String> = MODELS
        .iter()
        .filter_map(|&(name, same_bits)| {
            let model = model(name).model;
            fault(name, &*model, &batch(&*model, rows()), &answers(name), same_bits)
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_row_is_answered_alike_alone_and_in_any_batch() {
    for (name, _) in MODELS {
        let model = model(name).model;
        check_alone_and_in_batches(name, &*model, &batch(&*model, rows()));
    }
}

#[test]
fn outputs_are_named_for_what_they_are() {
    let expected = [
        ("1.0.2-logistic.json", "probability", 1),
        ("3.2.0-softprob.ubj", "probabilities", 3),
        ("3.2.0-softmax.json", "label", 1),
        ("3.2.0-hinge.ubj", "label", 1),
        ("3.2.0-targets.json", "probabilities", 2),
        ("3.2.0-quantiles.ubj", "score", 2),
        ("3.2.0-cox.ubj", "score", 1),
    ];
    for (name, output, width) in expected {
        let loaded = model(name);
        let spec = &loaded.model.signature().outputs[0];
        assert_eq!((spec.name.as_str(), spec.width), (output, width), "{name}");
        let format = if name.ends_with("ubj") { Format::XgboostUbjson } else { Format::XgboostJson };
        assert_eq!(loaded.format, format, "{name}");
        if !name.starts_with("1.0") {
            assert_eq!(loaded.model.signature().inputs[0].fields[6], "detector", "{name}");
        }
    }
}

/// The answers of a JSON fixture after `change`.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Vec<f64> {
    let mut file: Value = serde_json::from_slice(&fixture(&format!("xgboost/{name}"))).unwrap();
    change(&mut file);
    let model = loaded(&serde_json::to_vec(&file).unwrap(), name).model;
    numbers(&*model, &batch(&*model, rows()))
}

/// No XGBoost 3.4 could be installed when these fixtures were made; its sources say what its files look like.
#[test]
fn the_weights_of_dart_count_where_xgboost_3_4_has_them() {
    let newer = changed("1.7.6-dart.json", |file| {
        let booster = &mut file["learner"]["gradient_booster"];
        let (mut model, weights) = (booster["gbtree"]["model"].clone(), booster["weight_drop"].clone());
        model["weight_drop"] = weights;
        *booster = json!({"name": "gbtree", "model": model});
    });
    assert_eq!(newer, changed("1.7.6-dart.json", |_| ()));
    let all_ones =
        changed("1.7.6-dart.json", |file| file["learner"]["gradient_booster"]["weight_drop"] = json!(vec![1; 8]));
    assert_ne!(newer, all_ones);
}

#[test]
fn quantiles_cross_as_they_did_in_the_version_that_wrote_the_file() {
    let name = "3.0.5-quantiles.json";
    let older = changed(name, |_| ());
    let newer = changed(name, |file| file["version"] = json!([3, 4, 0]));
    assert!(older.chunks(3).any(|row| !row.is_sorted()) && newer.chunks(3).all(|row| row.is_sorted()));
    for (older, newer) in older.chunks(3).zip(newer.chunks(3)) {
        let mut sorted = older.to_vec();
        sorted.sort_by(f64::total_cmp);
        assert_eq!(sorted, newer);
    }
}
