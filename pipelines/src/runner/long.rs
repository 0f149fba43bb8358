//! The runner of long work: one message at a time, worked on by a thread beside while the stream is polled.
//!
//! ```text
//! poll one → look → pause → (work beside, polls go on) → result, ledger, offset in one transaction → resume
//! ```
//!
//! The paused partitions stay this member's: it polls and its heartbeats go on, however long the work takes. Where they are
//! taken away all the same, the work saves its state and stops; whoever owns the partition next reads the message again.
//! So only the owner ever commits, and a member that was expelled is refused by the coordinator: each message ends once.

use std::sync::Arc;
use std::time::Instant;

use lunapark_schemas::headers::SOURCE;
use lunapark_schemas::ledger::LedgerRecord;
use lunapark_schemas::{HeadersBuf, Message, Messages, Position, Record, Rejection, SkipReason, TopicPartition};
use lunapark_topics::catalog::Encoded;
use lunapark_topics::error::Recovery;
use lunapark_topics::{Limit, LogError, LogErrorKind, Polled, Stream};

use super::account::{Account, Ending, RowCounts};
use super::dead_letter::DeadLetter;
use super::{PATIENCE, RunError, Settings};
use crate::clock;
use crate::metrics::{BatchTimes, PipelineMetrics};
use crate::stop::Stop;

/// One message, whatever its size: the next one is another job.
const ONE: Limit = Limit { messages: 1, bytes: 1 };

/// What is done to messages that take long.
pub trait LongWork: Send + Sync {
    /// Name in the header `error-operator`.
    fn name(&self) -> &'static str;

    /// These partitions are this member's from now on, read from these positions.
    fn assigned(&self, starts: &[Position]) -> Result<(), LogError>;

    /// Looks at a message and begins its work.
    fn begin(&self, message: &Message<'_>) -> Result<Begun, LogError>;
}

/// What the look at a message came to.
pub enum Begun {
    /// It is left out.
    Skip(SkipReason),
    /// It cannot be understood.
    Reject(Rejection),
    /// It is worked on, beside.
    Work(Box<dyn Work>),
}

/// Work under way on a thread of its own.
pub trait Work: Send {
    /// The end, once it is there. An error has the stream thread opened again, and the work begins again where it was saved.
    fn ended(&mut self) -> Result<Option<Ended>, LogError>;

    /// Saves what is done and stops. Comes back within a fraction of `score.drain_budget`.
    fn leave(self: Box<Self>);

    /// Its end is committed: what was saved for another try can go.
    fn committed(self: Box<Self>);
}

/// How work ended: what its transaction holds besides ledger and offset.
pub struct Ended {
    /// The answer, for the result topic's partition of the message.
    pub result: Encoded,
    /// Records of other topics, to the partitions of their keys.
    pub others: Vec<Encoded>,
}

/// One stream thread of a pipeline of long work.
pub struct LongRunner<'a, W> {
    work: &'a W,
    stream: Box<dyn Stream>,
    settings: &'a Settings,
    metrics: Arc<PipelineMetrics>,
    account: Account,
    /// Ours, paused or not.
    owned: Vec<TopicPartition>,
    current: Option<Current>,
}

/// The message being worked on.
struct Current {
    message: Messages,
    work: Box<dyn Work>,
    read_millis: i64,
}

impl<'a, W: LongWork> LongRunner<'a, W> {
    /// A runner that owns its stream.
    pub fn new(work: &'a W, stream: Box<dyn Stream>, settings: &'a Settings, metrics: Arc<PipelineMetrics>) -> Self {
        Self { work, stream, settings, metrics, account: Account::default(), owned: Vec::new(), current: None }
    }

    /// Runs until asked to stop; what is under way then is saved, and goes on at the next start or elsewhere.
    pub fn run(&mut self, stop: &Stop) -> Result<(), RunError> {
        let ended = self.run_until(stop);
        self.leave();
        match ended {
            Ok(()) => Ok(self.stream.close()?),
            Err(error) => {
                let aborted = self.stream.abort(&[]);
                tracing::debug!(?aborted, "aborted after an error");
                Err(error)
            }
        }
    }

    fn run_until(&mut self, stop: &Stop) -> Result<(), RunError> {
        while !stop.requested() {
            match self.step() {
                Err(RunError::Log(error)) if error.recovery() == Recovery::Abort => self.abort(&error)?,
                other => other?,
            }
        }
        Ok(())
    }

    /// One turn of the loop.
    fn step(&mut self) -> Result<(), RunError> {
        let mut messages = Messages::new();
        match self.stream.poll(&mut messages, ONE, PATIENCE)? {
            Polled::Messages(0) => {}
            Polled::Messages(_) => self.begin(messages)?,
            Polled::Assigned(starts) => self.assigned(&starts)?,
            Polled::Revoked(partitions) | Polled::Lost(partitions) => self.give_up(&partitions)?,
        }
        self.metrics.partitions(&self.settings.member, self.account.assigned());
        self.finish_if_ended()
    }

    fn assigned(&mut self, starts: &[Position]) -> Result<(), RunError> {
        let partitions: Vec<_> = starts.iter().map(Position::topic_partition).collect();
        tracing::info!(member = %self.settings.member, partitions = partitions.len(), "partitions assigned");
        if self.current.is_some() {
            self.stream.pause(&partitions)?;
        }
        self.account.assign(starts);
        self.owned.retain(|held| !partitions.contains(held));
        self.owned.extend(partitions);
        Ok(self.work.assigned(starts)?)
    }

