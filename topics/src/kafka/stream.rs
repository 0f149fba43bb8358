//! One stream thread's consumer and producer on Kafka.
//!
//! Order of opening: first `init_transactions`, which ends what a killed predecessor of the same name left open, then
//! the group. Offsets are assigned explicitly, so the first offset of every range in the ledger is the committed one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use lunapark_schemas::{Messages, Position, Record, TopicPartition};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::Offset;

use super::close::{CLOSE_POLL, CLOSES_WITHIN, close_consumer};
use super::commit::{Done, FailedCommit, WhileCommitting, commit_offsets, commit_transaction};
use super::config::KafkaOptions;
use super::context::{FailedDelivery, GroupEvent, MemberContext};
use super::error::log_error;
use super::native::{FetchQueue, bootstrap_again};
use super::orphans::Orphans;
use super::producer::{Aborted, Sink, delivery_error};
use super::reader::{Member, fill_member};
use super::tags::{source_of, tag_of};
use super::{offset_list, partition_list};
use crate::catalog::DEFAULT_MAX_MESSAGE_BYTES;
use crate::error::{LogError, LogErrorKind as Kind};
use crate::log::{Ahead, Delivery, Limit, Polled, Refusal, Start, Stream, StreamSpec};

/// How long one question for committed offsets and ends may take; then the partitions held are read on.
const COMMITTED_SLICE: Duration = Duration::from_millis(500);
/// Pause between two such questions while the open transaction of a dead predecessor hides the answer: its partitions
/// stand still meanwhile, the others must not.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often a broker is asked whether it is back, and how long it may take to answer.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_millis(500);

pub(super) struct KafkaStream {
    /// Before the consumer: it must go first.
    fetched: FetchQueue,
    /// Shared only with the thread that closes it, see [`Drop`].
    consumer: Arc<BaseConsumer<MemberContext>>,
    sink: Sink,
    sink_config: ClientConfig,
    /// This producer can never commit again: a record was refused for good, so that its sequence number is missing, or
    /// a call does not come back.
    sink_broken: bool,
    assigned: Vec<TopicPartition>,
    /// Where the group starts with what is still to come; taken by the caller, who commits it.
    started: Vec<Position>,
    /// Whether the group has ever given this member an assignment.
    admitted: bool,
    spec: StreamSpec,
    limits: Vec<(Arc<str>, usize)>,
    in_transaction: bool,
    refused: Vec<(i32, i64)>,
    refusals: Vec<Refusal>,
    /// When an assignment that waits for its committed offsets is looked at again.
    ask_again: Option<Instant>,
    outage: Option<Outage>,
    /// Handed out as revoked or lost, not released yet.
    revoked: Vec<TopicPartition>,
    orphans: Option<Orphans>,
    /// An error met while reading on during a commit; the next poll returns it.
    met: Option<LogError>,
}

/// All brokers are down, as far as librdkafka has said. It does not say when one is back.
struct Outage {
    since: Instant,
    probe_at: Instant,
}

impl KafkaStream {
    pub(super) fn open(
        options: &KafkaOptions,
        spec: &StreamSpec,
        limits: Vec<(Arc<str>, usize)>,
    ) -> Result<Self, LogError> {
        let smallest = limits.iter().map(|(_, bytes)| *bytes).min().unwrap_or(DEFAULT_MAX_MESSAGE_BYTES);
        let timeout = options.transaction_timeout.max(options.request_timeout);
        let sink_config = options.stream_producer(spec, smallest);
        let sink = open_sink(&sink_config, timeout, spec.delivery)?;
        let failed = |e| log_error("consumer", &e, None);
        let config = options.stream_consumer(spec);
        let consumer: BaseConsumer<_> = config.create_with_context(MemberContext::default()).map_err(failed)?;
        let fetched =
            FetchQueue::new(&consumer).ok_or_else(|| LogError::new(Kind::Internal, "no queue to read from"))?;
        consumer.subscribe(&spec.topics.iter().map(|t| &**t).collect::<Vec<_>>()).map_err(failed)?;
        Ok(Self {
            fetched,
            consumer: Arc::new(consumer),
            sink,
            sink_config,
            sink_broken: false,
            assigned: Vec::new(),
            started: Vec::new(),
            admitted: false,
            spec: spec.clone(),
            limits,
            in_transaction: false,
            refused: Vec::new(),
            refusals: Vec::new(),
            ask_again: None,
            outage: None,
            revoked: Vec::new(),
            met: None,
            orphans: Some(Orphans::new(options, spec)),
        })
    }

