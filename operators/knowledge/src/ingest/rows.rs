//! Documents as columns: each field of a record is one, so that what was read from JSON once is not written as JSON for
//! the operator and read again.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, Int32Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use lunapark_operator::Batch;
use lunapark_schemas::documents::{IndexedRecord, Ingest, IngestRecord};
use lunapark_schemas::{Message, Rejection};
use serde_json::{Map, Value};

use crate::codec::Rows;

/// Columns under construction.
#[derive(Default)]
pub struct IngestRows {
    ids: StringBuilder,
    collections: StringBuilder,
    contents: StringBuilder,
    uris: StringBuilder,
    content_types: StringBuilder,
    columns: StringBuilder,
    titles: StringBuilder,
    /// JSON objects; null where there is nothing in them.
    metadata: StringBuilder,
    deleted: BooleanBuilder,
    files: BinaryBuilder,
    partitions: Int32Builder,
    offsets: Int64Builder,
}

impl Rows for IngestRows {
    type Answer = IndexedRecord;

    fn push(&mut self, message: &Message<'_>) -> Result<(), Rejection> {
        let Ingest { record, file } = Ingest::of(message)?;
        self.ids.append_value(record.id);
        self.collections.append_value(record.collection);
        self.contents.append_option(record.content);
        self.uris.append_option(record.uri);
        self.content_types.append_option(record.content_type);
        self.columns.append_option(record.page_content_column);
        self.titles.append_option(record.title);
        let metadata = (!record.metadata.is_empty()).then(|| Value::Object(record.metadata).to_string());
        self.metadata.append_option(metadata);
        self.deleted.append_value(record.deleted);
        self.files.append_option(file);
        self.partitions.append_value(message.partition);
        self.offsets.append_value(message.offset);
        Ok(())
    }

    /// The order of a document's changes is its partition's.
    fn home_key(message: &Message<'_>) -> Option<Vec<u8>> {
        Ingest::id_of(message).map(String::into_bytes)
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: [(&str, ArrayRef); 12] = [
            ("id", Arc::new(self.ids.finish())),
            ("collection", Arc::new(self.collections.finish())),
            ("content", Arc::new(self.contents.finish())),
            ("uri", Arc::new(self.uris.finish())),
            ("content_type", Arc::new(self.content_types.finish())),
            ("page_content_column", Arc::new(self.columns.finish())),
            ("title", Arc::new(self.titles.finish())),
            ("metadata", Arc::new(self.metadata.finish())),
            ("deleted", Arc::new(self.deleted.finish())),
            ("file", Arc::new(self.files.finish())),
            ("partition", Arc::new(self.partitions.finish())),
            ("offset", Arc::new(self.offsets.finish())),
        ];
        RecordBatch::try_from_iter(columns)
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
    let text = |name: &str| Ok::<_, String>(column(name)?.as_string::<i32>());
    let (ids, collections) = (text("id")?, text("collection")?);
    let (contents, uris, content_types) = (text("content")?, text("uri")?, text("content_type")?);
    let (columns, titles, metadata) = (text("page_content_column")?, text("title")?, text("metadata")?);
    let (deleted, files) = (column("deleted")?.as_boolean(), column("file")?.as_binary::<i32>());
    let partitions = column("partition")?.as_primitive::<Int32Type>();
    let offsets = column("offset")?.as_primitive::<Int64Type>();
    let row = |index: usize| {
        let record = IngestRecord {
            id: ids.value(index).to_owned(),
            collection: collections.value(index).to_owned(),
            content: owned(contents, index),
            uri: owned(uris, index),
            content_type: owned(content_types, index),
            page_content_column: owned(columns, index),
            title: owned(titles, index),
            metadata: object(metadata, index)?,
            deleted: deleted.value(index),
        };
        let file = files.is_valid(index).then(|| files.value(index).to_vec());
        let ingest = Ingest { record, file };
        Ok(Row { partition: partitions.value(index), offset: offsets.value(index), ingest })
    };
    (0..rows.num_rows()).map(row).collect()
}

fn owned(column: &StringArray, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn object(column: &StringArray, row: usize) -> Result<Map<String, Value>, String> {
    match column.is_valid(row) {
        true => serde_json::from_str(column.value(row)).map_err(|error| error.to_string()),
        false => Ok(Map::new()),
    }
}
