//! Between JSON records and batches: one row per message in, one JSON document per message out.

use std::marker::PhantomData;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use lunapark_operator::{Codec, Decoded, Member, Output, Reply};
use lunapark_schemas::headers::{CONTENT_TYPE, REKEYED};
use lunapark_schemas::inference::{Format, Request};
use lunapark_schemas::outcome::FailedRow;
use lunapark_schemas::{ErrorClass, Message, Messages, Rejection};
use serde::Serialize;

/// An answer that travels as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Json<T>(pub T);

impl<T: Send> Output for Json<T> {
    fn failed(&self) -> &[FailedRow] {
        &[]
    }
}

/// What messages become: columns of a batch, a row each.
pub trait Rows: Default {
    /// What a message is answered with.
    type Answer: Serialize;

    /// Adds a message, or says why it is none.
    fn push(&mut self, message: &Message<'_>) -> Result<(), Rejection>;

    /// The key whose partition a message belongs to, where the order of a key's messages matters.
    fn home_key(_message: &Message<'_>) -> Option<Vec<u8>> {
        None
    }

    /// The batch.
    fn finish(self) -> Result<RecordBatch, ArrowError>;
}

/// Messages into these rows, and answers into JSON.
pub struct JsonCodec<R> {
    /// `name#digest` of the text encoder, for the ledger.
    encoder: String,
    rows: PhantomData<fn() -> R>,
}

impl<R> JsonCodec<R> {
    /// A codec for an operator that has this text encoder.
    pub fn new(encoder: String) -> Self {
        Self { encoder, rows: PhantomData }
    }
}

impl<R: Rows> Codec<Json<R::Answer>> for JsonCodec<R> {
    fn decode(&self, messages: &Messages, indices: &[usize]) -> Decoded {
        let mut decoded = Decoded::default();
        let (mut rows, mut members) = (R::default(), Vec::new());
        for &index in indices {
            match rows.push(&messages.get(index)) {
                Ok(()) => members.push(one_row(index, members.len())),
                Err(rejection) => decoded.rejected.push((index, rejection)),
            }
        }
        decoded.add(0, rows.finish(), members);
        decoded
    }

    fn home_key(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        R::home_key(message)
    }

    fn encode(
        &self,
        message: &Message<'_>,
        _: usize,
        _: &Member,
        Json(answer): &Json<R::Answer>,
        reply: &mut Reply,
    ) -> Result<(), Rejection> {
        serde_json::to_writer(&mut reply.value, answer)
            .map_err(|error| Rejection::new(ErrorClass::Operator, format!("the answer cannot be written: {error}")))?;
        reply.headers.push_str(CONTENT_TYPE, "application/json");
        // Whoever sent it knows it by the place where it was first.
        reply.headers.extend(message.headers, |name| name == REKEYED);
        Ok(())
    }

    fn model_tag(&self, _: usize) -> Option<&str> {
        Some(&self.encoder)
    }
}

fn one_row(message: usize, start: usize) -> Member {
    Member { message, start, request: Request { format: Format::KserveV1, rows: 1, extra: None } }
}
