//! Watches a run from outside, both sides in the same way: by the offsets that its group has committed. Offsets of the
//! events topic count messages exactly, for no transaction wrote to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use lunapark_schemas::TopicPartition;
use lunapark_topics::Log;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::process::{Running, nap};

/// Between two looks: a tenth of the commit interval, one small request each.
const PERIOD: Duration = Duration::from_millis(5);
/// A run without progress for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of one look.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where committed offsets are asked for.
pub enum Committed {
    /// On Kafka, over one connection.
    Kafka(BaseConsumer, TopicPartitionList),
    /// On any log.
    Log(Arc<dyn Log>, String, Vec<TopicPartition>),
}

impl Committed {
    /// Of this group on this cluster.
    pub fn kafka(bootstrap: &str, group: &str, partitions: &[TopicPartition]) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        // Otherwise the answer waits while a transaction with offsets is open.
        config.set("bootstrap.servers", bootstrap).set("group.id", group).set("isolation.level", "read_uncommitted");
        let mut list = TopicPartitionList::new();
        for p in partitions {
            list.add_partition(&p.topic, p.partition);
        }
        Ok(Self::Kafka(config.create()?, list))
    }

    /// Messages whose end is committed.
    pub fn messages(&self) -> anyhow::Result<u64> {
        Ok(self.offsets()?.into_iter().map(|offset| offset as u64).sum())
    }

    /// The committed offset of each partition; 0 where there is none yet.
    pub fn offsets(&self) -> anyhow::Result<Vec<i64>> {
        match self {
            Self::Kafka(consumer, list) => {
                let found = consumer.committed_offsets(list.clone(), TIMEOUT)?;
                let offset = |o| if let Offset::Offset(offset) = o { offset } else { 0 };
                let mut offsets: Vec<_> =
                    found.elements().iter().map(|e| (e.partition(), offset(e.offset()))).collect();
                offsets.sort_unstable();
                Ok(offsets.into_iter().map(|(_, offset)| offset).collect())
            }
            Self::Log(log, group, partitions) => {
                Ok(log.committed(group, partitions)?.into_iter().map(Option::unwrap_or_default).collect())
            }
        }
    }
}

/// A run from its first committed results to its last.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    first: Instant,
    at_first: u64,
    last: Instant,
    total: u64,
}

impl Span {
    /// Messages per second between the two; not a number where everything came at once.
    pub fn rate(&self) -> f64 {
        let seconds = (self.last - self.first).as_secs_f64();
        if seconds > 0.0 { (self.total - self.at_first) as f64 / seconds } else { f64::NAN }
    }

    /// When the first results were there.
    pub fn first(&self) -> Instant {
        self.first
    }
}

/// Waits until `total` messages are committed.
pub fn watch(committed: &Committed, running: &mut Running, total: u64) -> anyhow::Result<Span> {
    let (mut first, mut seen, mut moved) = (None, 0, Instant::now());
    loop {
        let answer = committed.messages();
        let now = Instant::now();
        let now_seen = match answer {
            // A broker that has just started, or a new group, is still looking for its coordinator.
            Err(_) if first.is_none() && moved.elapsed() < PATIENCE => 0,
            answer => answer?,
        };
        if now_seen > seen {
            (seen, moved) = (now_seen, now);
            first.get_or_insert((now, seen));
        }
        if let Some((first, at_first)) = first.filter(|_| seen >= total) {
            return Ok(Span { first, at_first, last: now, total });
        }
        running.check()?;
        ensure!(moved.elapsed() < PATIENCE, "no progress after {seen} of {total} messages");
        nap(PERIOD);
    }
}