    fn error(&self, doing: &str, error: &KafkaError) -> LogError {
        log_error(doing, error, self.consumer.context().events.last_error())
    }

    /// Why nothing can be read. A group that has never let this member in will not either after a pause.
    fn unread(&self, error: &KafkaError) -> LogError {
        let refused = error.rdkafka_error_code() == Some(Code::GroupAuthorizationFailed);
        let error = self.error(&format!("consume as group `{}`", self.spec.group), error);
        // Other refusals may be those of one broker that is being set up anew.
        match refused && !self.admitted {
            true => LogError { kind: Kind::NotAdmitted, ..error },
            false => error,
        }
    }

    fn fill(&mut self, into: &mut Messages, limit: Limit, wait: Duration) -> Result<usize, LogError> {
        let mut down = false;
        let heard = &mut |error: &KafkaError| down |= error.rdkafka_error_code() == Some(Code::AllBrokersDown);
        let member = Member { consumer: &self.consumer, fetched: &mut self.fetched };
        let filled = fill_member(member, into, limit, wait, heard).map_err(|e| self.unread(&e))?;
        if filled > 0 {
            self.outage = None;
        } else {
            self.heard(down);
        }
        self.probe().map(|()| filled)
    }

    /// Notes that all brokers are said to be down.
    fn heard(&mut self, down: bool) {
        if down {
            bootstrap_again(self.consumer.client(), self.sink.bootstrap());
        }
        if down && self.outage.is_none() {
            let now = Instant::now();
            self.outage = Some(Outage { since: now, probe_at: now + PROBE_EVERY });
        }
    }

