//! Tree ensembles of ai.onnx.ml, versions 1 to 5, on the shared tree evaluator.
//!
//! The rules are ONNX Runtime's (`core/providers/cpu/ml/tree_ensemble_common.h` and `tree_ensemble_aggregator.h`):
//! inputs, thresholds and sums have the input's precision; base values are added after the trees.

mod classify;
mod grow;
mod read;
mod read_v5;

use super::super::lower::{Lowering, MAX_WIDTH, Made};
use super::super::program::{Column, Missing, Operation};
use super::super::proto::Node;
use super::super::tensor::Element;
use super::elementwise::cast_rows;
use super::labels::Labels;
use super::scores::{Transform, probit};
use crate::ModelError;
use crate::trees::{Combine, Forest, Precision};
use classify::Classes;

/// What a node of a file's tree is. The children of a branch and the weights of a leaf are indices.
#[derive(Clone, Debug)]
enum Item {
    Branch(Branch),
    Leaf(std::ops::Range<usize>),
}

#[derive(Clone, Debug)]
struct Branch {
    feature: u32,
    mode: Mode,
    value: f64,
    yes: usize,
    no: usize,
    /// A missing value goes to the true child whatever the mode says.
    missing_true: bool,
}

#[derive(Clone, Debug)]
enum Mode {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    NotEqual,
    OneOf(Vec<f64>),
}

/// An ensemble as any version of the operator describes it.
#[derive(Debug)]
struct Ensemble {
    items: Vec<Item>,
    roots: Vec<usize>,
    /// Target and weight.
    weights: Vec<(usize, f64)>,
    /// Targets or classes.
    targets: usize,
    combine: Combine,
    base: Vec<f64>,
    transform: Transform,
}

/// The margins of a forest, in its precision, as doubles.
fn margins(forest: &Forest, input: &Column<'_>, rows: usize, outputs: usize) -> Vec<f64> {
    match input {
        Column::F64(values) => {
            let mut margins = vec![0.0; rows * outputs];
            forest.margins_f64(values, &mut margins);
            margins
        }
        other => {
            let mut margins = vec![0.0; rows * outputs];
            forest.margins(other.f32(), &mut margins);
            margins.into_iter().map(f64::from).collect()
        }
    }
}

/// What CatBoost calls itself in its files.
const CATBOOST: &str = "CatBoost";

/// Whether missing values have a meaning: a node has a track for them, or the tool takes them and its rule is that the
/// comparison fails. CatBoost's is (`nan_mode` Min, below every border), so that its files have no track. Elsewhere,
/// in scikit-learn's forests say, the tool would have refused the row.
fn takes_missing(to: &Lowering<'_>, grown: &grow::Grown) -> bool {
    grown.takes_missing || to.model.producer == CATBOOST
}

/// What missing values are to an ensemble.
fn missing(takes_missing: bool) -> Missing {
    if takes_missing { Missing::Taken } else { Missing::Refused }
}

#[derive(Debug)]
struct Regressor {
    forest: Forest,
    base: Vec<f64>,
    transform: Transform,
    single: bool,
    /// The answers are in double precision.
    wide: bool,
    takes_missing: bool,
}

impl Regressor {
    fn finish(&self, scores: &mut [f64]) {
        if !self.base.is_empty() {
            scores.iter_mut().zip(&self.base).for_each(|(score, base)| *score = rounded(*score + base, self.single));
        }
        match (&mut scores[..], self.transform) {
            (_, Transform::None) => {}
            // ONNX Runtime transforms a single target by PROBIT only.
            ([one], Transform::Probit) => *one = f64::from(probit(*one as f32)),
            ([_], _) => {}
            (all, transform) => {
                let mut narrow: Vec<f32> = all.iter().map(|&x| x as f32).collect();
                transform.apply(&mut narrow);
                all.iter_mut().zip(narrow).for_each(|(score, x)| *score = f64::from(x));
            }
        }
    }

    fn plain(&self) -> bool {
        self.transform == Transform::None && self.base.iter().all(|&base| base == 0.0)
    }
}

fn rounded(x: f64, single: bool) -> f64 {
    if single { f64::from(x as f32) } else { x }
}

