//! Damaged, lying and unsupported perceptron files: an error that says what, never a panic.

use std::collections::HashMap;

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::*;
use crate::{ModelError, ModelErrorKind};

/// Name, shape and values of a tensor.
type Tensor = (&'static str, Vec<usize>, Vec<f32>);

fn tensors() -> Vec<Tensor> {
    vec![
        ("w0", vec![6, 2], vec![0.25; 12]),
        ("b0", vec![6], vec![0.5; 6]),
        ("w1", vec![1, 6], vec![0.125; 6]),
        ("b1", vec![1], vec![-1.0]),
        ("mean", vec![2], vec![1.0, 2.0]),
        ("scale", vec![2], vec![0.5, 4.0]),
    ]
}

fn description() -> Value {
    json!({
        "format": "mlp", "version": 1,
        "inputs": [{"name": "x", "datatype": "FP32", "width": 2}],
        "outputs": [{"name": "y", "datatype": "FP32", "width": 1}],
        "standardize": {"mean": "mean", "scale": "scale"},
        "layers": [
            {"weight": "w0", "bias": "b0", "activation": "relu"},
            {"weight": "w1", "bias": "b1", "activation": "identity"},
        ],
    })
}

fn file(tensors: &[Tensor], description: &str) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let metadata = HashMap::from([("lunapark".to_owned(), description.to_owned())]);
    safetensors::serialize(views, Some(metadata)).unwrap()
}

fn refuse(bytes: &[u8]) -> ModelError {
    load(bytes, "model.safetensors", None).expect_err("the file is bad")
}

fn refuse_described(change: impl FnOnce(&mut Value)) -> ModelError {
    let mut description = description();
    change(&mut description);
    refuse(&file(&tensors(), &description.to_string()))
}

fn refuse_tensor(index: usize, change: impl FnOnce(&mut Tensor)) -> ModelError {
    let mut tensors = tensors();
    change(&mut tensors[index]);
    refuse(&file(&tensors, &description().to_string()))
}

fn assert_says(error: &ModelError, kind: ModelErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    assert!(text.starts_with("model.safetensors: "), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{text:?} lacks {word:?}"));
}

#[test]
fn the_untouched_file_scores_by_hand() {
    let model = loaded(&file(&tensors(), &description().to_string()), "m").model;
    // Standardised (2, -1), hidden 0.25 * (2 - 1) + 0.5 = 0.75 six times, 6 * 0.125 * 0.75 - 1.
    assert_eq!(scores(&*model, &batch(&*model, vec![2.0, -2.0])), [-0.4375]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = asset("higgs-mlp.safetensors");
    for end in (1..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
        let error = refuse(&bytes[..end]);
        let expected = if end < 9 { ModelErrorKind::Unsupported } else { ModelErrorKind::Truncated };
        assert_eq!(error.kind, expected, "cut at {end}: {error}");
    }
}

#[test]
fn a_lying_header_length_is_refused() {
    let mut bytes = asset("higgs-mlp.safetensors");
    bytes[..4].copy_from_slice(&4_000_000_000u32.to_le_bytes());
    assert!(matches!(refuse(&bytes).kind, ModelErrorKind::Truncated | ModelErrorKind::Unreadable));
}

#[test]
fn tensors_must_have_the_described_shape_and_finite_values() {
    let error = refuse_tensor(0, |tensor| tensor.1 = vec![2, 6]);
    assert_says(&error, ModelErrorKind::Unreadable, &["w0", "[2, 6]", "[6, 2]"]);
    let error = refuse_tensor(1, |tensor| tensor.1 = vec![6, 1]);
    assert_says(&error, ModelErrorKind::Unreadable, &["b0", "[outputs]"]);
    let error = refuse_tensor(2, |tensor| tensor.2[3] = f32::NAN);
    assert_says(&error, ModelErrorKind::Unreadable, &["w1", "NaN at 3"]);
    let error = refuse_tensor(5, |tensor| tensor.2[1] = 0.0);
    assert_says(&error, ModelErrorKind::Unreadable, &["scale[1]"]);
}

#[test]
fn the_description_must_be_known_and_fit() {
    let layer = |index: usize, key: &'static str, value: &'static str| {
        move |description: &mut Value| description["layers"][index][key] = json!(value)
    };
    let (unreadable, unsupported) = (ModelErrorKind::Unreadable, ModelErrorKind::Unsupported);
    assert_says(&refuse_described(layer(0, "activation", "swish")), unreadable, &["swish", "relu"]);
    assert_says(&refuse_described(layer(1, "weight", "absent")), unreadable, &["no tensor \"absent\""]);
    assert_says(&refuse_described(layer(1, "bias", "b0")), unreadable, &["b0", "used twice"]);
    assert_says(&refuse_described(layer(0, "dropout", "0.5")), unreadable, &["dropout"]);
    assert_says(&refuse_described(|d| d["layers"] = json!([])), unsupported, &["0 layers"]);
    assert_says(&refuse_described(|d| d["version"] = json!(2)), unsupported, &["version 2", "version 1"]);
    assert_says(&refuse_described(|d| d["format"] = json!("cnn")), unsupported, &["cnn"]);
    assert_says(&refuse_described(|d| d["inputs"][0]["width"] = json!(3)), unreadable, &["mean", "[3]"]);
    assert_says(&refuse_described(|d| d["outputs"][0]["width"] = json!(2)), unreadable, &["outputs says 2"]);
    assert_says(&refuse_described(|d| d["inputs"][0]["width"] = json!(1u64 << 40)), unsupported, &["width"]);
    assert_says(&refuse_described(|d| d["inputs"][0]["datatype"] = json!("FP64")), unsupported, &["FP64"]);
    assert_says(&refuse_described(|d| d["inputs"][0]["fields"] = json!(["a"])), unreadable, &["1 fields"]);
    let score = |d: &mut Value| d["score"] = json!("reconstruction-error");
    assert_says(&refuse_described(score), unreadable, &["last layer has 1 outputs", "inputs says 2"]);
    let two = |d: &mut Value| (d["score"], d["outputs"][0]["width"]) = (json!("reconstruction-error"), json!(2));
    assert_says(&refuse_described(two), unreadable, &["one number", "2"]);
    assert_says(&refuse_described(|d| d["score"] = json!("distance")), unreadable, &["distance"]);
    assert_says(&refuse_described(layer(0, "activation", "softmax")), unsupported, &["softmax", "last layer"]);
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_says(&refuse(&file(&tensors(), &nested)), unreadable, &["lunapark"]);
}

#[test]
fn a_file_of_other_tensors_is_refused_with_what_is_missing() {
    let bytes = 1f32.to_le_bytes();
    let view = TensorView::new(Dtype::F32, vec![1], &bytes).unwrap();
    let error = refuse(&safetensors::serialize([("a", view)], None).unwrap());
    assert_says(&error, ModelErrorKind::Unsupported, &["__metadata__", "lunapark"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// A flipped bit gives an error or another model; either way nothing panics, not even when it scores.
    #[test]
    fn flipped_bits_never_panic(flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0..8u32), 1..4)) {
        let mut bytes = file(&tensors(), &description().to_string());
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Ok(loaded) = load(&bytes, "m", None) {
            let width = loaded.model.signature().inputs[0].width;
            let rows = batch(&*loaded.model, vec![0.5; width * 40]);
            prop_assert_eq!(scores(&*loaded.model, &rows).len(), 40 * loaded.model.signature().outputs[0].width);
        }
    }
}
