//! The runner: one loop for every pipeline, and the only place that commits.
//!
//! ```text
//! poll → decode → process → results and dead letters → (interval or size reached?) ledger, offsets, commit
//! ```
//!
//! One batch is in flight per stream thread and nothing overtakes anything, so the offsets of a transaction are
//! simply what was polled since the last one.

mod account;
mod batch;
mod breaker;
mod dead_letter;
mod home;
mod lines;
mod long;
mod refusals;
mod settings;
mod shadow;
mod starts;
mod supervise;
mod switch;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_ahead;
#[cfg(test)]
mod tests_brittle;
#[cfg(test)]
mod tests_gather;
#[cfg(test)]
mod tests_home;
#[cfg(test)]
mod tests_named;
#[cfg(test)]
mod tests_shadow;
#[cfg(test)]
mod tests_starts;
#[cfg(test)]
mod tests_switch;

pub use account::{Account, Ending, RowCounts};
pub use breaker::Breaker;
pub use home::{Holdings, Homes};
pub use long::{Begun, Ended, LongRunner, LongWork, Other, Work};
pub use settings::{Routes, RunError, Settings};
pub use supervise::{LongThread, StreamThread, Swap, supervise, supervise_long};

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_operator::{Codec, Operator, Reply};
use lunapark_schemas::ledger::LedgerRecord;
use lunapark_schemas::{Messages, Position};
use lunapark_topics::error::Recovery;
use lunapark_topics::{LogError, LogErrorKind, Polled, Stream};

use crate::metrics::{BatchTimes, PipelineMetrics};
use crate::stop::Stop;
use crate::swap::Switcher;
use batch::{Known, Work as BatchWork};
use refusals::Refusals;

/// The longest wait for messages: a stop request is seen after at most this.
const PATIENCE: Duration = Duration::from_millis(50);

/// The wait while partitions are being taken over, which takes milliseconds as a rule: it grows with what they have waited.
const SOON: Duration = Duration::from_millis(2);

/// Batches that are read, decoded and processed during one commit, at most: a commit takes a few milliseconds, on a broker
/// that is busy some tens, and a batch of half a MiB one or two.
const LOOK_AHEAD: usize = 16;
/// Pause between two looks for messages during a commit.
const NOTHING_AT_HAND: Duration = Duration::from_micros(200);

/// A transaction is committed at so many ranges of filtered offsets: its ledger record must fit into a message.
const MAX_FILTERED_RANGES: usize = 10_000;

/// One stream thread of a pipeline.
pub struct Runner<'a, C, O: Operator> {
    codec: &'a C,
    operator: &'a O,
    stream: Box<dyn Stream>,
    settings: &'a Settings,
    metrics: Arc<PipelineMetrics>,
    /// Buffers of messages that were written, for the next ones.
    spare: Vec<Messages>,
    /// What was read, decoded and processed while a commit was under way; it comes before anything that is polled later.
    ahead: VecDeque<BatchWork<O::Out>>,
    /// Reading on met an error: what was read past it would leave a gap, so the next poll has to tell of it first.
    poll_first: bool,
    account: Account,
    /// Where the group starts, as long as no commit has settled it.
    starts: Vec<Position>,
    breaker: Breaker,
    refusals: Refusals,
    switcher: Option<Switcher>,
    /// Events of the open transaction that each shadow has scored, and has not, by model.
    shadowed: BTreeMap<usize, [u64; 2]>,
    opened: Option<Instant>,
    /// A small batch was read then: more is gathered before the next one.
    gathering: Option<Instant>,
    /// How long the operator took for the last batch.
    processing: Duration,
    /// Sources whose results the log refused as too large: they become dead letters on the next try.
    too_large: HashSet<(i32, i64)>,
    times: BatchTimes,
    reply: Reply,
}

impl<'a, C: Codec<O::Out>, O: Operator> Runner<'a, C, O> {
    /// A runner that owns its stream.
    pub fn new(
        codec: &'a C,
        operator: &'a O,
        stream: Box<dyn Stream>,
        settings: &'a Settings,
        metrics: Arc<PipelineMetrics>,
    ) -> Self {
        let breaker = Breaker::new(settings.reject_share, settings.reject_window, settings.accept_rejects_until);
        Self {
            codec,
            operator,
            stream,
            settings,
            metrics,
            breaker,
            refusals: Refusals::default(),
            switcher: None,
            shadowed: BTreeMap::new(),
            spare: Vec::new(),
            ahead: VecDeque::new(),
            poll_first: false,
            account: Account::default(),
            starts: Vec::new(),
            opened: None,
            gathering: None,
            processing: Duration::ZERO,
            too_large: HashSet::new(),
            times: BatchTimes::default(),
            reply: Reply::default(),
        }
    }

