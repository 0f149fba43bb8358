//! Rules of ONNX that small files by hand show: what is answered, and what would be answered wrongly and is refused.

use arrow_array::ArrayRef;
use lunapark_schemas::rows::{i64_values, string_values};

use super::by_hand::*;
use super::*;

/// The first output, of one input's values.
fn answer(model: &dyn Model, values: Values) -> ArrayRef {
    let column = values.into_column(&model.signature().inputs[0]).unwrap();
    let rows = RecordBatch::try_new(model.signature().input_schema(), vec![column]).unwrap();
    model.infer(&rows).unwrap().column(0).clone()
}

fn texts(column: &ArrayRef) -> Vec<String> {
    string_values(column).unwrap().iter().map(|text| text.unwrap().to_owned()).collect()
}

/// PyTorch's `nn.Softmax(dim=0)`, `x - x.mean(0)` and the like: of a single row they make 1, 0 or the row itself.
#[test]
fn a_graph_that_mixes_rows_is_refused_though_a_single_row_would_run() {
    let one = |op, inputs: &[&str], to, attributes: &[Vec<u8>]| node(op, "", inputs, &[to], attributes);
    let first = || ints_attribute("axes", &[0]);
    let axes = || tensor("axes", &[1], 7, &0i64.to_le_bytes());
    let graphs = [
        ("Softmax", vec![one("Softmax", &["x"], "y", &[int_attribute("axis", 0)])]),
        ("ReduceMean", vec![one("ReduceMean", &["x"], "m", &[first()]), one("Sub", &["x", "m"], "y", &[])]),
        ("ReduceMax", vec![one("ReduceMax", &["x"], "m", &[first()]), one("Div", &["x", "m"], "y", &[])]),
        ("ReduceSum", vec![one("ReduceSum", &["x", "axes"], "y", &[])]),
        (
            "MatMul",
            vec![
                one("Transpose", &["x"], "t", &[ints_attribute("perm", &[1, 0])]),
                one("MatMul", &["x", "t"], "y", &[]),
            ],
        ),
    ];
    for (operator, nodes) in &graphs {
        let error = refuse(&file(nodes, &[axes()], rows(3)));
        assert_says(&error, UNSUPPORTED, &["mixes rows", operator, "that row alone"]);
    }
    // Where the file says that a batch is one row, there are no others to mix it with.
    let model = loaded(&file(&graphs[0].1, &[], value_info("x", 1, &[1, 3])), "m").model;
    assert_eq!(scores(&*model, &batch(&*model, vec![3.0, -1.0, 2.0, 0.0, 0.5, 9.0])), [1.0; 6]);
}

/// tract's InstanceNormalization itself is over the whole batch, so that a batch of two says nothing of the file: it is tried
/// with others in its place.
#[test]
fn beside_an_instance_normalization_what_mixes_rows_is_refused() {
    let ones = || tensor("ones", &[2], 1, &[1.0f32; 2].map(f32::to_le_bytes).concat());
    let axes = || tensor("axes", &[1], 7, &0i64.to_le_bytes());
    let normalized = || node("InstanceNormalization", "", &["x", "ones", "ones"], &["n"], &[]);
    let image = || value_info("x", 1, &[-1, 2, 3]);
    let alone = file(&[normalized(), node("Relu", "", &["n"], &["y"], &[])], &[ones()], image());
    assert_eq!(loaded(&alone, "m").summary.kernel, "tract");
    for mixing in [
        node("Softmax", "", &["n"], &["y"], &[int_attribute("axis", 0)]),
        node("ReduceMax", "", &["n"], &["y"], &[ints_attribute("axes", &[0])]),
        node("ReduceMin", "", &["n"], &["y"], &[]),
        node("ReduceSum", "", &["n", "axes"], &["y"], &[]),
    ] {
        let error = refuse(&file(&[normalized(), mixing], &[ones(), axes()], image()));
        assert_says(&error, UNSUPPORTED, &["mixes rows", "node \"odd\"", "first dimension"]);
    }
    // The same dimension, counted from the last.
    for mixing in [
        node("Softmax", "", &["n"], &["y"], &[int_attribute("axis", -3_i64 as u64)]),
        node("ReduceMax", "", &["n"], &["y"], &[ints_attribute("axes", &[-3])]),
    ] {
        let error = refuse(&file(&[normalized(), mixing], &[ones()], image()));
        assert_says(&error, UNSUPPORTED, &["mixes rows"]);
    }
    // A scale that is made of the rows.
    let (both, drop) = (ints_attribute("axes", &[0, 2]), int_attribute("keepdims", 0));
    let scale = node("ReduceMean", "", &["x"], &["s"], &[both, drop]);
    let scaled = node("InstanceNormalization", "", &["x", "s", "s"], &["y"], &[]);
    refuse(&file(&[scale, scaled], &[], image()));
    // How large something is, is no row.
    let count = [
        node("Shape", "", &["n"], &["s"], &[]),
        node("Slice", "", &["s", "one", "three"], &["d"], &[]),
        node("ReduceProd", "", &["d"], &["p"], &[]),
        node("Cast", "", &["p"], &["c"], &[int_attribute("to", 1)]),
        node("Div", "", &["n", "c"], &["y"], &[]),
    ];
    let number = |name: &str, value: i64| tensor(name, &[1], 7, &value.to_le_bytes());
    let nodes = [vec![normalized()], count.into()].concat();
    let counted = file(&nodes, &[ones(), number("one", 1), number("three", 3)], image());
    assert_eq!(loaded(&counted, "m").summary.kernel, "tract");
}

