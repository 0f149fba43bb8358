//! Reading without a group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::{Messages, Position, TopicPartition};

use super::access::Access;
use super::cursors::Cursors;
use super::outbox::no_partition;
use super::sync::deadline;
use crate::error::{LogError, LogErrorKind};
use crate::log::{Limit, Reader};

/// Reads given partitions. A place below the first record still there begins at that record; one past the end is
/// `OffsetOutOfRange`.
pub(crate) struct LogReader {
    access: Arc<dyn Access>,
    cursors: Cursors,
}

impl LogReader {
    /// Begins at these places.
    pub fn open(access: Arc<dyn Access>, from: &[Position]) -> Result<Self, LogError> {
        let mut cursors = Cursors::default();
        for position in from {
            let topic = access.topic(&position.topic)?;
            if !(0..topic.partitions as i32).contains(&position.partition) {
                return Err(no_partition(&topic, position.partition));
            }
            cursors.set(topic.id, position.topic_partition(), position.offset);
        }
        Ok(Self { access, cursors })
    }
}

impl Reader for LogReader {
    fn poll(&mut self, into: &mut Messages, limit: Limit, wait: Duration) -> Result<usize, LogError> {
        let until = deadline(wait);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let count = self.cursors.poll(&*self.access, into, limit, left)?;
            if count > 0 || Instant::now() >= until {
                return Ok(count);
            }
        }
    }

    fn position(&self, partition: &TopicPartition) -> Result<i64, LogError> {
        let unread = || LogError::new(LogErrorKind::Invalid, "this reader does not read it").at(partition.clone());
        self.cursors.position(partition).ok_or_else(unread)
    }
}
