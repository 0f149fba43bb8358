//! What librdkafka tells us beside messages: logs, errors, failed deliveries, rebalances. All of it is queued here
//! and read by the thread that owns the client.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use lunapark_schemas::TopicPartition;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::error::kind_of_code;
use crate::error::LogErrorKind;
use crate::log::Refusal;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client complains about on its own, between two calls.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    /// librdkafka's code, where it has one.
    pub(super) code: Option<RDKafkaErrorCode>,
    /// In words.
    pub(super) reason: String,
}

/// Logs and remembers the last error, which says why a cluster is unreachable.
#[derive(Debug, Default)]
pub(super) struct ClientEvents {
    last_error: Mutex<Option<Complaint>>,
    /// All brokers were said to be down since this was asked.
    down: AtomicBool,
}

impl ClientEvents {
    pub(super) fn last_error(&self) -> Option<Complaint> {
        lock(&self.last_error).clone()
    }

    /// Whether all brokers were said to be down since the last call.
    pub(super) fn take_down(&self) -> bool {
        self.down.swap(false, Ordering::AcqRel)
    }

    /// Why a connection failed, where librdkafka tells that only to its log.
    fn overhear(&self, line: &str) {
        let reason = line.split_once("]: ").map_or(line, |(_, reason)| reason);
        let unversed = reason.contains("Disconnected") && reason.contains("APIVERSION_QUERY");
        let hint = if unversed { "; does the broker want TLS? See kafka.\"security.protocol\"" } else { "" };
        *lock(&self.last_error) = Some(Complaint { code: None, reason: format!("{reason}{hint}") });
    }

    fn record(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client error");
        let code = error.rdkafka_error_code();
        let mut last = lock(&self.last_error);
        let down = code == Some(RDKafkaErrorCode::AllBrokersDown);
        if down {
            self.down.store(true, Ordering::Release);
        }
        // That all brokers are down follows each broker's own complaint, and does not say why.
        if !down || last.is_none() {
            *last = Some(Complaint { code, reason: reason.to_owned() });
        }
    }
}

fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        // A property for producers is also given to consumers; that is meant.
        _ if facility == "CONFWARN" => tracing::debug!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, line, "librdkafka");
        }
        // What the client cannot mend comes back as the error of a call as well, and is reported there.
        _ => tracing::warn!(facility, line, "librdkafka"),
    }
}

/// Context of clients that only ask (administration, readers).
#[derive(Debug, Default)]
pub(super) struct PlainContext {
    pub(super) events: ClientEvents,
}

impl ClientContext for PlainContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == "FAIL" {
            self.events.overhear(line);
        }
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.record(&error, reason);
    }
}

impl ConsumerContext for PlainContext {}

/// A change of assignment, waiting for the stream thread.
#[derive(Clone, Debug)]
pub(super) enum GroupEvent {
    Assign(Vec<TopicPartition>),
    Revoke { partitions: Vec<TopicPartition>, lost: bool },
    Failed(String),
}

/// Context of a group member. Rebalances are only queued: the stream thread answers them between two batches.
#[derive(Debug, Default)]
pub(super) struct MemberContext {
    pub(super) events: ClientEvents,
    group: Mutex<VecDeque<GroupEvent>>,
    closing: AtomicBool,
    leaving: AtomicBool,
}

impl MemberContext {
    pub(super) fn next_group_event(&self) -> Option<GroupEvent> {
        lock(&self.group).pop_front()
    }

    /// How many are waiting.
    pub(super) fn group_events(&self) -> usize {
        lock(&self.group).len()
    }

    pub(super) fn put_back(&self, event: GroupEvent) {
        lock(&self.group).push_front(event);
    }

    /// From now on rebalances are answered at once: the consumer is being closed.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// From now on assignments are not answered: librdkafka, asked to leave, revokes them right behind, and answering
    /// that is enough. Answering both is a race that it loses: with the first answer it may be done, and then it drops
    /// the second without a word, for which the caller waits for ever (2.12.1, `rd_kafka_cgrp_op_serve`).
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    fn answer(&self, consumer: &BaseConsumer<Self>, err: &RDKafkaRespErr, tpl: &TopicPartitionList) {
        let answered = match err {
            // Of an empty assignment nothing is revoked.
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
                if self.leaving.load(Ordering::Acquire) && tpl.count() > 0 =>
            {
                return;
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => consumer.incremental_assign(tpl),
            _ => consumer.incremental_unassign(tpl),
        };
        tracing::debug!(?answered, "rebalance answered while closing");
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.record(&error, reason);
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, tpl: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            return self.answer(consumer, &err, tpl);
        }
        let partitions =
            tpl.elements().iter().map(|e| TopicPartition::new(e.topic(), e.partition())).collect::<Vec<_>>();
        lock(&self.group).push_back(match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => GroupEvent::Assign(partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                GroupEvent::Revoke { partitions, lost: consumer.assignment_lost() }
            }
            other => GroupEvent::Failed(format!("{other:?}")),
        });
    }
}

