//! What is asked of the writing thread, and its answers.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::batch::{Batch, Run};
use super::topics::StoredTopic;
use crate::error::{LogError, LogErrorKind};
use crate::log::Created;

/// A run and the partition that it is to be appended to.
#[derive(Clone, Debug)]
pub(crate) struct Lot {
    pub topic: u32,
    pub partition: u32,
    pub run: Run,
}

/// A transactional id and the epoch under which it is used.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub id: Arc<str>,
    pub epoch: u64,
}

/// The next offset of a group in a partition.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    pub topic: u32,
    pub partition: u32,
    pub offset: i64,
}

/// Records and offsets that become visible together or not at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Append {
    pub lots: Vec<Lot>,
    pub fence: Option<Fence>,
    pub group: Arc<str>,
    pub offsets: Vec<Next>,
}

/// One change of the log.
#[derive(Debug)]
pub(crate) enum Change {
    /// Appends records and commits offsets.
    Append(Append),
    /// Opens a transactional id: who held it before is fenced.
    OpenId(Arc<str>),
    /// Creates a topic.
    Create(StoredTopic),
    /// Deletes a topic; its records go later, by `Trim`.
    Delete(Arc<str>),
    /// Removes up to a bounded number of runs that end below this offset.
    Trim { topic: u32, partition: u32, below: i64 },
    /// Strikes a deleted topic whose records are gone.
    Forget { topic: u32 },
    /// Puts compacted runs in place of these.
    Rewrite { topic: u32, partition: u32, remove: Vec<u64>, insert: Vec<Batch> },
    /// Gives the file's free end back to the disk.
    Shrink,
    /// Ends the thread.
    Stop,
}

/// What the writing thread answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It is durable.
    Done,
    /// The epoch of a transactional id.
    Epoch(u64),
    /// Whether a topic is new.
    Created(Created),
    /// How many runs were removed.
    Removed(usize),
}

/// A change on its way to the writing thread.
#[derive(Debug)]
pub(crate) struct Request {
    pub change: Change,
    pub reply: Sender<Result<Reply, LogError>>,
}

/// An answer to come.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// Still under way.
    Waiting(Receiver<Result<Reply, LogError>>),
    /// Here.
    Done(Result<Reply, LogError>),
}

impl Ticket {
    /// Waits for the answer.
    pub fn wait(self) -> Result<Reply, LogError> {
        match self {
            Self::Waiting(reply) => reply.recv().unwrap_or_else(|_| Err(closed())),
            Self::Done(reply) => reply,
        }
    }

    /// Waits for the answer, but not for ever.
    pub fn wait_within(self, within: Duration) -> Result<Reply, LogError> {
        match self {
            Self::Waiting(reply) => reply.recv_timeout(within).unwrap_or_else(|error| match error {
                RecvTimeoutError::Timeout => Err(late(within)),
                RecvTimeoutError::Disconnected => Err(closed()),
            }),
            Self::Done(reply) => reply,
        }
    }

    /// The answer, where it is here already.
    pub fn poll(self) -> Result<Result<Reply, LogError>, Self> {
        match self {
            Self::Waiting(reply) => match reply.try_recv() {
                Ok(answer) => Ok(answer),
                Err(crossbeam_channel::TryRecvError::Empty) => Err(Self::Waiting(reply)),
                Err(crossbeam_channel::TryRecvError::Disconnected) => Ok(Err(closed())),
            },
            Self::Done(answer) => Ok(answer),
        }
    }
}

/// The error of a log whose owner is gone.
pub(crate) fn closed() -> LogError {
    LogError::new(LogErrorKind::Unreachable, "the embedded log is closed")
}

fn late(within: Duration) -> LogError {
    let message =
        format!("the embedded log did not confirm within {within:?}; whether the records are there is unknown");
    LogError::new(LogErrorKind::Timeout, message)
}
