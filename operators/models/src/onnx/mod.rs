//! ONNX models, as scikit-learn, CatBoost, PyTorch, Keras and others save them.
//!
//! A graph whose every operator is one of ours runs as a program of steps: trees on the shared tree evaluator,
//! perceptron chains on the kernel of [`mlp`](crate::mlp), other networks on [`lanes`](crate::lanes), the small
//! operators between them here. Any other graph of standard operators runs on tract. The answers are ONNX Runtime's. What cannot be run is refused when the file is
//! read. FORMATS.md lists the operators.

mod allowed;
mod blocks;
mod bounds;
mod compiled;
mod engine;
mod fuse;
mod lower;
mod mixing;
mod node;
mod ops;
mod perceptron;
mod program;
mod proto;
mod signature;
mod summary;
mod symbol;
mod tensor;
mod wire;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use lunapark_schemas::Signature;
use lunapark_schemas::rows::Values;

use crate::{Accepts, Model, ModelError, Summary};
use engine::Engine;
use lower::Rows;
use program::{Column, Program};

/// Oldest and newest version of the standard operators that were compared with ONNX Runtime.
const OPSETS: RangeInclusive<i64> = 9..=24;
/// The same of the operators of ai.onnx.ml.
const ML_OPSETS: RangeInclusive<i64> = 1..=5;
const ML: &str = "ai.onnx.ml";

/// A model from an ONNX file.
#[derive(Debug)]
pub struct OnnxModel {
    file: String,
    signature: Arc<Signature>,
    schema: SchemaRef,
    runner: Runner,
    missing: bool,
    summary: Summary,
}

#[derive(Debug)]
enum Runner {
    Steps { program: Program, outputs: Vec<Rows> },
    Tract(Box<Engine>),
}

impl OnnxModel {
    /// Reads and checks a model; `file` names it in the errors of [`infer`](Model::infer).
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self, ModelError> {
        let model = proto::Model::read(bytes)?;
        check_versions(&model)?;
        let inputs = signature::inputs(&model)?;
        let (runner, outputs) = match lower::lower(&model, &inputs) {
            Ok((program, outputs)) => steps(&model, program, outputs),
            Err(error) => Engine::instead_of(error, &model, &inputs, bytes)
                .map(|engine| (engine.output_specs(&model), Runner::Tract(Box::new(engine))))
                .map(|(specs, runner)| (runner, specs))?,
        };
        let signature = Signature { inputs: inputs.iter().map(signature::input_spec).collect(), outputs };
        check_names(&signature)?;
        let missing = matches!(&runner, Runner::Steps { program, .. } if program.missing);
        let summary = summary::summary(&model, &runner);
        let schema = signature.output_schema();
        Ok(Self { file: file.to_owned(), signature: Arc::new(signature), schema, runner, missing, summary })
    }

    /// The layers, where the graph is one chain of layers from its one input to its one output and nothing else.
    pub(crate) fn chain(&self) -> Option<&crate::mlp::Network> {
        let Runner::Steps { program, outputs } = &self.runner else { return None };
        let ([step], [output], [rows]) = (&program.steps[..], &program.outputs[..], &outputs[..]) else { return None };
        let whole = program.inputs == 1 && step.inputs == [0] && step.outputs == [*output] && rows.table.is_none();
        step.operation.perceptron().filter(|_| whole).map(crate::mlp::Perceptron::network)
    }

    /// Size and make, for `model check`.
    pub fn summary(&self) -> Summary {
        self.summary.clone()
    }

    fn score(&self, batch: &RecordBatch) -> Result<RecordBatch, ModelError> {
        let rows = batch.num_rows();
        let inputs = crate::input::columns(&self.signature, batch)?;
        let inputs: Vec<Column<'_>> = inputs.into_iter().map(Column::from).collect();
        let values = match &self.runner {
            Runner::Steps { program, outputs } => {
                let columns = program.run(&inputs, rows);
                columns.into_iter().zip(outputs).map(|(column, output)| values(column, output)).collect()
            }
            Runner::Tract(engine) => engine.run(&inputs, rows)?,
        };
        self.answer(values, rows)
    }

    fn answer(&self, values: Vec<Values>, rows: usize) -> Result<RecordBatch, ModelError> {
        let columns = values.into_iter().zip(&self.signature.outputs).map(|(values, spec)| values.into_column(spec));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        columns
            .collect::<Result<Vec<_>, _>>()
            .and_then(|columns| RecordBatch::try_new_with_options(self.schema.clone(), columns, &options))
            .map_err(|error| ModelError::shape(error.to_string()))
    }
}

fn steps(
    model: &proto::Model<'_>,
    program: Program,
    outputs: Vec<Rows>,
) -> (Runner, Vec<lunapark_schemas::TensorSpec>) {
    let names = model.graph.outputs.iter().map(|info| info.name);
    let specs = names.zip(&outputs).map(|(name, rows)| signature::output_spec(name, rows)).collect();
    (Runner::Steps { program, outputs }, specs)
}

/// A column as it is answered: the index of a text becomes the text.
fn values(column: Column<'static>, output: &Rows) -> Values {
    match (column, &output.table) {
        (Column::F32(values), _) => Values::F32(values.into_owned()),
        (Column::F64(values), _) => Values::F64(values.into_owned()),
        (Column::Ints(values), None) => Values::I64(values.into_owned()),
        (Column::Ints(values), Some(table)) => {
            let text = |&at: &i64| usize::try_from(at).ok().and_then(|at| table.get(at)).cloned().unwrap_or_default();
            Values::Strings(values.iter().map(text).collect())
        }
    }
}

fn check_versions(model: &proto::Model<'_>) -> Result<(), ModelError> {
    [("", OPSETS), (ML, ML_OPSETS)].into_iter().try_for_each(|(domain, known)| check_version(model, domain, &known))
}

/// The version of a domain in use stands behind the graph in the file: one that is cut off there has none.
fn check_version(model: &proto::Model<'_>, domain: &str, known: &RangeInclusive<i64>) -> Result<(), ModelError> {
    if !model.graph.nodes.iter().any(|node| node.domain == domain) {
        return Ok(());
    }
    let shown = if domain.is_empty() { "ai.onnx" } else { domain };
    if model.opset(domain).is_none() {
        let what = format!("the ONNX file has operators of {shown}, but does not say of which version (opset_import)");
        return Err(ModelError::truncated(what));
    }
    let mut versions = model.opsets.iter().filter(|(name, _)| *name == domain).map(|(_, version)| *version);
    match versions.find(|version| !known.contains(version)) {
        Some(version) => {
            let (oldest, newest, ml) = (OPSETS.start(), OPSETS.end(), (ML_OPSETS.start(), ML_OPSETS.end()));
            let advice = format!(
                "export with `target_opset` from {oldest} to {newest}, of ai.onnx.ml from {} to {}",
                ml.0, ml.1
            );
            Err(ModelError::unsupported(format!("version {version} of the operators of {shown}"), advice))
        }
        None => Ok(()),
    }
}

/// Columns of a batch are told apart by their names.
fn check_names(signature: &Signature) -> Result<(), ModelError> {
    let mut names = HashSet::new();
    match signature.outputs.iter().find(|spec| !names.insert(&spec.name)) {
        Some(spec) => Err(ModelError::unreadable(format!("two outputs \"{}\"", spec.name.escape_debug()))),
        None => Ok(()),
    }
}

impl Model for OnnxModel {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    fn accepts(&self) -> Accepts {
        Accepts { missing: self.missing, infinite: true }
    }

    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError> {
        self.score(rows).map_err(|error| error.in_file(&self.file))
    }
}
