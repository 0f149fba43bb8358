//! What goes over the owner's socket: frames of a JSON head and a body of raw runs.
//!
//! Frame: head length (u32 LE), body length (u64 LE), head, body. One request, one answer, in turn.

use std::io::{Read, Write};

use lunapark_schemas::TopicPartition;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::access::Want;
use super::batch::Damaged;
use super::topics::StoredTopic;
use crate::error::{LogError, LogErrorKind};

/// Both sides must speak the same.
pub(crate) const PROTOCOL: u32 = 1;
/// Longest head: the topics of the largest installation, or the places of the widest fetch.
const MAX_HEAD_BYTES: u32 = 16 << 20;
/// Grown at most so far before bytes of it have arrived.
const FIRST_CAPACITY: u64 = 1 << 20;

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Hello {
        protocol: u32,
    },
    Create(StoredTopic),
    Delete(String),
    Infos,
    Info(String),
    Watermarks(TopicPartition),
    OffsetForTime(TopicPartition, i64),
    Groups,
    Committed(String, Vec<TopicPartition>),
    Fetch {
        wants: Vec<Want>,
        max_bytes: usize,
        wait_ms: u64,
    },
    /// Topic, partition and length of each run in the body; transactional id and epoch.
    Append {
        lots: Vec<(u32, u32, usize)>,
        fence: Option<(String, u64)>,
    },
    OpenId(String),
}

/// What the owner answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Hello {
        max_transaction_bytes: usize,
    },
    Done,
    Created {
        new: bool,
    },
    Infos(Vec<(StoredTopic, u64)>),
    Info(StoredTopic, u64),
    Watermarks {
        low: i64,
        high: i64,
    },
    Offset(i64),
    Names(Vec<String>),
    Offsets(Vec<Option<i64>>),
    /// The runs lie in the body.
    Fetched(Vec<Found>),
    Epoch(u64),
    Failed {
        kind: LogErrorKind,
        at: Option<TopicPartition>,
        message: String,
    },
}

/// What was found for one place: base and length of each run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub want: usize,
    pub runs: Vec<(i64, usize)>,
    pub skip_to: Option<i64>,
}

impl From<LogError> for Answer {
    fn from(error: LogError) -> Self {
        Self::Failed { kind: error.kind, at: error.at, message: error.message }
    }
}

/// Sends one frame.
pub(crate) fn send<'b>(
    to: &mut impl Write,
    head: &impl Serialize,
    body: impl Iterator<Item = &'b [u8]> + Clone,
) -> Result<(), LogError> {
    let head = serde_json::to_vec(head).map_err(|e| LogError::new(LogErrorKind::Internal, e.to_string()))?;
    let length: u64 = body.clone().map(|part| part.len() as u64).sum();
    let mut start = Vec::with_capacity(12 + head.len());
    start.extend_from_slice(&(head.len() as u32).to_le_bytes());
    start.extend_from_slice(&length.to_le_bytes());
    start.extend_from_slice(&head);
    to.write_all(&start).map_err(broken)?;
    body.into_iter().try_for_each(|part| to.write_all(part)).map_err(broken)
}

/// Receives one frame whose body is at most `max_body` bytes.
pub(crate) fn receive<T: DeserializeOwned>(from: &mut impl Read, max_body: u64) -> Result<(T, Vec<u8>), LogError> {
    let mut lengths = [0; 12];
    from.read_exact(&mut lengths).map_err(broken)?;
    let head_len = lengths.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
    let body_len = lengths.last_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    if head_len > MAX_HEAD_BYTES || body_len > max_body {
        return Err(Damaged::from_text(&format!("a frame of {head_len} + {body_len} bytes is too long")).into());
    }
    let head = exactly(from, u64::from(head_len))?;
    let body = exactly(from, body_len)?;
    let head = serde_json::from_slice(&head).map_err(|e| LogError::from(Damaged::from_text(&e.to_string())))?;
    Ok((head, body))
}

/// Memory grows with what arrives, not with what was promised.
fn exactly(from: &mut impl Read, len: u64) -> Result<Vec<u8>, LogError> {
    let mut bytes = Vec::with_capacity(len.min(FIRST_CAPACITY) as usize);
    from.take(len).read_to_end(&mut bytes).map_err(broken)?;
    match bytes.len() as u64 == len {
        true => Ok(bytes),
        false => Err(broken(std::io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Cuts a body into pieces of these lengths, which must make up all of it.
pub(crate) fn pieces(mut body: &[u8], lengths: impl Iterator<Item = usize>) -> Result<Vec<Vec<u8>>, LogError> {
    let wrong =
        || LogError::from(Damaged::from_text("the body of a frame does not have the length that its head says"));
    let mut pieces = Vec::new();
    for length in lengths {
        let (piece, rest) = body.split_at_checked(length).ok_or_else(wrong)?;
        pieces.push(piece.to_vec());
        body = rest;
    }
    if body.is_empty() { Ok(pieces) } else { Err(wrong()) }
}

fn broken(error: std::io::Error) -> LogError {
    LogError::new(LogErrorKind::Unreachable, format!("the connection to the embedded log's owner ended: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn random_frames_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = receive::<Ask>(&mut bytes.as_slice(), 1000);
        }

        #[test]
        fn frames_come_back(body in prop::collection::vec(any::<u8>(), 0..100), cut in 0usize..100) {
            let mut sent = Vec::new();
            let cut = cut.min(body.len());
            let (a, b) = body.split_at(cut);
            send(&mut sent, &Ask::Delete("t".to_owned()), [a, b].into_iter()).unwrap();
            let (ask, received) = receive::<Ask>(&mut sent.as_slice(), 100).unwrap();
            prop_assert!(matches!(ask, Ask::Delete(name) if name == "t"));
            prop_assert_eq!(pieces(&received, [a.len(), b.len()].into_iter()).unwrap(), [a.to_vec(), b.to_vec()]);
            prop_assert!(pieces(&received, std::iter::once(body.len() + 1)).is_err());
        }
    }

    #[test]
    fn a_promise_of_too_much_is_refused_before_memory_is_taken() {
        let mut frame = 2u32.to_le_bytes().to_vec();
        frame.extend_from_slice(&u64::MAX.to_le_bytes());
        frame.extend_from_slice(b"{}");
        let refused = receive::<Ask>(&mut frame.as_slice(), 1 << 40).unwrap_err();
        assert_eq!(refused.kind, LogErrorKind::Corrupt);
    }
}
