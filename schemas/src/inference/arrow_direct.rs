//! Record batches whose columns have the model's own types and no nulls: their values are copied from the message's bytes
//! to the model's rows, once.
//!
//! The Arrow library copies a batch's bytes first, as its arrays own their memory, and builds an array for each column.

use arrow_ipc::{Buffer, FieldNode, RecordBatch};
use arrow_schema::{DataType, Field, Schema};

use crate::rows::{RowsBuilder, Values};
use crate::signature::{Datatype, Signature};

use super::arrow_columns::Place;
use super::arrow_frames::Frame;
use super::columns::extend_missing;

/// Where the values of a stream's columns lie in each of its batches.
#[derive(Debug)]
pub(super) struct Direct(Vec<Column>);

/// One column. A batch lists the nodes and buffers of all columns in a row, those of a list before its items'.
#[derive(Clone, Copy, Debug)]
struct Column {
    place: Place,
    /// The column's node; a list's items have the next one.
    node: usize,
    is_list: bool,
    /// The buffer with the values.
    values: usize,
    /// Values per row.
    width: usize,
    /// Bytes per value.
    size: usize,
}

/// Nodes and buffers of the columns before one.
#[derive(Clone, Copy, Default)]
struct Before {
    nodes: usize,
    buffers: usize,
}

impl Direct {
    /// None where a column is of another type than the model's, or behind one whose buffers are not known.
    pub(super) fn new(schema: &Schema, plan: &[(usize, Place)], signature: &Signature) -> Option<Self> {
        let mut before = vec![Before::default()];
        for field in schema.fields().iter().take(plan.last()?.0) {
            before.push(past(field, *before.last()?)?);
        }
        let column = |(index, place): &(usize, Place)| column(schema.field(*index), *place, before[*index], signature);
        plan.iter().map(column).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Appends the `count` rows of a checked batch, `done` rows of whose message are there. False, and nothing appended,
    /// where the library must read it: it has nulls, is compressed, or is not as long as it says.
    pub(super) fn append(&self, frame: &Frame<'_>, count: usize, done: usize, rows: &mut RowsBuilder) -> bool {
        let Some(batch) = frame.message.header_as_record_batch() else { return false };
        let found: Option<Vec<_>> = self.0.iter().map(|column| column.bytes(&batch, frame.body, count)).collect();
        let Some(found) = found.filter(|_| batch.compression().is_none()) else { return false };
        let start = rows.rows() + done;
        for (column, bytes) in self.0.iter().zip(found) {
            let width = rows.signature().inputs[column.place.input].width;
            let (start, values) = (start * width, &mut rows.columns_mut()[column.place.input]);
            match column.place.field {
                None => extend(values, bytes),
                Some(field) => {
                    extend_missing(values, (start + count * width).saturating_sub(values.len()));
                    spread(values, bytes, width, start + field);
                }
            }
        }
        true
    }
}

/// What lies behind a column.
fn past(field: &Field, before: Before) -> Option<Before> {
    let after = |buffers: usize| Before { nodes: before.nodes + 1, buffers: before.buffers + buffers };
    match field.data_type() {
        DataType::Null => Some(after(0)),
        DataType::FixedSizeList(item, _) => past(item, after(1)),
        DataType::List(item) | DataType::LargeList(item) => past(item, after(2)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => Some(after(3)),
        DataType::Boolean | DataType::FixedSizeBinary(_) => Some(after(2)),
        other => other.is_primitive().then(|| after(2)),
    }
}

fn column(field: &Field, place: Place, before: Before, signature: &Signature) -> Option<Column> {
    let spec = &signature.inputs[place.input];
    let (own, size) = match spec.datatype {
        Datatype::Fp32 => (DataType::Float32, 4),
        Datatype::Fp64 => (DataType::Float64, 8),
        Datatype::Int64 => (DataType::Int64, 8),
        Datatype::Bytes => return None,
    };
    let width = if place.field.is_some() { 1 } else { spec.width };
    let (node, buffers) = (before.nodes, before.buffers);
    let column = |is_list, values| Column { place, node, is_list, values: buffers + values, width, size };
    match field.data_type() {
        DataType::FixedSizeList(item, size) => {
            let fits = place.field.is_none() && usize::try_from(*size) == Ok(width) && *item.data_type() == own;
            fits.then(|| column(true, 2))
        }
        scalar => (width == 1 && *scalar == own).then(|| column(false, 1)),
    }
}

impl Column {
    /// The bytes of `count` rows' values.
    fn bytes<'a>(&self, batch: &RecordBatch<'_>, body: &'a [u8], count: usize) -> Option<&'a [u8]> {
        let elements = count.checked_mul(self.width)?;
        let whole = |node: &FieldNode, length: usize| node.null_count() == 0 && node.length() == length as i64;
        let nodes = batch.nodes()?;
        let outer = nodes.iter().nth(self.node).is_some_and(|node| whole(node, count));
        let inner = !self.is_list || nodes.iter().nth(self.node + 1).is_some_and(|node| whole(node, elements));
        (outer && inner).then_some(())?;
        self.slice(batch.buffers()?.iter().nth(self.values)?, body, elements)
    }

    fn slice<'a>(&self, buffer: &Buffer, body: &'a [u8], elements: usize) -> Option<&'a [u8]> {
        let start = usize::try_from(buffer.offset()).ok()?;
        let there = usize::try_from(buffer.length()).ok()?;
        let needed = elements.checked_mul(self.size)?;
        (needed <= there).then(|| body.get(start..)?.get(..needed)).flatten()
    }
}

/// Appends values as they lie on the wire, little-endian.
fn extend(values: &mut Values, bytes: &[u8]) {
    match values {
        Values::F32(values) => values.extend(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value))),
        Values::F64(values) => values.extend(bytes.as_chunks().0.iter().map(|value| f64::from_le_bytes(*value))),
        Values::I64(values) => values.extend(bytes.as_chunks().0.iter().map(|value| i64::from_le_bytes(*value))),
        Values::Strings(_) => {}
    }
}

/// Writes one field of each row, among fields that are there or will come.
fn spread(values: &mut Values, bytes: &[u8], width: usize, place: usize) {
    match values {
        Values::F32(values) => every(&mut values[place..], width, bytes, f32::from_le_bytes),
        Values::F64(values) => every(&mut values[place..], width, bytes, f64::from_le_bytes),
        Values::I64(values) => every(&mut values[place..], width, bytes, i64::from_le_bytes),
        Values::Strings(_) => {}
    }
}

fn every<T, const N: usize>(values: &mut [T], width: usize, bytes: &[u8], read: impl Fn([u8; N]) -> T) {
    values.iter_mut().step_by(width).zip(bytes.as_chunks().0).for_each(|(value, bytes)| *value = read(*bytes));
}
