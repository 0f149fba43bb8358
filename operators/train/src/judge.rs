//! How good answers are, by what the network learns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use lunapark_models::Model;
use lunapark_schemas::rows::{Values, f32_values};

use crate::device::Rows;
use crate::picture::Sample;
use crate::prepare::{Judged, Target};
use crate::{Refusal, RocPoint, evaluate};

/// Rows that the trained model scores at a time.
const BATCH: usize = 8192;

/// Accuracy and AUC of an epoch, from the sums of the last layer.
pub(crate) fn epoch_scores(target: &Target, judged: &Judged, sums: &[f32]) -> (Option<f64>, Option<f64>) {
    let sums: Vec<f64> = match target {
        Target::Inputs(_) => reconstruction_errors(&judged.rows, sums),
        _ => sums.iter().map(|&x| f64::from(x)).collect(),
    };
    let (truth, weights) = (&judged.truth[..], &judged.weights[..]);
    let signal = |row: usize| truth[row] > 0.0;
    let (accuracy, auc) = match target {
        Target::Binary(_) => {
            let right = |row: usize| f64::from(u8::from((sums[row] > 0.0) == signal(row)));
            (Some(evaluate::weighted_mean(weights, right)), Some(evaluate::auc(&sums, signal, weights)))
        }
        Target::Classes(classes) => {
            let count = classes.names.len();
            let auc = evaluate::auc_ovr(&probabilities(&sums, count), count, truth, weights);
            (Some(evaluate::accuracy(&sums, count, truth, weights)), Some(auc))
        }
        Target::Inputs(Some(_)) => (None, Some(evaluate::auc(&sums, signal, weights))),
        Target::Inputs(None) | Target::Number { .. } => (None, None),
    };
    (accuracy.filter(|x| x.is_finite()), auc.filter(|x| x.is_finite()))
}

/// Softmax of each row: what a class's rows are ranked by, and not the sums, from which a row's own level is not taken.
fn probabilities(sums: &[f64], classes: usize) -> Vec<f64> {
    let softmax = |row: &[f64]| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = row.iter().map(|sum| (sum - largest).exp()).collect();
        let all: f64 = powers.iter().sum();
        powers.into_iter().map(move |power| power / all)
    };
    sums.chunks_exact(classes).flat_map(softmax).collect()
}

fn reconstruction_errors(rows: &Rows, answers: &[f32]) -> Vec<f64> {
    let pairs = rows.inputs.chunks_exact(rows.width).zip(answers.chunks_exact(rows.width));
    let squares = |(x, y): (&[f32], &[f32])| x.iter().zip(y).map(|(x, y)| f64::from((x - y) * (x - y))).sum::<f64>();
    pairs.map(squares).collect()
}

/// What a finished model does.
pub(crate) struct Judgement {
    pub evaluation: BTreeMap<String, f64>,
    pub roc: Vec<RocPoint>,
    /// Its answers, to be drawn.
    pub answers: Vec<Sample>,
}

/// What the finished model, read back from its file, does on the test part.
pub(crate) fn judge(model: &Arc<dyn Model>, target: &Target, test: &Judged) -> Result<Judgement, Refusal> {
    let scores = score(model, &test.rows)?;
    let (truth, weights) = (&test.truth[..], &test.weights[..]);
    let signal = |row: usize| truth[row] > 0.0;
    let (named, roc): (Vec<(&str, f64)>, _) = match target {
        Target::Binary(_) => {
            let both: Vec<f64> = scores.iter().flat_map(|p| [1.0 - p, *p]).collect();
            let auc = evaluate::auc(&scores, signal, weights);
            (classified(&both, 2, test, auc), evaluate::roc(&scores, signal, weights))
        }
        Target::Classes(classes) => {
            let count = classes.names.len();
            (classified(&scores, count, test, evaluate::auc_ovr(&scores, count, truth, weights)), Vec::new())
        }
        Target::Number { .. } => (evaluate::regression(&scores, truth, weights).to_vec(), Vec::new()),
        Target::Inputs(classes) => {
            let normal = |row: usize| if classes.is_some() && signal(row) { 0.0 } else { weights[row] };
            let normal: Vec<_> = (0..weights.len()).map(normal).collect();
            let error = ("reconstruction_error", evaluate::weighted_mean(&normal, |row| scores[row]));
            match classes {
                Some(_) => {
                    let auc = evaluate::auc(&scores, signal, weights);
                    (vec![error, ("auc", auc)], evaluate::roc(&scores, signal, weights))
                }
                None => (vec![error], Vec::new()),
            }
        }
    };
    let finite = named.into_iter().filter(|(_, value)| value.is_finite());
    let roc = if roc.iter().all(|point| point.true_positive_rate.is_finite()) { roc } else { Vec::new() };
    let evaluation = finite.map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Judgement { evaluation, roc, answers: answers(target, &scores, test) })
}

/// The answers in the groups that ought to differ: by class, or found beside true numbers.
fn answers(target: &Target, scores: &[f64], test: &Judged) -> Vec<Sample> {
    let sample = |name: &str, values: &[f64], belongs: &dyn Fn(usize) -> bool| {
        let rows: Vec<usize> = (0..values.len()).filter(|row| belongs(*row)).collect();
        let of = |from: &[f64]| rows.iter().map(|&row| from[row]).collect();
        Sample { name: name.to_owned(), values: of(values), weights: of(&test.weights) }
    };
    let class = |number: f64| move |row: usize| test.truth[row] == number;
    match target {
        Target::Binary(classes) | Target::Inputs(Some(classes)) => {
            let named = classes.names.iter().enumerate().map(|(number, name)| (number as f64, name)).take(2);
            named.map(|(number, name)| sample(&format!("class {name}"), scores, &class(number))).collect()
        }
        Target::Inputs(None) => vec![sample("all rows", scores, &|_| true)],
        Target::Number { .. } => {
            vec![sample("true", &test.truth, &|_| true), sample("predicted", scores, &|_| true)]
        }
        Target::Classes(_) => Vec::new(),
    }
}

fn classified(probabilities: &[f64], classes: usize, test: &Judged, auc: f64) -> Vec<(&'static str, f64)> {
    let accuracy = evaluate::accuracy(probabilities, classes, &test.truth, &test.weights);
    let log_loss = evaluate::log_loss(probabilities, classes, &test.truth, &test.weights);
    vec![("accuracy", accuracy), ("auc", auc), ("log_loss", log_loss)]
}

/// All answers of the model for rows as the table has them.
fn score(model: &Arc<dyn Model>, rows: &Rows) -> Result<Vec<f64>, Refusal> {
    let wrong = |what: String| Refusal::training(format!("the trained model does not score: {what}"));
    let input = &model.signature().inputs[0];
    let mut scores = Vec::new();
    for chunk in rows.inputs.chunks(BATCH * rows.width) {
        let column = Values::F32(chunk.to_vec()).into_column(input).map_err(|error| wrong(error.to_string()))?;
        let batch = RecordBatch::try_new(model.signature().input_schema(), vec![column]);
        let answers = model.infer(&batch.map_err(|error| wrong(error.to_string()))?);
        let answers = answers.map_err(|error| wrong(error.to_string()))?;
        let values = f32_values(&**answers.column(0)).ok_or_else(|| wrong("no FP32 answers".to_owned()))?;
        scores.extend(values.iter().map(|&value| f64::from(value)));
    }
    Ok(scores)
}
