//! Requests as a column.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use lunapark_operator::Batch;
use lunapark_schemas::search::{SearchAnswer, SearchRequest};
use lunapark_schemas::{ErrorClass, Message, Rejection};

use crate::codec::Rows;

/// The column under construction.
#[derive(Default)]
pub struct SearchRows(StringBuilder);

impl Rows for SearchRows {
    type Answer = SearchAnswer;

    fn push(&mut self, message: &Message<'_>) -> Result<(), Rejection> {
        self.0.append_value(request_of(message)?);
        Ok(())
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let requests: ArrayRef = Arc::new(self.0.finish());
        RecordBatch::try_from_iter([("request", requests)])
    }
}

/// Checked here, so that what is no question is a dead letter whatever the collection holds.
fn request_of<'a>(message: &Message<'a>) -> Result<&'a str, Rejection> {
    let empty = || Rejection::new(ErrorClass::Empty, "no value; send a search request");
    let value = message.value.filter(|value| !value.is_empty()).ok_or_else(empty)?;
    let malformed = |what: String| Rejection::new(ErrorClass::Malformed, what);
    SearchRequest::from_json(value).map_err(malformed)?;
    std::str::from_utf8(value).map_err(|error| malformed(error.to_string()))
}

/// The requests of a batch, in its order.
pub(super) fn requests_of(batch: &Batch) -> Result<Vec<SearchRequest>, String> {
    let column = batch.rows.column_by_name("request").ok_or("the batch has no column `request`")?;
    let read = |text: Option<&str>| SearchRequest::from_json(text.unwrap_or_default().as_bytes());
    column.as_string::<i32>().iter().map(read).collect()
}
