//! Settings of the embedded log.

use std::time::Duration;

/// What a commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// The disk has it: survives kill -9 and power loss.
    #[default]
    Disk,
    /// The operating system has it: survives kill -9, not power loss. A power cut may leave a file that does not
    /// open any more.
    Os,
}

/// How the owner keeps its log.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// What a commit waits for.
    pub sync: Sync,
    /// A stream that does not poll for so long loses its partitions.
    pub session_timeout: Duration,
    /// Time between two rounds of retention and compaction.
    pub maintenance_period: Duration,
    /// How long compaction keeps a tombstone, so that every reader gets to see it.
    pub tombstone_grace: Duration,
    /// Recently appended records kept in memory for readers that follow the end.
    pub tail_bytes: usize,
    /// Pages of the file kept in memory.
    pub page_cache_bytes: usize,
    /// Most that one transaction or one unsent batch of records may hold in memory.
    pub max_transaction_bytes: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            sync: Sync::Disk,
            session_timeout: Duration::from_secs(10),
            maintenance_period: Duration::from_secs(5),
            // Kafka's `delete.retention.ms`.
            tombstone_grace: Duration::from_secs(24 * 3600),
            // Half a second of the fastest stream measured, so that a follower that stalls once still reads memory.
            tail_bytes: 64 << 20,
            // Holds the inner pages of a file of some 100 GB; record pages pass through.
            page_cache_bytes: 32 << 20,
            // Five of the largest messages (100 MB) that a deployment is expected to permit.
            max_transaction_bytes: 512 << 20,
        }
    }
}
