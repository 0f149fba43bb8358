//! A row's answer is the same bits alone and in any batch, at any place of it.

use proptest::prelude::*;

use super::*;

fn check_any_slice(model: &dyn Model, rows: Vec<f32>) {
    let all = batch(model, rows);
    let whole = bits(&scores(model, &all));
    let count = all.num_rows();
    let width = whole.len() / count;
    proptest!(ProptestConfig::with_cases(300), |(start in 0..count, len in 1usize..200)| {
        let len = len.min(count - start);
        let part = bits(&scores(model, &all.slice(start, len)));
        prop_assert_eq!(&part[..], &whole[start * width..(start + len) * width]);
    });
    for row in (0..count).step_by(7) {
        let alone = bits(&scores(model, &all.slice(row, 1)));
        assert_eq!(alone, whole[row * width..(row + 1) * width], "row {row} alone");
    }
}

#[test]
fn trees_score_a_row_alike_in_any_batch() {
    check_any_slice(&*higgs_trees(), higgs_rows_with_missing());
}

#[test]
fn deep_trees_score_a_row_alike_in_any_batch() {
    check_any_slice(&*loaded(&fixture("deep.json"), "deep").model, higgs_rows_with_missing());
}

#[test]
fn the_perceptron_scores_a_row_alike_in_any_batch() {
    check_any_slice(&*higgs_perceptron(), higgs_rows());
}

/// Convolutions, poolings, recurrent layers of each sort, normalisation, elementwise chains.
#[test]
fn networks_score_a_row_alike_in_any_batch() {
    let names = ["torch-images", "torch-gru", "torch-autoencoder", "keras-lstm-unrolled", "layers-conv"];
    let more =
        ["layers-series", "layers-gru-stack", "layers-lstm-state", "layers-gru-before", "layers-rnn", "layers-gates"];
    for name in names.into_iter().chain(more) {
        let loaded = loaded(&fixture(&format!("onnx/{name}.onnx")), name);
        assert_ne!(loaded.summary.kernel, "tract", "{name}");
        let width = loaded.model.signature().inputs[0].width;
        let values = higgs_rows().into_iter().chain(higgs_rows()).take(230 * width).collect();
        check_any_slice(&*loaded.model, values);
    }
}

#[test]
fn a_network_answers_nan_for_a_missing_value_and_leaves_the_neighbours_alone() {
    let model = loaded(&fixture("onnx/torch-gru.onnx"), "torch-gru").model;
    let width = model.signature().inputs[0].width;
    let mut rows: Vec<f32> = higgs_rows().into_iter().take(40 * width).collect();
    let before = bits(&scores(&*model, &batch(&*model, rows.clone())));
    rows[13 * width + 5] = f32::NAN;
    let after = scores(&*model, &batch(&*model, rows));
    assert!(!model.accepts().missing && after[13].is_nan());
    for row in (0..before.len()).filter(|&row| row != 13) {
        assert_eq!(after[row].to_bits(), before[row]);
    }
}

#[test]
fn a_perceptron_answers_nan_for_a_missing_value_and_leaves_the_neighbours_alone() {
    let model = higgs_perceptron();
    let mut rows = higgs_rows();
    let before = bits(&scores(&*model, &batch(&*model, rows.clone())));
    rows[13 * FEATURES + 5] = f32::NAN;
    let after = scores(&*model, &batch(&*model, rows));
    assert!(!model.accepts().missing && after[13].is_nan());
    for row in (0..before.len()).filter(|&row| row != 13) {
        assert_eq!(after[row].to_bits(), before[row]);
    }
}

#[test]
fn no_rows_give_no_answers() {
    for model in [higgs_trees(), higgs_perceptron()] {
        assert_eq!(scores(&*model, &batch(&*model, Vec::new())), [0.0; 0]);
    }
}