/// Exporters that traced one row write its shape down: more rows would be an error in ONNX Runtime, one is none.
#[test]
fn a_graph_that_runs_for_single_rows_alone_is_taken() {
    let shape = tensor("shape", &[2], 7, &[1i64.to_le_bytes(), 3i64.to_le_bytes()].concat());
    let nodes = [node("Reshape", "", &["x", "shape"], &["r"], &[]), node("Abs", "", &["r"], &["y"], &[])];
    let loaded = loaded(&file(&nodes, &[shape], rows(3)), "m");
    assert_eq!(loaded.summary.kernel, "tract");
    let model = loaded.model;
    assert_eq!(scores(&*model, &batch(&*model, vec![3.0, -1.0, 2.0, 0.0, -0.5, 9.0])), [3.0, 1.0, 2.0, 0.0, 0.5, 9.0]);
}

const FIRST: Writer = Writer("by hand", Some(17), Some(1));

fn label_encoder(from: &str, to: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    node("LabelEncoder", "ai.onnx.ml", &[from], &[to], attributes)
}

/// Version 1 has one list, both ways.
#[test]
fn a_label_encoder_of_the_first_version_goes_by_place() {
    let classes = |list: &[&str]| texts_attribute("classes_strings", list);
    let whole_numbers = || value_info("x", 7, &[-1, 1]);
    let names = [label_encoder("x", "y", &[classes(&["a", "b"]), text_attribute("default_string", "none")])];
    let model = loaded(&file_of(&FIRST, &names, &[], whole_numbers()), "m").model;
    assert_eq!(texts(&answer(&*model, Values::I64(vec![1, 7, 0, -1]))), ["b", "none", "a", "none"]);
    let and_back = [
        label_encoder("x", "names", &[classes(&["a", "b"])]),
        label_encoder("names", "y", &[classes(&["c", "b", "a"]), int_attribute("default_int64", 9)]),
    ];
    let model = loaded(&file_of(&FIRST, &and_back, &[], whole_numbers()), "m").model;
    assert_eq!(i64_values(&answer(&*model, Values::I64(vec![1, 7, 0]))), Some(&[1, 9, 2][..]));

    let says = |writer, attributes: &[Vec<u8>], words: &[&str]| {
        let error = refuse(&file_of(writer, &[label_encoder("x", "y", attributes)], &[], whole_numbers()));
        assert_says(&error, UNREADABLE, words);
    };
    says(&FIRST, &[classes(&["a", "b", "a"])], &["LabelEncoder", "\"a\" twice"]);
    says(&FIRST, &[], &["LabelEncoder", "table is empty"]);
    // ONNX Runtime knows neither list in the other's version.
    says(&BY_HAND, &[classes(&["a", "b"])], &["LabelEncoder", "table is empty"]);
    let both = [ints_attribute("keys_int64s", &[1]), texts_attribute("values_strings", &["a"])];
    says(&FIRST, &both, &["LabelEncoder", "table is empty"]);
    let model = loaded(&file(&[label_encoder("x", "y", &both)], &[], whole_numbers()), "m").model;
    assert_eq!(texts(&answer(&*model, Values::I64(vec![1, 2]))), ["a", "_Unused"]);
}