impl Operation for Regressor {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        let outputs = self.base.len();
        if let (Column::F32(values), true) = (inputs[0], self.plain()) {
            let mut margins = vec![0.0; rows * outputs];
            self.forest.margins(values, &mut margins);
            return vec![margins.into()];
        }
        let mut scores = margins(&self.forest, inputs[0], rows, outputs);
        scores.chunks_exact_mut(outputs).for_each(|row| self.finish(row));
        match self.wide {
            true => vec![scores.into()],
            false => vec![scores.iter().map(|&x| x as f32).collect::<Vec<_>>().into()],
        }
    }

    fn missing(&self) -> Missing {
        missing(self.takes_missing)
    }

    fn memory_bytes(&self) -> usize {
        self.forest.memory_bytes()
    }

    fn forest(&self) -> Option<&Forest> {
        Some(&self.forest)
    }
}

#[derive(Debug)]
struct Classifier {
    forest: Forest,
    classes: Classes,
    labels: Labels,
    takes_missing: bool,
}

impl Operation for Classifier {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        let outputs = self.classes.outputs.len();
        let scores = margins(&self.forest, inputs[0], rows, outputs);
        let mut labels = Vec::with_capacity(rows);
        let mut out = Vec::with_capacity(rows * self.labels.len());
        for row in scores.chunks_exact(outputs) {
            labels.push(self.classes.finish(row, &self.labels, &mut out));
        }
        vec![labels.into(), out.into()]
    }

    fn missing(&self) -> Missing {
        missing(self.takes_missing)
    }

    fn memory_bytes(&self) -> usize {
        self.forest.memory_bytes()
    }

    fn forest(&self) -> Option<&Forest> {
        Some(&self.forest)
    }
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let [features] = rows.dims[..] else {
        return Err(node.unsupported(format_args!("on rows of the shape {:?}", rows.dims)));
    };
    let rows = if rows.element == Element::F64 { rows } else { cast_rows(node, to, rows, Element::F32)? };
    let precision = if rows.element == Element::F64 { Precision::Double } else { Precision::Single };
    if precision == Precision::Single {
        refuse_doubles(node)?;
    }
    if node.op == "TreeEnsembleClassifier" {
        return classifier(node, to, rows.slot, features, precision);
    }
    let wide = node.op == "TreeEnsemble" && precision == Precision::Double;
    let ensemble = if node.op == "TreeEnsemble" { read_v5::read(node)? } else { read::regressor(node)? };
    regressor(node, to, rows.slot, (features, precision, wide), ensemble)
}

/// Single-precision inputs with thresholds in double: ONNX Runtime refuses them too.
fn refuse_doubles(node: &Node<'_>) -> Result<(), ModelError> {
    for name in ["nodes_values_as_tensor", "target_weights_as_tensor", "class_weights_as_tensor", "nodes_splits"] {
        if node.tensor(name)?.is_some_and(|tensor| tensor.element == Some(Element::F64)) {
            return Err(node.unsupported(format_args!("its {name} is double, its input is not")));
        }
    }
    Ok(())
}

fn regressor<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    slot: usize,
    (features, precision, wide): (usize, Precision, bool),
    ensemble: Ensemble,
) -> Result<(), ModelError> {
    let targets = ensemble.targets;
    if targets == 0 || targets > MAX_WIDTH {
        return Err(node.unsupported(format_args!("{targets} targets, 1 to {MAX_WIDTH} are run")));
    }
    if !ensemble.base.is_empty() && ensemble.base.len() != targets {
        return Err(node.unsupported(format_args!("{} base values for {targets} targets", ensemble.base.len())));
    }
    let columns: Vec<usize> = (0..targets).collect();
    let grown = grow::grow(node, &ensemble, &columns, features, precision, to.model.max_bytes())?;
    let takes_missing = takes_missing(to, &grown);
    let base = if ensemble.base.is_empty() { vec![0.0; targets] } else { ensemble.base };
    let (transform, single) = (ensemble.transform, precision == Precision::Single);
    let operation = Regressor { forest: grown.forest, base, transform, single, wide, takes_missing };
    let element = if wide { Element::F64 } else { Element::F32 };
    to.step(node, operation, &[slot], vec![Made::new(element, vec![targets])])
}

fn classifier<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    slot: usize,
    features: usize,
    precision: Precision,
) -> Result<(), ModelError> {
    let labels = Labels::read(node, "classlabels_int64s", "classlabels_strings")?;
    let ensemble = read::classifier(node, labels.len())?;
    let classes = Classes::new(node, &ensemble, precision == Precision::Single)?;
    let grown = grow::grow(node, &ensemble, &classes.outputs, features, precision, to.model.max_bytes())?;
    classes.check(node, &grown)?;
    let made = vec![labels.made(), Made::new(Element::F32, vec![labels.len()])];
    let takes_missing = takes_missing(to, &grown);
    let operation = Classifier { forest: grown.forest, classes, labels, takes_missing };
    to.step(node, operation, &[slot], made)
}