    /// A member without work does not notice that the brokers are gone, and must not call itself ready for ever.
    fn probe(&mut self) -> Result<(), LogError> {
        let Some(outage) = self.outage.as_mut().filter(|outage| Instant::now() >= outage.probe_at) else {
            return Ok(());
        };
        outage.probe_at = Instant::now() + PROBE_EVERY;
        let since = outage.since;
        match self.consumer.fetch_metadata(self.spec.topics.first().map(|t| &**t), PROBE) {
            Ok(_) => self.outage = None,
            Err(error) if since.elapsed() >= self.sink.timeout() => {
                return Err(self.error(&format!("no broker since {:.0?}", since.elapsed()), &error));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// The next rebalance; none while an assignment waits for its committed offsets.
    fn rebalance(&mut self) -> Result<Option<Polled>, LogError> {
        if self.ask_again.is_some_and(|at| Instant::now() < at) {
            return Ok(None);
        }
        match self.consumer.context().next_group_event() {
            None => Ok(None),
            Some(GroupEvent::Revoke { partitions, lost }) => {
                self.revoked.extend_from_slice(&partitions);
                Ok(Some(if lost { Polled::Lost(partitions) } else { Polled::Revoked(partitions) }))
            }
            Some(GroupEvent::Assign(partitions)) => {
                self.admitted = true;
                self.assign(partitions)
            }
            Some(GroupEvent::Failed(code)) => Err(LogError::new(Kind::Internal, format!("rebalance failed: {code}"))),
        }
    }

    fn assign(&mut self, partitions: Vec<TopicPartition>) -> Result<Option<Polled>, LogError> {
        let Some(Starts { positions, latest }) = self.starts(&partitions)? else {
            self.consumer.context().put_back(GroupEvent::Assign(partitions));
            self.ask_again = Some(Instant::now() + ASK_AGAIN);
            return Ok(None);
        };
        self.ask_again = None;
        self.fetched.forward(&self.consumer, &partitions);
        self.consumer.incremental_assign(&offset_list(&positions)?).map_err(|e| self.error("assign", &e))?;
        self.assigned.extend(partitions);
        self.started = latest;
        Ok(Some(Polled::Assigned(positions)))
    }

    /// Where each partition starts; `None` while a predecessor's open transaction hides the committed offset.
    fn starts(&self, partitions: &[TopicPartition]) -> Result<Option<Starts>, LogError> {
        let found = match self.consumer.committed_offsets(partition_list(partitions), COMMITTED_SLICE) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "committed offsets not to be had yet");
                return Ok(None);
            }
        };
        let mut starts = Starts::default();
        for p in partitions {
            let Some(element) = found.find_partition(&p.topic, p.partition) else { return Ok(None) };
            if element.error().is_err() {
                return Ok(None);
            }
            let committed = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            match self.start(p, committed) {
                Ok(offset) => starts.push(p.at(offset), committed.is_none() && self.spec.start == Start::Latest),
                Err(error) if error.kind == Kind::Timeout || error.kind == Kind::Unreachable => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(starts))
    }

    fn start(&self, at: &TopicPartition, committed: Option<i64>) -> Result<i64, LogError> {
        let ends = self.consumer.fetch_watermarks(&at.topic, at.partition, COMMITTED_SLICE);
        let (low, high) = ends.map_err(|e| self.error("watermarks", &e).at(at.clone()))?;
        match (committed, self.spec.start) {
            (Some(offset), _) if offset < low => {
                tracing::error!(partition = %at, committed = offset, low, "messages expired before they were read");
                Ok(low)
            }
            (Some(offset), _) => Ok(offset),
            (None, Start::Earliest) => Ok(low),
            (None, Start::Latest) => Ok(high),
        }
    }

    /// Refuses to commit what is not ours any more: the coordinator only knows members by their generation.
    fn owned(&self, next: &[Position]) -> Result<(), LogError> {
        let gone = next.iter().map(Position::topic_partition).find(|p| !self.assigned.contains(p));
        match gone {
            None if !self.consumer.assignment_lost() => Ok(()),
            gone => {
                let error = LogError::new(Kind::Rebalanced, "the group gave this member's partitions away");
                Err(gone.map_or(error.clone(), |at| error.at(at)))
            }
        }
    }

    fn commit_reading_on(
        &mut self,
        next: &[Position],
        meanwhile: &mut dyn FnMut(&mut dyn Ahead) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let (delivery, group) = (self.spec.delivery, &self.spec.group);
        let (sink, consumer, done) = (&mut self.sink, &self.consumer, AtomicBool::new(false));
        let mut ahead =
            WhileCommitting { member: Member { consumer, fetched: &mut self.fetched }, done: &done, down: false };
        let mut commit = || {
            let _done = Done(&done);
            match delivery {
                Delivery::ExactlyOnce => commit_transaction(sink, consumer, next),
                Delivery::AtLeastOnce => commit_offsets(sink, consumer, group, next),
            }
        };
        // What was met is dealt with by the next poll: to read past it would leave a gap.
        let reading = self.met.is_none();
        let together = std::thread::scope(|scope| {
            let committing = std::thread::Builder::new().name("commit".into()).spawn_scoped(scope, &mut commit)?;
            let read_on = if reading { meanwhile(&mut ahead) } else { Ok(()) };
            Ok::<_, std::io::Error>((committing.join(), read_on))
        });
        // The system may refuse a thread.
        let (committed, read_on) = together.unwrap_or_else(|_| (Ok(commit()), Ok(())));
        let down = ahead.down;
        self.heard(down);
        // What reading met belongs to the next poll: the commit stands or falls without it.
        self.met = self.met.take().or(read_on.err());
        match committed {
            Ok(Ok(())) => {
                self.in_transaction = false;
                Ok(())
            }
            Ok(Err(failed)) => Err(self.refuse(failed)),
            Err(_) => Err(LogError::new(Kind::Internal, "the committing thread panicked")),
        }
    }

    fn refuse(&mut self, failed: FailedCommit) -> LogError {
        self.sink_broken |= failed.stuck;
        self.remember(&failed.refused);
        failed.error
    }

    /// A transaction of which records were refused takes no more, and does not say why: the reports of those records do.
    fn explained(&mut self, error: LogError) -> LogError {
        if !self.in_transaction || error.kind != Kind::Internal {
            return error;
        }
        let refused = self.sink.refused_soon();
        self.remember(&refused);
        delivery_error(&refused).unwrap_or(error)
    }

    /// Remembers whose records were refused, and the sources of those that were too large.
    fn remember(&mut self, refused: &[FailedDelivery]) {
        self.sink_broken |= !refused.is_empty();
        self.refused.extend(refused.iter().filter(|f| f.too_large()).filter_map(|f| source_of(f.tag)));
        self.refusals.extend(refused.iter().map(FailedDelivery::refusal));
    }

    /// Begins a transaction where one is needed and none is open.
    fn begin(&mut self) -> Result<(), LogError> {
        if self.spec.delivery == Delivery::ExactlyOnce && !self.in_transaction {
            self.sink.begin()?;
            self.in_transaction = true;
        }
        Ok(())
    }
}

impl Stream for KafkaStream {
    fn poll(&mut self, into: &mut Messages, limit: Limit, wait: Duration) -> Result<Polled, LogError> {
        self.sink.serve();
        if let Some(error) = self.met.take() {
            return Err(error);
        }
        if self.orphans.as_mut().is_some_and(|orphans| !orphans.look_after(&self.consumer)) {
            self.orphans = None;
        }
        if let Some(rebalance) = self.rebalance()? {
            return Ok(rebalance);
        }
        let wait = self.ask_again.map_or(wait, |_| wait.min(ASK_AGAIN));
        match self.fill(into, limit, wait)? {
            0 => Ok(self.rebalance()?.unwrap_or(Polled::Messages(0))),
            n => Ok(Polled::Messages(n)),
        }
    }

