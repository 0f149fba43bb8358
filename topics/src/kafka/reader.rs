//! Reading given partitions without a group, committed records only.

use std::time::{Duration, Instant};

use lunapark_schemas::messages::At;
use lunapark_schemas::{Messages, Position, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::Offset;

use super::config::KafkaOptions;
use super::context::{MemberContext, PlainContext};
use super::error::log_error;
use super::native::{FetchQueue, bootstrap_again};
use super::offset_list;
use crate::error::LogError;
use crate::log::{Limit, Reader};

pub(super) struct KafkaReader {
    consumer: BaseConsumer<PlainContext>,
    bootstrap: String,
    from: Vec<Position>,
}

impl KafkaReader {
    pub(super) fn open(options: &KafkaOptions, from: &[Position]) -> Result<Self, LogError> {
        let mut config = options.consumer();
        // A reader that starts below the first offset still there begins at that one.
        config.set("auto.offset.reset", "earliest");
        config.set("group.id", "lunapark-reader");
        let failed = |e| log_error("reader", &e, None);
        let consumer: BaseConsumer<_> = config.create_with_context(PlainContext::default()).map_err(failed)?;
        consumer.assign(&offset_list(from)?).map_err(failed)?;
        Ok(Self { consumer, bootstrap: options.bootstrap.clone(), from: from.to_vec() })
    }
}

impl Reader for KafkaReader {
    fn poll(&mut self, into: &mut Messages, limit: Limit, wait: Duration) -> Result<usize, LogError> {
        let heard = &mut |error: &KafkaError| {
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
                bootstrap_again(self.consumer.client(), &self.bootstrap);
            }
        };
        let before = into.len();
        match fill(&self.consumer, into, limit, wait, heard) {
            // librdkafka asks for the coordinator of any group.id; who is told what to read from where needs none.
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                Ok(into.len() - before)
            }
            read => read.map_err(|e| log_error("read", &e, self.consumer.context().events.last_error())),
        }
    }

    fn position(&self, partition: &TopicPartition) -> Result<i64, LogError> {
        let positions = self.consumer.position().map_err(|e| log_error("position", &e, None))?;
        match positions.find_partition(&partition.topic, partition.partition).map(|e| e.offset()) {
            Some(Offset::Offset(offset)) => Ok(offset),
            _ => Ok(self.from.iter().find(|p| p.topic_partition() == *partition).map_or(0, |p| p.offset)),
        }
    }
}

/// Appends what a consumer has to `into`: waits for the first message only. `passed` hears of errors that librdkafka
/// mends by itself.
pub(super) fn fill<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    into: &mut Messages,
    limit: Limit,
    wait: Duration,
    passed: &mut dyn FnMut(&KafkaError),
) -> Result<usize, KafkaError> {
    let (before, bytes) = (into.len(), into.bytes());
    let deadline = Instant::now() + wait;
    while into.len() - before < limit.messages && into.bytes() - bytes < limit.bytes {
        let patience = match into.len() == before {
            true => deadline.saturating_duration_since(Instant::now()),
            false => Duration::ZERO,
        };
        match consumer.poll(patience) {
            Some(Ok(message)) => push(into, &message),
            Some(Err(error)) if passing(&error) => passed(&error),
            Some(Err(error)) => return Err(error),
            None => break,
        }
    }
    Ok(into.len() - before)
}

/// How long a group member waits for messages before it looks for rebalances and errors of the client again, which
/// come by another queue.
const EVENTS_EVERY: Duration = Duration::from_millis(10);

/// A group member's two sources: rebalances and errors by the client's queue, fetched messages by their own.
pub(super) struct Member<'a> {
    pub(super) consumer: &'a BaseConsumer<MemberContext>,
    pub(super) fetched: &'a mut FetchQueue,
}

/// As [`fill`], for a group member. The wait also ends with a rebalance.
pub(super) fn fill_member(
    Member { consumer, fetched }: Member<'_>,
    into: &mut Messages,
    limit: Limit,
    wait: Duration,
    passed: &mut dyn FnMut(&KafkaError),
) -> Result<usize, KafkaError> {
    let deadline = Instant::now() + wait;
    loop {
        // What was fetched before its partition was forwarded still comes this way.
        let known = consumer.context().group_events();
        let read = fill(consumer, into, limit, Duration::ZERO, passed)?;
        if read > 0 || consumer.context().group_events() > known {
            return Ok(read);
        }
        let patience = deadline.saturating_duration_since(Instant::now());
        let failed = &mut |error| {
            if passing(&error) {
                passed(&error);
                return Ok(());
            }
            Err(error)
        };
        let read = fetched.read(into, limit, patience.min(EVENTS_EVERY), failed)?;
        if read > 0 || patience <= EVENTS_EVERY {
            return Ok(read);
        }
    }
}

/// Errors that librdkafka reports and mends by itself.
fn passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::PartitionEOF
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::NotCoordinator
                | Code::UnknownTopicOrPartition
        )
    )
}

fn push(into: &mut Messages, message: &BorrowedMessage<'_>) {
    let at = At {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
    };
    match message.headers() {
        None => into.push(at, message.key(), message.payload(), std::iter::empty()),
        Some(headers) => {
            into.push(at, message.key(), message.payload(), headers.iter().map(|h| (h.key, h.value)));
        }
    }
}
