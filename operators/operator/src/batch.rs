//! The batch that operators see: an Arrow `RecordBatch` with the messages that it came from beside it.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use lunapark_schemas::inference::Request;
use lunapark_schemas::outcome::FailedRow;
use lunapark_schemas::{ErrorClass, Rejection};

/// Rows of one model, and which message each run of rows belongs to.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which model scores the rows: index into the codec's model set.
    pub model: usize,
    /// The rows, in the model's input schema.
    pub rows: RecordBatch,
    /// The messages, in row order; consecutive members have consecutive row ranges.
    pub members: Vec<Member>,
}

/// One message of a batch.
#[derive(Clone, Debug)]
pub struct Member {
    /// Index of the message in the polled messages.
    pub message: usize,
    /// First row in the batch.
    pub start: usize,
    /// What the request was: number of rows, format, and the rows that failed to decode.
    pub request: Request,
}

impl Member {
    /// The member's rows in its batch: those of the request that decoded.
    pub fn rows(&self) -> Range<usize> {
        self.start..self.start + self.request.decoded_rows()
    }
}

impl Batch {
    /// The batch of the given members alone, for bisecting. Rows are shared, not copied.
    pub fn slice(&self, members: Range<usize>) -> Batch {
        let members = &self.members[members];
        let start = members.first().map_or(0, |m| m.start);
        let end = members.last().map_or(start, |m| m.rows().end);
        let moved = |m: &Member| Member { start: m.start - start, ..m.clone() };
        Batch {
            model: self.model,
            rows: self.rows.slice(start, end - start),
            members: members.iter().map(moved).collect(),
        }
    }
}

/// What decoding made of some messages.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Batches ready for the operator.
    pub batches: Vec<Batch>,
    /// Message index and reason of what does not decode.
    pub rejected: Vec<(usize, Rejection)>,
    /// Some of the messages once more, for models whose scores are not the results.
    pub shadow: Vec<Batch>,
    /// Model and reason, for each message that a model whose scores are not the results does not understand.
    pub shadow_rejected: Vec<(usize, Rejection)>,
    /// Messages that cannot be decoded before a model is loaded.
    pub waiting: Vec<Waiting>,
}

/// A message that waits for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Index of the message in the polled messages.
    pub message: usize,
    /// The model.
    pub version: VersionName,
}

/// A version of a model, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionName {
    /// Model name.
    pub name: String,
    /// Version.
    pub version: String,
}

impl std::fmt::Display for VersionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

impl Decoded {
    /// Adds the rows of these messages as a batch, where there are any. Rows that make no batch are rejected.
    pub fn add<E: Display>(&mut self, model: usize, rows: Result<RecordBatch, E>, members: Vec<Member>) {
        match rows {
            _ if members.is_empty() => {}
            Ok(rows) => self.batches.push(Batch { model, rows, members }),
            Err(error) => {
                let rejection = Rejection::new(ErrorClass::Operator, format!("rows do not make a batch: {error}"));
                self.rejected.extend(members.iter().map(|m| (m.message, rejection.clone())));
            }
        }
    }
}

/// Rows of a result batch that belong to one message.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Result rows of the whole batch, in the model's output schema.
    pub outputs: Arc<RecordBatch>,
    /// This message's rows among them.
    pub rows: Range<usize>,
    /// Rows of the message that have none, ascending, whether they failed to decode or to be scored.
    pub failed: Vec<FailedRow>,
}
