//! Parquet, whose sizes are checked before the library believes them: a page's header may promise 2 GB, a list of the
//! footer billions of entries, and memory would be asked for as much.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Repetition;
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::{BasicTypeInfo, SchemaDescriptor, Type};

use super::tables::{BATCH_ROWS, each_row};
use super::thrift::Thrift;
use super::{Rows, UNFOLDS};
use crate::{ExtractError, Limits};

/// The file's last bytes: the footer's length, and the mark.
const TAIL_BYTES: usize = 8;
const MARK: &[u8] = b"PAR1";
/// A batch is at most so many bytes, or a row: each row may repeat the longest value of each column.
const BATCH_BYTES: usize = 64 << 20;

pub(super) fn read<E: From<ExtractError>>(bytes: &[u8], rows: &mut Rows<'_, E>) -> Result<(), E> {
    // The library may panic over a file that contradicts itself.
    catch_unwind(AssertUnwindSafe(|| checked(bytes, rows)))
        .unwrap_or_else(|_| Err(broken(&"the table contradicts itself").into()))
}

fn checked<E: From<ExtractError>>(bytes: &[u8], rows: &mut Rows<'_, E>) -> Result<(), E> {
    check_footer(bytes)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes));
    let builder = builder.map_err(|error| broken(&error))?;
    let widest = check_pages(bytes, builder.metadata(), rows.limits)?;
    let flat = ProjectionMask::roots(builder.parquet_schema(), flat(builder.parquet_schema()));
    let batch_rows = (BATCH_BYTES / widest.max(1)).clamp(1, BATCH_ROWS);
    let batches = builder.with_projection(flat).with_batch_size(batch_rows).build().map_err(|error| broken(&error))?;
    for batch in batches {
        each_row(&batch.map_err(|error| broken(&error))?, |row| rows.push(row))?;
    }
    Ok(())
}

/// The columns whose cells are single values: only these become metadata, and a list may repeat a value at no cost.
fn flat(schema: &SchemaDescriptor) -> Vec<usize> {
    let columns = schema.root_schema().get_fields();
    let is_list = |info: &BasicTypeInfo| info.has_repetition() && info.repetition() == Repetition::REPEATED;
    let is_flat = |column: &Type| column.is_primitive() && !is_list(column.get_basic_info());
    (0..columns.len()).filter(|&column| is_flat(&columns[column])).collect()
}

fn check_footer(bytes: &[u8]) -> Result<(), ExtractError> {
    let cut = || broken(&"the table is cut off, or no Parquet");
    let (rest, tail) = bytes.split_last_chunk::<TAIL_BYTES>().ok_or_else(cut)?;
    let (length, mark) = tail.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = u32::from_le_bytes(*length) as usize;
    let start = rest.len().checked_sub(length).filter(|_| mark == MARK).ok_or_else(cut)?;
    Thrift::new(&rest[start..]).structure(|_, _| {}).map_err(|what| broken(&format!("its footer: {what}")))
}

/// Walks over the headers of all pages; gives the sum of each column's largest, in the row group where that is most.
fn check_pages(bytes: &[u8], metadata: &ParquetMetaData, limits: &Limits) -> Result<usize, ExtractError> {
    let (mut all, mut widest) = (0, 0);
    for group in metadata.row_groups() {
        let mut largest = 0;
        for column in group.columns() {
            let (start, length) = column.byte_range();
            let chunk = usize::try_from(start).ok().zip(usize::try_from(start.saturating_add(length)).ok());
            let chunk = chunk.and_then(|(start, end)| bytes.get(start..end));
            let pages = pages(chunk.ok_or_else(|| broken(&"a column lies outside of it"))?, limits)?;
            (all, largest) = (pages.all.saturating_add(all), pages.largest.saturating_add(largest));
        }
        widest = widest.max(largest);
    }
    let may = limits.max_bytes.saturating_mul(UNFOLDS);
    match all > may {
        true => Err(ExtractError::too_large("bytes of pages", all, may)),
        false => Ok(widest),
    }
}

/// Unpacked sizes of a column's pages.
#[derive(Default)]
struct Pages {
    all: usize,
    largest: usize,
}

fn pages(mut chunk: &[u8], limits: &Limits) -> Result<Pages, ExtractError> {
    let mut pages = Pages::default();
    while !chunk.is_empty() {
        let mut thrift = Thrift::new(chunk);
        let (mut unpacked, mut packed) = (-1, -1);
        let walked = thrift.structure(|field, value| match field {
            2 => unpacked = value,
            3 => packed = value,
            _ => {}
        });
        walked.map_err(|what| broken(&format!("a page's header: {what}")))?;
        let rest = usize::try_from(packed).ok().and_then(|packed| thrift.rest().get(packed..));
        chunk = rest.ok_or_else(|| broken(&"a page ends outside of its column"))?;
        let unpacked = usize::try_from(unpacked).map_err(|_| broken(&"a page has no size"))?;
        if unpacked > limits.max_bytes {
            return Err(ExtractError::too_large("bytes of a page", unpacked, limits.max_bytes));
        }
        (pages.all, pages.largest) = (pages.all.saturating_add(unpacked), pages.largest.max(unpacked));
    }
    Ok(pages)
}

fn broken(what: &dyn std::fmt::Display) -> ExtractError {
    ExtractError::Broken(what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page's header: its kind, its size unpacked, its size as it is, the end.
    fn header(unpacked: &[u8], packed: u8) -> Vec<u8> {
        [&[0x15, 0x00, 0x15], unpacked, &[0x15, packed << 1, 0x00]].concat()
    }

    #[test]
    fn a_page_that_claims_more_than_may_be_is_refused() {
        let two_gigabytes = [0xfe, 0xff, 0xff, 0xff, 0x0f];
        let refused = pages(&header(&two_gigabytes, 0), &Limits::default()).err().unwrap();
        assert!(refused.to_string().contains("2147483647 bytes of a page"), "{refused}");
        let negative = pages(&header(&[0x01], 0), &Limits::default()).err().unwrap();
        assert!(negative.to_string().contains("no size"), "{negative}");
        let outside = pages(&header(&[0x02], 5), &Limits::default()).err().unwrap();
        assert!(outside.to_string().contains("outside of its column"), "{outside}");
        let mut two = header(&[0x14], 2);
        two.extend([1, 2]);
        two.extend(header(&[0x06], 0));
        let sizes = pages(&two, &Limits::default()).unwrap();
        assert_eq!((sizes.all, sizes.largest), (13, 10));
    }
}
