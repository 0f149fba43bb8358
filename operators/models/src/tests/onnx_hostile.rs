//! Damaged, lying and unsupported ONNX files: an error that says what, never a panic.

use super::by_hand::*;
use super::onnx::cases;
use super::*;

#[test]
fn the_file_by_hand_scores() {
    let bytes = file(&[node("Relu", "", &["x"], &["y"], &[])], &[], rows(1));
    let model = loaded(&bytes, "m").model;
    assert_eq!(scores(&*model, &batch(&*model, vec![-1.0, 2.5])), [0.0, 2.5]);
}

/// What is left may be a smaller message; its graph and the versions of its operators are then whole, and so it answers
/// as the whole file does.
#[test]
fn files_cut_anywhere_are_refused() {
    for case in cases().iter().filter(|case| !case.name.starts_with("rules-classes")) {
        let bytes = case.bytes();
        let whole = loaded(&bytes, &case.name).model;
        for end in (1..bytes.len()).step_by(1_000).chain([bytes.len() - 1]) {
            let Ok(left) = load(&bytes[..end], &case.name, None) else { continue };
            let rows = case.batch(&*whole).slice(0, 3);
            assert_eq!(left.model.signature(), whole.signature(), "{} cut at {end}", case.name);
            let answers = (left.model.infer(&rows).unwrap(), whole.infer(&rows).unwrap());
            assert!(super::onnx::same(&answers.0, &answers.1), "{} cut at {end}", case.name);
        }
        assert!(matches!(refuse(&bytes[..bytes.len() / 2]).kind, TRUNCATED), "{}", case.name);
    }
}

#[test]
fn operators_without_a_version_are_refused_as_cut_off() {
    let relu = || node("Relu", "", &["x"], &["y"], &[]);
    let scale = || node("Scaler", "ai.onnx.ml", &["x"], &["y"], &[]);
    let cut = |nodes: &[Vec<u8>], standard, ml| refuse(&file_of(&Writer("cut", standard, ml), nodes, &[], rows(1)));
    assert_says(&cut(&[relu()], None, None), TRUNCATED, &["operators of ai.onnx,", "opset_import"]);
    assert_says(&cut(&[relu()], None, Some(3)), TRUNCATED, &["operators of ai.onnx,"]);
    assert_says(&cut(&[scale()], Some(17), None), TRUNCATED, &["operators of ai.onnx.ml,"]);
    assert_says(&cut(&[relu()], Some(8), None), UNSUPPORTED, &["version 8 of the operators of ai.onnx", "from 9"]);
    // What is not used needs no version.
    assert!(load(&file_of(&Writer("one", Some(17), None), &[relu()], &[], rows(1)), "m", None).is_ok());
}

#[test]
fn nothing_outside_the_file_is_read() {
    let entry = |key: &[u8], value: &[u8]| field(13, &[field(1, key), field(2, value)].concat());
    let outside = [tensor("w", &[1], 1, &[]), entry(b"location", b"/etc/passwd"), int(14, 1)].concat();
    let bytes = file(&[node("MatMul", "", &["x", "w"], &["y"], &[])], &[outside], rows(1));
    assert_says(&refuse(&bytes), UNSUPPORTED, &["\"w\"", "external data", "save_as_external_data=False"]);
}

#[test]
fn lying_shapes_are_refused() {
    let relu = || node("Relu", "", &["x"], &["y"], &[]);
    let with = |dims: &[u64], raw: &[u8]| file(&[relu()], &[tensor("w", dims, 1, raw)], rows(1));
    assert_says(&refuse(&with(&[1 << 40], &[0; 8])), UNREADABLE, &["\"w\"", "2 values"]);
    assert_says(&refuse(&with(&[1 << 62, 1 << 62], &[0; 8])), UNREADABLE, &["no shape"]);
    assert_says(&refuse(&with(&[0, 1 << 62, 4], &[])), UNREADABLE, &["no shape"]);
    assert_says(&refuse(&with(&[u64::MAX], &[0; 4])), UNREADABLE, &["no shape"]);
    assert_says(&refuse(&with(&[1], &[0; 3])), UNREADABLE, &["whole number of values"]);
    let foreign = file(&[relu()], &[tensor("w", &[1 << 30], 10, &[0; 4])], rows(1));
    assert_says(&refuse(&foreign), UNREADABLE, &["fewer than its shape"]);
}

