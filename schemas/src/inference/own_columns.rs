//! Events read without a model: the columns that a request names itself, as numbers.
//!
//! What an Open Inference Protocol request calls a tensor, or an Arrow stream a column, is an input of a signature made for
//! that one message; then the message is decoded as for any model, with the same checks.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};

use crate::headers::Headers;
use crate::messages::Message;
use crate::outcome::{ErrorClass, Rejection};
use crate::rows::RowsBuilder;
use crate::signature::{Datatype, Signature, TensorSpec};

use super::json::{self, Members, Value, shorten};
use super::{Limits, Request, arrow_columns, arrow_request, content_type, open_inference};

/// More numbers per row than any detector has in one column; bounds what a lying shape may claim.
const MOST_WIDTH: usize = 1 << 20;

/// False where the headers announce tensors or an Arrow stream; JSON is what everything else is taken for.
pub fn is_json(headers: Headers<'_>) -> bool {
    use content_type::Announced::{Arrow, Binary};
    !matches!(content_type::of(headers), Ok(Arrow | Binary { .. }))
}

/// The rows of an Open Inference Protocol request or an Arrow stream: a column of doubles per tensor or column, a
/// fixed-size list where it has several values per row. Columns of an Arrow stream that are no numbers are left out.
///
/// `None` where the message is JSON of another kind: KServe v1, or an object of somebody's own.
pub fn own_columns(message: &Message<'_>, limits: &Limits) -> Result<Option<RecordBatch>, Rejection> {
    let payload = message.value.unwrap_or_default();
    match content_type::of(message.headers) {
        Ok(content_type::Announced::Arrow) => {
            let schema = arrow_request::schema(payload)?;
            batch(columns_of(&schema)?, |rows| arrow_request::decode(payload, rows, limits)).map(Some)
        }
        Ok(content_type::Announced::Binary { json_length }) => {
            let (header, raw) = open_inference::split(payload, json_length)?;
            let members = Members::of(json::document(header, &[])?)?;
            tensors(members, raw, limits).map(Some)
        }
        _ => of_json(payload, limits),
    }
}

/// Whether an object is a request is seen by its tensors, each with a name and a shape.
fn of_json(payload: &[u8], limits: &Limits) -> Result<Option<RecordBatch>, Rejection> {
    let Some(members) = json::document(payload, &[]).ok().and_then(|document| Members::of(document).ok()) else {
        return Ok(None);
    };
    let is_tensor = |value: Value<'_>| {
        let has = |wanted: &str| value.is_object() && value.members().any(|(name, _)| name == wanted);
        has("name") && has("shape")
    };
    let mut inputs = members.inputs.filter(|inputs| inputs.is_array()).into_iter().flat_map(Value::elements);
    match inputs.next().is_some_and(is_tensor) {
        true => tensors(members, &[], limits).map(Some),
        false => Ok(None),
    }
}

fn tensors(members: Members<'_>, raw: &[u8], limits: &Limits) -> Result<RecordBatch, Rejection> {
    // Which outputs it asks for is the model's affair.
    let members = Members { outputs: None, ..members };
    let inputs = open_inference::announced(&members, raw)?;
    let inputs = inputs.into_iter().map(|(name, dims)| spec(&name, dims)).collect::<Result<_, _>>()?;
    batch(inputs, |rows| open_inference::decode(&members, raw, rows, limits))
}

/// The columns of numbers.
fn columns_of(schema: &Schema) -> Result<Vec<TensorSpec>, Rejection> {
    let dims = |field: &arrow_schema::FieldRef| Some((field.name().clone(), dims_of(field.data_type())?));
    schema.fields().iter().filter_map(dims).map(|(name, dims)| spec(&name, dims)).collect()
}

/// Dimensions of a row: none for a number, those of lists of a fixed size; `None` where there are no numbers.
fn dims_of(mut data_type: &DataType) -> Option<Vec<usize>> {
    let mut dims = Vec::new();
    while let DataType::FixedSizeList(item, size) = data_type {
        dims.push(usize::try_from(*size).ok()?);
        data_type = item.data_type();
    }
    arrow_columns::is_number(data_type).then_some(dims)
}

fn spec(name: &str, dims: Vec<usize>) -> Result<TensorSpec, Rejection> {
    let width = dims.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    match width.filter(|width| (1..=MOST_WIDTH).contains(width)) {
        Some(1) => Ok(TensorSpec::new(name, Datatype::Fp64, 1)),
        Some(_) => Ok(TensorSpec::with_shape(name, Datatype::Fp64, dims)),
        None => {
            let name = shorten(name.as_bytes());
            let text = format!("column `{name}` has rows of {dims:?} values; send 1 to {MOST_WIDTH} per row");
            Err(Rejection::new(ErrorClass::Shape, text))
        }
    }
}

fn batch(
    inputs: Vec<TensorSpec>,
    decode: impl FnOnce(&mut RowsBuilder) -> Result<Request, Rejection>,
) -> Result<RecordBatch, Rejection> {
    check_names(&inputs)?;
    let mut rows = RowsBuilder::new(Arc::new(Signature { inputs, outputs: Vec::new() }), 0);
    let request = decode(&mut rows)?;
    if let Some(row) = request.failed().first() {
        return Err(row.rejection.clone());
    }
    rows.finish().map_err(|error| Rejection::new(ErrorClass::Malformed, error.to_string()))
}

fn check_names(inputs: &[TensorSpec]) -> Result<(), Rejection> {
    let mut names: Vec<_> = inputs.iter().map(|spec| &*spec.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        _ if names.is_empty() => Err(Rejection::new(ErrorClass::Shape, "there is no column of numbers")),
        Some(twice) => {
            let name = shorten(twice[0].as_bytes());
            Err(Rejection::new(ErrorClass::Shape, format!("two columns are named `{name}`; name them apart")))
        }
        None => Ok(()),
    }
}
