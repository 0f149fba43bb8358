//! tract for the graphs that no program of ours fits: convolutions, recurrent layers, normalisation layers.
//!
//! Each row runs alone, so its answer cannot depend on its batch. tract trusts its files, so a graph is checked before
//! tract sees it: only operators of a list, every tensor's size known and bounded ([`bounds`](super::bounds)). A panic
//! in tract becomes an error, and one row is scored when the model is read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lunapark_schemas::rows::Values;
use lunapark_schemas::{Datatype, TensorSpec};
use tract_onnx::prelude::*;

use super::bounds::check_sizes;
use super::node::OTHER_WAY;
use super::program::Column;
use super::proto::{Attribute, Model, Node};
use super::signature::{Input, datatype as datatype_of, spec};
use super::tensor::Element;
use crate::{ModelError, ModelErrorKind};

type Plan = TypedRunnableModel<TypedModel>;

/// A graph that tract has compiled for one row.
pub(super) struct Engine {
    plan: Arc<Plan>,
    inputs: Vec<Vec<usize>>,
    outputs: Vec<(Datatype, Vec<usize>)>,
    memory_bytes: usize,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("inputs", &self.inputs).field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

/// The operators that were compared with ONNX Runtime or are plain arithmetic. Control flow is not among them: what a
/// loop costs cannot be told from its graph.
const OPERATORS: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "GRU",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "Identity",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "RNN",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Selu",
    "Shape",
    "Sigmoid",
    "Sign",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Attributes that tract passes over: a file that sets one would get other answers. The value is the one that it may
/// have.
const PASSED_OVER: &[(&str, &str, i64)] = &[
    ("LSTM", "layout", 0),
    ("GRU", "layout", 0),
    ("RNN", "layout", 0),
    ("LSTM", "input_forget", 0),
    ("MaxPool", "storage_order", 0),
    ("BatchNormalization", "training_mode", 0),
    ("ArgMax", "select_last_index", 0),
    ("ArgMin", "select_last_index", 0),
    ("Cast", "saturate", 1),
];

/// The same, of attributes that must not be there.
const NOT_TAKEN: &[(&str, &str)] = &[
    ("LSTM", "clip"),
    ("GRU", "clip"),
    ("RNN", "clip"),
    ("LSTM", "activation_alpha"),
    ("GRU", "activation_alpha"),
    ("RNN", "activation_alpha"),
    ("LSTM", "activation_beta"),
    ("GRU", "activation_beta"),
    ("RNN", "activation_beta"),
];

impl Engine {
    /// Compiles the graph that could not be lowered because of `error`.
    pub(super) fn instead_of(
        error: ModelError,
        model: &Model<'_>,
        inputs: &[Input<'_>],
        bytes: &[u8],
    ) -> Result<Self, ModelError> {
        if error.kind != ModelErrorKind::Unsupported || model.graph.nodes.iter().any(|node| !node.domain.is_empty()) {
            return Err(error);
        }
        check_nodes(model)?;
        let guarded = catch_unwind(AssertUnwindSafe(|| Self::compile(model, inputs, bytes)));
        let compiled = guarded.unwrap_or_else(|_| Err("tract cannot read the graph".to_owned()));
        let engine = compiled.map_err(|why| {
            // Both engines' reasons: the user may change either.
            ModelError::unsupported(format!("{} (and on tract: {})", error.what, why.escape_debug()), OTHER_WAY)
        })?;
        engine.try_one_row(inputs)?;
        Ok(engine)
    }

    fn compile(model: &Model<'_>, inputs: &[Input<'_>], bytes: &[u8]) -> Result<Self, String> {
        let text = |error: TractError| format!("{error:#}");
        let onnx = tract_onnx::onnx();
        let mut proto = onnx.proto_model_for_read(&mut &*bytes).map_err(text)?;
        if let Some(graph) = &mut proto.graph {
            // Shapes that the file claims for values inside are of no use, and may lie.
            graph.value_info.clear();
        }
        let parsed = onnx.parse(&proto, None).map_err(text)?;
        let mut graph = parsed.model;
        let facts = inputs.iter().map(|input| InferenceFact::dt_shape(datum(input.element), row_shape(&input.dims)));
        let sources = graph.input_outlets().map_err(text)?.to_vec();
        if sources.len() != inputs.len() || !parsed.unresolved_inputs.is_empty() {
            return Err("its inputs are not the graph's".to_owned());
        }
        for (at, fact) in facts.enumerate() {
            graph.set_input_fact(at, fact).map_err(text)?;
        }
        let memory_bytes = check_sizes(&graph)?;
        let graph = graph.into_optimized().map_err(text)?;
        let declared = model.graph.outputs.iter().map(|info| info.element).enumerate();
        let outputs = declared.map(|(at, element)| output(&graph, at, element)).collect::<Result<_, _>>()?;
        let plan = graph.into_runnable().map_err(text)?;
        let inputs = inputs.iter().map(|input| row_shape(&input.dims)).collect();
        Ok(Self { plan: Arc::new(plan), inputs, outputs, memory_bytes })
    }

