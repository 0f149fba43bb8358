//! What can go wrong between Lunapark and a log: kind, whether to try again, and what to do.

use lunapark_schemas::TopicPartition;

/// The kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LogErrorKind {
    /// No broker answers, or the data folder cannot be opened.
    Unreachable,
    /// The topic or partition does not exist.
    TopicMissing,
    /// The topic exists, but not as the catalog says (partitions, clean-up policy).
    TopicMismatch,
    /// The broker refuses these credentials, or they lack a permission.
    Unauthorised,
    /// The consumer group has never let this member in, and the broker says that it may not.
    NotAdmitted,
    /// Another instance of the same name has taken over; this one must stop producing.
    Fenced,
    /// The record is larger than its topic takes.
    TooLarge,
    /// The group moved partitions meanwhile; the open transaction must be thrown away.
    Rebalanced,
    /// No answer in time; whether it took effect is unknown.
    Timeout,
    /// Somebody else owns the embedded log.
    Owned,
    /// An offset that the log no longer, or not yet, has.
    OffsetOutOfRange,
    /// A request that makes no sense; a fault of the caller.
    Invalid,
    /// Stored bytes do not read back.
    Corrupt,
    /// Any other failure of the client library or the disk.
    Internal,
}

/// A failed operation on a log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{message}", at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default())]
pub struct LogError {
    /// Which kind.
    pub kind: LogErrorKind,
    /// Topic and partition, where it concerns one.
    pub at: Option<TopicPartition>,
    /// What is wrong and what to do.
    pub message: String,
}

impl LogError {
    /// An error of the given kind.
    pub fn new(kind: LogErrorKind, message: impl Into<String>) -> Self {
        Self { kind, at: None, message: message.into() }
    }

    /// The same error, concerning one partition.
    pub fn at(mut self, at: TopicPartition) -> Self {
        self.at = Some(at);
        self
    }

    /// Somebody else has taken the transactional id over: Kafka says so as a fence, or as a transaction that has to be
    /// aborted. Nothing of the transaction is there, and the same may succeed next time.
    pub fn overtaken(&self) -> bool {
        matches!(self.kind, LogErrorKind::Fenced | LogErrorKind::Rebalanced)
    }

    /// What a stream thread does with it: abort and rewind, or give up the producer and start afresh.
    pub fn recovery(&self) -> Recovery {
        match self.kind {
            LogErrorKind::Rebalanced | LogErrorKind::TooLarge => Recovery::Abort,
            LogErrorKind::Unreachable
            | LogErrorKind::Fenced
            | LogErrorKind::Timeout
            | LogErrorKind::OffsetOutOfRange
            | LogErrorKind::Internal => Recovery::Reopen,
            _ => Recovery::Stop,
        }
    }
}

/// How a stream thread goes on after a [`LogError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Abort the transaction, go back to the committed offsets, go on.
    Abort,
    /// Drop consumer and producer, wait, open them again under the same name.
    Reopen,
    /// A human is needed.
    Stop,
}
