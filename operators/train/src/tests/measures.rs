//! The measures against scikit-learn's, and what is ours: negative weights.

use serde::Deserialize;

use crate::evaluate::{accuracy, auc, auc_ovr, log_loss, regression, roc};

#[derive(Deserialize)]
struct Fixtures {
    weights: Vec<f64>,
    binary: Binary,
    classes: Classes,
    regression: Regression,
}

#[derive(Deserialize)]
struct Binary {
    labels: Vec<f64>,
    scores: Vec<f64>,
    auc: f64,
    accuracy: f64,
    log_loss: f64,
}

#[derive(Deserialize)]
struct Classes {
    labels: Vec<f64>,
    probabilities: Vec<f64>,
    auc: f64,
    accuracy: f64,
    log_loss: f64,
}

#[derive(Deserialize)]
struct Regression {
    truth: Vec<f64>,
    answers: Vec<f64>,
    rmse: f64,
    mae: f64,
    r2: f64,
}

fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("../../fixtures/measures.json")).unwrap()
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-9
}

#[test]
fn measures_are_scikit_learns() {
    let Fixtures { weights, binary, classes, regression: numbers } = fixtures();
    let both: Vec<f64> = binary.scores.iter().flat_map(|p| [1.0 - p, *p]).collect();
    assert!(close(auc(&binary.scores, |row| binary.labels[row] > 0.0, &weights), binary.auc));
    assert!(close(accuracy(&both, 2, &binary.labels, &weights), binary.accuracy));
    // Scores of 0 and 1 are clipped, there and here, though not at the same place.
    let clipped: Vec<f64> = both.iter().map(|p| p.clamp(1e-6, 1.0 - 1e-6)).collect();
    assert!(close(log_loss(&clipped, 2, &binary.labels, &weights), binary.log_loss));
    assert!(close(auc_ovr(&classes.probabilities, 3, &classes.labels, &weights), classes.auc));
    assert!(close(accuracy(&classes.probabilities, 3, &classes.labels, &weights), classes.accuracy));
    assert!(close(log_loss(&classes.probabilities, 3, &classes.labels, &weights), classes.log_loss));
    let found = regression(&numbers.answers, &numbers.truth, &weights);
    for ((name, found), expected) in found.into_iter().zip([numbers.rmse, numbers.mae, numbers.r2]) {
        assert!(close(found, expected), "{name}: {found} for {expected}");
    }
}

#[test]
fn the_auc_with_signed_weights_is_the_sum_over_pairs() {
    let Fixtures { mut weights, binary, .. } = fixtures();
    weights.iter_mut().step_by(5).for_each(|weight| *weight *= -0.4);
    let (labels, scores) = (&binary.labels, &binary.scores);
    let of = |signal: bool| (0..labels.len()).filter(move |&row| (labels[row] > 0.0) == signal);
    let (mut pairs, mut all) = (0.0, 0.0);
    for s in of(true) {
        for b in of(false) {
            let order = if scores[s] > scores[b] { 1.0 } else { f64::from(u8::from(scores[s] == scores[b])) * 0.5 };
            pairs += weights[s] * weights[b] * order;
            all += weights[s] * weights[b];
        }
    }
    assert!(close(auc(scores, |row| labels[row] > 0.0, &weights), pairs / all));
}

#[test]
fn a_roc_curve_goes_from_corner_to_corner_and_has_the_auc_as_its_area() {
    let Fixtures { weights, binary, .. } = fixtures();
    let points = roc(&binary.scores, |row| binary.labels[row] > 0.0, &weights);
    let (first, last) = (points[0], points[points.len() - 1]);
    assert_eq!((first.false_positive_rate, first.true_positive_rate), (0.0, 0.0));
    assert!(close(last.false_positive_rate, 1.0) && close(last.true_positive_rate, 1.0));
    let area = |pair: &[crate::RocPoint]| {
        let height = 0.5 * (pair[0].true_positive_rate + pair[1].true_positive_rate);
        height * (pair[1].false_positive_rate - pair[0].false_positive_rate)
    };
    assert!(close(points.windows(2).map(area).sum(), binary.auc));
}
