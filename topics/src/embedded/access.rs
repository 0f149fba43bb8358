//! What readers and producers need of the log, whether it lives in this process or behind the socket.

use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::change::{Fence, Lot, Ticket};
use super::topics::StoredTopic;
use crate::error::LogError;

/// A place to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Want {
    pub topic: u32,
    pub partition: u32,
    pub offset: i64,
}

/// What was found for one [`Want`].
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Which of the wants.
    pub want: usize,
    /// Runs in order; the first may begin below the wanted offset.
    pub batches: Vec<Arc<Batch>>,
    /// Where to go on when there are none: compaction left nothing before this offset.
    pub skip_to: Option<i64>,
}

/// The log as its own readers and producers use it.
pub(crate) trait Access: Send + Sync {
    /// A topic by name.
    fn topic(&self, name: &str) -> Result<StoredTopic, LogError>;

    /// What can be read at these places: about `max_bytes`, waiting at most `wait` for anything at all.
    fn fetch(&self, wants: &[Want], max_bytes: usize, wait: Duration) -> Result<Vec<Fetched>, LogError>;

    /// Appends atomically; with a fence only while its epoch is the newest.
    fn append(&self, lots: Vec<Lot>, fence: Option<Fence>) -> Result<Ticket, LogError>;

    /// Opens a transactional id; its new epoch.
    fn open_id(&self, id: &str) -> Result<Fence, LogError>;

    /// Most that a producer may hold in memory.
    fn max_transaction_bytes(&self) -> usize;
}
