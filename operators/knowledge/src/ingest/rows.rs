//! Documents as columns: record, file, and where they were read.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int32Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use lunapark_operator::Batch;
use lunapark_schemas::documents::{IndexedRecord, Ingest, IngestRecord};
use lunapark_schemas::{ErrorClass, Message, Rejection};

use crate::codec::Rows;

/// Columns under construction.
#[derive(Default)]
pub struct IngestRows {
    records: StringBuilder,
    files: BinaryBuilder,
    partitions: Int32Builder,
    offsets: Int64Builder,
}

impl Rows for IngestRows {
    type Answer = IndexedRecord;

    fn push(&mut self, message: &Message<'_>) -> Result<(), Rejection> {
        let ingest = Ingest::of(message)?;
        let record = serde_json::to_string(&ingest.record);
        let record = record.map_err(|error| Rejection::new(ErrorClass::Operator, error.to_string()))?;
        self.records.append_value(record);
        self.files.append_option(ingest.file.as_deref());
        self.partitions.append_value(message.partition);
        self.offsets.append_value(message.offset);
        Ok(())
    }

    /// The order of a document's changes is its partition's.
    fn home_key(message: &Message<'_>) -> Option<Vec<u8>> {
        Ingest::id_of(message).map(String::into_bytes)
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let records: ArrayRef = Arc::new(self.records.finish());
        let files: ArrayRef = Arc::new(self.files.finish());
        let partitions: ArrayRef = Arc::new(self.partitions.finish());
        let offsets: ArrayRef = Arc::new(self.offsets.finish());
        RecordBatch::try_from_iter_with_nullable([
            ("record", records, false),
            ("file", files, true),
            ("partition", partitions, false),
            ("offset", offsets, false),
        ])
    }
}

/// A document, and where it was read.
pub(super) struct Row {
    pub partition: i32,
    pub offset: i64,
    pub ingest: Ingest,
}

/// The documents of a batch, in its order.
pub(super) fn rows_of(batch: &Batch) -> Result<Vec<Row>, String> {
    let rows = &batch.rows;
    let column = |name: &str| rows.column_by_name(name).ok_or_else(|| format!("the batch has no column `{name}`"));
    let (records, files) = (column("record")?.as_string::<i32>(), column("file")?.as_binary::<i32>());
    let partitions = column("partition")?.as_primitive::<Int32Type>();
    let offsets = column("offset")?.as_primitive::<Int64Type>();
    let row = |index: usize| {
        let record: IngestRecord = serde_json::from_str(records.value(index)).map_err(|error| error.to_string())?;
        let file = files.is_valid(index).then(|| files.value(index).to_vec());
        let ingest = Ingest { record, file };
        Ok(Row { partition: partitions.value(index), offset: offsets.value(index), ingest })
    };
    (0..rows.num_rows()).map(row).collect()
}
