//! From messages of `search.requests` to rows of requests, and from answers to `search.results`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use lunapark_operator::{Batch, Codec, Decoded, Member, Output, Reply};
use lunapark_schemas::headers::CONTENT_TYPE;
use lunapark_schemas::outcome::FailedRow;
use lunapark_schemas::search::{SearchReply, SearchRequest};
use lunapark_schemas::{ErrorClass, Message, Messages, Rejection};

use crate::ingest::one_row;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Found(pub SearchReply);

impl Output for Found {
    fn failed(&self) -> &[FailedRow] {
        &[]
    }
}

/// One request per message, one row per request.
pub struct SearchCodec {
    /// `name#digest` of the text encoder, for the ledger.
    pub encoder: String,
}

impl Codec<Found> for SearchCodec {
    fn decode(&self, messages: &Messages, indices: &[usize]) -> Decoded {
        let mut decoded = Decoded::default();
        let (mut requests, mut members) = (Vec::new(), Vec::new());
        for &index in indices {
            match request_of(&messages.get(index)) {
                Ok(request) => {
                    members.push(one_row(index, requests.len()));
                    requests.push(request);
                }
                Err(rejection) => decoded.rejected.push((index, rejection)),
            }
        }
        let column: ArrayRef = Arc::new(StringArray::from(requests));
        match RecordBatch::try_from_iter([("request", column)]) {
            _ if members.is_empty() => {}
            Ok(rows) => decoded.batches.push(Batch { model: 0, rows, members }),
            Err(error) => {
                let rejection = Rejection::new(ErrorClass::Operator, format!("rows do not make a batch: {error}"));
                decoded.rejected.extend(members.iter().map(|m| (m.message, rejection.clone())));
            }
        }
        decoded
    }

    fn encode(&self, _: &Message<'_>, _: usize, _: &Member, out: &Found, reply: &mut Reply) -> Result<(), Rejection> {
        serde_json::to_writer(&mut reply.value, &out.0)
            .map_err(|error| Rejection::new(ErrorClass::Operator, format!("the answer cannot be written: {error}")))?;
        reply.headers.push_str(CONTENT_TYPE, "application/json");
        Ok(())
    }

    fn model_tag(&self, _: usize) -> Option<&str> {
        Some(&self.encoder)
    }
}

/// Checked here, so that what is no question is a dead letter whatever the collection holds.
fn request_of(message: &Message<'_>) -> Result<String, Rejection> {
    let empty = || Rejection::new(ErrorClass::Empty, "no value; send a search request");
    let value = message.value.filter(|value| !value.is_empty()).ok_or_else(empty)?;
    let malformed = |what: String| Rejection::new(ErrorClass::Malformed, what);
    SearchRequest::from_json(value).map_err(malformed)?;
    std::str::from_utf8(value).map(str::to_owned).map_err(|error| malformed(error.to_string()))
}

/// The requests of a batch, in its order.
pub(super) fn requests_of(batch: &Batch) -> Result<Vec<SearchRequest>, String> {
    let column = batch.rows.column_by_name("request").ok_or("the batch has no column `request`")?;
    let read = |text: Option<&str>| SearchRequest::from_json(text.unwrap_or_default().as_bytes());
    column.as_string::<i32>().iter().map(read).collect()
}
