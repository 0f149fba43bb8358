//! Arrow IPC stream requests: many events per message.
//!
//! Columns fit the model's inputs in this order of preference: a column named as the input (a fixed-size list, or a
//! list of exactly that width, lists in lists as the input's dimensions are; a scalar where the width is 1); scalar columns named as the input's fields; for a model
//! with one input, the only column there is, or exactly `width` scalar columns in their order where the model has no
//! field names. Other columns are ignored and not even unpacked. Nulls are missing values.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::MessageHeader;
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_schema::{DataType, Schema, SchemaRef};

use crate::outcome::{ErrorClass, Rejection};
use crate::rows::RowsBuilder;
use crate::signature::{Datatype, Signature, TensorSpec};

use super::arrow_columns::{self, Place};
use super::arrow_frames::{Frame, Frames, check_batch, kind, malformed};
use super::columns::{Failures, check_rows};
use super::json::shorten;
use super::{Extra, Format, Limits, Request};

/// Decodes a stream.
///
/// [`arrow_frames`](super::arrow_frames) refuses what would make the library allocate without bound. Should a hostile
/// stream still find a panic in it, that is caught here as the last line (the panic hook will have logged it), and the
/// message is rejected like any other; the caller takes back half-written rows.
pub(super) fn decode(payload: &[u8], rows: &mut RowsBuilder, limits: &Limits) -> Result<Request, Rejection> {
    guarded(|| decode_stream(payload, rows, limits))
}

/// The columns that a stream announces.
pub(super) fn schema(payload: &[u8]) -> Result<SchemaRef, Rejection> {
    guarded(|| read_schema(&mut Frames::new(payload)))
}

fn guarded<T>(read: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Rejection> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(malformed("the Arrow stream contradicts itself; send it as an Arrow library writes it"))
    })
}

fn decode_stream(payload: &[u8], rows: &mut RowsBuilder, limits: &Limits) -> Result<Request, Rejection> {
    let mut frames = Frames::new(payload);
    let schema = read_schema(&mut frames)?;
    let signature = rows.signature().clone();
    let plan = plan(&schema, &signature)?;
    let projection: Vec<usize> = plan.iter().map(|(column, _)| *column).collect();
    let mut failures = Failures::default();
    let (mut count, mut unpacked) = (0, 0);
    while let Some(frame) = frames.next()? {
        let (more, bytes) = check_frame(&frame, limits)?;
        unpacked += bytes;
        check_total(count + more, unpacked, limits)?;
        let batch = read_batch(&frame, &schema, &projection)?;
        let at = rows.rows() + count;
        for ((_, place), array) in plan.iter().zip(batch.columns()) {
            let (spec, values) = (&signature.inputs[place.input], &mut rows.columns_mut()[place.input]);
            let mut target = arrow_columns::Target { spec, values, at, first_row: count, field: place.field };
            arrow_columns::append(array, &mut target, &mut failures)?;
        }
        count += more;
    }
    check_rows(count, limits.max_rows)?;
    let failed = failures.commit(count, rows)?;
    Ok(Request::new(Format::Arrow, count as u32, Extra { failed, ..Extra::default() }))
}

fn check_total(count: usize, unpacked: usize, limits: &Limits) -> Result<(), Rejection> {
    let most = limits.max_payload_bytes;
    if unpacked > most {
        let text = format!("the stream unpacks to more than {most} bytes, the limit; send fewer rows per message");
        return Err(Rejection::new(ErrorClass::TooLarge, text));
    }
    check_rows(count.max(1), limits.max_rows)
}

fn read_schema(frames: &mut Frames<'_>) -> Result<SchemaRef, Rejection> {
    let frame = frames.next()?.ok_or_else(|| malformed("the stream is empty; send its schema and record batches"))?;
    let schema = frame.message.header_as_schema().ok_or_else(|| {
        malformed(format!("the stream starts with a {} where a schema belongs", kind(frame.message.header_type())))
    })?;
    Ok(Arc::new(arrow_ipc::convert::fb_to_schema(schema)))
}

fn check_frame(frame: &Frame<'_>, limits: &Limits) -> Result<(usize, usize), Rejection> {
    match (frame.message.header_type(), frame.message.header_as_record_batch()) {
        (_, Some(batch)) => check_batch(&batch, frame.body, limits),
        (MessageHeader::DictionaryBatch, _) => {
            Err(Rejection::new(ErrorClass::Shape, "dictionary-encoded columns are not supported; send plain columns"))
        }
        (other, _) => Err(malformed(format!("the stream holds a {} where a record batch belongs", kind(other)))),
    }
}

