//! Arrow IPC stream requests: many events per message.
//!
//! [`arrow_layout`](super::arrow_layout) says which columns are read. Where they are the model's own types, as they
//! usually are, their values are copied straight from the message; all else goes through the Arrow library. Nulls are
//! missing values.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::MessageHeader;
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_schema::SchemaRef;

use crate::outcome::{ErrorClass, Rejection};
use crate::rows::RowsBuilder;

use super::arrow_columns;
use super::arrow_frames::{Frame, Frames, check_batch, kind, malformed};
use super::arrow_layout::{Layout, read_schema};
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
    let (layout, mut frames) = layout(payload, rows)?;
    let mut failures = Failures::default();
    let (mut count, mut unpacked) = (0, 0);
    while let Some(frame) = frames.next()? {
        let (more, bytes) = check_frame(&frame, limits)?;
        unpacked += bytes;
        check_total(count + more, unpacked, limits)?;
        if more == 0 {
            continue;
        }
        let direct = layout.direct.as_ref().is_some_and(|direct| direct.append(&frame, more, count, rows));
        if !direct {
            append_batch(&read_batch(&frame, &layout)?, &layout, count, rows, &mut failures)?;
        }
        count += more;
    }
    check_rows(count, limits.max_rows)?;
    let failed = failures.commit(count, rows)?;
    Ok(Request::new(Format::Arrow, count as u32, Extra { failed, ..Extra::default() }))
}

/// How the stream's columns fit, and what follows its schema. Messages of one sender begin alike: the layout of the one
/// before is looked at first.
fn layout<'a>(payload: &'a [u8], rows: &mut RowsBuilder) -> Result<(Arc<Layout>, Frames<'a>), Rejection> {
    let known = rows.layout().and_then(|known| Some((known.clone(), known.frames_behind(payload)?)));
    if let Some(known) = known {
        return Ok(known);
    }
    let mut frames = Frames::new(payload);
    let layout = Layout::read(&mut frames, rows.signature())?;
    rows.remember(layout.clone());
    Ok((layout, frames))
}

/// Appends the columns of a batch of the library's, `count` rows of whose message are there.
fn append_batch(
    batch: &RecordBatch,
    layout: &Layout,
    count: usize,
    rows: &mut RowsBuilder,
    failures: &mut Failures,
) -> Result<(), Rejection> {
    let (signature, at) = (rows.signature().clone(), rows.rows() + count);
    for ((_, place), array) in layout.plan.iter().zip(batch.columns()) {
        let (spec, values) = (&signature.inputs[place.input], &mut rows.columns_mut()[place.input]);
        let mut target = arrow_columns::Target { spec, values, at, first_row: count, field: place.field };
        arrow_columns::append(array, &mut target, failures)?;
    }
    Ok(())
}

fn check_total(count: usize, unpacked: usize, limits: &Limits) -> Result<(), Rejection> {
    let most = limits.max_payload_bytes;
    if unpacked > most {
        let text = format!("the stream unpacks to more than {most} bytes, the limit; send fewer rows per message");
        return Err(Rejection::new(ErrorClass::TooLarge, text));
    }
    check_rows(count.max(1), limits.max_rows)
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

fn read_batch(frame: &Frame<'_>, layout: &Layout) -> Result<RecordBatch, Rejection> {
    let Some(batch) = frame.message.header_as_record_batch() else { return Err(malformed("no record batch")) };
    let (body, dictionaries, version) = (Buffer::from(frame.body), HashMap::new(), frame.message.version());
    let projection: Vec<usize> = layout.plan.iter().map(|(column, _)| *column).collect();
    RecordBatchDecoder::try_new(&body, batch, layout.schema.clone(), &dictionaries, &version)
        .and_then(|decoder| decoder.with_projection(Some(&projection)).read_record_batch())
        .map_err(|error| {
            malformed(format!("a record batch does not decode: {}", shorten(error.to_string().as_bytes())))
        })
}
