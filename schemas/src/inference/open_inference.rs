//! Open Inference Protocol v2 requests, in JSON or with raw tensors behind a JSON part.
//!
//! A tensor is one of the model's inputs by name, or one field of an input by name (then every field must be sent).
//! A model with a single input takes a single tensor under any name, because many clients call it `input-0`.

use crate::outcome::{ErrorClass, Rejection};
use crate::rows::RowsBuilder;
use crate::signature::Signature;

use super::columns::{self, Failures, check_rows, locate, names};
use super::json::{self, Members, Value, shorten};
use super::tensors::{Target, Tensor};
use super::{Extra, Format, Limits, Request};

/// Decodes a request whose members are known; `raw` are the bytes behind a JSON part.
pub(super) fn decode(
    members: &Members<'_>,
    raw: &[u8],
    rows: &mut RowsBuilder,
    limits: &Limits,
) -> Result<Request, Rejection> {
    decode_members(members, raw, Format::OpenInference, rows, limits)
}

/// Decodes a request whose first `json_length` bytes are JSON and whose others are raw tensors.
pub(super) fn decode_binary(
    payload: &[u8],
    json_length: usize,
    rows: &mut RowsBuilder,
    limits: &Limits,
) -> Result<Request, Rejection> {
    let (header, raw) = split(payload, json_length)?;
    let members = Members::of(json::document(header, &[])?)?;
    decode_members(&members, raw, Format::OpenInferenceBinary, rows, limits)
}

/// The JSON part, and the raw tensors behind it.
pub(super) fn split(payload: &[u8], json_length: usize) -> Result<(&[u8], &[u8]), Rejection> {
    payload.split_at_checked(json_length).ok_or_else(|| {
        let len = payload.len();
        let text = format!("{json_length} bytes of JSON are announced, the payload has {len}; send all of it");
        Rejection::new(ErrorClass::Header, text)
    })
}

/// Name of each tensor and dimensions of its rows, as the request announces them.
pub(super) fn announced<'a>(members: &Members<'a>, mut raw: &'a [u8]) -> Result<Vec<(String, Vec<usize>)>, Rejection> {
    let tensors = read_tensors(members.inputs, &mut raw)?;
    Ok(tensors.iter().map(|tensor| (tensor.name.clone().into_owned(), tensor.dims().to_vec())).collect())
}

fn decode_members<'a>(
    members: &Members<'a>,
    mut raw: &'a [u8],
    format: Format,
    rows: &mut RowsBuilder,
    limits: &Limits,
) -> Result<Request, Rejection> {
    let signature = rows.signature().clone();
    let mut extra = Extra { id: id(members.id)?, outputs: outputs(members.outputs, &signature)?, failed: Vec::new() };
    let tensors = read_tensors(members.inputs, &mut raw)?;
    if !raw.is_empty() {
        let text = format!("{} bytes follow the last tensor; send only what the JSON part announces", raw.len());
        return Err(Rejection::new(ErrorClass::Malformed, text));
    }
    let plan = plan(&tensors, &signature)?;
    let count = row_count(&tensors, limits)?;
    let mut failures = Failures::default();
    fill(&plan, count, rows, &mut failures)?;
    extra.failed = failures.commit(count, rows)?;
    Ok(Request::new(format, count as u32, extra))
}

fn id(id: Option<Value<'_>>) -> Result<Option<String>, Rejection> {
    let Some(id) = id.filter(|id| !id.is_null()) else { return Ok(None) };
    let text = id.string().ok_or_else(|| {
        Rejection::new(ErrorClass::Malformed, format!("`id` is {} where a string belongs", id.kind()))
    })?;
    Ok(Some(text.into_owned()))
}

/// Names of the outputs asked for; each must be the model's, and asked for once.
fn outputs(outputs: Option<Value<'_>>, signature: &Signature) -> Result<Vec<String>, Rejection> {
    let mut asked: Vec<String> = Vec::new();
    for output in outputs.into_iter().flat_map(Value::elements) {
        let name = output.members().find(|(name, _)| name == "name").and_then(|(_, value)| value.string());
        let name = name.unwrap_or_default();
        if asked.iter().any(|known| *known == name) || !signature.outputs.iter().any(|spec| spec.name == name) {
            let (name, known) = (shorten(name.as_bytes()), names(&signature.outputs));
            let text = format!("output `{name}` is unknown or asked for twice; the model's outputs are {known}");
            return Err(Rejection::new(ErrorClass::Shape, text));
        }
        asked.push(name.into_owned());
    }
    Ok(asked)
}

fn read_tensors<'a>(inputs: Option<Value<'a>>, raw: &mut &'a [u8]) -> Result<Vec<Tensor<'a>>, Rejection> {
    let inputs = inputs.filter(|inputs| inputs.is_array()).ok_or_else(|| {
        Rejection::new(ErrorClass::Malformed, "`inputs` is missing or no array; send the model's inputs in it")
    })?;
    inputs.elements().map(|input| Tensor::read(input, raw)).collect()
}