    /// Runs until asked to stop, then commits (or aborts) what is open and leaves the group. On an error what is open
    /// is thrown away: nothing past the last commit is ever seen.
    pub fn run(mut self, stop: &Stop) -> Result<(), RunError> {
        let ended = self.run_until(stop);
        self.tell_held(BTreeSet::new());
        self.refusals.tell(&self.settings.member, &self.settings.routes.dead, true);
        if ended.is_err() {
            // The first error tells more than one of cleaning up after it; the broker's time-out does the rest.
            let aborted = self.stream.abort(&[]);
            tracing::debug!(?aborted, "aborted after an error");
        }
        ended
    }

    fn run_until(&mut self, stop: &Stop) -> Result<(), RunError> {
        while !stop.requested() {
            self.step(stop).or_else(|error| self.recover(error))?;
        }
        self.commit_or_abort()?;
        Ok(self.stream.close()?)
    }

    /// One turn of the loop.
    fn step(&mut self, stop: &Stop) -> Result<(), RunError> {
        self.take_arrived()?;
        self.refusals.tell(&self.settings.member, &self.settings.routes.dead, false);
        self.switch_at_boundary()?;
        if let Some(work) = self.ahead.pop_front() {
            self.finish(work, stop)?;
            return self.commit_if_due();
        }
        if let Some(left) = self.left_to_gather() {
            stop.wait(left.min(self.patience()));
            return self.commit_if_due();
        }
        let (mut messages, patience) = (self.spare.pop().unwrap_or_default(), self.patience());
        self.poll_first = false;
        match self.stream.poll(&mut messages, self.settings.limit(), patience)? {
            Polled::Messages(0) => self.spare.push(messages),
            Polled::Messages(_) => {
                let small = self.settings.is_small(messages.len(), messages.bytes());
                self.gathering = small.then(Instant::now);
                let work = BatchWork::decode(self.codec, self.known(), messages);
                self.finish(work, stop)?;
            }
            Polled::Assigned(starts) => {
                tracing::info!(member = %self.settings.member, partitions = starts.len(), "partitions assigned");
                self.note_starts();
                self.take_over(&starts)?;
                self.tell_held(self.account.partitions().collect());
            }
            Polled::Revoked(partitions) => {
                tracing::info!(member = %self.settings.member, partitions = partitions.len(), "partitions revoked");
                self.commit_or_abort()?;
                self.give_up(&partitions);
                self.tell_held(self.account.partitions().collect());
                self.stream.release(&partitions)?;
            }
            Polled::Lost(partitions) => {
                tracing::warn!(member = %self.settings.member, partitions = partitions.len(), "partitions lost");
                self.abort_except(&partitions)?;
                self.tell_held(self.account.partitions().collect());
                self.stream.release(&partitions)?;
            }
        }
        self.metrics.partitions(&self.settings.member, self.account.assigned());
        self.commit_if_due()
    }

    fn commit_if_due(&mut self) -> Result<(), RunError> {
        if self.due() { self.commit_reading_on() } else { Ok(()) }
    }

    /// How long nothing is read yet, because a small batch came a moment ago.
    fn left_to_gather(&self) -> Option<Duration> {
        let left = self.settings.gather.saturating_sub(self.gathering?.elapsed());
        (!left.is_zero()).then_some(left)
    }

    /// How long to wait for messages: not past the end of the commit interval.
    fn patience(&self) -> Duration {
        let left = |opened: Instant| self.settings.commit_interval.saturating_sub(opened.elapsed());
        let patience = self.taking_over().map_or(PATIENCE, |waited| (waited / 8).clamp(SOON, PATIENCE));
        self.opened.map_or(patience, |opened| left(opened).min(patience))
    }

    fn due(&self) -> bool {
        self.opened.is_some_and(|opened| opened.elapsed() >= self.settings.commit_interval)
            || self.account.messages() >= self.settings.commit_messages
            || self.account.bytes() >= self.settings.commit_bytes
            || self.account.filtered_ranges() >= MAX_FILTERED_RANGES
            || self.switch_waits()
            || !self.starts.is_empty()
    }

    /// Ledger, offsets, commit: everything since the last commit becomes visible at once.
    fn commit(&mut self) -> Result<(), RunError> {
        self.commit_up_to(0)
    }

    /// As [`commit`](Self::commit); what comes next is read, decoded and processed meanwhile. Nothing of it is written
    /// before the commit is done, and an abort forgets it. While earlier such work waits nothing is read, so that a poll
    /// comes between, which tells of errors and rebalances; and a slow operator would hold the loop up long after the
    /// commit.
    fn commit_reading_on(&mut self) -> Result<(), RunError> {
        let quick =
            self.processing <= self.settings.commit_interval && self.settings.gather.is_zero() && !self.switch_waits();
        self.commit_up_to(if quick && !self.poll_first && self.ahead.is_empty() { LOOK_AHEAD } else { 0 })
    }

