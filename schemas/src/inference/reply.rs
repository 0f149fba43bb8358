//! Replies, in the request's own format.

use std::ops::Range;

use arrow_array::{Array, RecordBatch, StringArray};
use serde::Serialize;

use crate::outcome::{ErrorClass, FailedRow, Rejection};
use crate::rows::{f32_values, f64_values, i64_values, string_values};
use crate::signature::TensorSpec;

use super::wire::RowError;
use super::{Encoded, Format, ReplyContext, Request, arrow_reply, content_type};

/// Everything that a reply is written from, checked to fit together.
pub(super) struct Reply<'a> {
    pub(super) request: &'a Request,
    pub(super) context: &'a ReplyContext<'a>,
    pub(super) outputs: &'a RecordBatch,
    pub(super) range: Range<usize>,
    pub(super) failed: &'a [FailedRow],
}

impl<'a> Reply<'a> {
    pub(super) fn new(
        request: &'a Request,
        context: &'a ReplyContext<'a>,
        outputs: &'a RecordBatch,
        range: Range<usize>,
        failed: &'a [FailedRow],
    ) -> Result<Self, Rejection> {
        let rows = request.rows as usize;
        let ascending = failed.windows(2).all(|pair| pair[0].row < pair[1].row);
        let inside = failed.last().is_none_or(|last| (last.row as usize) < rows);
        let fits = range.end <= outputs.num_rows() && range.len() + failed.len() == rows;
        if ascending && inside && fits && outputs.num_columns() == context.signature.outputs.len() {
            return Ok(Self { request, context, outputs, range, failed });
        }
        let (scores, failures) = (range.len(), failed.len());
        Err(broken(format!("{rows} rows have {scores} results and {failures} failures, or the model's outputs differ")))
    }

    pub(super) fn write(&self, value: &mut Vec<u8>) -> Result<Encoded, Rejection> {
        let mut encoded = Encoded { content_type: content_type::JSON, json_length: None };
        match self.request.format {
            Format::KserveV1 => self.write_v1(value)?,
            Format::OpenInference => self.write_v2(value, false)?,
            Format::OpenInferenceBinary => {
                let before = value.len();
                self.write_v2(value, true)?;
                encoded = Encoded { content_type: content_type::OCTET_STREAM, json_length: Some(value.len() - before) };
                self.write_raw(value)?;
            }
            Format::Arrow => {
                encoded.content_type = content_type::ARROW_STREAM;
                arrow_reply::write(self, value)?;
            }
        }
        Ok(encoded)
    }

    /// For each row of the message its place in `range`, or none where it failed.
    pub(super) fn places(&self) -> impl Iterator<Item = Option<usize>> {
        let mut failed = self.failed.iter().map(|failed| failed.row).peekable();
        let mut scored = 0;
        (0..self.request.rows).map(move |row| match failed.next_if_eq(&row) {
            Some(_) => None,
            None => {
                scored += 1;
                Some(scored - 1)
            }
        })
    }

