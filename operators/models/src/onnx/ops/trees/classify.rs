//! From the scores of the classes to a label and probabilities.

use super::super::super::proto::Node;
use super::super::labels::Labels;
use super::super::scores::{Transform, logistic};
use super::grow::Grown;
use super::{Ensemble, rounded};
use crate::ModelError;

/// How ONNX Runtime finishes the scores of a classifier (`TreeAggregatorClassifier`).
#[derive(Debug)]
pub(super) struct Classes {
    /// The classes that some leaf has a weight for: the forest's outputs.
    pub outputs: Vec<usize>,
    classes: usize,
    base: Vec<f64>,
    transform: Transform,
    /// Two classes, all weights are of one of them.
    one_sided: bool,
    /// No weight is negative: a one-sided score is a probability.
    positive: bool,
    single: bool,
}

impl Classes {
    pub(super) fn new(node: &Node<'_>, ensemble: &Ensemble, single: bool) -> Result<Self, ModelError> {
        let classes = ensemble.targets;
        let mut has_weight = vec![false; classes];
        ensemble.weights.iter().for_each(|&(class, _)| has_weight[class] = true);
        let outputs: Vec<usize> = (0..classes).filter(|&class| has_weight[class]).collect();
        let (base, transform) = (ensemble.base.clone(), ensemble.transform);
        if classes < 2 || base.len() > classes || outputs.is_empty() {
            return Err(node.unsupported(format_args!("{} classes, {} base values", classes, base.len())));
        }
        let one_sided = classes == 2 && outputs.len() == 1;
        if one_sided && outputs == [0] && base.len() < 2 && transform == Transform::Probit {
            return Err(node.unsupported("PROBIT of a single score"));
        }
        let positive = ensemble.weights.iter().all(|&(_, weight)| weight >= 0.0);
        Ok(Self { outputs, classes, base, transform, one_sided, positive, single })
    }

    /// Where only some leaves have a weight for a class, the rule depends on the leaf; no tool writes such trees.
    pub(super) fn check(&self, node: &Node<'_>, grown: &Grown) -> Result<(), ModelError> {
        let covered_by_base = self.classes > 2 && self.base.len() == self.classes;
        match grown.always.iter().position(|&always| !always) {
            Some(output) if !covered_by_base => {
                let class = self.outputs[output];
                Err(node.unsupported(format_args!("class {class} has a weight in some leaves of its trees only")))
            }
            _ => Ok(()),
        }
    }

    /// Appends the probabilities of one row and gives back its label.
    pub(super) fn finish(&self, row: &[f64], labels: &Labels, out: &mut Vec<f32>) -> i64 {
        if self.classes == 2 { self.finish_two(row, labels, out) } else { self.finish_many(row, labels, out) }
    }

    fn add(&self, a: f64, b: f64) -> f64 {
        rounded(a + b, self.single)
    }

    fn finish_many(&self, row: &[f64], labels: &Labels, out: &mut Vec<f32>) -> i64 {
        let mut scores: Vec<Option<f64>> = vec![None; self.classes];
        self.outputs.iter().zip(row).for_each(|(&class, &score)| scores[class] = Some(score));
        for (score, &base) in scores.iter_mut().zip(&self.base) {
            *score = Some(score.map_or(base, |score| self.add(score, base)));
        }
        let scored = scores.iter().enumerate().filter_map(|(class, score)| Some((class, (*score)?)));
        let best = scored.fold(None, |best: Option<(usize, f64)>, (class, score)| match best {
            Some((_, most)) if score <= most || most.is_nan() || score.is_nan() => best,
            _ => Some((class, score)),
        });
        let start = out.len();
        out.extend(scores.iter().map(|score| score.unwrap_or(0.0) as f32));
        self.transform.apply(&mut out[start..]);
        labels.value(best.map_or(0, |(class, _)| class))
    }

    fn finish_two(&self, row: &[f64], labels: &Labels, out: &mut Vec<f32>) -> i64 {
        let [has_first, has_second] = [0, 1].map(|class| self.outputs.contains(&class));
        let scores = self.two_scores(row, has_second);
        let deciding = match (has_second, has_first) {
            (true, _) => scores[1],
            (false, true) => scores[0],
            (false, false) => 0.0,
        };
        let above = deciding > if self.one_sided && self.positive { 0.5 } else { 0.0 };
        // A class that no leaf has a weight for is answered as 0, base value or not.
        let written = [if has_first { scores[0] } else { 0.0 }, if has_second { scores[1] } else { 0.0 }];
        if !has_second && self.base.len() < 2 {
            self.write_one(scores[0], out)
        } else {
            self.write_two(written, out)
        }
        match (self.one_sided, labels) {
            // Where both classes have weights, ONNX Runtime answers 1 or 0 whatever the labels are.
            (false, Labels::Ints(_)) => i64::from(above),
            _ => labels.value(usize::from(above)),
        }
    }

    /// The scores of the two classes with their base values.
    fn two_scores(&self, row: &[f64], has_second: bool) -> [f64; 2] {
        let mut scores = [0.0; 2];
        self.outputs.iter().zip(row).for_each(|(&class, &score)| scores[class] = score);
        match self.base[..] {
            [_, second] if has_second => {
                // ONNX Runtime's own rule: the first class's score and the second's base value.
                let score = self.add(second, scores[0]);
                [-score, score]
            }
            [first, second] => [self.add(scores[0], first), self.add(scores[1], second)],
            [first] => [self.add(scores[0], first), scores[1]],
            _ => scores,
        }
    }

    fn write_two(&self, scores: [f64; 2], out: &mut Vec<f32>) {
        let mut scores = scores.map(|score| score as f32);
        self.transform.apply(&mut scores);
        out.extend(scores);
    }

    /// The score of the second class, from which the first's follows.
    fn write_one(&self, score: f64, out: &mut Vec<f32>) {
        let narrow = score as f32;
        out.extend(match (self.positive, self.transform) {
            (_, Transform::Logistic) => [logistic(-narrow), logistic(narrow)],
            (true, _) => [(1.0 - score) as f32, narrow],
            (false, _) => [-narrow, narrow],
        });
    }
}