/// tract would count from the first to the second.
#[test]
fn an_axis_or_a_window_without_bound_is_refused() {
    let axis = int_attribute("axis", (i64::MIN + 1) as u64);
    let ones = tensor("ones", &[2], 1, &[0; 8]);
    let normalize = node("LayerNormalization", "", &["x", "ones"], &["y"], &[axis]);
    assert_says(&refuse(&file(&[normalize], &[ones], rows(2))), UNREADABLE, &["LayerNormalization", "axis"]);
    let window = ints_attribute("kernel_shape", &[1 << 20, 1 << 20]);
    let pool = node("MaxPool", "", &["x"], &["y"], &[window]);
    let image = value_info("x", 1, &[-1, 1, 4, 4]);
    assert_says(&refuse(&file(&[pool], &[], image)), UNREADABLE, &["MaxPool", "its kernel_shape is"]);
}

#[test]
fn axes_that_are_no_permutation_are_refused() {
    for perm in [&[0, 2, 2][..], &[0, -1, 1], &[0, 1, 3]] {
        let transpose = node("Transpose", "", &["x"], &["turned"], &[ints_attribute("perm", perm)]);
        // Beside an operator that the layers here do not run, so that all of it would be tract's.
        let elu = node("Elu", "", &["turned"], &["y"], &[]);
        let refused = refuse(&file(&[transpose, elu], &[], value_info("x", 1, &[-1, 2, 2])));
        assert_says(&refused, UNREADABLE, &["Transpose", "its perm is"]);
    }
}

#[test]
fn a_tensor_that_would_grow_without_bound_is_refused() {
    let value = [field(1, b"value"), field(5, &tensor("", &[1], 1, &[0; 4])), vec![0xa0, 1, 4]].concat();
    for (attributes, size) in [(vec![], 1i64 << 50), (vec![value.clone()], 1 << 50), (vec![value], 1 << 30)] {
        let shape = tensor("shape", &[2], 7, &[1i64.to_le_bytes(), size.to_le_bytes()].concat());
        let fill = node("ConstantOfShape", "", &["shape"], &["c"], &attributes);
        let bytes = file(&[fill, node("Add", "", &["x", "c"], &["y"], &[])], &[shape], rows(1));
        assert_says(&refuse(&bytes), UNSUPPORTED, &["ConstantOfShape"]);
    }
    // Forty doublings of a tensor of one element.
    let names: Vec<String> = (0..=40).map(|at| format!("c{at}")).collect();
    let double =
        |at: usize| node("Concat", "", &[&names[at], &names[at]], &[&names[at + 1]], &[int_attribute("axis", 1)]);
    let mut nodes: Vec<_> = (0..40).map(double).collect();
    nodes.push(node("Expand", "", &["x", "shape"], &["y"], &[]));
    let bytes = file(
        &nodes,
        &[tensor("c0", &[1, 1], 1, &[0; 4]), tensor("shape", &[1], 7, &[1, 0, 0, 0, 0, 0, 0, 0])],
        rows(1),
    );
    assert_says(&refuse(&bytes), UNSUPPORTED, &["Concat"]);
    let mut nodes: Vec<_> = vec![node("Identity", "", &["x"], &["c0"], &[])];
    nodes.extend((0..40).map(double));
    nodes.push(node("Relu", "", &["c40"], &["y"], &[]));
    assert_says(&refuse(&file(&nodes, &[], rows(1))), UNSUPPORTED, &["Concat", "shape"]);
}

#[test]
fn cycles_and_doubles_in_the_graph_are_refused() {
    let add = |a: &str, b: &str, out: &str| node("Add", "", &[a, b], &[out], &[]);
    let cycle = file(&[add("x", "b", "a"), add("a", "x", "b"), add("a", "b", "y")], &[], rows(1));
    assert_says(&refuse(&cycle), UNREADABLE, &["\"b\"", "cycle"]);
    let twice = file(&[add("x", "x", "y"), add("x", "x", "y")], &[], rows(1));
    assert_says(&refuse(&twice), UNREADABLE, &["\"y\" is made twice"]);
    let nothing = file(&[add("x", "x", "z")], &[], rows(1));
    assert_says(&refuse(&nothing), UNREADABLE, &["no node makes the output \"y\""]);
}

