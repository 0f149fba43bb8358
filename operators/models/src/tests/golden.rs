//! Against the answers that `fixtures/make.py` recorded.

use super::*;
use crate::{Details, Format};

const SMALL_ROWS: usize = 200;

fn worst(ours: &[f32], theirs: impl ExactSizeIterator<Item = f64>) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn trees_score_7500_events_with_missing_values_as_xgboost_does() {
    let model = higgs_trees();
    let ours = scores(&*model, &batch(&*model, higgs_rows_with_missing()));
    let theirs = floats(&fixture("higgs-xgb.f32"));
    assert_eq!(ours.len(), 7_500);
    let worst = worst(&ours, theirs.iter().map(|&x| f64::from(x)));
    assert!(worst <= 1e-6, "off by {worst}");
}

#[test]
fn perceptron_scores_7500_events_as_double_precision_does() {
    let model = higgs_perceptron();
    let ours = scores(&*model, &batch(&*model, higgs_rows()));
    let reference = fixture("higgs-mlp.f64");
    let worst = worst(&ours, reference.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)));
    assert!(worst <= 1e-5, "off by {worst}");
}

#[test]
fn small_models_of_all_sorts_and_versions_score_as_xgboost_does() {
    let rows = higgs_rows_with_missing();
    let names = [
        "logitraw-named",
        "logistic-base",
        "pruned",
        "deep",
        "lossguide",
        "parallel",
        "xgboost-1.7.6",
        "xgboost-2.1.4",
        "xgboost-3.2.0",
    ];
    for name in names {
        let model = loaded(&fixture(&format!("{name}.json")), name).model;
        let ours = scores(&*model, &batch(&*model, rows[..SMALL_ROWS * FEATURES].to_vec()));
        let theirs = floats(&fixture(&format!("{name}.f32")));
        let worst = worst(&ours, theirs.iter().map(|&x| f64::from(x)));
        assert!(worst <= 1e-6, "{name}: off by {worst}");
        if model.signature().outputs[0].name == "score" {
            assert_eq!(bits(&ours), bits(&theirs), "{name}: sums of leaves are the same bits");
        }
    }
}

#[test]
fn the_summary_tells_what_is_in_the_file() {
    let trees = loaded(&asset("higgs-xgb.json"), "m");
    assert_eq!(trees.format, Format::XgboostJson);
    assert_eq!(trees.digest.len(), 64);
    assert_eq!(trees.model.signature().inputs[0].fields.len(), FEATURES);
    assert_eq!(trees.model.signature().outputs[0].name, "probability");
    let Details::Trees { trees, depth, .. } = trees.summary.details else { panic!("not trees") };
    assert_eq!((trees, depth), (151, 6));
    let perceptron = loaded(&asset("higgs-mlp.safetensors"), "m");
    assert_eq!(perceptron.format, Format::LunaparkMlp);
    let Details::Layers { widths, parameters, .. } = perceptron.summary.details else { panic!("not layers") };
    assert_eq!((widths, parameters), (vec![28, 128, 64, 1], 29 * 128 + 129 * 64 + 65));
}

/// The demo's claim: scores of the 500 test events rank signal before background as the README of the assets says.
#[test]
fn the_recorded_auc_is_true() {
    let sample = String::from_utf8(asset("higgs-sample.tsv")).unwrap();
    let lines: Vec<Vec<f32>> =
        sample.lines().map(|line| line.split('\t').map(|field| field.parse().unwrap()).collect()).collect();
    let test = &lines[lines.len() - 500..];
    let model = higgs_trees();
    let scores = scores(&*model, &batch(&*model, test.iter().flat_map(|line| line[1..].to_vec()).collect()));
    let (signal, background): (Vec<_>, Vec<_>) = test.iter().zip(scores).partition(|(line, _)| line[0] == 1.0);
    let wins: f64 = signal.iter().flat_map(|(_, s)| background.iter().map(move |(_, b)| win(*s, *b))).sum();
    let auc = wins / (signal.len() * background.len()) as f64;
    let readme = String::from_utf8(asset("README.md")).unwrap();
    assert!(readme.contains(&format!("**{auc:.4}**")), "the AUC is {auc:.4}");
}

fn win(signal: f32, background: f32) -> f64 {
    if signal > background {
        1.0
    } else if signal == background {
        0.5
    } else {
        0.0
    }
}
