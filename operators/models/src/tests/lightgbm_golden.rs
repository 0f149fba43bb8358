//! LightGBM models of every make and age against the answers of the LightGBM that wrote them: 10,000 rows with missing,
//! infinite, denormal and huge values and values equal to thresholds (`fixtures/lightgbm_models.py`).

use super::agreement::{check_alone_and_in_batches, fault};
use super::*;
use crate::Format;

/// Names of the fixtures, and whether the answer is the same bits: where no link function follows the sum.
const MODELS: [(&str, bool); 26] = [
    ("2.2.3-binary", false),
    ("2.2.3-categorical", true),
    ("2.3.1-multiclass", false),
    ("2.3.1-zero", true),
    ("3.3.5-binary", false),
    ("3.3.5-categorical", true),
    ("3.3.5-linear", true),
    ("4.7.0-binary", false),
    ("4.7.0-multiclass", false),
    ("4.7.0-multiclassova", false),
    ("4.7.0-cross_entropy", false),
    ("4.7.0-cross_entropy_lambda", false),
    ("4.7.0-regression", true),
    ("4.7.0-sqrt", true),
    ("4.7.0-l1", true),
    ("4.7.0-huber", true),
    ("4.7.0-quantile", true),
    ("4.7.0-poisson", false),
    ("4.7.0-gamma", false),
    ("4.7.0-tweedie", false),
    ("4.7.0-lambdarank", true),
    ("4.7.0-rank_xendcg", true),
    ("4.7.0-rf", false),
    ("4.7.0-dart", true),
    ("4.7.0-categorical", false),
    ("4.7.0-linear", false),
];

fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
}

fn rows() -> Vec<f64> {
    doubles(&fixture("lightgbm/rows.f64"))
}

fn model(name: &str) -> Loaded {
    loaded(&fixture(&format!("lightgbm/{name}.txt")), name)
}

fn batch(model: &dyn Model) -> RecordBatch {
    let column = Values::F64(rows()).into_column(&model.signature().inputs[0]).unwrap();
    RecordBatch::try_new(model.signature().input_schema(), vec![column]).unwrap()
}

#[test]
fn every_make_and_age_answers_as_its_own_lightgbm() {
    let answer = |&(name, same_bits): &(&str, bool)| {
        let model = model(name).model;
        let theirs = doubles(&fixture(&format!("lightgbm/{name}.f64")));
        fault(name, &*model, &batch(&*model), &theirs, same_bits)
    };
    let faults: Vec<String> = MODELS.iter().filter_map(answer).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_row_is_answered_alike_alone_and_in_any_batch() {
    for (name, _) in MODELS {
        let model = model(name).model;
        check_alone_and_in_batches(name, &*model, &batch(&*model));
    }
}

#[test]
fn outputs_are_named_for_what_they_are() {
    let expected = [
        ("4.7.0-binary", "probability", 1),
        ("4.7.0-multiclass", "probabilities", 3),
        ("4.7.0-multiclassova", "probabilities", 3),
        ("4.7.0-lambdarank", "score", 1),
    ];
    for (name, output, width) in expected {
        let loaded = model(name);
        let signature = loaded.model.signature();
        assert_eq!((signature.outputs[0].name.as_str(), signature.outputs[0].width), (output, width), "{name}");
        assert_eq!((loaded.format, loaded.model.accepts().infinite), (Format::LightgbmText, true));
        assert_eq!(signature.inputs[0].fields[6], "detector", "{name}");
    }
    assert!(model("2.3.1-zero").model.signature().inputs[0].fields.is_empty(), "Column_0 is no name");
}
