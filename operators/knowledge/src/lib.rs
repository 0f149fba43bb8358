//! Documents into collections, and questions out of them.
//!
//! ```text
//! ingest record ──▶ fetch ──▶ extract ──▶ chunk ──▶ embed ──▶ segment, manifest ──▶ what became of it
//! question ──▶ embed ──▶ scan, words ──▶ passages
//! ```
//!
//! Both are stateless over batches: a collection lives on the object store, with the next offsets of the log in its
//! manifests, with the answers that the log may not have yet, so a batch that comes again changes nothing and is answered
//! with the same bytes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod codec;
mod collections;
mod content;
pub mod ingest;
mod older;
mod passages;
pub mod reindex;
pub mod search;

pub use codec::{Json, JsonCodec, Rows};
pub use collections::{Collections, Teller};
pub use content::{SourceError, Sources};
pub use older::Older;
pub use passages::PASSAGE_RULE;

use std::time::Duration;

use lunapark_operator::{OperatorError, Retry};

/// A store that does not answer is asked again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// The batch waits for a store that does not answer.
fn later(message: String) -> OperatorError {
    OperatorError { retry: Retry::After(AGAIN), message }
}