/// A tensor and where it goes: an input, or one field of it.
struct Step<'a> {
    tensor: &'a Tensor<'a>,
    input: usize,
    field: Option<usize>,
}

fn plan<'a>(tensors: &'a [Tensor<'a>], signature: &Signature) -> Result<Vec<Step<'a>>, Rejection> {
    let only = signature.inputs.len() == 1 && tensors.len() == 1;
    let place = |tensor: &'a Tensor<'a>| {
        let place = locate(signature, &tensor.name).or(only.then_some((0, None)));
        let (input, field) = place.ok_or_else(|| unknown(tensor, signature))?;
        Ok(Step { tensor, input, field })
    };
    let plan: Vec<Step<'_>> = tensors.iter().map(place).collect::<Result<_, _>>()?;
    check_complete(&plan, signature)?;
    plan.iter().try_for_each(|step| check_shape(step, signature))?;
    Ok(plan)
}

/// Every input is there once: whole, or each of its fields.
fn check_complete(plan: &[Step<'_>], signature: &Signature) -> Result<(), Rejection> {
    let mut sent: Vec<_> = plan.iter().map(|step| (step.input, step.field)).collect();
    sent.sort_unstable();
    let twice = sent.windows(2).find(|pair| pair[0] == pair[1] || (pair[0].0 == pair[1].0 && pair[0].1.is_none()));
    if let Some(&[_, (input, field)]) = twice {
        let spec = &signature.inputs[input];
        let name = field.and_then(|field| spec.fields.get(field)).unwrap_or(&spec.name);
        return Err(Rejection::new(ErrorClass::Malformed, format!("input `{name}` is there twice; send it once")));
    }
    for (input, spec) in signature.inputs.iter().enumerate() {
        let whole = sent.binary_search(&(input, None)).is_ok();
        let missing = (0..spec.width).find(|field| sent.binary_search(&(input, Some(*field))).is_err());
        if let Some(field) = missing.filter(|_| !whole) {
            let by_field = sent.iter().any(|(other, _)| *other == input);
            let name = spec.fields.get(field).filter(|_| by_field).unwrap_or(&spec.name);
            return Err(Rejection::new(ErrorClass::Shape, format!("input `{name}` is not there; send it")));
        }
    }
    Ok(())
}

fn unknown(tensor: &Tensor<'_>, signature: &Signature) -> Rejection {
    let (name, known) = (shorten(tensor.name.as_bytes()), names(&signature.inputs));
    Rejection::new(ErrorClass::Shape, format!("the model has no input or field `{name}`; its inputs are {known}"))
}

/// A tensor has the input's own dimensions behind the rows, or is flat. Others with as many values are refused: their
/// values would stand in another order.
fn check_shape(step: &Step<'_>, signature: &Signature) -> Result<(), Rejection> {
    let spec = &signature.inputs[step.input];
    let (takes, dims) = if step.field.is_some() { (1, &[][..]) } else { (spec.width, spec.dims()) };
    match step.tensor.dims() {
        found if found == dims || found == [takes] => return Ok(()),
        [] if takes == 1 => return Ok(()),
        _ => {}
    }
    let (name, shape) = (shorten(step.tensor.name.as_bytes()), step.tensor.shape_text());
    let own = match dims {
        [_, _, ..] => format!("{} or ", rows_and(dims)),
        _ => String::new(),
    };
    let text = format!(
        "input `{name}`: shape {shape} where the model takes {own}[rows, {takes}]; send {takes} values per row"
    );
    Err(Rejection::new(ErrorClass::Shape, text))
}

/// `[rows, 28, 28]`.
fn rows_and(dims: &[usize]) -> String {
    let dims: Vec<_> = dims.iter().map(usize::to_string).collect();
    format!("[rows, {}]", dims.join(", "))
}

fn row_count(tensors: &[Tensor<'_>], limits: &Limits) -> Result<usize, Rejection> {
    let count = tensors.first().map_or(0, Tensor::rows);
    check_rows(count, limits.max_rows)?;
    for tensor in tensors {
        if tensor.rows() != count {
            let (name, rows) = (shorten(tensor.name.as_bytes()), tensor.rows());
            let text = format!("input `{name}` has {rows} rows, the first input has {count}; send as many for each");
            return Err(Rejection::new(ErrorClass::Shape, text));
        }
        tensor.check_size()?;
    }
    Ok(count)
}

fn fill(plan: &[Step<'_>], count: usize, rows: &mut RowsBuilder, failures: &mut Failures) -> Result<(), Rejection> {
    let (base, signature) = (rows.rows(), rows.signature().clone());
    let columns = rows.columns_mut();
    for step in plan {
        let (spec, values) = (&signature.inputs[step.input], &mut columns[step.input]);
        if step.field.is_some() && values.len() == base * spec.width {
            columns::extend_missing(values, count * spec.width);
        }
        step.tensor.fill(&mut Target { spec, values, base, field: step.field }, failures)?;
    }
    Ok(())
}