    /// The values of output `index` that belong to this message.
    pub(super) fn column(&self, index: usize) -> Result<Column<'a>, Rejection> {
        let spec = &self.context.signature.outputs[index];
        let array = self.outputs.column(index);
        let range = self.range.start * spec.width..self.range.end * spec.width;
        let f32s = f32_values(array).and_then(|values| values.get(range.clone())).map(Column::F32);
        f32s.or_else(|| f64_values(array).and_then(|values| values.get(range.clone())).map(Column::F64))
            .or_else(|| i64_values(array).and_then(|values| values.get(range.clone())).map(Column::I64))
            .or_else(|| {
                let texts = string_values(array).filter(|texts| range.end <= texts.len())?;
                Some(Column::Text(texts.slice(range.start, range.len())))
            })
            .ok_or_else(|| broken(format!("output `{}` is not as the signature says", spec.name)))
    }

    /// The outputs asked for: position and description, all of them where the request names none.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (usize, &'a TensorSpec)> {
        let named = self.request.extra.as_deref().map_or(&[][..], |extra| &extra.outputs);
        let outputs = self.context.signature.outputs.iter().enumerate();
        outputs.filter(move |(_, spec)| named.is_empty() || named.contains(&spec.name))
    }

    fn write_v1(&self, value: &mut Vec<u8>) -> Result<(), Rejection> {
        value.extend_from_slice(b"{\"predictions\":[");
        match self.context.signature.outputs.as_slice() {
            [spec] => self.write_predictions(spec, value)?,
            specs => self.write_named_predictions(specs, value)?,
        }
        value.push(b']');
        if !self.failed.is_empty() {
            value.extend_from_slice(b",\"failed\":");
            self.write_failed(value)?;
        }
        value.push(b'}');
        Ok(())
    }

    fn write_predictions(&self, spec: &TensorSpec, value: &mut Vec<u8>) -> Result<(), Rejection> {
        let column = self.column(0)?;
        for (row, place) in self.places().enumerate() {
            separate(row, value);
            column.write_row(place, spec, value);
        }
        Ok(())
    }

    fn write_named_predictions(&self, specs: &[TensorSpec], value: &mut Vec<u8>) -> Result<(), Rejection> {
        let columns: Vec<_> = (0..specs.len()).map(|index| self.column(index)).collect::<Result<_, _>>()?;
        for (row, place) in self.places().enumerate() {
            separate(row, value);
            if place.is_none() {
                value.extend_from_slice(b"null");
                continue;
            }
            value.push(b'{');
            for (index, (spec, column)) in specs.iter().zip(&columns).enumerate() {
                separate(index, value);
                write_json(&spec.name, value)?;
                value.push(b':');
                column.write_row(place, spec, value);
            }
            value.push(b'}');
        }
        Ok(())
    }

    /// The JSON of an Open Inference reply; in the binary format it announces the tensors instead of holding them.
    fn write_v2(&self, value: &mut Vec<u8>, binary: bool) -> Result<(), Rejection> {
        value.extend_from_slice(b"{\"model_name\":");
        write_json(self.context.model_name, value)?;
        value.extend_from_slice(b",\"model_version\":");
        write_json(self.context.model_version, value)?;
        if let Some(id) = self.request.extra.as_deref().and_then(|extra| extra.id.as_deref()) {
            value.extend_from_slice(b",\"id\":");
            write_json(id, value)?;
        }
        if !self.failed.is_empty() {
            value.extend_from_slice(b",\"parameters\":{\"failed_rows\":");
            self.write_failed(value)?;
            value.push(b'}');
        }
        value.extend_from_slice(b",\"outputs\":[");
        for (position, (index, spec)) in self.wanted().enumerate() {
            separate(position, value);
            self.write_output(index, spec, binary, value)?;
        }
        value.extend_from_slice(b"]}");
        Ok(())
    }

    fn write_output(
        &self,
        index: usize,
        spec: &TensorSpec,
        binary: bool,
        value: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let rows = u64::from(self.request.rows);
        let shape: Vec<u64> = std::iter::once(rows).chain(spec.dims().iter().map(|size| *size as u64)).collect();
        value.extend_from_slice(b"{\"name\":");
        write_json(&spec.name, value)?;
        value.extend_from_slice(b",\"shape\":");
        write_json(&shape, value)?;
        value.extend_from_slice(b",\"datatype\":");
        write_json(&spec.datatype, value)?;
        let column = self.column(index)?;
        if binary {
            let size = column.raw_size(self.request.rows as usize * spec.width);
            value.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
            write_json(&size, value)?;
            value.extend_from_slice(b"}}");
            return Ok(());
        }
        value.extend_from_slice(b",\"data\":[");
        let places = self.places().flat_map(|place| (0..spec.width).map(move |at| place.map(|p| p * spec.width + at)));
        for (position, place) in places.enumerate() {
            separate(position, value);
            column.write_element(place, value);
        }
        value.extend_from_slice(b"]}");
        Ok(())
    }

    /// The raw tensors, in the order in which the JSON part announces them; failed rows are NaN, zeros in integers, or
    /// empty texts.
    fn write_raw(&self, value: &mut Vec<u8>) -> Result<(), Rejection> {
        for (index, spec) in self.wanted() {
            let column = self.column(index)?;
            self.places().for_each(|place| column.write_raw_row(place, spec.width, value));
        }
        Ok(())
    }

    fn write_failed(&self, value: &mut Vec<u8>) -> Result<(), Rejection> {
        value.push(b'[');
        for (position, failed) in self.failed.iter().enumerate() {
            separate(position, value);
            write_json(&RowError::from(failed), value)?;
        }
        value.push(b']');
        Ok(())
    }
}

