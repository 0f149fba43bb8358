//! A graph that tract has compiled for a fixed number of rows.

use std::fmt;
use std::ops::Range;

use lunapark_schemas::Datatype;
use lunapark_schemas::rows::Values;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;

use super::bounds::check_sizes;
use super::program::Column;
use super::proto::Model;
use super::signature::{Input, datatype as datatype_of};
use super::tensor::Element;

type Plan = TypedRunnableModel<TypedModel>;
type State<'p> = TypedSimpleState<TypedModel, &'p Plan>;

/// Why a graph is not compiled for so many rows.
#[derive(Debug)]
pub(super) enum Fault {
    /// An output has not a row for each of the batch.
    Rows(String),
    Other(String),
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Fault::Other(what)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Fault::Rows(what) | Fault::Other(what)) = self;
        f.write_str(what)
    }
}

/// Answers so many rows at a time, and no other number of them.
pub(super) struct Compiled {
    plan: Plan,
    pub rows: usize,
    /// Their shapes, the batch first.
    inputs: Vec<Vec<usize>>,
    /// Their types, and the dimensions of a row.
    pub outputs: Vec<(Datatype, Vec<usize>)>,
    pub memory_bytes: usize,
}

impl Compiled {
    /// Compiles `bytes`, which `model` was read from; its tensors may have `max_elements` together.
    pub(super) fn new(
        model: &Model<'_>,
        inputs: &[Input<'_>],
        bytes: &[u8],
        rows: usize,
        max_elements: usize,
    ) -> Result<Self, Fault> {
        Self::compile(model, inputs, bytes, (rows, max_elements), false)
    }

    /// The same of a graph whose instance normalizations take the mean of each instance away, and do no more. They join
    /// what they did, and keep rows apart, which those of tract do not.
    pub(super) fn standing_in(
        model: &Model<'_>,
        inputs: &[Input<'_>],
        bytes: &[u8],
        rows: usize,
        max_elements: usize,
    ) -> Result<Self, Fault> {
        Self::compile(model, inputs, bytes, (rows, max_elements), true)
    }

    fn compile(
        model: &Model<'_>,
        inputs: &[Input<'_>],
        bytes: &[u8],
        (rows, max_elements): (usize, usize),
        stand_in: bool,
    ) -> Result<Self, Fault> {
        let inputs: Vec<_> =
            inputs.iter().map(|input| (datum(input.element), batch_shape(rows, &input.dims))).collect();
        let graph = read(bytes, &inputs, stand_in).map_err(text)?;
        let memory_bytes = check_sizes(&graph, max_elements, rows)?;
        let graph = graph.into_optimized().map_err(text)?;
        let declared = model.graph.outputs.iter().map(|info| info.element).enumerate();
        let outputs = declared.map(|(at, element)| output(&graph, at, element, rows)).collect::<Result<_, _>>()?;
        let plan = graph.into_runnable().map_err(text)?;
        let inputs = inputs.into_iter().map(|(_, shape)| shape).collect();
        Ok(Self { plan, rows, inputs, outputs, memory_bytes })
    }

    /// Appends the answers of these rows; where the last ones do not fill a block, zeros stand for the others.
    pub(super) fn answer(
        &self,
        inputs: &[Column<'_>],
        rows: Range<usize>,
        answers: &mut [Values],
    ) -> Result<(), String> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut state = SimpleState::new(&self.plan).map_err(text)?;
        for start in rows.clone().step_by(self.rows) {
            let taken = start..rows.end.min(start + self.rows);
            let outputs = self.run(&mut state, inputs, taken.clone()).map_err(text)?;
            for ((answer, value), (_, dims)) in answers.iter_mut().zip(&outputs).zip(&self.outputs) {
                let width: usize = dims.iter().product();
                append(answer, value, self.rows * width, taken.len() * width)?;
            }
        }
        Ok(())
    }

    fn run(&self, state: &mut State<'_>, inputs: &[Column<'_>], rows: Range<usize>) -> TractResult<TVec<TValue>> {
        let tensors = inputs.iter().zip(&self.inputs).map(|(input, shape)| tensor(input, shape, rows.clone()));
        let tensors = tensors.collect::<TractResult<TVec<TValue>>>()?;
        // A recurrent layer keeps its state from block to block otherwise.
        state.reset_op_states()?;
        state.run(tensors)
    }
}

fn text(error: TractError) -> String {
    format!("{error:#}")
}

fn read(bytes: &[u8], inputs: &[(DatumType, Vec<usize>)], stand_in: bool) -> TractResult<InferenceModel> {
    let onnx = tract_onnx::onnx();
    let mut proto = onnx.proto_model_for_read(&mut &*bytes)?;
    if let Some(graph) = &mut proto.graph {
        // Shapes that the file claims for values inside are of no use, and may lie.
        graph.value_info.clear();
        if stand_in {
            graph.node = std::mem::take(&mut graph.node).into_iter().flat_map(standing_in).collect();
        }
    }
    let parsed = onnx.parse(&proto, None)?;
    let mut graph = parsed.model;
    let sources = graph.input_outlets()?.len();
    if sources != inputs.len() || !parsed.unresolved_inputs.is_empty() {
        return Err(TractError::msg("its inputs are not the graph's"));
    }
    for (at, (datum, shape)) in inputs.iter().enumerate() {
        graph.set_input_fact(at, InferenceFact::dt_shape(*datum, shape))?;
    }
    Ok(graph)
}

/// A node, or in the place of an instance normalization the two that take the mean of each instance away.
fn standing_in(node: NodeProto) -> Vec<NodeProto> {
    if node.op_type != "InstanceNormalization" {
        return vec![node];
    }
    let (mut mean, mut less) = (node.clone(), node);
    let name = format!("{}.mean", less.output.first().map_or("", String::as_str));
    mean.op_type = "GlobalAveragePool".to_owned();
    less.op_type = "Sub".to_owned();
    for node in [&mut mean, &mut less] {
        node.input.truncate(1);
        node.attribute.clear();
    }
    mean.name.push_str(".mean");
    mean.output = vec![name.clone()];
    less.input.push(name);
    vec![mean, less]
}

fn datum(element: Element) -> DatumType {
    match element {
        Element::F32 => f32::datum_type(),
        Element::F64 => f64::datum_type(),
        _ => i64::datum_type(),
    }
}

fn batch_shape(rows: usize, dims: &[usize]) -> Vec<usize> {
    [&[rows], dims].concat()
}

fn output(graph: &TypedModel, at: usize, declared: i64, rows: usize) -> Result<(Datatype, Vec<usize>), Fault> {
    let fact = graph.output_fact(at).map_err(text)?;
    let shape = fact.shape.as_concrete().ok_or_else(|| "the shape of an output depends on the data".to_owned())?;
    let datatype = match fact.datum_type {
        DatumType::F32 => Datatype::Fp32,
        DatumType::F64 => Datatype::Fp64,
        DatumType::I64 | DatumType::I32 | DatumType::Bool => Datatype::Int64,
        other => return Err(format!("an output of {other:?}").into()),
    };
    let expected = Element::from_onnx(declared).map(datatype_of);
    if expected.is_some_and(|expected| expected != datatype) {
        return Err(format!("an output of {datatype:?} where the file says {expected:?}").into());
    }
    match shape {
        [batch, dims @ ..] if *batch == rows && !dims.contains(&0) => Ok((datatype, dims.to_vec())),
        _ => Err(Fault::Rows(format!(
            "an output of the shape {shape:?}, which has no row for each of a batch of {rows}"
        ))),
    }
}

fn tensor(input: &Column<'_>, shape: &[usize], rows: Range<usize>) -> TractResult<TValue> {
    let width: usize = shape[1..].iter().product();
    let range = rows.start * width..rows.end * width;
    Ok(match input {
        Column::F32(values) => filled(shape, &values[range])?.into(),
        Column::F64(values) => filled(shape, &values[range])?.into(),
        Column::Ints(values) => filled(shape, &values[range])?.into(),
    })
}

/// A tensor of these values, zeros after them.
fn filled<T: Datum + Copy>(shape: &[usize], values: &[T]) -> TractResult<Tensor> {
    if values.len() == shape.iter().product::<usize>() {
        return Tensor::from_shape(shape, values);
    }
    let mut tensor = Tensor::zero_dt(T::datum_type(), shape)?;
    tensor.as_slice_mut::<T>()?[..values.len()].copy_from_slice(values);
    Ok(tensor)
}

/// Appends the first `taken` of the output's numbers, of which there must be `all`.
fn append(answer: &mut Values, value: &TValue, all: usize, taken: usize) -> Result<(), String> {
    if value.len() != all {
        return Err(format!("an output of {} numbers instead of {all}", value.len()));
    }
    match answer {
        Values::F32(answers) => answers.extend_from_slice(&value.as_slice::<f32>().map_err(text)?[..taken]),
        Values::F64(answers) => answers.extend_from_slice(&value.as_slice::<f64>().map_err(text)?[..taken]),
        Values::I64(answers) => {
            let cast = value.cast_to::<i64>().map_err(text)?;
            answers.extend_from_slice(&cast.as_slice::<i64>().map_err(text)?[..taken]);
        }
        Values::Strings(_) => return Err("an output of text".to_owned()),
    }
    Ok(())
}
