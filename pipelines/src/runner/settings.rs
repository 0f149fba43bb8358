//! What a stream thread is told: names, sizes, routes; and how it fails.

use std::sync::Arc;
use std::time::Duration;

use lunapark_schemas::ledger::LedgerRecord;
use lunapark_topics::{Limit, LogError, Topic};

use super::home::{Holdings, Homes};
use crate::config::ScoreConfig;

/// A batch of less than this part of its bounds is a small one.
const SMALL: usize = 8;

/// Settings of one stream thread.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Pipeline name; also its consumer group.
    pub pipeline: String,
    /// Stable name of this thread: `pipeline-instance-thread`.
    pub member: String,
    /// Where results, dead letters and the account go.
    pub routes: Routes,
    /// A transaction is committed after so long.
    pub commit_interval: Duration,
    /// A transaction is committed at so many messages.
    pub commit_messages: u64,
    /// A transaction is committed at so many bytes read and written.
    pub commit_bytes: usize,
    /// Messages of one batch, at most.
    pub batch_messages: usize,
    /// A batch is closed by the message that passes so many bytes.
    pub batch_bytes: usize,
    /// After a small batch the next one is read no sooner than this.
    pub gather: Duration,
    /// The pipeline stops when more than this share of the last `reject_window` messages was rejected.
    pub reject_share: f64,
    /// Messages over which the share is taken; 0 turns the breaker off.
    pub reject_window: usize,
    /// A shadow that takes longer than this for one batch is ended.
    pub shadow_patience: Duration,
    /// Rejects below this offset are accepted on purpose.
    pub accept_rejects_until: Option<i64>,
    /// Where messages of a key belong, where that matters.
    pub homes: Option<Homes>,
    /// Who wants to know which partitions this thread holds.
    pub holdings: Option<Arc<Holdings>>,
}

impl Settings {
    /// As the scorer is configured, which every pipeline that has no wishes of its own follows.
    pub fn of(config: &ScoreConfig, pipeline: String, member: String, routes: Routes) -> Self {
        Self {
            pipeline,
            member,
            routes,
            commit_interval: config.commit_interval,
            commit_messages: config.commit_messages,
            commit_bytes: config.commit_bytes,
            batch_messages: config.batch_messages,
            batch_bytes: config.batch_bytes,
            gather: Duration::ZERO,
            reject_share: config.reject_share,
            reject_window: config.reject_window,
            shadow_patience: config.shadow_patience,
            accept_rejects_until: None,
            homes: None,
            holdings: None,
        }
    }

    /// True for a batch after which more is gathered before the next one.
    pub fn is_small(&self, messages: usize, bytes: usize) -> bool {
        !self.gather.is_zero() && messages < self.batch_messages / SMALL && bytes < self.batch_bytes / SMALL
    }

    /// How much one batch may hold.
    pub fn limit(&self) -> Limit {
        Limit { messages: self.batch_messages, bytes: self.batch_bytes }
    }
}

/// Output topics of a pipeline.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Topic of the results.
    pub results: Arc<str>,
    /// Topic of what shadows score; none for pipelines that have no such thing.
    pub shadow: Option<Arc<str>>,
    /// Topic of the dead letters.
    pub dead: Arc<str>,
    /// Topic of the ledger.
    pub ledger: Topic<LedgerRecord>,
    /// The thread's own partition of the ledger.
    pub ledger_partition: i32,
}

/// Why a stream thread ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Too many rejects.
    #[error(
        "stopped at {position}: {rejected} — more than {share:.0} % of the last {window} messages that could be read were rejected. \
         Nothing past the last commit was written. Fix the model or the producer and start again, or pass these \
         messages on purpose with `lunapark run --accept-rejects-until {until}`"
    )]
    Breaker {
        /// Where it stopped.
        position: String,
        /// The last rejection.
        rejected: String,
        /// Share that was exceeded, per cent.
        share: f64,
        /// Window size.
        window: usize,
        /// Offset after the rejected message.
        until: i64,
    },
    /// A record that answers no single message is larger than its topic takes.
    #[error("{0}; raise max.message.bytes of that topic")]
    Refused(LogError),
    /// The log does not take what a shadow says: the transaction is made again without it.
    #[error("topic `{topic}` does not take the scores of a shadow: {reason}")]
    Shadow {
        /// Topic of the shadow's scores.
        topic: Arc<str>,
        /// What the log says.
        reason: String,
    },
    /// A stream thread panicked; what was open is aborted.
    #[error("stream thread panicked; its message is on standard error; please report it")]
    Panicked,
    /// An operator broke its contract.
    #[error("operator `{operator}`: {what}; this is a fault in the operator, please report it")]
    Operator {
        /// Operator name.
        operator: &'static str,
        /// What it did.
        what: String,
    },
}
