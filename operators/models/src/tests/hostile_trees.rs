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
    assert_says(&error, ModelErrorKind::Unreadable, &["tree 1", "node 0", "inf"]);
    let error = refuse_changed(|file| tree(file)["split_conditions"][0] = json!(null));
    assert_says(&error, ModelErrorKind::Unreadable, &["tree 1", "node 0", "NaN"]);
    let text = String::from_utf8(fixture(SMALL)).unwrap();
    let nan = text.replacen("\"split_conditions\":[", "\"split_conditions\":[NaN,", 1);
    assert_says(&refuse(nan.as_bytes()), ModelErrorKind::Unreadable, &["tree 0", "split_conditions"]);
    let error = refuse_changed(|file| tree(file)["split_indices"][0] = json!(28));
    assert_says(&error, ModelErrorKind::Unreadable, &["feature 28 of 28"]);
}

#[test]
fn what_is_not_supported_is_named() {
    let error = refuse_changed(|file| file["learner"]["objective"]["name"] = json!("reg:mystery"));
    assert_says(&error, ModelErrorKind::Unsupported, &["reg:mystery", "train with"]);
    let error = refuse_changed(|file| file["learner"]["gradient_booster"]["name"] = json!("gbforest"));
    assert_says(&error, ModelErrorKind::Unsupported, &["gbforest", "gbtree, dart or gblinear"]);
    let error = refuse_changed(|file| file["learner"]["learner_model_param"]["num_class"] = json!("100000"));
    assert_says(&error, ModelErrorKind::Unsupported, &["100000 classes"]);
}

#[test]
fn outputs_weights_and_categories_must_fit_together() {
    let (unreadable, unsupported) = (ModelErrorKind::Unreadable, ModelErrorKind::Unsupported);
    let error = refuse_changed(|file| file["learner"]["gradient_booster"]["model"]["tree_info"][1] = json!(3));
    assert_says(&error, unreadable, &["tree 1", "output 3 of 1"]);
    let error = refuse_changed(|file| file["learner"]["gradient_booster"]["model"]["tree_info"][1] = json!(-1));
    assert_says(&error, unreadable, &["tree 1", "output -1 of 1"]);
    let error = refuse_changed(|file| file["learner"]["gradient_booster"]["model"]["tree_info"] = json!([0]));
    assert_says(&error, unreadable, &["tree_info has 1 entries"]);
    let error = refuse_changed(|file| tree(file)["tree_param"]["size_leaf_vector"] = json!("5"));
    assert_says(&error, unreadable, &["size_leaf_vector is 5", "1 outputs"]);
    let error = refuse_changed(|file| file["learner"]["learner_model_param"]["base_score"] = json!("[0.5,0.5]"));
    assert_says(&error, unreadable, &["2 base scores"]);
    let error = refuse_changed(|file| file["learner"]["gradient_booster"]["model"]["weight_drop"] = json!(vec![1; 40]));
    assert_says(&error, unreadable, &["40 weights"]);
    let error = refuse_changed(|file| tree(file)["split_type"][0] = json!(1));
    assert_says(&error, unreadable, &["node 0 is categorical"]);
    let error = refuse_changed(|file| tree(file)["split_type"][0] = json!(2));
    assert_says(&error, unreadable, &["split type 2"]);
    let error = refuse_changed(|file| categorical(tree(file), json!([-1])));
    assert_says(&error, unreadable, &["category outside"]);
    let error = refuse_changed(|file| {
        let trees = file["learner"]["gradient_booster"]["model"]["trees"].as_array_mut().unwrap();
        // A few bytes each that would take 2 MiB each.
        trees[0] = trees[1].clone();
        let mut one = trees[1].clone();
        categorical(&mut one, json!([(1 << 24) - 1]));
        trees.iter_mut().for_each(|tree| *tree = one.clone());
        let more: Vec<Value> = (0..20).map(|_| one.clone()).collect();
        trees.extend(more);
        let trees = trees.len();
        let model = &mut file["learner"]["gradient_booster"]["model"];
        model["gbtree_model_param"]["num_trees"] = json!(trees.to_string());
        model["tree_info"] = json!(vec![0; trees]);
    });
    assert_says(&error, unsupported, &["categories take more than 16 MiB"]);
}