fn read_batch(frame: &Frame<'_>, schema: &SchemaRef, projection: &[usize]) -> Result<RecordBatch, Rejection> {
    let Some(batch) = frame.message.header_as_record_batch() else { return Err(malformed("no record batch")) };
    let (body, dictionaries, version) = (Buffer::from(frame.body), HashMap::new(), frame.message.version());
    RecordBatchDecoder::try_new(&body, batch, schema.clone(), &dictionaries, &version)
        .and_then(|decoder| decoder.with_projection(Some(projection)).read_record_batch())
        .map_err(|error| {
            malformed(format!("a record batch does not decode: {}", shorten(error.to_string().as_bytes())))
        })
}

/// Which columns are read, ascending, and where each goes.
fn plan(schema: &Schema, signature: &Signature) -> Result<Vec<(usize, Place)>, Rejection> {
    let mut plan = Vec::new();
    for (input, spec) in signature.inputs.iter().enumerate() {
        let only = signature.inputs.len() == 1;
        let columns = columns_of(schema, spec, only).ok_or_else(|| no_columns(schema, spec))?;
        for (column, field) in columns {
            check_type(schema, column, spec, field)?;
            plan.push((column, Place { input, field }));
        }
    }
    // The library gives columns in schema order only where the projection is ascending and without repetition.
    plan.sort_by_key(|(column, _)| *column);
    let distinct = plan.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if distinct {
        Ok(plan)
    } else {
        Err(Rejection::new(ErrorClass::Shape, "two inputs share a column; name columns apart"))
    }
}

/// The columns of an input, each with the field that it holds.
fn columns_of(schema: &Schema, spec: &TensorSpec, only: bool) -> Option<Vec<(usize, Option<usize>)>> {
    let named = |name: &str| {
        let mut found = schema.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
        found.next().map(|(column, _)| column).filter(|_| found.next().is_none())
    };
    if let Some(column) = named(&spec.name) {
        return Some(vec![(column, None)]);
    }
    if !spec.fields.is_empty() {
        let column = |(index, field): (usize, &String)| named(field).map(|column| (column, Some(index)));
        if let Some(columns) = spec.fields.iter().enumerate().map(column).collect() {
            return Some(columns);
        }
    }
    let types: Vec<_> = schema.fields().iter().map(|field| field.data_type()).collect();
    match types.as_slice() {
        [_] if only => Some(vec![(0, None)]),
        types if only && spec.fields.is_empty() && types.len() == spec.width => types
            .iter()
            .all(|t| arrow_columns::is_number(t))
            .then(|| (0..spec.width).map(|at| (at, Some(at))).collect()),
        _ => None,
    }
}

fn no_columns(schema: &Schema, spec: &TensorSpec) -> Rejection {
    let names: Vec<_> = schema.fields().iter().take(8).map(|f| format!("`{}`", shorten(f.name().as_bytes()))).collect();
    let more = if schema.fields().len() > names.len() { ", …" } else { "" };
    let (name, width, there) = (&spec.name, spec.width, names.join(", "));
    let fields = if spec.fields.is_empty() { "" } else { ", or a column per field" };
    let text = format!(
        "no columns for input `{name}` among {there}{more}; \
         send a column `{name}` (a fixed-size list of {width} numbers{fields})"
    );
    Rejection::new(ErrorClass::Shape, text)
}

fn check_type(schema: &Schema, column: usize, spec: &TensorSpec, field: Option<usize>) -> Result<(), Rejection> {
    let found = schema.field(column);
    let width = if field.is_some() { 1 } else { spec.width };
    let fits = match found.data_type() {
        _ if spec.datatype == Datatype::Bytes => false,
        nested if field.is_none() && arrow_columns::is_nested(nested, spec) => true,
        DataType::FixedSizeList(item, size) => {
            field.is_none() && usize::try_from(*size) == Ok(width) && arrow_columns::is_number(item.data_type())
        }
        DataType::List(item) | DataType::LargeList(item) => {
            field.is_none() && arrow_columns::is_number(item.data_type())
        }
        scalar => width == 1 && arrow_columns::is_number(scalar),
    };
    if fits {
        return Ok(());
    }
    let (name, found) = (shorten(found.name().as_bytes()), shorten(found.data_type().to_string().as_bytes()));
    let text = format!("column `{name}` is {found} where the model takes {width} numbers per row; send such a column");
    Err(Rejection::new(ErrorClass::Shape, text))
}
