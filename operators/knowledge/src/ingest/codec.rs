//! From messages of `documents.ingest` to rows of documents, and from what became of them to `documents.indexed`.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int32Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use lunapark_operator::{Batch, Codec, Decoded, Member, Output, Reply};
use lunapark_schemas::documents::{IndexedRecord, Ingest, IngestRecord};
use lunapark_schemas::headers::CONTENT_TYPE;
use lunapark_schemas::inference::{Format, Request};
use lunapark_schemas::outcome::FailedRow;
use lunapark_schemas::{ErrorClass, Message, Messages, Rejection};

/// What became of one document.
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed(pub IndexedRecord);

impl Output for Indexed {
    fn failed(&self) -> &[FailedRow] {
        &[]
    }
}

/// One document per message, one row per document.
pub struct IngestCodec {
    /// `name#digest` of the text encoder, for the ledger.
    pub encoder: String,
}

impl Codec<Indexed> for IngestCodec {
    fn decode(&self, messages: &Messages, indices: &[usize]) -> Decoded {
        let mut decoded = Decoded::default();
        let (mut rows, mut members) = (Rows::default(), Vec::new());
        for &index in indices {
            let message = messages.get(index);
            let pushed = Ingest::of(&message).and_then(|ingest| rows.push(&message, &ingest));
            match pushed {
                Ok(()) => members.push(one_row(index, members.len())),
                Err(rejection) => decoded.rejected.push((index, rejection)),
            }
        }
        match rows.finish() {
            _ if members.is_empty() => {}
            Ok(rows) => decoded.batches.push(Batch { model: 0, rows, members }),
            Err(error) => {
                let rejection = Rejection::new(ErrorClass::Operator, format!("rows do not make a batch: {error}"));
                decoded.rejected.extend(members.iter().map(|m| (m.message, rejection.clone())));
            }
        }
        decoded
    }

    fn encode(&self, _: &Message<'_>, _: usize, _: &Member, out: &Indexed, reply: &mut Reply) -> Result<(), Rejection> {
        serde_json::to_writer(&mut reply.value, &out.0)
            .map_err(|error| Rejection::new(ErrorClass::Operator, format!("the result cannot be written: {error}")))?;
        reply.headers.push_str(CONTENT_TYPE, "application/json");
        Ok(())
    }

    fn model_tag(&self, _: usize) -> Option<&str> {
        Some(&self.encoder)
    }
}

/// A member of one row.
pub(crate) fn one_row(message: usize, start: usize) -> Member {
    Member { message, start, request: Request { format: Format::KserveV1, rows: 1, extra: None } }
}

/// Documents as columns: record, file, and where they were read.
#[derive(Default)]
struct Rows {
    records: StringBuilder,
    files: BinaryBuilder,
    partitions: Int32Builder,
    offsets: Int64Builder,
}

impl Rows {
    fn push(&mut self, message: &Message<'_>, ingest: &Ingest) -> Result<(), Rejection> {
        let record = serde_json::to_string(&ingest.record);
        let record = record.map_err(|error| Rejection::new(ErrorClass::Operator, error.to_string()))?;
        self.records.append_value(record);
        self.files.append_option(ingest.file.as_deref());
        self.partitions.append_value(message.partition);
        self.offsets.append_value(message.offset);
        Ok(())
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
