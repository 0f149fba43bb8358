//! The runner of long work: messages one by one, worked on by threads beside while the stream is polled.
//!
//! ```text
//! poll one → into its line → (work beside, polls go on) → result, and what its line allows: ledger, offset, one transaction
//! ```
//!
//! The partitions stay this member's: it polls and its heartbeats go on, however long the work takes. Where they are
//! taken away all the same, the work saves its state and stops; whoever owns the partition next reads the message again.
//! So only the owner ever commits, and a member that was expelled is refused by the coordinator: each message ends once.
//!
//! A message that must wait, or is worked on for long, lets those behind it pass: which of them may begin meanwhile is for
//! the work to say. Their results are committed when they end, each in a transaction of its own, with the offset of their
//! partition as it stands; the offset passes them when all before them have ended. Whoever reads them again finds their
//! results ([`Begun::Answered`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::headers::SOURCE;
use lunapark_schemas::ledger::LedgerRecord;
use lunapark_schemas::{HeadersBuf, Message, Messages, Position, Record, Rejection, SkipReason, TopicPartition};
use lunapark_topics::catalog::Encoded;
use lunapark_topics::error::Recovery;
use lunapark_topics::{Limit, LogError, LogErrorKind, Polled, Stream};

use super::account::{Account, Ending, RowCounts};
use super::dead_letter::DeadLetter;
use super::lines::{Entry, Lines, Place, State};
use super::{PATIENCE, RunError, Settings};
use crate::clock;
use crate::metrics::{BatchTimes, PipelineMetrics};
use crate::stop::Stop;

/// One message, whatever its size: the next one is another job.
const ONE: Limit = Limit { messages: 1, bytes: 1 };
/// Those that wait are looked at this often; and at once where something has changed here.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Messages that are worked on at once, at most: one that needs the room for long, and some that soon end beside it.
const MOST_AT_ONCE: usize = 16;
/// Further back in the queue a place says little, and each step forward would be a record.
const MOST_TOLD: u64 = 50;
/// A request has one answer.
const RESULT: Ending = Ending::Result(RowCounts { results: 1, dead: 0 });

/// What is done to messages that take long.
pub trait LongWork: Send + Sync {
    /// Name in the header `error-operator`.
    fn name(&self) -> &'static str;

    /// These partitions are this member's from now on, read from these positions.
    fn assigned(&self, starts: &[Position]) -> Result<(), LogError>;

    /// Looks at a message and begins its work where that can begin now, beside what is under way. Of those that wait the
    /// first that came is always asked first.
    fn begin(&self, message: &Message<'_>) -> Result<Begun, LogError>;

    /// Tells whom it concerns that a message waits, at this place in the queue; 1 is next. It does not block: where it
    /// cannot be told now, it says false and is asked again.
    fn waits(&self, _message: &Message<'_>, _place: u64) -> bool {
        true
    }
}

/// What the look at a message came to.
pub enum Begun {
    /// It is left out.
    Skip(SkipReason),
    /// It cannot be understood.
    Reject(Rejection),
    /// Its result is committed already.
    Answered,
    /// It must wait, and others may pass it.
    Wait,
    /// It is worked on, beside.
    Work(Box<dyn Work>),
}

/// Work under way on a thread of its own.
pub trait Work: Send {
    /// The end, once it is there. An error has the stream thread opened again, and the work begins again where it was saved.
    fn ended(&mut self) -> Result<Option<Ended>, LogError>;

    /// Is to save what is done and to stop soon. It does not block.
    fn ask_to_leave(&mut self);

    /// Saves what is done and stops. Comes back within a fraction of `score.drain_budget` after it was first asked to.
    fn leave(self: Box<Self>);