    fn commit_up_to(&mut self, look_ahead: usize) -> Result<(), RunError> {
        if self.account.messages() == 0 && !self.switched() && self.starts.is_empty() {
            return Ok(());
        }
        self.cut_to_configured()?;
        let (started, next) = (Instant::now(), self.next());
        self.write_ledger()?;
        let (codec, operator, limit) = (self.codec, self.operator, self.settings.limit());
        let advice_on_size = operator.advice_on_size();
        let known = Known { too_large: &self.too_large, homes: self.settings.homes, advice_on_size };
        let shadow_patience = self.settings.shadow_patience;
        let (ahead, spare, poll_first) = (&mut self.ahead, &mut self.spare, &mut self.poll_first);
        let mut broken = Ok(());
        let committed = self.stream.commit_while(&next, &mut |log| {
            // An operator that keeps what it is given must be given it in order: where it failed, nothing overtakes.
            let in_order = |ahead: &VecDeque<BatchWork<O::Out>>| ahead.back().is_none_or(BatchWork::is_processed);
            while broken.is_ok() && log.committing() && ahead.len() < look_ahead && in_order(ahead) {
                let mut messages = spare.pop().unwrap_or_default();
                match log.poll(&mut messages, limit).inspect_err(|_| *poll_first = true)? {
                    0 => {
                        spare.push(messages);
                        std::thread::park_timeout(NOTHING_AT_HAND);
                    }
                    _ => {
                        let mut work = BatchWork::decode(codec, known, messages);
                        // It is ended as soon as the commit is done, before the first of these.
                        if ahead.iter().any(|before| before.shadow_failure().is_some()) {
                            work.forget_shadow();
                        }
                        broken = work.process_ahead(operator, shadow_patience);
                        ahead.push_back(work);
                    }
                }
            }
            Ok(())
        });
        self.note_ahead();
        committed?;
        self.operator.committed(&next);
        self.metrics.committed(&self.account, &mut self.times, started.elapsed());
        self.account.committed();
        self.starts.clear();
        self.refusals.committed();
        self.count_shadowed();
        self.switch_made();
        self.opened = None;
        self.too_large.clear();
        broken
    }

    /// What is known of messages before they are decoded.
    fn known(&self) -> Known<'_> {
        Known { too_large: &self.too_large, homes: self.settings.homes, advice_on_size: self.operator.advice_on_size() }
    }

    /// All records of one transaction go to one ledger partition, so that a crash holds back only that one.
    fn write_ledger(&mut self) -> Result<(), RunError> {
        self.write_starts()?;
        let (settings, routes) = (self.settings, &self.settings.routes);
        // A switch commits the offsets of all partitions: each committed offset has its account.
        let all = self.switched();
        let ranges = self.account.ranges(&settings.pipeline, &settings.member, all, |m| self.codec.model_tag(m));
        for range in ranges {
            let entry = routes.ledger.encode(&LedgerRecord::Range(range))?;
            self.stream.produce(&entry.record(Some(routes.ledger_partition)), None)?;
        }
        Ok(())
    }

    /// Before partitions are given up or at the end: commit, or where that cannot be, throw the work away.
    fn commit_or_abort(&mut self) -> Result<(), RunError> {
        self.commit().or_else(|error| self.recover(error))
    }

    /// Goes on after an error that an abort mends.
    fn recover(&mut self, error: RunError) -> Result<(), RunError> {
        let at_fault = self.shadow_at_fault(&error);
        match error {
            error @ RunError::Shadow { .. } => {
                tracing::warn!(member = %self.settings.member, %error, "transaction aborted, reading again without it");
                self.abort_except(&[])
            }
            RunError::Log(error) if at_fault && !matches!(error.kind, LogErrorKind::Fenced | LogErrorKind::Timeout) => {
                let member = &self.settings.member;
                tracing::warn!(%member, %error, "transaction aborted, reading again without the shadow");
                self.abort_except(&[])
            }
            RunError::Log(error) if error.recovery() == Recovery::Abort => self.abort(&error),
            other => Err(other),
        }
    }

    /// Throws the open transaction away and reads on from the committed offsets.
    fn abort(&mut self, cause: &LogError) -> Result<(), RunError> {
        tracing::warn!(member = %self.settings.member, %cause, "transaction aborted, reading again");
        let refused = self.stream.refused();
        if cause.kind == LogErrorKind::TooLarge && refused.is_empty() {
            // Reading again would meet the same refusal for ever.
            return Err(RunError::Refused(cause.clone()));
        }
        self.too_large.extend(refused);
        self.abort_except(&[])
    }

    fn abort_except(&mut self, lost: &[lunapark_schemas::TopicPartition]) -> Result<(), RunError> {
        self.ahead.clear();
        self.give_up(lost);
        self.switch_undone();
        self.stream.abort(&self.account.firsts())?;
        self.account.aborted();
        self.refusals.aborted();
        self.shadowed.clear();
        self.breaker.reset();
        self.times.clear();
        self.opened = None;
        self.metrics.aborted();
        Ok(())
    }
}
