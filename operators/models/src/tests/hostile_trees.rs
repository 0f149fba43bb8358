//! Damaged, lying and unsupported XGBoost files: an error that says what, never a panic.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{ModelError, ModelErrorKind};

const SMALL: &str = "xgboost-3.2.0.json";

fn small() -> Value {
    serde_json::from_slice(&fixture(SMALL)).unwrap()
}

fn refuse(bytes: &[u8]) -> ModelError {
    load(bytes, "model.json", None).expect_err("the file is bad")
}

/// The error of the small model after `change`.
fn refuse_changed(change: impl FnOnce(&mut Value)) -> ModelError {
    let mut file = small();
    change(&mut file);
    refuse(&serde_json::to_vec(&file).unwrap())
}

fn tree(file: &mut Value) -> &mut Value {
    &mut file["learner"]["gradient_booster"]["model"]["trees"][1]
}

fn assert_says(error: &ModelError, kind: ModelErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    assert!(text.starts_with("model.json: "), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{text:?} lacks {word:?}"));
}

#[test]
fn a_file_cut_anywhere_is_refused_as_truncated() {
    let bytes = asset("higgs-xgb.json");
    for end in (1..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
        let error = refuse(&bytes[..end]);
        assert_eq!(error.kind, ModelErrorKind::Truncated, "cut at {end}: {error}");
    }
    assert_says(&refuse(b""), ModelErrorKind::Truncated, &["empty"]);
}

#[test]
fn a_wrong_digest_is_refused_before_parsing() {
    let wrong = "0".repeat(64);
    let error = load(b"{", "model.json", Some(&wrong)).expect_err("another digest");
    assert_says(&error, ModelErrorKind::Digest, &["SHA-256", &wrong]);
    let digest = loaded(&fixture(SMALL), SMALL).digest;
    assert!(load(&fixture(SMALL), SMALL, Some(&digest.to_uppercase())).is_ok());
}

#[test]
fn claimed_counts_are_compared_with_the_arrays() {
    let claims = [("num_nodes", "1000000000"), ("num_nodes", "-1"), ("num_nodes", "1"), ("num_deleted", "3")];
    for (key, claim) in claims {
        let error = refuse_changed(|file| tree(file)["tree_param"][key] = json!(claim));
        assert_says(&error, ModelErrorKind::Unreadable, &["tree 1", key]);
    }
    let error = refuse_changed(|file| {
        file["learner"]["gradient_booster"]["model"]["gbtree_model_param"]["num_trees"] = json!("1000000000");
    });
    assert_says(&error, ModelErrorKind::Unreadable, &["num_trees is 1000000000"]);
    let error = refuse_changed(|file| file["learner"]["learner_model_param"]["num_feature"] = json!("4000000000"));
    assert_says(&error, ModelErrorKind::Unsupported, &["num_feature is 4000000000"]);
    for array in ["split_conditions", "split_indices", "default_left", "right_children", "split_type"] {
        let error = refuse_changed(|file| drop(tree(file)[array].as_array_mut().unwrap().pop()));
        assert_says(&error, ModelErrorKind::Unreadable, &["tree 1", array]);
    }
}

#[test]
fn children_stay_inside_the_tree_and_are_reached_once() {
    let cases = [
        (json!(0), "node 0 is reached twice"),
        (json!(2), "node 2 is reached twice"),
        (json!(1_000_000), "child 1000000"),
        (json!(-7), "child -7"),
    ];
    for (child, words) in cases {
        let error = refuse_changed(|file| tree(file)["left_children"][0] = child);
        assert_says(&error, ModelErrorKind::Unreadable, &["tree 1", words]);
    }
}

#[test]
fn a_chain_deeper_than_the_limit_is_refused() {
    let depth = 2_000;
    let chain =
        |leaf: i64, step: i64| -> Vec<i64> { (0..depth).map(|d| [2 * d + step, leaf]).collect::<Vec<_>>().concat() };
    let error = refuse_changed(|file| {
        let tree = tree(file);
        // Node 2d splits; 2d + 1 is a leaf and 2d + 2 the next split, the last one a leaf.
        let (mut left, mut right) = (chain(-1, 1), chain(-1, 2));
        left.push(-1);
        right.push(-1);
        let nodes = left.len();
        tree["left_children"] = json!(left);
        tree["right_children"] = json!(right);
        tree["tree_param"]["num_nodes"] = json!(nodes.to_string());
        for array in ["split_conditions", "split_indices", "default_left", "split_type"] {
            tree[array] = json!(vec![0; nodes]);
        }
    });
    assert_says(&error, ModelErrorKind::Unsupported, &["tree 1", "too deep"]);
}

#[test]
fn values_that_cannot_be_compared_are_refused() {
    let error = refuse_changed(|file| tree(file)["split_conditions"][0] = json!(1e39));
    assert_says(&error, ModelErrorKind::Unreadable, &["line 1", "finite"]);
    let text = String::from_utf8(fixture(SMALL)).unwrap();
    let nan = text.replacen("\"split_conditions\":[", "\"split_conditions\":[NaN,", 1);
    assert_says(&refuse(nan.as_bytes()), ModelErrorKind::Unreadable, &["line 1"]);
    let error = refuse_changed(|file| tree(file)["split_indices"][0] = json!(28));
    assert_says(&error, ModelErrorKind::Unreadable, &["feature 28 of 28"]);
}

#[test]
fn what_is_not_supported_is_named() {
    let error = refuse_changed(|file| file["learner"]["objective"]["name"] = json!("multi:softprob"));
    assert_says(&error, ModelErrorKind::Unsupported, &["multi:softprob", "train with"]);
    for booster in [json!({"name": "gblinear", "model": {"weights": [1.0]}}), json!({"name": "dart", "gbtree": {}})] {
        let name = booster["name"].as_str().unwrap().to_owned();
        let error = refuse_changed(|file| file["learner"]["gradient_booster"] = booster);
        assert_says(&error, ModelErrorKind::Unsupported, &[&name, "gbtree"]);
    }
    let error = refuse_changed(|file| file["learner"]["learner_model_param"]["num_class"] = json!("3"));
    assert_says(&error, ModelErrorKind::Unsupported, &["num_class 3"]);
    let error = refuse_changed(|file| tree(file)["split_type"][0] = json!(1));
    assert_says(&error, ModelErrorKind::Unsupported, &["categorical"]);
    let error = refuse_changed(|file| tree(file)["tree_param"]["size_leaf_vector"] = json!("5"));
    assert_says(&error, ModelErrorKind::Unsupported, &["size_leaf_vector 5"]);
    assert_says(&refuse(b"{L\0\0\0\0\0\0\0\x07learner"), ModelErrorKind::Unsupported, &["UBJSON"]);
    assert_says(&refuse(b"tree\nversion=v4\n"), ModelErrorKind::Unsupported, &["unknown model format", "tree"]);
}

#[test]
fn nesting_costs_no_stack() {
    for depth in [10_000, 1_000_000] {
        let skipped = format!("{{\"x\":{}{},\"learner\":1}}", "[".repeat(depth), "]".repeat(depth));
        assert_says(&refuse(skipped.as_bytes()), ModelErrorKind::Unreadable, &["nests deeper"]);
        let objects = "{\"learner\":".repeat(depth);
        assert_says(&refuse(objects.as_bytes()), ModelErrorKind::Unreadable, &["nests deeper"]);
    }
}

#[test]
fn rows_of_another_shape_are_refused() {
    let (trees, perceptron) = (loaded(&fixture(SMALL), "model.json").model, higgs_perceptron());
    let narrow = lunapark_schemas::TensorSpec::new("input", lunapark_schemas::Datatype::Fp32, 27);
    let column = Values::F32(vec![0.0; 27]).into_column(&narrow).unwrap();
    let schema = arrow_schema::Schema::new(vec![narrow.arrow()]);
    let rows = RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap();
    assert_says(&trees.infer(&rows).unwrap_err(), ModelErrorKind::Shape, &["\"input\"", "27", "28"]);
    assert_eq!(perceptron.infer(&rows).unwrap_err().kind, ModelErrorKind::Shape);
    let none = RecordBatch::new_empty(Arc::new(arrow_schema::Schema::empty()));
    assert_says(&trees.infer(&none).unwrap_err(), ModelErrorKind::Shape, &["0 input columns"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// A flipped bit gives an error or another model; either way nothing panics, not even when it scores.
    #[test]
    fn flipped_bits_never_panic(flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0..8u32), 1..4)) {
        let mut bytes = fixture(SMALL);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Ok(loaded) = load(&bytes, SMALL, None) {
            let width = loaded.model.signature().inputs[0].width;
            let rows = batch(&*loaded.model, vec![0.5; width * 40]);
            prop_assert_eq!(scores(&*loaded.model, &rows).len(), 40);
        }
    }
}