/// A regressor of one tree, its nodes as given: mode, true child, false child.
fn tree(nodes: &[(&str, i64, i64)]) -> Vec<u8> {
    let column =
        |name: &str, of: &dyn Fn(usize) -> i64| ints_attribute(name, &(0..nodes.len()).map(of).collect::<Vec<_>>());
    let modes: Vec<u8> = nodes.iter().flat_map(|(mode, _, _)| field(9, mode.as_bytes())).collect();
    let floats = |name: &str, count: usize| {
        [field(1, name.as_bytes()), field(7, &vec![0; 4 * count]), vec![0xa0, 1, 6]].concat()
    };
    let attributes = [
        column("nodes_treeids", &|_| 0),
        column("nodes_nodeids", &|at| at as i64),
        column("nodes_featureids", &|_| 0),
        column("nodes_truenodeids", &|at| nodes[at].1),
        column("nodes_falsenodeids", &|at| nodes[at].2),
        [field(1, b"nodes_modes"), modes, vec![0xa0, 1, 8]].concat(),
        floats("nodes_values", nodes.len()),
        ints_attribute("target_ids", &[0; 2]),
        ints_attribute("target_treeids", &[0; 2]),
        ints_attribute("target_nodeids", &[1, 2]),
        floats("target_weights", 2),
        int_attribute("n_targets", 1),
    ];
    file(&[node("TreeEnsembleRegressor", "ai.onnx.ml", &["x"], &["y"], &attributes)], &[], rows(1))
}

#[test]
fn trees_with_cycles_and_lost_children_are_refused() {
    let whole = [("BRANCH_LEQ", 1, 2), ("LEAF", 0, 0), ("LEAF", 0, 0)];
    assert_eq!(loaded(&tree(&whole), "m").model.signature().outputs[0].width, 1);
    let cycle = [("BRANCH_LEQ", 1, 2), ("BRANCH_LT", 0, 2), ("LEAF", 0, 0)];
    assert_says(&refuse(&tree(&cycle)), UNREADABLE, &["odd", "reached twice"]);
    let shared = [("BRANCH_LEQ", 1, 1), ("LEAF", 0, 0), ("LEAF", 0, 0)];
    assert_says(&refuse(&tree(&shared)), UNREADABLE, &["reached twice"]);
    let lost = [("BRANCH_LEQ", 1, 9), ("LEAF", 0, 0), ("LEAF", 0, 0)];
    assert_says(&refuse(&tree(&lost)), UNREADABLE, &["the child 9", "node 0 of tree 0"]);
    let strange = [("BRANCH_MAYBE", 1, 2), ("LEAF", 0, 0), ("LEAF", 0, 0)];
    assert_says(&refuse(&tree(&strange)), UNREADABLE, &["BRANCH_MAYBE"]);
}

#[test]
fn what_is_not_run_is_named_with_the_way_out() {
    let one = |op: &str, domain: &str| file(&[node(op, domain, &["x"], &["y"], &[])], &[], rows(1));
    assert_says(&refuse(&one("Loop", "")), UNSUPPORTED, &["node \"odd\" (ai.onnx.Loop)", "FORMATS.md"]);
    assert_says(&refuse(&one("SVMClassifier", "ai.onnx.ml")), UNSUPPORTED, &["ai.onnx.ml.SVMClassifier"]);
    assert_says(&refuse(&one("FusedConv", "com.microsoft")), UNSUPPORTED, &["com.microsoft.FusedConv"]);
    let relu = || node("Relu", "", &["x"], &["y"], &[]);
    let with = |input: Vec<u8>| refuse(&file(&[relu()], &[], input));
    assert_says(&with(value_info("x", 8, &[-1, 2])), UNSUPPORTED, &["input \"x\" is string"]);
    assert_says(&with(value_info("x", 1, &[7, 2])), UNSUPPORTED, &["fixed batch 7", "dynamic"]);
    assert_says(&with(value_info("x", 1, &[-1, -1])), UNSUPPORTED, &["dimension 1 open (\"rows\")"]);
    assert_says(&with(value_info("x", 1, &[])), UNSUPPORTED, &["no dimensions"]);
    assert_says(&with(value_info("x", 1, &[-1, 1 << 40])), UNSUPPORTED, &["dimension 1099511627776"]);
}