    fn try_one_row(&self, inputs: &[Input<'_>]) -> Result<(), ModelError> {
        let zeros = |input: &Input<'_>| {
            let width = input.dims.iter().product();
            match input.element {
                Element::F32 => Column::from(vec![0.0f32; width]),
                Element::F64 => Column::from(vec![0.0f64; width]),
                _ => Column::from(vec![0i64; width]),
            }
        };
        let zeros: Vec<_> = inputs.iter().map(zeros).collect();
        let refused =
            |error: ModelError| ModelError::unsupported(format!("one row of zeros: {}", error.what), OTHER_WAY);
        self.run(&zeros, 1).map(drop).map_err(refused)
    }

    /// The answers of `rows` rows, one per output.
    pub(super) fn run(&self, inputs: &[Column<'_>], rows: usize) -> Result<Vec<Values>, ModelError> {
        let guarded = catch_unwind(AssertUnwindSafe(|| self.run_rows(inputs, rows)));
        guarded
            .unwrap_or_else(|_| Err("it panicked".to_owned()))
            .map_err(|why| ModelError::shape(format!("tract failed: {}", why.escape_debug())))
    }

    fn run_rows(&self, inputs: &[Column<'_>], rows: usize) -> Result<Vec<Values>, String> {
        let capacity = |(datatype, dims): &(Datatype, Vec<usize>)| {
            Values::with_capacity(*datatype, rows * dims.iter().product::<usize>())
        };
        let mut answers: Vec<Values> = self.outputs.iter().map(capacity).collect();
        let mut state = SimpleState::new(&*self.plan).map_err(|error| format!("{error:#}"))?;
        for row in 0..rows {
            let tensors = inputs.iter().zip(&self.inputs).map(|(input, shape)| tensor(input, shape, row));
            let tensors = tensors.collect::<TractResult<TVec<TValue>>>();
            // A recurrent layer keeps its state from row to row otherwise.
            let outputs = tensors.and_then(|tensors| {
                state.reset_op_states()?;
                state.run(tensors)
            });
            let outputs = outputs.map_err(|error| format!("{error:#}"))?;
            for ((answer, value), (_, dims)) in answers.iter_mut().zip(&outputs).zip(&self.outputs) {
                append(answer, value, dims.iter().product())?;
            }
        }
        Ok(answers)
    }

    pub(super) fn output_specs(&self, model: &Model<'_>) -> Vec<TensorSpec> {
        let names = model.graph.outputs.iter().map(|info| info.name);
        names.zip(&self.outputs).map(|(name, (datatype, dims))| spec(name, *datatype, dims)).collect()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

/// The new shape is a constant without a zero, so it means the same either way.
fn has_no_zero(model: &Model<'_>, node: &Node<'_>) -> bool {
    let shape = model.graph.initializers.iter().find(|(name, _)| node.inputs.get(1) == Some(name));
    shape.and_then(|(_, tensor)| tensor.ints()).is_some_and(|shape| !shape.contains(&0))
}

fn check_nodes(model: &Model<'_>) -> Result<(), ModelError> {
    model.graph.nodes.iter().try_for_each(|node| check_node(model, node))
}

fn check_node(model: &Model<'_>, node: &Node<'_>) -> Result<(), ModelError> {
    if !OPERATORS.contains(&node.op) {
        return Err(ModelError::unsupported(format!("{node} is not run"), OTHER_WAY));
    }
    if let Some((name, _)) = node.attributes.iter().find(|(_, value)| matches!(value, Attribute::Other)) {
        return Err(
            node.unsupported(format_args!("its attribute {} is of a sort that is not read", name.escape_debug()))
        );
    }
    for (_, name, allowed) in PASSED_OVER.iter().filter(|(op, _, _)| *op == node.op) {
        let value = node.int(name, *allowed)?;
        if value != *allowed {
            return Err(node.unsupported(format_args!("with {name} = {value}")));
        }
    }
    if node.op == "ConstantOfShape" && !node.has("value") {
        // tract would fill it in double precision.
        return Err(node.unsupported("without a value"));
    }
    if node.op == "Reshape" && node.int("allowzero", 0)? != 0 && !has_no_zero(model, node) {
        return Err(node.unsupported("with allowzero and a shape that may hold 0"));
    }
    match NOT_TAKEN.iter().find(|(op, name)| *op == node.op && node.has(name)) {
        Some((_, name)) => Err(node.unsupported(format_args!("with {name}"))),
        None => Ok(()),
    }
}

fn datum(element: Element) -> DatumType {
    match element {
        Element::F32 => f32::datum_type(),
        Element::F64 => f64::datum_type(),
        _ => i64::datum_type(),
    }
}

/// A batch of one row.
fn row_shape(dims: &[usize]) -> Vec<usize> {
    [&[1], dims].concat()
}

fn output(graph: &TypedModel, at: usize, declared: i64) -> Result<(Datatype, Vec<usize>), String> {
    let fact = graph.output_fact(at).map_err(|error| format!("{error:#}"))?;
    let shape = fact.shape.as_concrete().ok_or("the shape of an output depends on the data")?;
    let datatype = match fact.datum_type {
        DatumType::F32 => Datatype::Fp32,
        DatumType::F64 => Datatype::Fp64,
        DatumType::I64 | DatumType::I32 | DatumType::Bool => Datatype::Int64,
        other => return Err(format!("an output of {other:?}")),
    };
    let expected = Element::from_onnx(declared).map(datatype_of);
    if expected.is_some_and(|expected| expected != datatype) {
        return Err(format!("an output of {datatype:?} where the file says {expected:?}"));
    }
    match shape {
        [1, dims @ ..] if !dims.contains(&0) => Ok((datatype, dims.to_vec())),
        _ => Err(format!("an output of the shape {shape:?}, which has no row for a batch of one")),
    }
}

fn tensor(input: &Column<'_>, shape: &[usize], row: usize) -> TractResult<TValue> {
    let width: usize = shape.iter().product();
    let range = row * width..(row + 1) * width;
    Ok(match input {
        Column::F32(values) => Tensor::from_shape(shape, &values[range])?.into(),
        Column::F64(values) => Tensor::from_shape(shape, &values[range])?.into(),
        Column::Ints(values) => Tensor::from_shape(shape, &values[range])?.into(),
    })
}

fn append(answer: &mut Values, value: &TValue, width: usize) -> Result<(), String> {
    let text = |error: TractError| format!("{error:#}");
    if value.len() != width {
        return Err(format!("an output of {} numbers instead of {width}", value.len()));
    }
    match answer {
        Values::F32(all) => all.extend_from_slice(value.as_slice::<f32>().map_err(text)?),
        Values::F64(all) => all.extend_from_slice(value.as_slice::<f64>().map_err(text)?),
        Values::I64(all) => {
            let cast = value.cast_to::<i64>().map_err(text)?;
            all.extend_from_slice(cast.as_slice::<i64>().map_err(text)?);
        }
        Values::Strings(_) => return Err("an output of text".to_owned()),
    }
    Ok(())
}
