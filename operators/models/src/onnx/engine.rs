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

use super::allowed;
use super::bounds::check_sizes;
use super::node::OTHER_WAY;
use super::program::Column;
use super::proto::Model;
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
        allowed::check_nodes(model)?;
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
