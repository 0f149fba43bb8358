//! Batches of columns, and each row of them as JSON; CSV.

use std::io::Cursor;

use arrow_array::RecordBatch;
use arrow_json::writer::LineDelimited;
use lunapark_tables::{Kind as TableKind, ReadOptions, Table, TableError};
use serde_json::{Deserializer, Map, Number, Value};

use super::Rows;
use crate::{ExtractError, Kind, encoding};

/// Rows at a time: contents may be whole books.
pub(super) const BATCH_ROWS: usize = 64;

pub(super) fn csv<E: From<ExtractError>>(bytes: &[u8], rows: &mut Rows<'_, E>) -> Result<(), E> {
    let (text, _) = encoding::decode(bytes, None, Kind::Text)?;
    let options = ReadOptions { kind: Some(TableKind::Csv), batch_rows: BATCH_ROWS, ..ReadOptions::default() };
    let broken = |error: TableError| ExtractError::Broken(error.what);
    let table = Table::pipe(Cursor::new(text.into_bytes()), "the table", options).map_err(broken)?;
    let columns: Vec<usize> = (0..table.schema().fields().len()).collect();
    for batch in table.batches(&columns, &[]).map_err(broken)? {
        each_row(&batch.map_err(broken)?, |mut row| {
            let others = row.iter_mut().filter(|(name, _)| !rows.is_text(name));
            others.for_each(|(_, value)| *value = typed(value.take()));
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

/// Each row as an object; columns without a value are `null`.
pub(super) fn each_row<E: From<ExtractError>>(
    batch: &RecordBatch,
    mut take: impl FnMut(Map<String, Value>) -> Result<(), E>,
) -> Result<(), E> {
    let broken = |error: &dyn std::fmt::Display| ExtractError::Broken(error.to_string());
    let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|error| broken(&error))?;
    let json: Vec<u8> = writer.into_inner();
    Deserializer::from_slice(&json).into_iter().try_for_each(|row| take(row.map_err(|error| broken(&error))?))
}