    fn started(&mut self) -> Vec<Position> {
        std::mem::take(&mut self.started)
    }

    fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.assigned.retain(|held| !partitions.contains(held));
        self.revoked.retain(|revoked| !partitions.contains(revoked));
        // librdkafka remembers a pause beyond the assignment: the partition would come back mute.
        self.resume(partitions)?;
        self.consumer.incremental_unassign(&partition_list(partitions)).map_err(|e| self.error("release", &e))
    }

    /// librdkafka moves its fetch position back to the last message handed out, and drops what it fetched since as
    /// outdated, also from the queue to which it is forwarded.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.consumer.pause(&partition_list(partitions)).map_err(|e| self.error("pause", &e))
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.consumer.resume(&partition_list(partitions)).map_err(|e| self.error("resume", &e))
    }

    fn produce(&mut self, record: &Record<'_>, source: Option<(i32, i64)>) -> Result<(), LogError> {
        self.begin()?;
        let sent = self.sink.send(record, source.map_or(0, tag_of));
        if let (Err(error), Some(source)) = (&sent, source) {
            self.refused.extend((error.kind == Kind::TooLarge).then_some(source));
        }
        sent.map_err(|error| self.explained(error))
    }

    fn commit(&mut self, next: &[Position]) -> Result<(), LogError> {
        self.commit_while(next, &mut |_| Ok(()))
    }

    fn commit_while(
        &mut self,
        next: &[Position],
        meanwhile: &mut dyn FnMut(&mut dyn Ahead) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        self.owned(next)?;
        self.begin()?;
        self.commit_reading_on(next, meanwhile)
    }

    fn abort(&mut self, rewind: &[Position]) -> Result<(), LogError> {
        match (std::mem::take(&mut self.in_transaction), std::mem::take(&mut self.sink_broken)) {
            // Opening under the same id ends the old transaction as an abort would.
            (_, true) => self.sink = open_sink(&self.sink_config, self.sink.timeout(), self.spec.delivery)?,
            (true, false) => {
                if self.sink.abort_transaction()? == Aborted::Broken {
                    self.sink = open_sink(&self.sink_config, self.sink.timeout(), self.spec.delivery)?;
                }
            }
            (false, false) => {}
        }
        if rewind.is_empty() {
            return Ok(());
        }
        let sought = self.consumer.seek_partitions(offset_list(rewind)?, self.sink.timeout());
        let sought = sought.map_err(|e| self.error("seek", &e))?;
        if let Some(failed) = sought.elements().into_iter().find_map(|e| e.error().err()) {
            return Err(self.error("seek", &failed));
        }
        // What reading on met lies behind us again.
        self.met = None;
        Ok(())
    }

    fn refused(&mut self) -> Vec<(i32, i64)> {
        std::mem::take(&mut self.refused)
    }

    fn refusals(&mut self) -> Vec<Refusal> {
        let late = self.sink.producer().context().take_failed();
        self.remember(&late);
        std::mem::take(&mut self.refusals)
    }

    fn max_message_bytes(&self, topic: &str) -> Option<usize> {
        self.limits.iter().find(|(name, _)| &**name == topic).map(|(_, bytes)| *bytes)
    }

    /// A static member sends no word of leaving: others take over once the session time-out has passed, and a restart
    /// within it moves no partition.
    fn close(&mut self) -> Result<(), LogError> {
        close_consumer(&self.consumer, std::mem::take(&mut self.revoked))
    }
}

