//! A row's answer is the same bits alone and in any batch, at any place of it.

use proptest::prelude::*;

use super::*;

fn check_any_slice(model: &dyn Model, rows: Vec<f32>) {
    let all = batch(model, rows);
    let whole = bits(&scores(model, &all));
    let count = all.num_rows();
    proptest!(ProptestConfig::with_cases(300), |(start in 0..count, len in 1usize..200)| {
        let len = len.min(count - start);
        let part = bits(&scores(model, &all.slice(start, len)));
        prop_assert_eq!(&part[..], &whole[start..start + len]);
    });
    for row in (0..count).step_by(7) {
        assert_eq!(bits(&scores(model, &all.slice(row, 1))), whole[row..row + 1], "row {row} alone");
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