/// A convolution of `[rows, 1, 4]` by one kernel of 3, or what the attributes make of it.
fn convolution(attributes: &[Vec<u8>], kernel: &[u64]) -> Vec<u8> {
    let count: u64 = kernel.iter().product();
    let raw = vec![0; 4 * count as usize];
    let nodes = [
        node("Conv", "", &["x", "w"], &["flat"], attributes),
        node("ReduceSum", "", &["flat", "axes"], &["y"], &[int_attribute("keepdims", 0)]),
    ];
    let axes = [1i64.to_le_bytes()].concat();
    file(&nodes, &[tensor("w", kernel, 1, &raw), tensor("axes", &[1], 7, &axes)], value_info("x", 1, &[-1, 1, 4]))
}

#[test]
fn a_convolution_that_makes_no_sense_is_refused() {
    let says = |attributes: &[Vec<u8>], kernel: &[u64]| refuse(&convolution(attributes, kernel)).to_string();
    assert!(says(&[ints_attribute("strides", &[0])], &[1, 1, 3]).contains("Conv"));
    assert!(says(&[ints_attribute("pads", &[1 << 40, 1 << 40])], &[1, 1, 3]).contains("Conv"));
    assert!(says(&[int_attribute("group", u64::MAX)], &[1, 1, 3]).contains("groups"));
    assert!(says(&[ints_attribute("kernel_shape", &[2])], &[1, 1, 3]).contains("Conv"));
    assert!(says(&[], &[1, 2, 3]).contains("groups"));
}

#[test]
fn a_recurrent_layer_whose_weights_do_not_fit_is_refused() {
    let of = |w: &[u64], r: &[u64]| {
        let zeros = |dims: &[u64]| vec![0; 4 * dims.iter().product::<u64>() as usize];
        let nodes = [
            node("Transpose", "", &["x"], &["steps"], &[ints_attribute("perm", &[1, 0, 2])]),
            node("GRU", "", &["steps", "w", "r"], &["all", "y"], &[]),
        ];
        let tensors = [tensor("w", w, 1, &zeros(w)), tensor("r", r, 1, &zeros(r))];
        refuse(&file(&nodes, &tensors, value_info("x", 1, &[-1, 3, 2])))
    };
    assert_says(&of(&[1, 6, 3], &[1, 6, 2]), UNREADABLE, &["GRU", "[1, 6, 3] for 2 inputs"]);
    assert_says(&of(&[1, 6, 2], &[1, 6, 3]), UNREADABLE, &["GRU", "[1, 6, 3]"]);
    assert_says(&of(&[2, 6, 2], &[2, 6, 2]), UNREADABLE, &["GRU", "[2, 6, 2]"]);
}

#[test]
fn other_files_named_onnx_are_told_for_what_they_are() {
    assert_says(&refuse(b"PK\x03\x04\x14\0\0\0\x08\0data.pkl"), UNSUPPORTED, &["zip"]);
    assert_says(&refuse(b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x07sklearn"), UNSUPPORTED, &["pickle"]);
}

#[test]
fn flipped_bits_never_panic() {
    let names = [
        "pipeline",
        "bayes",
        "two-inputs",
        "rules-v5-softmax",
        "torch-elu",
        "torch-images",
        "torch-gru",
        "layers-conv",
        "layers-keras-both",
        "layers-gru-before",
        "layers-instance",
    ];
    for case in cases().iter().filter(|case| names.contains(&case.name.as_str())) {
        let bytes = case.bytes();
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(150)) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            if let Ok(loaded) = load(&bytes, &case.name, None) {
                let signature = loaded.model.signature();
                let columns = signature.inputs.iter().map(|spec| {
                    let mut values = Values::with_capacity(spec.datatype, 0);
                    (0..2 * spec.width).for_each(|at| values.push(at as f64));
                    values.into_column(spec).unwrap()
                });
                let rows = RecordBatch::try_new(signature.input_schema(), columns.collect()).unwrap();
                assert!(loaded.model.infer(&rows).is_ok_and(|answer| answer.num_rows() == 2), "{} at {at}", case.name);
            }
        }
    }
}
