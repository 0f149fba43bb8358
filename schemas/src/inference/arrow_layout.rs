//! What a stream's schema says, fitted to a model's inputs: which columns are read, and where each goes.
//!
//! Columns fit the model's inputs in this order of preference: a column named as the input (a fixed-size list, or a list
//! of exactly that width, lists in lists as the input's dimensions are; a scalar where the width is 1); scalar columns
//! named as the input's fields; for a model with one input, the only column there is, or exactly `width` scalar columns in
//! their order where the model has no field names. Other columns are ignored and not even unpacked.

use std::sync::Arc;

use arrow_ipc::Endianness;
use arrow_schema::{DataType, Schema, SchemaRef};

use crate::outcome::{ErrorClass, Rejection};
use crate::signature::{Datatype, Signature, TensorSpec};

use super::arrow_columns::{self, Place};
use super::arrow_direct::Direct;
use super::arrow_frames::{Frames, kind, malformed};
use super::json::shorten;

/// A schema of more bytes is not remembered.
const REMEMBERED: usize = 64 << 10;

/// How one model reads the streams that begin with these bytes.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The stream up to the end of its schema; empty where that is too long to be remembered.
    begin: Vec<u8>,
    pub(super) schema: SchemaRef,
    /// Which columns are read, ascending, and where each goes.
    pub(super) plan: Vec<(usize, Place)>,
    /// The same columns, where their values may be copied as they lie.
    pub(super) direct: Option<Direct>,
}

impl Layout {
    /// Reads the schema of `payload`, fits it to the model, and leaves `frames` behind it.
    pub(super) fn read(frames: &mut Frames<'_>, signature: &Signature) -> Result<Arc<Self>, Rejection> {
        let schema = read_schema(frames)?;
        let plan = plan(&schema, signature)?;
        let direct = Direct::new(&schema, &plan, signature);
        let begin = Some(frames.passed()).filter(|begin| begin.len() <= REMEMBERED).unwrap_or_default().to_vec();
        Ok(Arc::new(Self { begin, schema, plan, direct }))
    }

    /// The frames behind the schema, where `payload` begins as this layout's stream did.
    pub(super) fn frames_behind<'a>(&self, payload: &'a [u8]) -> Option<Frames<'a>> {
        let known = !self.begin.is_empty() && payload.starts_with(&self.begin);
        known.then(|| Frames::behind(payload, self.begin.len()))
    }
}

/// The columns that a stream announces.
pub(super) fn read_schema(frames: &mut Frames<'_>) -> Result<SchemaRef, Rejection> {
    let frame = frames.next()?.ok_or_else(|| malformed("the stream is empty; send its schema and record batches"))?;
    let schema = frame.message.header_as_schema().ok_or_else(|| {
        malformed(format!("the stream starts with a {} where a schema belongs", kind(frame.message.header_type())))
    })?;
    if schema.endianness() != Endianness::Little {
        return Err(malformed("the stream is big-endian; send it little-endian"));
    }
    Ok(Arc::new(arrow_ipc::convert::fb_to_schema(schema)))
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