    /// Its end is committed: what was saved for another try can go. It does not block.
    fn committed(self: Box<Self>);
}

/// How work ended: what its transaction holds besides ledger and offset.
pub struct Ended {
    /// The answer, for the result topic's partition of the message.
    pub result: Encoded,
    /// Records of other topics.
    pub others: Vec<Other>,
}

/// A record that goes with an answer.
pub struct Other {
    /// What.
    pub record: Encoded,
    /// Where; the partition of its key where absent.
    pub partition: Option<i32>,
}

impl Other {
    /// To the partition of its key.
    pub fn by_key(record: Encoded) -> Self {
        Self { record, partition: None }
    }
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
    paused: bool,
    lines: Lines,
    current: Vec<Current>,
    /// When those that wait were last looked at.
    looked: Option<Instant>,
}

/// A message being worked on.
struct Current {
    place: Place,
    work: Box<dyn Work>,
}

impl<'a, W: LongWork> LongRunner<'a, W> {
    /// A runner that owns its stream.
    pub fn new(work: &'a W, stream: Box<dyn Stream>, settings: &'a Settings, metrics: Arc<PipelineMetrics>) -> Self {
        Self {
            work,
            stream,
            settings,
            metrics,
            account: Account::default(),
            owned: Vec::new(),
            paused: false,
            lines: Lines::default(),
            current: Vec::new(),
            looked: None,
        }
    }

