//! LinearClassifier and LinearRegressor.
//!
//! The rules are ONNX Runtime's (`linearclassifier.cc`, `linearregressor.cc`): the inputs are rounded to single
//! precision; the sums here are in double, so they are the true ones whatever order they are added in there.

use super::super::lower::{Lowering, Made};
use super::super::program::{Column, Operation};
use super::super::proto::Node;
use super::super::tensor::Element;
use super::elementwise::cast_rows;
use super::labels::Labels;
use super::scores::{Transform, probit};
use crate::ModelError;

#[derive(Debug)]
struct Linear {
    /// Output by output.
    coefficients: Vec<f32>,
    /// One per output.
    intercepts: Vec<f32>,
    transform: Transform,
}

impl Linear {
    fn read(node: &Node<'_>, intercepts: Vec<f32>, width: usize) -> Result<Self, ModelError> {
        let coefficients = node.floats("coefficients")?.to_vec();
        if intercepts.is_empty() || intercepts.len().checked_mul(width) != Some(coefficients.len()) {
            let (found, outputs) = (coefficients.len(), intercepts.len());
            return Err(
                node.unreadable(format_args!("{found} coefficients for {width} features and {outputs} outputs"))
            );
        }
        Ok(Self { coefficients, intercepts, transform: Transform::read(node)? })
    }

    fn features(&self) -> usize {
        self.coefficients.len() / self.intercepts.len()
    }

    fn scores(&self, row: &[f32], scores: &mut Vec<f32>) {
        scores.clear();
        let outputs = self.coefficients.chunks_exact(row.len()).zip(&self.intercepts);
        scores.extend(outputs.map(|(weights, &intercept)| {
            let products = row.iter().zip(weights).map(|(&x, &w)| f64::from(x) * f64::from(w));
            (products.sum::<f64>() + f64::from(intercept)) as f32
        }));
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(&self.coefficients[..]) + size_of_val(&self.intercepts[..])
    }
}

#[derive(Debug)]
struct Regressor(Linear);

impl Operation for Regressor {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        let mut out: Vec<f32> = Vec::with_capacity(rows * self.0.intercepts.len());
        let mut scores = Vec::new();
        for row in inputs[0].f32().chunks_exact(self.0.features()) {
            self.0.scores(row, &mut scores);
            match (&mut scores[..], self.0.transform) {
                ([one], Transform::Probit) => *one = probit(*one),
                ([_], _) => {}
                (all, transform) => transform.apply(all),
            }
            out.extend(&scores);
        }
        vec![out.into()]
    }

    fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

#[derive(Debug)]
struct Classifier {
    linear: Linear,
    /// The labels of the classes; of a single score those of zero and below, and above.
    labels: Labels,
    /// A single score is answered with its complement before it.
    second: bool,
}

impl Classifier {
    fn class(&self, scores: &[f32]) -> usize {
        match scores {
            [score] => usize::from(*score > 0.0),
            // The first of the greatest.
            _ => (1..scores.len()).fold(0, |best, at| if scores[at] > scores[best] { at } else { best }),
        }
    }

    fn finish(&self, scores: &mut Vec<f32>) {
        match (&mut scores[..], self.second) {
            ([one], _) if self.linear.transform == Transform::Probit => *one = probit(*one),
            ([score], true) => {
                let score = *score;
                *scores = vec![1.0 - score, score];
            }
            ([_], false) => {}
            (all, _) => self.linear.transform.apply(all),
        }
    }
}

impl Operation for Classifier {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        let mut labels = Vec::with_capacity(rows);
        let mut out: Vec<f32> = Vec::with_capacity(rows * self.labels.len());
        let mut scores = Vec::new();
        for row in inputs[0].f32().chunks_exact(self.linear.features()) {
            self.linear.scores(row, &mut scores);
            labels.push(self.labels.value(self.class(&scores)));
            self.finish(&mut scores);
            out.extend(&scores);
        }
        vec![labels.into(), out.into()]
    }

    fn memory_bytes(&self) -> usize {
        self.linear.memory_bytes()
    }
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let [width] = rows.dims[..] else {
        return Err(node.unsupported(format_args!("on rows of the shape {:?}", rows.dims)));
    };
    if node.op == "LinearRegressor" {
        // A double input has no kernel in ONNX Runtime.
        let rows = cast_rows(node, to, rows, Element::F32)?;
        return regressor(node, to, rows.slot, width);
    }
    let rows = cast_rows(node, to, rows, Element::F32)?;
    classifier(node, to, rows.slot, width)
}

fn regressor<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>, slot: usize, width: usize) -> Result<(), ModelError> {
    let targets = usize::try_from(node.int("targets", 1)?).unwrap_or(0);
    let intercepts = match node.floats("intercepts")? {
        [] if targets <= node.floats("coefficients")?.len() => vec![0.0; targets],
        intercepts if intercepts.len() == targets => intercepts.to_vec(),
        other => return Err(node.unreadable(format_args!("{} intercepts for {targets} targets", other.len()))),
    };
    let linear = Linear::read(node, intercepts, width)?;
    to.step(node, Regressor(linear), &[slot], vec![Made::new(Element::F32, vec![targets])])
}

fn classifier<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>, slot: usize, width: usize) -> Result<(), ModelError> {
    let linear = Linear::read(node, node.floats("intercepts")?.to_vec(), width)?;
    let labels = Labels::read(node, "classlabels_ints", "classlabels_strings")?;
    let scores = linear.intercepts.len();
    let second = scores == 1 && labels.len() == 2;
    if second && linear.transform == Transform::Probit {
        return Err(node.unsupported("PROBIT of a single score"));
    }
    if !second && labels.len() != scores {
        return Err(node.unreadable(format_args!("{} labels for {scores} scores", labels.len())));
    }
    if scores == 1 && !second {
        return Err(node.unsupported("a single class"));
    }
    let made = vec![labels.made(), Made::new(Element::F32, vec![if second { 2 } else { scores }])];
    to.step(node, Classifier { linear, labels, second }, &[slot], made)
}