    /// Nothing is ever open here: a transaction begins and ends in one turn.
    fn give_up(&mut self, partitions: &[TopicPartition]) -> Result<(), RunError> {
        tracing::info!(member = %self.settings.member, partitions = partitions.len(), "partitions given up");
        let concerned = |current: &Current| partitions.contains(&current.message.get(0).topic_partition());
        let interrupted = self.current.as_ref().is_some_and(concerned);
        if interrupted {
            self.leave();
        }
        self.account.forget(partitions);
        self.owned.retain(|held| !partitions.contains(held));
        self.stream.release(partitions)?;
        if interrupted {
            self.stream.resume(&self.owned)?;
        }
        Ok(())
    }

    fn begin(&mut self, messages: Messages) -> Result<(), RunError> {
        if self.current.is_some() {
            let what = "a message came of a paused partition";
            return Err(LogError::new(LogErrorKind::Rebalanced, what).into());
        }
        let message = messages.get(0);
        match self.work.begin(&message)? {
            Begun::Skip(reason) => self.end(&messages, Ending::Filtered(reason), clock::now_millis()),
            Begun::Reject(rejection) => {
                self.write_dead(&message, &rejection)?;
                self.end(&messages, Ending::Dead, clock::now_millis())
            }
            Begun::Work(work) => {
                let read_millis = clock::now_millis();
                self.current = Some(Current { message: messages, work, read_millis });
                Ok(self.stream.pause(&self.owned)?)
            }
        }
    }

    fn finish_if_ended(&mut self) -> Result<(), RunError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let Some(ended) = current.work.ended()? else { return Ok(()) };
        let Some(Current { message, work, read_millis }) = self.current.take() else { return Ok(()) };
        self.write_result(&message.get(0), &ended)?;
        self.end(&message, Ending::Result(RowCounts { results: 1, dead: 0 }), read_millis)?;
        work.committed();
        Ok(self.stream.resume(&self.owned)?)
    }

    /// The answer goes to the partition number of its message and names it as its source.
    fn write_result(&mut self, message: &Message<'_>, ended: &Ended) -> Result<(), RunError> {
        let mut headers = HeadersBuf::new();
        headers.push_str(SOURCE, &message.position().to_string());
        let record = Record { headers: headers.view(), ..ended.result.record(Some(message.partition)) };
        self.produce(&record)?;
        ended.others.iter().try_for_each(|other| self.produce(&other.record(None)))
    }

    /// A record that its topic does not take is refused here: to work again would only come to the same.
    fn produce(&mut self, record: &Record<'_>) -> Result<(), RunError> {
        let limit = self.stream.max_message_bytes(record.topic).unwrap_or(usize::MAX);
        if record.wire_size() > limit {
            let what = format!("a record of {} bytes for topic `{}`", record.wire_size(), record.topic);
            return Err(RunError::Refused(LogError::new(LogErrorKind::TooLarge, what)));
        }
        self.account.add_bytes(record.wire_size());
        Ok(self.stream.produce(record, None)?)
    }

    fn write_dead(&mut self, message: &Message<'_>, rejection: &Rejection) -> Result<(), RunError> {
        self.account.rejected(rejection.class);
        let letter = DeadLetter { rejection, operator: self.work.name(), attempts: 1, rows: &[] };
        let topic = self.settings.routes.dead.clone();
        let limit = self.stream.max_message_bytes(&topic).unwrap_or(usize::MAX);
        let mut headers = HeadersBuf::new();
        let value = letter.fit(message, limit, &mut headers);
        let (key, partition) = (message.key, Some(message.partition));
        self.produce(&Record { topic: &topic, partition, key, value, headers: headers.view(), timestamp: None })
    }

    /// Takes the message's ending down and commits it.
    fn end(&mut self, messages: &Messages, ending: Ending, read_millis: i64) -> Result<(), RunError> {
        let message = messages.get(0);
        if let Err(unfit) = self.account.record(&message, ending, None) {
            let what = format!("{} cannot be taken down: {unfit:?}", message.position());
            return Err(LogError::new(LogErrorKind::Rebalanced, what).into());
        }
        let started = Instant::now();
        let routes = &self.settings.routes;
        for range in self.account.ranges(&self.settings.pipeline, &self.settings.member, false, |_| None) {
            let entry = routes.ledger.encode(&LedgerRecord::Range(range))?;
            self.stream.produce(&entry.record(Some(routes.ledger_partition)), None)?;
        }
        self.stream.commit_while(&self.account.next(), &mut |_| Ok(()))?;
        let mut times = BatchTimes::default();
        times.read(messages, read_millis);
        self.metrics.committed(&self.account, &mut times, started.elapsed());
        self.account.committed();
        Ok(())
    }

    /// Throws the open transaction away and reads on from the committed offsets; what was under way is saved.
    fn abort(&mut self, cause: &LogError) -> Result<(), RunError> {
        tracing::warn!(member = %self.settings.member, %cause, "transaction aborted, reading again");
        self.leave();
        self.stream.abort(&self.account.firsts())?;
        self.account.aborted();
        self.metrics.aborted();
        Ok(self.stream.resume(&self.owned)?)
    }

    fn leave(&mut self) {
        if let Some(current) = self.current.take() {
            current.work.leave();
        }
    }
}