/// A few kilobytes that would take gigabytes, or hours, if each node got its own copy.
#[test]
fn nodes_do_not_share_categories_or_leaf_vectors() {
    let bytes = fixture("xgboost/3.2.0-vectors.json");
    let mut file: Value = serde_json::from_slice(&bytes).unwrap();
    let tree = &mut file["learner"]["gradient_booster"]["model"]["trees"][0];
    tree["leaf_weights"] = json!([1.0, 2.0]);
    tree["right_children"] =
        (tree["left_children"].as_array().unwrap().iter().zip(tree["right_children"].as_array().unwrap()))
            .map(|(left, right)| if *left == json!(-1) { json!(0) } else { right.clone() })
            .collect();
    let error = refuse(&serde_json::to_vec(&file).unwrap());
    assert_says(&error, ModelErrorKind::Unreadable, &["tree 0", "more leaves than the 1 vectors"]);

    let mut file: Value = serde_json::from_slice(&without_nan(fixture("xgboost/1.7.6-categorical.json"))).unwrap();
    let trees = file["learner"]["gradient_booster"]["model"]["trees"].as_array_mut().unwrap();
    let index = trees.iter().position(|tree| tree["categories_nodes"].as_array().unwrap().len() > 1).unwrap();
    let (count, nodes) =
        (trees[index]["categories"].as_array().unwrap().len(), trees[index]["categories_nodes"].clone());
    let nodes = nodes.as_array().unwrap().len();
    trees[index]["categories_segments"] = json!(vec![0; nodes]);
    trees[index]["categories_sizes"] = json!(vec![count; nodes]);
    let error = refuse(&serde_json::to_vec(&file).unwrap());
    assert_says(&error, ModelErrorKind::Unreadable, &[&format!("tree {index}"), "shares its categories"]);
}

/// Without them every tree would count for the first class, or in full.
#[test]
fn the_output_and_the_weight_of_every_tree_are_told() {
    let changed = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut file: Value = serde_json::from_slice(&without_nan(fixture(&format!("xgboost/{name}")))).unwrap();
        change(&mut file["learner"]["gradient_booster"]);
        load(&serde_json::to_vec(&file).unwrap(), "model.json", None)
    };
    let drop_key = |object: &mut Value, key: &str| drop(object.as_object_mut().unwrap().remove(key).unwrap());
    let no_info = |booster: &mut Value| drop_key(&mut booster["model"], "tree_info");
    let refused = |name: &str, change: &dyn Fn(&mut Value), words: &[&str]| {
        assert_says(&changed(name, change).unwrap_err(), ModelErrorKind::Unreadable, words);
    };
    refused("3.2.0-softmax.json", &no_info, &["tree_info has 0 entries", "9 trees"]);
    let no_weights = |booster: &mut Value| drop_key(booster, "weight_drop");
    refused("1.7.6-dart.json", &no_weights, &["0 weights in weight_drop", "8 trees"]);
    let one_less = |booster: &mut Value| drop(booster["weight_drop"].as_array_mut().unwrap().pop());
    refused("1.7.6-dart.json", &one_less, &["7 weights in weight_drop", "8 trees"]);
    assert!(changed("1.0.2-linear.json", &no_info).is_ok(), "all trees are of the one output");
}

/// Only XGBoost 1.6 sends unknown categories where missing values go.
#[test]
fn categories_of_version_1_6_are_refused() {
    let of = |version: [u32; 3], name: &str| {
        let mut file: Value = serde_json::from_slice(&without_nan(fixture(&format!("xgboost/{name}")))).unwrap();
        file["version"] = json!(version);
        load(&serde_json::to_vec(&file).unwrap(), "model.json", None)
    };
    let error = of([1, 6, 2], "1.7.6-categorical.json").unwrap_err();
    assert_says(&error, ModelErrorKind::Unsupported, &["categorical splits of XGBoost 1.6", "1.7 or later"]);
    assert!(of([1, 7, 0], "1.7.6-categorical.json").is_ok());
    assert!(of([1, 6, 2], "1.7.6-dart.json").is_ok(), "without categories there is nothing to refuse");
}

