//! Messages that lie on another partition than their key's are put there, so that one partition's order is the order of a
//! key's messages.
//!
//! ```text
//! documents.ingest/3 ── message of key "a" ──► filtered: rekeyed        key "a" belongs to partition 1
//!                                  └─ same transaction ─► documents.ingest/1 ── read there like any other
//! ```
//!
//! Clients with another hash (librdkafka's default), with other keys or with none put a record anywhere. The message ends
//! as filtered, and the transaction that says so holds its copy: key, the same value and headers, and one header more that
//! says where it lay. So it is moved exactly once, is counted as two messages, of which one has a result, and what one
//! partition holds of a key stays in order. What waits for the copy's partition waits for that transaction as well.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lunapark_operator::{Codec, Operator};
use lunapark_schemas::headers::REKEYED;
use lunapark_schemas::{ErrorClass, HeadersBuf, Message, Record, Rejection, SkipReason};
use lunapark_topics::partitioner::partition_of;
use lunapark_topics::{LogError, LogErrorKind};

use super::account::Ending;
use super::{RunError, Runner};

/// Partitions are added to a topic a few times in its life, and a message may be on its way each time. Instances that
/// disagree about their number must not pass it to and fro.
const MAX_MOVES: usize = 4;

/// The partitions among which the keys of a topic are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Homes {
    /// How many there are.
    pub partitions: i32,
}

/// Where a message belongs that lies elsewhere.
#[derive(Debug)]
pub(super) struct Home {
    key: Vec<u8>,
    partition: i32,
    of: Homes,
}

impl Homes {
    /// Where a message belongs; none where it lies there.
    pub(super) fn elsewhere<Out>(self, codec: &impl Codec<Out>, message: &Message<'_>) -> Option<Home> {
        let key = codec.home_key(message)?;
        let partition = partition_of(&key, self.partitions);
        (partition != message.partition).then_some(Home { key, partition, of: self })
    }

    /// Refuses to guess where keys belong once there are more partitions.
    fn still_known(self, message: &Message<'_>) -> Result<(), LogError> {
        if message.partition < self.partitions {
            return Ok(());
        }
        let what = format!(
            "topic `{}` had {} partitions when this instance started and has more now; set topics.partitions and start all \
             instances again",
            message.topic, self.partitions
        );
        Err(LogError::new(LogErrorKind::TopicMismatch, what))
    }
}

impl<C: Codec<O::Out>, O: Operator> Runner<'_, C, O> {
    /// Puts a message where it belongs; here it ends as filtered.
    pub(super) fn move_home(&mut self, message: &Message<'_>, home: &Home) -> Result<Ending, RunError> {
        home.of.still_known(message)?;
        let moves = message.headers.filter(|(name, _)| *name == REKEYED).count();
        if moves >= MAX_MOVES {
            let what = format!(
                "it was put on other partitions {moves} times and belongs to partition {}: start all instances again, \
                 so that they agree about the topic's partitions, then redrive it",
                home.partition
            );
            return self.write_dead(message, &Rejection::new(ErrorClass::Header, what), 1, &[]);
        }
        let mut headers = HeadersBuf::new();
        headers.extend(message.headers, |_| true);
        headers.push_str(REKEYED, &message.position().to_string());
        let record = Record {
            topic: message.topic,
            partition: Some(home.partition),
            key: Some(&home.key),
            value: message.value,
            headers: headers.view(),
            timestamp: (message.timestamp >= 0).then_some(message.timestamp),
        };
        let size = record.wire_size();
        if let Some(limit) = self.stream.max_message_bytes(record.topic).filter(|limit| size > *limit) {
            let topic = record.topic;
            let what = format!(
                "it belongs to partition {}, and with its id as key it has {size} bytes where topic `{topic}` takes \
                 {limit}: send it with its id as key, by a client that uses murmur2_random",
                home.partition
            );
            return self.write_dead(message, &Rejection::new(ErrorClass::TooLarge, what), 1, &[]);
        }
        self.stream.produce(&record, Some((message.partition, message.offset)))?;
        self.account.add_bytes(size);
        Ok(Ending::Filtered(SkipReason::Rekeyed))
    }

    /// Tells whoever wants to know which partitions this thread holds.
    pub(super) fn tell_held(&self, held: BTreeSet<i32>) {
        if let Some(holdings) = &self.settings.holdings {
            holdings.set(&self.settings.member, held);
        }
    }
}

/// The partitions that the stream threads of one pipeline hold in this instance.
#[derive(Debug, Default)]
pub struct Holdings {
    by_member: Mutex<HashMap<String, BTreeSet<i32>>>,
}

impl Holdings {
    /// What a thread holds from now on.
    pub fn set(&self, member: &str, partitions: BTreeSet<i32>) {
        self.lock().insert(member.to_owned(), partitions);
    }

    /// Whether a thread of this instance holds a partition.
    pub fn has(&self, partition: i32) -> bool {
        self.lock().values().any(|held| held.contains(&partition))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeSet<i32>>> {
        self.by_member.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