/// The values of one output.
pub(super) enum Column<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I64(&'a [i64]),
    Text(StringArray),
}

impl Column<'_> {
    /// Bytes of a raw tensor of `elements`, those of failed rows included. Before each text stands its length.
    fn raw_size(&self, elements: usize) -> usize {
        match self {
            Column::F32(_) => elements * 4,
            Column::F64(_) | Column::I64(_) => elements * 8,
            Column::Text(texts) => elements * 4 + texts.iter().flatten().map(str::len).sum::<usize>(),
        }
    }

    /// A number or text, arrays as the output's dimensions are, or null where the row failed.
    #[inline]
    fn write_row(&self, place: Option<usize>, spec: &TensorSpec, value: &mut Vec<u8>) {
        match place.filter(|_| spec.width != 1 || !spec.shape.is_empty()) {
            None => self.write_element(place, value),
            Some(row) => self.write_nested(&mut (row * spec.width), spec.dims(), value),
        }
    }

    fn write_nested(&self, at: &mut usize, dims: &[usize], value: &mut Vec<u8>) {
        let Some((size, inner)) = dims.split_first() else {
            self.write_element(Some(*at), value);
            *at += 1;
            return;
        };
        value.push(b'[');
        for position in 0..*size {
            separate(position, value);
            self.write_nested(at, inner, value);
        }
        value.push(b']');
    }

    /// The shortest digits that read back as the same value; null for NaN and infinities, which JSON does not have.
    #[inline]
    fn write_element(&self, place: Option<usize>, value: &mut Vec<u8>) {
        let mut buffer = zmij::Buffer::new();
        let text = match (self, place) {
            (Column::F32(values), Some(at)) if values[at].is_finite() => buffer.format_finite(values[at]),
            (Column::F64(values), Some(at)) if values[at].is_finite() => buffer.format_finite(values[at]),
            (Column::I64(values), Some(at)) => return value.extend_from_slice(values[at].to_string().as_bytes()),
            (Column::Text(texts), Some(at)) => return write_text(texts.value(at), value),
            _ => "null",
        };
        value.extend_from_slice(text.as_bytes());
    }

    fn write_raw_row(&self, place: Option<usize>, width: usize, value: &mut Vec<u8>) {
        let elements = place.map(|row| row * width..(row + 1) * width);
        match self {
            Column::F32(values) => write_raw(values, elements, width, f32::NAN, f32::to_le_bytes, value),
            Column::F64(values) => write_raw(values, elements, width, f64::NAN, f64::to_le_bytes, value),
            Column::I64(values) => write_raw(values, elements, width, 0, i64::to_le_bytes, value),
            Column::Text(texts) => {
                for at in 0..width {
                    let text = place.map_or("", |row| texts.value(row * width + at));
                    value.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    value.extend_from_slice(text.as_bytes());
                }
            }
        }
    }
}

/// The elements of a row in little-endian order, `failed` for each where the row has none.
fn write_raw<T: Copy, const N: usize>(
    values: &[T],
    elements: Option<Range<usize>>,
    width: usize,
    failed: T,
    bytes: impl Fn(T) -> [u8; N],
    value: &mut Vec<u8>,
) {
    match elements {
        Some(elements) => values[elements].iter().for_each(|element| value.extend_from_slice(&bytes(*element))),
        None => (0..width).for_each(|_| value.extend_from_slice(&bytes(failed))),
    }
}

/// A JSON string; labels rarely hold what must be escaped.
fn write_text(text: &str, value: &mut Vec<u8>) {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        value.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    } else {
        value.push(b'"');
        value.extend_from_slice(text.as_bytes());
        value.push(b'"');
    }
}

#[inline]
fn separate(position: usize, value: &mut Vec<u8>) {
    if position > 0 {
        value.push(b',');
    }
}

fn write_json<T: Serialize + ?Sized>(part: &T, value: &mut Vec<u8>) -> Result<(), Rejection> {
    serde_json::to_writer(value, part).map_err(|error| broken(error.to_string()))
}

/// A reply that cannot be made: the operator's fault, not the message's.
pub(super) fn broken(text: String) -> Rejection {
    Rejection::new(ErrorClass::Operator, format!("the reply cannot be written: {text}"))
}
