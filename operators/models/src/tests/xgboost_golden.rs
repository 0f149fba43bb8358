//! XGBoost models of every make and age against the answers of the XGBoost that wrote them: 10,000 rows with missing,
//! denormal and huge values and values equal to thresholds (`fixtures/xgboost_models.py`).

use super::*;
use crate::Format;

const WIDTH: usize = 8;
const ROWS: usize = 10_000;

/// Names of the fixtures, and whether the answer is the same bits: where it is the sum of the leaves itself. Before
/// version 1.3 the base score was added last.
const MODELS: [(&str, bool); 28] = [
    ("1.0.2-logistic.json", false),
    ("1.0.2-softprob.json", false),
    ("1.0.2-linear.json", false),
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

fn answers(name: &str) -> Vec<f32> {
    let (stem, _) = name.rsplit_once('.').unwrap();
    floats(&fixture(&format!("xgboost/{stem}.f32")))
}

/// How far two answers are apart, where 1e-6 · max(1, |y|) counts as 1e-6; two infinities or NaN are equal.
fn distance(ours: f32, theirs: f32) -> f64 {
    if ours == theirs || (ours.is_nan() && theirs.is_nan()) {
        return 0.0;
    }
    (f64::from(ours) - f64::from(theirs)).abs() / f64::from(theirs).abs().max(1.0)
}

/// What is wrong with a model's answers, if anything.
fn fault(name: &str, same_bits: bool) -> Option<String> {
    let loaded = model(name);
    let ours = scores(&*loaded.model, &batch(&*loaded.model, rows()));
    let theirs = answers(name);
    assert_eq!(ours.len(), ROWS * loaded.model.signature().outputs[0].width, "{name}");
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let worst = ours.iter().zip(&theirs).map(|(&a, &b)| distance(a, b)).enumerate();
    let (at, worst) = worst.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let differing = bits(&ours).iter().zip(bits(&theirs)).filter(|(a, b)| **a != *b).count();
    let wrong = worst > 1e-6 || (same_bits && differing > 0);
    wrong.then(|| format!("{name}: value {at} is {} for {}, {differing} differ in a bit", ours[at], theirs[at]))
}

#[test]
fn every_make_and_age_answers_as_its_own_xgboost() {
    let faults: Vec<String> = MODELS.iter().filter_map(|&(name, same_bits)| fault(name, same_bits)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_row_is_answered_alike_alone_and_in_any_batch() {
    for (name, _) in MODELS {
        let model = model(name).model;
        let width = model.signature().outputs[0].width;
        let all = batch(&*model, rows());
        let whole = bits(&scores(&*model, &all));
        for (start, len) in [(0, 1), (1, 1), (17, 31), (4_321, 64), (9_999, 1), (5_000, 3_000), (123, 255)] {
            let part = bits(&scores(&*model, &all.slice(start, len)));
            assert_eq!(part, whole[start * width..(start + len) * width], "{name}: {len} rows from {start}");
        }
        for row in (0..ROWS).step_by(97) {
            let alone = bits(&scores(&*model, &all.slice(row, 1)));
            assert_eq!(alone, whole[row * width..(row + 1) * width], "{name}: row {row} alone");
        }
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