impl Drop for KafkaStream {
    /// librdkafka may never be done with closing a consumer (a rebalance that nobody can answer any more, a member that
    /// was fenced on its way in), and a stream thread must not hang with it: another thread closes it and drops it last.
    fn drop(&mut self) {
        let (consumer, revoked) = (self.consumer.clone(), std::mem::take(&mut self.revoked));
        let (closed, answer) = std::sync::mpsc::sync_channel(1);
        let close = move || {
            let done = close_consumer(&consumer, revoked);
            // Nobody waits any more where that took too long.
            let _ = closed.send(done);
            while Arc::strong_count(&consumer) > 1 {
                std::thread::park_timeout(CLOSE_POLL);
            }
        };
        let spawned = std::thread::Builder::new().name("consumer-close".into()).spawn(close);
        match spawned.map(|_| answer.recv_timeout(CLOSES_WITHIN)) {
            Ok(Ok(done)) => tracing::debug!(?done, "consumer closed"),
            Ok(Err(_)) => {
                tracing::warn!(member = self.spec.member, "the old consumer does not close; it is left behind")
            }
            Err(error) => tracing::warn!(%error, "no thread to close a consumer"),
        }
    }
}

/// Where partitions start, and which of them start there only because that is where their end was just now.
#[derive(Default)]
struct Starts {
    positions: Vec<Position>,
    latest: Vec<Position>,
}

impl Starts {
    fn push(&mut self, position: Position, latest: bool) {
        if latest {
            self.latest.push(position.clone());
        }
        self.positions.push(position);
    }
}

fn open_sink(config: &ClientConfig, timeout: Duration, delivery: Delivery) -> Result<Sink, LogError> {
    let mut sink = Sink::open(config, timeout)?;
    if delivery == Delivery::ExactlyOnce {
        sink.init_transactions()?;
    }
    Ok(sink)
}
