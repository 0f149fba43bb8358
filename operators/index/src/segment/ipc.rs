//! One table as an Arrow IPC stream of one batch, and back, where every claim about lengths is held against the bytes
//! that are there before the Arrow library sees it.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_ipc::{Message, RecordBatch as Claims};
use arrow_schema::{ArrowError, SchemaRef};

/// Marks a frame.
const CONTINUATION: u32 = u32::MAX;
/// Where each frame's bytes begin, so that numbers are read in place.
const ALIGNMENT: usize = 8;

/// Writes a table behind what is there, without room to spare: the vectors of a segment may be most of the memory.
pub(super) fn encode(batch: &RecordBatch, bytes: &mut Vec<u8>) -> Result<(), ArrowError> {
    bytes.reserve_exact(batch.get_array_memory_size() + 4096);
    let mut writer = StreamWriter::try_new(&mut *bytes, &batch.schema())?;
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    Ok(())
}

/// Reads a table of this schema and this many rows; its columns lie in `bytes`.
pub(super) fn decode(bytes: Buffer, schema: &SchemaRef, rows: usize) -> Result<RecordBatch, String> {
    catch_unwind(AssertUnwindSafe(|| decode_stream(&bytes, schema, rows)))
        .unwrap_or_else(|_| Err("it contradicts itself".to_owned()))
}

fn decode_stream(bytes: &Buffer, schema: &SchemaRef, rows: usize) -> Result<RecordBatch, String> {
    let (message, _, at) = frame(bytes, 0)?;
    let found = message.header_as_schema().ok_or("it does not begin with a schema")?;
    let found = arrow_ipc::convert::fb_to_schema(found);
    if found.fields() != schema.fields() {
        return Err("its columns are not those of this section".to_owned());
    }
    let (message, body, _) = frame(bytes, at)?;
    let claims = message.header_as_record_batch().ok_or("its second message is no record batch")?;
    check(&claims, body.len(), rows)?;
    let (dictionaries, version) = (HashMap::new(), message.version());
    let decoder = RecordBatchDecoder::try_new(&body, claims, Arc::clone(schema), &dictionaries, &version);
    let batch = decoder.and_then(RecordBatchDecoder::read_record_batch).map_err(|error| error.to_string())?;
    if batch.num_rows() == rows { Ok(batch) } else { Err("it has another number of rows".to_owned()) }
}

/// Where the buffers of a table's columns lie in its bytes, from the beginning of these; they are `length` in all.
pub(super) fn buffers(first: &[u8], length: u64, schema: &SchemaRef, rows: usize) -> Result<Vec<Range<u64>>, String> {
    catch_unwind(AssertUnwindSafe(|| find_buffers(first, length, schema, rows)))
        .unwrap_or_else(|_| Err("it contradicts itself".to_owned()))
}

fn find_buffers(first: &[u8], length: u64, schema: &SchemaRef, rows: usize) -> Result<Vec<Range<u64>>, String> {
    let (message, body) = head(first, 0)?;
    let found = message.header_as_schema().ok_or("it does not begin with a schema")?;
    if arrow_ipc::convert::fb_to_schema(found).fields() != schema.fields() {
        return Err("its columns are not those of this section".to_owned());
    }
    let next = usize::try_from(message.bodyLength()).ok().and_then(|length| body.checked_add(length));
    let (message, body) = head(first, next.ok_or("it is cut off")?)?;
    let claims = message.header_as_record_batch().ok_or("its second message is no record batch")?;
    let room = usize::try_from(length).ok().and_then(|length| length.checked_sub(body)).ok_or("it is cut off")?;
    check(&claims, room, rows)?;
    let place = |buffer: &arrow_ipc::Buffer| {
        let start = body as u64 + buffer.offset() as u64;
        start..start + buffer.length() as u64
    };
    Ok(claims.buffers().iter().flatten().map(place).collect())
}

/// The message at a place, its body, and where the next one begins.
fn frame(bytes: &Buffer, at: usize) -> Result<(Message<'_>, Buffer, usize), String> {
    let (message, end) = head(bytes, at)?;
    let cut = || "it is cut off".to_owned();
    let length = usize::try_from(message.bodyLength()).map_err(|_| cut())?;
    let next = end.checked_add(length).filter(|next| *next <= bytes.len()).ok_or_else(cut)?;
    Ok((message, bytes.slice_with_length(end, length), next))
}

/// The message at a place, and where its body begins.
fn head(bytes: &[u8], at: usize) -> Result<(Message<'_>, usize), String> {
    let cut = || "it is cut off".to_owned();
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?));
    if number(at).ok_or_else(cut)? != CONTINUATION {
        return Err("it is no Arrow stream".to_owned());
    }
    let start = at + 8;
    let end = start.saturating_add(number(at + 4).ok_or_else(cut)? as usize);
    let message = arrow_ipc::root_as_message(bytes.get(start..end).ok_or_else(cut)?).map_err(|e| e.to_string())?;
    Ok((message, end))
}

/// Holds every number of a batch's metadata against its body.
fn check(claims: &Claims<'_>, body: usize, rows: usize) -> Result<(), String> {
    let lies = || "its lengths do not fit its bytes".to_owned();
    if claims.compression().is_some() || claims.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
        return Err("it is packed, which no section is".to_owned());
    }
    let inside = |offset: i64, length: i64| {
        let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        offset.checked_add(length).filter(|end| *end <= body)
    };
    let buffers = claims.buffers().ok_or_else(lies)?;
    if usize::try_from(claims.length()) != Ok(rows) || buffers.iter().any(|b| inside(b.offset(), b.length()).is_none())
    {
        return Err(lies());
    }
    // A row of a column that has no bytes is a bit at least.
    let most = (body as i64).saturating_mul(8).max(rows as i64);
    let sound = |length: i64, nulls: i64| (0..=most).contains(&length) && (0..=length).contains(&nulls);
    let nodes = claims.nodes().ok_or_else(lies)?;
    if nodes.iter().all(|node| sound(node.length(), node.null_count())) { Ok(()) } else { Err(lies()) }
}