#[test]
fn a_dropout_that_trains_is_refused() {
    let dropout = |inputs: &[&str]| node("Dropout", "", inputs, &["y"], &[]);
    let training = |on: u8| [tensor("ratio", &[], 1, &0.5f32.to_le_bytes()), tensor("training", &[], 9, &[on])];
    let off = [
        file(&[dropout(&["x"])], &[], rows(1)),
        file(&[dropout(&["x", "ratio", "training"])], &training(0), rows(1)),
        file(&[dropout(&["x", "", "training"])], &training(0), rows(1)),
    ];
    for bytes in off {
        let model = loaded(&bytes, "m").model;
        assert_eq!(scores(&*model, &batch(&*model, vec![-1.0, 2.5])), [-1.0, 2.5]);
    }
    let on = [field(1, b"value"), field(5, &tensor("", &[], 9, &[1])), vec![0xa0, 1, 4]].concat();
    let made = node("Constant", "", &[], &["training"], &[on]);
    for bytes in [
        file(&[dropout(&["x", "ratio", "training"])], &training(1), rows(1)),
        file(&[made, dropout(&["x", "", "training"])], &[], rows(1)),
    ] {
        assert_says(&refuse(&bytes), UNSUPPORTED, &["Dropout", "training_mode"]);
    }
}

/// One split of one feature at 0: 1 where the test holds, 2 where not.
fn stump(writer: &Writer, mode: &str, tracks: &[i64]) -> Vec<u8> {
    let ids = |name: &str, list: &[i64]| ints_attribute(name, list);
    let attributes = [
        ids("nodes_treeids", &[0; 3]),
        ids("nodes_nodeids", &[0, 1, 2]),
        ids("nodes_featureids", &[0; 3]),
        ids("nodes_truenodeids", &[1, 0, 0]),
        ids("nodes_falsenodeids", &[2, 0, 0]),
        ids("nodes_missing_value_tracks_true", tracks),
        texts_attribute("nodes_modes", &[mode, "LEAF", "LEAF"]),
        floats_attribute("nodes_values", &[0.0; 3]),
        ids("target_ids", &[0; 2]),
        ids("target_treeids", &[0; 2]),
        ids("target_nodeids", &[1, 2]),
        floats_attribute("target_weights", &[1.0, 2.0]),
        int_attribute("n_targets", 1),
    ];
    file_of(writer, &[node("TreeEnsembleRegressor", "ai.onnx.ml", &["x"], &["y"], &attributes)], &[], rows(1))
}

/// CatBoost's own rule for missing values is that they are below every border: its files have no track for them.
#[test]
fn a_missing_value_fails_catboosts_comparisons() {
    let (catboost, sklearn) = (Writer("CatBoost", None, Some(2)), Writer("skl2onnx", None, Some(1)));
    for (writer, mode, tracks, missing) in [
        (&catboost, "BRANCH_GT", &[0; 3][..], Some(2.0)),
        (&catboost, "BRANCH_LEQ", &[], Some(2.0)),
        (&catboost, "BRANCH_GT", &[1, 0, 0], Some(1.0)),
        (&sklearn, "BRANCH_LEQ", &[1, 0, 0], Some(1.0)),
        (&sklearn, "BRANCH_LEQ", &[0; 3], None),
        (&sklearn, "BRANCH_LEQ", &[], None),
    ] {
        let model = loaded(&stump(writer, mode, tracks), "m").model;
        assert_eq!(model.accepts().missing, missing.is_some(), "{} {mode} {tracks:?}", writer.0);
        if let Some(missing) = missing {
            let (above, below) = if mode == "BRANCH_GT" { (1.0, 2.0) } else { (2.0, 1.0) };
            assert_eq!(scores(&*model, &batch(&*model, vec![f32::NAN, 3.0, -3.0])), [missing, above, below], "{mode}");
        }
    }
}

