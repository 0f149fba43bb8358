//! CSV and Parquet: batches of columns, and each row of them as JSON.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_json::writer::LineDelimited;
use bytes::Bytes;
use lunapark_tables::{Kind as TableKind, ReadOptions, Table};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Deserializer, Map, Number, Value};

use super::{MAX_ROWS_BYTES, Rows};
use crate::{ExtractError, Kind, encoding};

/// Rows at a time: contents may be whole books.
const BATCH_ROWS: usize = 64;

pub(super) fn csv(bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), ExtractError> {
    let (text, _) = encoding::decode(bytes, None, Kind::Text)?;
    let options = ReadOptions { kind: Some(TableKind::Csv), batch_rows: BATCH_ROWS, ..ReadOptions::default() };
    let broken = |error: lunapark_tables::TableError| ExtractError::Broken(error.what);
    let table = Table::pipe(Cursor::new(text.into_bytes()), "the table", options).map_err(broken)?;
    let columns: Vec<usize> = (0..table.schema().fields().len()).collect();
    let (column, id) = (rows.column.to_owned(), rows.id_column.map(str::to_owned));
    for batch in table.batches(&columns, &[]).map_err(broken)? {
        each_row(&batch.map_err(broken)?, |mut row| {
            let is_text = |name: &String| *name == column || Some(name) == id.as_ref() || name == "title";
            row.iter_mut().filter(|(name, _)| !is_text(name)).for_each(|(_, value)| *value = typed(value.take()));
            rows.push(row)
        })?;
    }
    Ok(())
}

/// A cell that is written as JSON would write its number is one, so that filters can compare it; `007` stays text.
fn typed(cell: Value) -> Value {
    let number = cell.as_str().and_then(|text| text.parse::<Number>().ok().filter(|number| number.to_string() == text));
    number.map_or(cell, Value::Number)
}

pub(super) fn parquet(bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), ExtractError> {
    let bytes = Bytes::copy_from_slice(bytes);
    // The library may panic over a file that contradicts itself.
    catch_unwind(AssertUnwindSafe(|| parquet_rows(bytes, rows)))
        .unwrap_or_else(|_| Err(ExtractError::Broken("the table contradicts itself".to_owned())))
}

fn parquet_rows(bytes: Bytes, rows: &mut Rows<'_>) -> Result<(), ExtractError> {
    let broken = |error: &dyn std::fmt::Display| ExtractError::Broken(error.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| broken(&error))?;
    let groups = builder.metadata().row_groups();
    let unpacked = groups.iter().map(|group| usize::try_from(group.total_byte_size()).unwrap_or(usize::MAX));
    let unpacked = unpacked.fold(0, usize::saturating_add);
    if unpacked > MAX_ROWS_BYTES {
        return Err(ExtractError::too_large("bytes of rows", unpacked, MAX_ROWS_BYTES));
    }
    for batch in builder.with_batch_size(BATCH_ROWS).build().map_err(|error| broken(&error))? {
        each_row(&batch.map_err(|error| broken(&error))?, |row| rows.push(row))?;
    }
    Ok(())
}

/// Each row as an object; columns without a value are `null`.
fn each_row(
    batch: &RecordBatch,
    mut take: impl FnMut(Map<String, Value>) -> Result<(), ExtractError>,
) -> Result<(), ExtractError> {
    let broken = |error: &dyn std::fmt::Display| ExtractError::Broken(error.to_string());
    let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|error| broken(&error))?;
    let json: Vec<u8> = writer.into_inner();
    Deserializer::from_slice(&json).into_iter().try_for_each(|row| take(row.map_err(|error| broken(&error))?))
}