/// serde_json takes no NaN, which XGBoost before 3.1 writes.
fn without_nan(json: Vec<u8>) -> Vec<u8> {
    String::from_utf8(json).unwrap().replace("NaN", "null").into_bytes()
}

fn categorical(tree: &mut Value, categories: Value) {
    tree["split_type"][0] = json!(1);
    tree["categories_nodes"] = json!([0]);
    tree["categories_segments"] = json!([0]);
    tree["categories_sizes"] = json!([1]);
    tree["categories"] = categories;
}

#[test]
fn files_of_other_tools_are_named_with_the_way_out() {
    let raw = [&[0; 136][..], &15u64.to_le_bytes(), b"binary:logistic"].concat();
    let torch = [&b"PK\x03\x04"[..], &[0; 300], b"archive/data.pkl"].concat();
    let keras = [&b"PK\x03\x04"[..], &[0; 300], b"model.weights.h5"].concat();
    let tflite = [&[0x1c, 0, 0, 0][..], b"TFL3"].concat();
    let cases: [(&[u8], [&str; 2]); 18] = [
        (b"binf\0\0\0\x3f", ["old binary", "save_model"]),
        (&raw, ["old binary", "save_model"]),
        (&torch, ["PyTorch", "torch.onnx.export"]),
        (&keras, ["Keras", "tf2onnx"]),
        (b"PK\x03\x04....arr_0.npy", ["npz", "weights"]),
        (b"PK\x03\x04....", ["zip", "unpack"]),
        (b"\x80\x04\x95..sklearn.ensemble._forest", ["scikit-learn", "skl2onnx"]),
        (b"\x80\x03c__builtin__", ["pickle", "never read"]),
        (b"x\x9c....", ["joblib", "never read"]),
        (b"\x89HDF\r\n\x1a\n", ["HDF5", "tf2onnx"]),
        (b"CBM1....", ["CatBoost", "model.onnx"]),
        (b"{\"oblivious_trees\": []}", ["CatBoost", "model.onnx"]),
        (b"{\"name\": \"tree\", \"tree_info\": [{\"tree_structure\": {}}]}", ["dump_model", "model.txt"]),
        (b"[\n  { \"nodeid\": 0", ["dump_model", "model.json"]),
        (b"<?xml version=\"1.0\"?>\n<MethodSetup Method=\"BDT::BDT\">", ["TMVA", "XGBoost"]),
        (&tflite, ["TensorFlow Lite", "tf2onnx"]),
        (b"\x08\x01\x12\xb5\x1d\x0a\xa9\x1c\x12\x1d", ["SavedModel", "tf2onnx.convert --saved-model"]),
        (b"nonsense", ["unknown model format", "nonsense"]),
    ];
    for (bytes, words) in cases {
        assert_says(&refuse(bytes), ModelErrorKind::Unsupported, &words);
    }
}

/// Ends, and the lengths written in them, of every sort of UBJSON file.
#[test]
fn a_ubjson_file_cut_anywhere_is_refused_as_truncated() {
    for name in ["3.2.0-softprob.ubj", "3.2.0-categorical.ubj", "3.2.0-gblinear.ubj", "1.7.6-softmax.ubj"] {
        let bytes = fixture(&format!("xgboost/{name}"));
        for end in (4..bytes.len()).step_by(101).chain([bytes.len() - 1]) {
            assert_eq!(refuse(&bytes[..end]).kind, ModelErrorKind::Truncated, "{name} cut at {end}");
        }
        let more = [&bytes[..], b"Z"].concat();
        assert_says(&refuse(&more), ModelErrorKind::Unreadable, &["1 bytes follow"]);
    }
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
            let answers = agreement::numbers(&*loaded.model, &rows);
            prop_assert_eq!(answers.len(), 40 * loaded.model.signature().outputs[0].width);
        }
    }
}
