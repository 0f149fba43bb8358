//! Parquet and Arrow files, which name their columns and types themselves.

use std::io::BufReader;

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::TableError;
use crate::kind::ARROW_FILE;
use crate::read::{Extent, Inner, Opened, unreadable};
use crate::source::{Counted, Source};

pub(crate) fn parquet(source: Source, batch_rows: usize) -> Result<Opened, TableError> {
    let name = source.name.clone();
    let file = source.seekable()?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(&name, 0, &error))?;
    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let schema = builder.schema().clone();
    let start = move |columns: &[usize], _: &[usize]| {
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        let reader = builder.with_projection(mask).with_batch_size(batch_rows).build()?;
        Ok(Box::new(reader) as Inner)
    };
    Ok(Opened { schema, extent: Extent::Rows(rows), batches: Box::new(start) })
}

/// A file starts with a mark and is read from its end; all else is a stream.
pub(crate) fn arrow(source: Source, start: &[u8], batch_rows: usize) -> Result<Opened, TableError> {
    let name = source.name.clone();
    let extent = source.len().map_or(Extent::Unknown, Extent::Bytes);
    let wrong = |error: ArrowError| unreadable(&name, 0, &error);
    if start.starts_with(ARROW_FILE) {
        let read = source.position();
        let file = Counted { inner: source.seekable()?, read };
        let reader = FileReader::try_new_buffered(file, None).map_err(wrong)?;
        return Ok(projected(reader.schema(), extent, Box::new(reader), batch_rows));
    }
    let reader = StreamReader::try_new(BufReader::new(source.reader()), None).map_err(wrong)?;
    Ok(projected(reader.schema(), extent, Box::new(reader), batch_rows))
}

fn projected(schema: SchemaRef, extent: Extent, reader: Inner, batch_rows: usize) -> Opened {
    let start = move |columns: &[usize], _: &[usize]| {
        let columns = columns.to_vec();
        let project = move |batch: Result<RecordBatch, ArrowError>| batch.and_then(|batch| batch.project(&columns));
        Ok(Box::new(reader.map(project).flat_map(move |batch| cut(batch, batch_rows))) as Inner)
    };
    Opened { schema, extent, batches: Box::new(start) }
}

/// A file decides how large its batches are; what follows wants them bounded.
fn cut(batch: Result<RecordBatch, ArrowError>, rows: usize) -> Vec<Result<RecordBatch, ArrowError>> {
    let Ok(batch) = batch else { return vec![batch] };
    let starts = (0..batch.num_rows()).step_by(rows);
    starts.map(|start| Ok(batch.slice(start, rows.min(batch.num_rows() - start)))).collect()
}
