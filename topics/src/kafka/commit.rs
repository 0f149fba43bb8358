//! Committing, and reading on meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lunapark_schemas::{Messages, Position};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;

use super::context::{FailedDelivery, MemberContext};
use super::error::log_error;
use super::offset_list;
use super::patience;
use super::producer::{Sink, delivery_error, retriable};
use super::reader::{Member, fill_member};
use crate::error::{LogError, LogErrorKind as Kind};
use crate::log::{Ahead, Limit};

/// A call that is so late after its time-out does not come back any more.
const OVERDUE: Duration = Duration::from_secs(2);

/// Why a commit did not come to pass, and which records were refused on the way.
pub(super) struct FailedCommit {
    pub(super) error: LogError,
    pub(super) refused: Vec<FailedDelivery>,
    /// The producer is lost to a call that does not come back.
    pub(super) stuck: bool,
}

impl From<LogError> for FailedCommit {
    fn from(error: LogError) -> Self {
        Self { error, refused: Vec::new(), stuck: false }
    }
}

/// Waits for every acknowledgement.
fn drained(sink: &mut Sink) -> Result<(), FailedCommit> {
    let refused = sink.drain(sink.timeout())?;
    match delivery_error(&refused) {
        None => Ok(()),
        Some(error) => Err(FailedCommit { error, refused, stuck: false }),
    }
}

/// At least once: offsets follow once everything that was sent before is acknowledged. What is read meanwhile lies behind
/// them and is not sent yet.
pub(super) fn commit_offsets(
    sink: &mut Sink,
    consumer: &BaseConsumer<MemberContext>,
    group: &str,
    next: &[Position],
) -> Result<(), FailedCommit> {
    drained(sink)?;
    let action = format!("commit offsets of group `{group}`");
    let failed = |e| log_error(&action, &e, consumer.context().events.last_error());
    Ok(consumer.commit(&offset_list(next)?, CommitMode::Sync).map_err(failed)?)
}

pub(super) fn commit_transaction(
    sink: &mut Sink,
    consumer: &BaseConsumer<MemberContext>,
    next: &[Position],
) -> Result<(), FailedCommit> {
    drained(sink)?;
    send_offsets(sink, consumer, next)?;
    Ok(sink.commit_transaction()?)
}

fn send_offsets(sink: &Sink, consumer: &BaseConsumer<MemberContext>, next: &[Position]) -> Result<(), FailedCommit> {
    let deadline = Instant::now() + sink.timeout();
    loop {
        match try_offsets(sink, consumer, next, deadline.saturating_duration_since(Instant::now()))? {
            Ok(()) => return Ok(()),
            Err(error) if retriable(&error) && Instant::now() < deadline => {}
            Err(error) => return Err(sink.error("send offsets to transaction", &error).into()),
        }
    }
}

/// One try, which does not trust librdkafka's own time-out: its question for the coordinator is lost where a broker says
/// too often that there is none (seen in 2.12 with a broker that its controller had fenced for a moment).
fn try_offsets(
    sink: &Sink,
    consumer: &BaseConsumer<MemberContext>,
    next: &[Position],
    within: Duration,
) -> Result<Result<(), KafkaError>, FailedCommit> {
    let no_group = || LogError::new(Kind::Internal, "the consumer has no group metadata");
    let group = consumer.group_metadata().ok_or_else(no_group)?;
    let (offsets, producer) = (offset_list(next)?, sink.producer().clone());
    let send = move || producer.send_offsets_to_transaction(&offsets, &group, within);
    let limit = within + OVERDUE;
    patience::call("offsets", limit, send).ok_or_else(|| {
        let message = format!("offsets of a transaction not answered within {limit:?}; the producer is left behind");
        FailedCommit { stuck: true, ..LogError::new(Kind::Timeout, message).into() }
    })
}

/// Says that the commit is done, also where its thread panicked: reading on must end then.
pub(super) struct Done<'a>(pub(super) &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The consumer, while another thread commits. A rebalance is only queued by it, as always.
pub(super) struct WhileCommitting<'a> {
    pub(super) member: Member<'a>,
    pub(super) done: &'a AtomicBool,
    pub(super) down: bool,
}

impl Ahead for WhileCommitting<'_> {
    fn poll(&mut self, into: &mut Messages, limit: Limit) -> Result<usize, LogError> {
        let heard = &mut |error: &KafkaError| self.down |= error.rdkafka_error_code() == Some(Code::AllBrokersDown);
        let Member { consumer, fetched } = &mut self.member;
        let read = fill_member(Member { consumer, fetched }, into, limit, Duration::ZERO, heard);
        read.map_err(|e| log_error("consume", &e, self.member.consumer.context().events.last_error()))
    }

    fn committing(&self) -> bool {
        !self.done.load(Ordering::Acquire)
    }
}