/// A record that Kafka did not take.
#[derive(Clone, Debug)]
pub(super) struct FailedDelivery {
    pub(super) topic: String,
    pub(super) error: KafkaError,
    /// The tag given to `produce`.
    pub(super) tag: usize,
}

impl FailedDelivery {
    pub(super) fn too_large(&self) -> bool {
        matches!(self.error.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge))
    }

    pub(super) fn refusal(&self) -> Refusal {
        let kind = self.error.rdkafka_error_code().map_or(LogErrorKind::Internal, kind_of_code);
        Refusal { topic: self.topic.clone(), kind, reason: self.error.to_string() }
    }

    /// Thrown away on purpose by an abort.
    fn purged(&self) -> bool {
        use RDKafkaErrorCode::{PurgeInflight, PurgeQueue};
        matches!(self.error.rdkafka_error_code(), Some(PurgeQueue | PurgeInflight))
    }
}

/// Context of producers: collects failed deliveries.
#[derive(Debug, Default)]
pub(super) struct SinkContext {
    pub(super) events: ClientEvents,
    any_failed: AtomicBool,
    failed: Mutex<Vec<FailedDelivery>>,
    /// A topic may not be written to: no record of the transaction is sent any more, and none is reported.
    barred: AtomicBool,
}

impl SinkContext {
    pub(super) fn take_failed(&self) -> Vec<FailedDelivery> {
        match self.any_failed.swap(false, Ordering::AcqRel) {
            false => Vec::new(),
            true => std::mem::take(&mut lock(&self.failed)),
        }
    }

    /// Whether this producer's transaction can only be aborted, although its records are not reported.
    pub(super) fn barred(&self) -> bool {
        self.barred.load(Ordering::Acquire)
    }

    fn bar(&self, topic: &str) {
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::TopicAuthorizationFailed);
        lock(&self.failed).push(FailedDelivery { topic: topic.to_owned(), error, tag: 0 });
        self.any_failed.store(true, Ordering::Release);
        self.barred.store(true, Ordering::Release);
    }
}

/// The topic that a transaction may not take up, where librdkafka tells that only to its log (2.12,
/// `rd_kafka_txn_handle_AddPartitionsToTxn`): the error of the transaction does not name it.
fn barred_topic(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("Failed to add partition \"")?;
    let (topic, why) = rest.split_once("\" [")?;
    why.contains("authorization failed").then_some(topic)
}

impl ClientContext for SinkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some(topic) = barred_topic(line).filter(|_| facility == "ADDPARTS") {
            self.bar(topic);
        }
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.record(&error, reason);
    }
}

impl ProducerContext for SinkContext {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let Err((error, message)) = result else { return };
        let failed = FailedDelivery { topic: message.topic().to_owned(), error: error.clone(), tag };
        if !failed.purged() {
            lock(&self.failed).push(failed);
            self.any_failed.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_a_transaction_may_not_take_up_is_named() {
        let line = "[thrd:main]: localhost:9092/1: Failed to add partition \"lab.inference.shadow\" [3] to transaction: \
                    Broker: Topic authorization failed";
        assert_eq!(barred_topic(line), Some("lab.inference.shadow"));
        let other = "Failed to add partition \"inference.results\" [3] to transaction: Broker: Operation not attempted";
        assert_eq!(barred_topic(other), None, "it was not looked at");
        let context = SinkContext::default();
        context.log(RDKafkaLogLevel::Error, "ADDPARTS", line);
        assert!(context.barred());
        let refused: Vec<_> = context.take_failed().iter().map(FailedDelivery::refusal).collect();
        assert_eq!((refused.len(), &*refused[0].topic), (1, "lab.inference.shadow"));
        assert_eq!(refused[0].kind, LogErrorKind::Unauthorised);
    }
}
