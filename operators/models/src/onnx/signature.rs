//! Inputs and outputs of a graph as a model's signature: the batch dimension apart.

use std::collections::HashSet;

use lunapark_schemas::{Datatype, TensorSpec};

use super::lower::{MAX_WIDTH, Rows};
use super::proto::{Dim, Model, ValueInfo};
use super::tensor::{Element, checked_len, element_name};
use crate::ModelError;

/// One input of the graph.
#[derive(Clone, Debug)]
pub(super) struct Input<'a> {
    pub name: &'a str,
    pub element: Element,
    /// Dimensions after the batch's.
    pub dims: Vec<usize>,
    /// The file fixes the batch to one row.
    pub single: bool,
}

/// The graph's inputs; those that an initializer gives a value are constants.
pub(super) fn inputs<'a>(model: &Model<'a>) -> Result<Vec<Input<'a>>, ModelError> {
    let constants: HashSet<&str> = model.graph.initializers.iter().map(|(name, _)| *name).collect();
    let inputs: Vec<_> = model.graph.inputs.iter().filter(|info| !constants.contains(info.name)).collect();
    if inputs.is_empty() || model.graph.outputs.is_empty() {
        return Err(ModelError::unreadable("the graph has no input or no output"));
    }
    let (mut read, mut names) = (Vec::new(), HashSet::new());
    for info in inputs {
        if !names.insert(info.name) {
            return Err(ModelError::unreadable(format!("two inputs \"{}\"", info.name.escape_debug())));
        }
        read.push(input(info)?);
    }
    Ok(read)
}

fn input<'a>(info: &ValueInfo<'a>) -> Result<Input<'a>, ModelError> {
    let named = |what: String| format!("input \"{}\" {what}", info.name.escape_debug());
    let element = element(info).map_err(|kind| {
        ModelError::unsupported(named(format!("is {kind}")), "give numbers: float, double or int64 inputs are read")
    })?;
    let (batch, rest) = match info.dims.as_deref() {
        Some([batch, rest @ ..]) => (batch, rest),
        _ => {
            let advice =
                "declare its shape, the batch first (`onnx.tools.update_model_dims.update_inputs_outputs_dims`)";
            return Err(ModelError::unsupported(named("has no dimensions".to_owned()), advice));
        }
    };
    let single = is_single(batch).map_err(|other| {
        let advice = "export it with a dynamic first dimension (`dynamic_axes`, `dynamic_shapes`), or with 1";
        ModelError::unsupported(named(format!("has the fixed batch {other}")), advice)
    })?;
    let dims = inner(rest).map_err(|what| {
        let advice = "export it with every dimension after the batch fixed \
                      (`onnxruntime.tools.make_dynamic_shape_fixed`)";
        ModelError::unsupported(named(what), advice)
    })?;
    Ok(Input { name: info.name, element, dims, single })
}

/// The type of an input's numbers; else what it is.
fn element(info: &ValueInfo<'_>) -> Result<Element, &'static str> {
    let element = Element::from_onnx(info.element);
    element
        .filter(|element| !matches!(element, Element::Text | Element::Bool | Element::I32))
        .ok_or(if info.is_sequence { "a sequence" } else { element_name(info.element) })
}

/// Whether the batch is fixed to one row; an error where it is to another number.
fn is_single(batch: &Dim<'_>) -> Result<bool, i64> {
    match batch {
        // Old converters write 0 for an unknown batch.
        Dim::Named(_) | Dim::Unknown | Dim::Fixed(-1 | 0) => Ok(false),
        Dim::Fixed(1) => Ok(true),
        Dim::Fixed(other) => Err(*other),
    }
}

fn inner(dims: &[Dim<'_>]) -> Result<Vec<usize>, String> {
    let fixed = |(at, dim): (usize, &Dim<'_>)| match dim {
        Dim::Fixed(size) if (1..=MAX_WIDTH as i64).contains(size) => Ok(*size as usize),
        Dim::Fixed(size) => Err(format!("has the dimension {size} at {}", at + 1)),
        Dim::Named(name) => Err(format!("leaves dimension {} open (\"{}\")", at + 1, name.escape_debug())),
        Dim::Unknown => Err(format!("leaves dimension {} open", at + 1)),
    };
    let dims: Vec<_> = dims.iter().enumerate().map(fixed).collect::<Result<_, _>>()?;
    match checked_len(&dims) {
        Some(width) if width <= MAX_WIDTH => Ok(dims),
        _ => Err(format!("has the shape {dims:?} per row, {MAX_WIDTH} numbers are read at most")),
    }
}

/// How an input is asked for.
pub(super) fn input_spec(input: &Input<'_>) -> TensorSpec {
    spec(input.name, datatype(input.element), &input.dims)
}

/// How an output is answered.
pub(super) fn output_spec(name: &str, rows: &Rows) -> TensorSpec {
    spec(name, datatype(rows.element), &rows.dims)
}

/// A flat vector has no shape of its own.
pub(super) fn spec(name: &str, datatype: Datatype, dims: &[usize]) -> TensorSpec {
    match dims {
        [] => TensorSpec::new(name, datatype, 1),
        [width] => TensorSpec::new(name, datatype, *width),
        _ => TensorSpec::with_shape(name, datatype, dims.to_vec()),
    }
}

/// The type of an element as it travels.
pub(super) fn datatype(element: Element) -> Datatype {
    match element {
        Element::F32 => Datatype::Fp32,
        Element::F64 => Datatype::Fp64,
        Element::I64 | Element::I32 | Element::Bool => Datatype::Int64,
        Element::Text => Datatype::Bytes,
    }
}