    /// Runs until asked to stop; what is under way then is saved, and goes on at the next start or elsewhere.
    pub fn run(&mut self, stop: &Stop) -> Result<(), RunError> {
        let ended = self.run_until(stop);
        self.leave(|_| true);
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
            Polled::Messages(_) => self.take(messages),
            Polled::Assigned(starts) => self.assigned(&starts)?,
            Polled::Revoked(partitions) | Polled::Lost(partitions) => self.give_up(&partitions)?,
        }
        self.metrics.partitions(&self.settings.member, self.account.assigned());
        self.finish_what_ended()?;
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.start_next()?;
            self.looked = Some(Instant::now());
        }
        self.pause_or_resume()
    }

    fn take(&mut self, messages: Messages) {
        self.lines.take(messages, clock::now_millis());
        self.looked = None;
    }

    fn assigned(&mut self, starts: &[Position]) -> Result<(), RunError> {
        let partitions: Vec<_> = starts.iter().map(Position::topic_partition).collect();
        tracing::info!(member = %self.settings.member, partitions = partitions.len(), "partitions assigned");
        if self.paused {
            self.stream.pause(&partitions)?;
        }
        self.account.assign(starts);
        self.lines.forget(&partitions);
        self.owned.retain(|held| !partitions.contains(held));
        self.owned.extend(partitions);
        Ok(self.work.assigned(starts)?)
    }

    /// Nothing is ever open here: a transaction begins and ends in one turn.
    fn give_up(&mut self, partitions: &[TopicPartition]) -> Result<(), RunError> {
        tracing::info!(member = %self.settings.member, partitions = partitions.len(), "partitions given up");
        self.leave(|(at, _)| partitions.contains(at));
        self.account.forget(partitions);
        self.lines.forget(partitions);
        self.owned.retain(|held| !partitions.contains(held));
        self.stream.release(partitions)?;
        self.looked = None;
        Ok(())
    }

    /// Reads on while there is room.
    fn pause_or_resume(&mut self) -> Result<(), RunError> {
        let full = self.lines.full();
        if full != self.paused {
            match full {
                true => self.stream.pause(&self.owned)?,
                false => self.stream.resume(&self.owned)?,
            }
            self.paused = full;
        }
        Ok(())
    }

    /// Begins what can begin, and passes what needs no work.
    fn start_next(&mut self) -> Result<(), RunError> {
        let mut place = 0;
        for waiting in self.lines.waiting() {
            if self.current.len() >= MOST_AT_ONCE || self.begin(&waiting)? {
                place += 1;
                self.tell(&waiting, place);
            }
        }
        if self.lines.any_ended() { self.commit(None) } else { Ok(()) }
    }

    /// Looks at one that waits; whether it still does.
    fn begin(&mut self, place: &Place) -> Result<bool, RunError> {
        let Some(entry) = self.lines.get(place) else { return Ok(false) };
        entry.state = match self.work.begin(&entry.message.get(0))? {
            Begun::Wait => return Ok(true),
            Begun::Skip(reason) => State::Ended(Ending::Filtered(reason)),
            Begun::Reject(rejection) => State::Dead(rejection),
            Begun::Answered => State::Ended(RESULT),
            Begun::Work(work) => {
                self.current.push(Current { place: place.clone(), work });
                State::Worked
            }
        };
        Ok(false)
    }

    fn tell(&mut self, place: &Place, number: u64) {
        let Some(entry) = self.lines.get(place).filter(|entry| entry.told != Some(number)) else { return };
        if number <= MOST_TOLD && self.work.waits(&entry.message.get(0), number) {
            entry.told = Some(number);
        }
    }

    fn finish_what_ended(&mut self) -> Result<(), RunError> {
        let mut nth = 0;
        while let Some(current) = self.current.get_mut(nth) {
            match current.work.ended()? {
                Some(ended) => {
                    let current = self.current.remove(nth);
                    self.finish(current, &ended)?;
                }
                None => nth += 1,
            }
        }
        Ok(())
    }

    /// One end is one transaction, whatever else is under way.
    fn finish(&mut self, Current { place, work }: Current, ended: &Ended) -> Result<(), RunError> {
        self.write_result(&place.0.at(place.1), ended)?;
        if let Some(entry) = self.lines.get(&place) {
            entry.state = State::Ended(RESULT);
        }
        self.looked = None;
        self.commit(Some(&place.0))?;
        work.committed();
        Ok(())
    }

    /// The answer goes to the partition number of its message and names it as its source.
    fn write_result(&mut self, source: &Position, ended: &Ended) -> Result<(), RunError> {
        let mut headers = HeadersBuf::new();
        headers.push_str(SOURCE, &source.to_string());
        let record = Record { headers: headers.view(), ..ended.result.record(Some(source.partition)) };
        self.produce(&record)?;
        ended.others.iter().try_for_each(|other| self.produce(&other.record.record(other.partition)))
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

    /// Takes down what has ended at the heads of the lines, and commits. The offset of the partition that an answer is of
    /// is committed even where it has not moved: so a member that has lost the partition cannot answer.
    fn commit(&mut self, answered: Option<&TopicPartition>) -> Result<(), RunError> {
        let (started, mut times) = (Instant::now(), BatchTimes::default());
        for entry in self.lines.pass() {
            self.account_for(&entry)?;
            times.read(&entry.message, entry.read_millis);
        }
        let routes = &self.settings.routes;
        for range in self.account.ranges(&self.settings.pipeline, &self.settings.member, false, |_| None) {
            let record = routes.ledger.encode(&LedgerRecord::Range(range))?;
            self.stream.produce(&record.record(Some(routes.ledger_partition)), None)?;
        }
        let next = self.next(answered);
        self.stream.commit_while(&next, &mut |_| Ok(()))?;
        self.metrics.committed(&self.account, &mut times, started.elapsed());
        self.account.committed();
        Ok(())
    }

    fn account_for(&mut self, entry: &Entry) -> Result<(), RunError> {
        let message = entry.message.get(0);
        let ending = match &entry.state {
            State::Ended(ending) => *ending,
            State::Dead(rejection) => {
                self.write_dead(&message, rejection)?;
                Ending::Dead
            }
            State::Waits | State::Worked => return Ok(()),
        };
        self.account.record(&message, ending, None).map_err(|unfit| {
            let what = format!("{} cannot be taken down: {unfit:?}", message.position());
            LogError::new(LogErrorKind::Rebalanced, what).into()
        })
    }

    fn next(&self, answered: Option<&TopicPartition>) -> Vec<Position> {
        let mut next = self.account.next();
        let moved = |at: &TopicPartition| next.iter().any(|position| position.topic_partition() == *at);
        let unmoved = answered.filter(|at| !moved(at));
        next.extend(self.account.ends().into_iter().filter(|end| Some(&end.topic_partition()) == unmoved));
        next
    }

    /// Throws the open transaction away and reads on from the committed offsets; what was under way is saved.
    fn abort(&mut self, cause: &LogError) -> Result<(), RunError> {
        tracing::warn!(member = %self.settings.member, %cause, "transaction aborted, reading again");
        self.leave(|_| true);
        self.lines.clear();
        self.stream.abort(&self.account.firsts())?;
        self.account.aborted();
        self.metrics.aborted();
        self.paused = false;
        Ok(self.stream.resume(&self.owned)?)
    }

    /// Leaves the work on these messages: all are asked before one is waited for.
    fn leave(&mut self, which: impl Fn(&Place) -> bool) {
        let mut left: Vec<_> = self.current.extract_if(.., |current| which(&current.place)).collect();
        left.iter_mut().for_each(|current| current.work.ask_to_leave());
        left.into_iter().for_each(|current| current.work.leave());
    }
}