/// Half a gigabyte out of one: each node has its own copy of a tensor that all share.
#[test]
fn a_tensor_that_many_nodes_share_is_bounded_by_the_file() {
    const SIDE: u64 = 512;
    let shared = || tensor("w", &[SIDE, SIDE], 1, &vec![0; 4 * (SIDE * SIDE) as usize]);
    let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("c{at}") };
    let mut nodes: Vec<_> = (0..510).map(|at| node("MatMul", "", &[&name(at), "w"], &[&name(at + 1)], &[])).collect();
    nodes.push(node("Relu", "", &[&name(510)], &["y"], &[]));
    let error = refuse(&file(&nodes, &[shared()], rows(SIDE as i64)));
    assert_says(&error, UNSUPPORTED, &["MatMul", "the weights have more than", "bytes may have"]);
    // A few of them are an unrolled layer.
    let mut few: Vec<_> = (0..5).map(|at| node("MatMul", "", &[&name(at), "w"], &[&name(at + 1)], &[])).collect();
    few.push(node("Relu", "", &[&name(5)], &["y"], &[]));
    assert!(load(&file(&few, &[shared()], rows(SIDE as i64)), "m", None).is_ok());

    let shape = tensor("shape", &[1], 7, &((SIDE * SIDE) as i64).to_le_bytes());
    let mut nodes: Vec<_> = (0..510).map(|at| node("Reshape", "", &["w", "shape"], &[&name(at + 1)], &[])).collect();
    nodes.push(node("Relu", "", &["x"], &["y"], &[]));
    let error = refuse(&file(&nodes, &[shared(), shape], rows(1)));
    assert_says(&error, UNSUPPORTED, &["Reshape", "the weights have more than"]);
}

/// A chain of 800 splits whose leaves have a weight for one of 60,000 targets each, and room for all of them.
#[test]
fn leaves_of_many_targets_are_bounded_by_the_file() {
    let (splits, targets) = (800i64, 60_000u64);
    let nodes = 2 * splits + 1;
    let list =
        |name: &str, of: &dyn Fn(i64) -> i64, count: i64| ints_attribute(name, &(0..count).map(of).collect::<Vec<_>>());
    // Node 2d splits; 2d + 1 is a leaf and 2d + 2 the next split, the last one a leaf.
    let is_leaf = |at: i64| at % 2 == 1 || at == 2 * splits;
    let modes: Vec<&str> = (0..nodes).map(|at| if is_leaf(at) { "LEAF" } else { "BRANCH_LEQ" }).collect();
    let leaves: Vec<i64> = (0..nodes).filter(|at| is_leaf(*at)).collect();
    let count = leaves.len() as i64;
    let attributes = [
        list("nodes_treeids", &|_| 0, nodes),
        list("nodes_nodeids", &|at| at, nodes),
        list("nodes_featureids", &|_| 0, nodes),
        list("nodes_truenodeids", &|at| at + 1, nodes),
        list("nodes_falsenodeids", &|at| at + 2, nodes),
        texts_attribute("nodes_modes", &modes),
        floats_attribute("nodes_values", &vec![0.0; nodes as usize]),
        list("target_ids", &|at| at, count),
        list("target_treeids", &|_| 0, count),
        ints_attribute("target_nodeids", &leaves),
        floats_attribute("target_weights", &vec![1.0; leaves.len()]),
        int_attribute("n_targets", targets),
    ];
    let forest = node("TreeEnsembleRegressor", "ai.onnx.ml", &["x"], &["y"], &attributes);
    let bytes = file(&[forest], &[], rows(1));
    assert!(bytes.len() < 1 << 17, "{} bytes", bytes.len());
    assert_says(&refuse(&bytes), UNSUPPORTED, &["TreeEnsembleRegressor", "numbers, which a file of this size"]);
}
