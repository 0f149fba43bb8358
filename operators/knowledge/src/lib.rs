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

use lunapark_embed::{EmbedError, EmbedErrorKind};
use lunapark_operator::{OperatorError, Retry};

/// A store that does not answer is asked again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// A device that does not answer is no fault of the texts: they wait.
fn unembedded(error: &EmbedError) -> OperatorError {
    match error.kind {
        EmbedErrorKind::Device => later(error.to_string()),
        _ => OperatorError::fatal(error.to_string()),
    }
}

/// The batch waits for a store that does not answer.
fn later(message: String) -> OperatorError {
    OperatorError { retry: Retry::After(AGAIN), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_wait_for_a_device_that_does_not_answer() {
        let error = |kind| EmbedError { kind, file: String::new(), what: "it is silent".into(), advice: "look".into() };
        for (kind, waits) in [(EmbedErrorKind::Device, true), (EmbedErrorKind::Text, false)] {
            let told = unembedded(&error(kind));
            assert_eq!(matches!(told.retry, Retry::After(_)), waits, "{told:?}");
            assert!(told.message.contains("it is silent; look"), "{told}");
        }
    }
}
