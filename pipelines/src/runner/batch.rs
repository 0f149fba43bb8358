//! One batch: decode, process, bisect where it fails, and write every message's end in source order.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use lunapark_operator::{Batch, Codec, Member, Operator, Output, Retry, VersionName};
use lunapark_schemas::headers::{CE_EXPIRYTIME, SOURCE};
use lunapark_schemas::{ErrorClass, HeadersBuf, Message, Messages, Outcome, Record, Rejection, SkipReason};

use super::account::{Ending, RowCounts, Unfit};
use super::dead_letter::DeadLetter;
use super::home::{Home, Homes};
use super::shadow::Shadow;
use super::{LogError, LogErrorKind, RunError, Runner};
use crate::clock;
use crate::metrics::Stage;
use crate::stop::Stop;

/// Where one message stands while its batch is processed.
enum Fate<Out> {
    Undecided,
    Scored {
        model: usize,
        member: Member,
        out: Out,
    },
    Skipped(SkipReason),
    /// It belongs to another partition.
    Moved(Home),
    Rejected {
        rejection: Rejection,
        attempts: u32,
    },
}

/// What is known of messages before they are decoded.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// Those whose results the log refused before.
    pub too_large: &'a HashSet<(i32, i64)>,
    /// Where messages of a key belong, where that matters.
    pub homes: Option<Homes>,
    /// What the operator says of results that are too large.
    pub advice_on_size: &'static str,
}

/// Messages that were read and decoded, with what is known of their ends.
pub(super) struct Work<Out> {
    messages: Messages,
    fates: Vec<Fate<Out>>,
    /// What is still to be processed.
    batches: Vec<Attempt>,
    /// Some of the messages once more, for a model whose scores are not the results.
    shadow: Shadow<Out>,
    /// Partitions whose events name versions that have to be loaded first: nothing of this can be written.
    waiting: Vec<(i32, VersionName)>,
    /// Rows and time of what was processed ahead.
    inferred: Vec<(usize, Duration)>,
    read_millis: i64,
    decoding: Duration,
}

/// A batch and the number of its next try.
type Attempt = (Batch, u32);

impl<Out> Work<Out> {
    /// Decodes messages. What has expired is filtered, what belongs to another partition is put there, and what the log
    /// refused to take the result of is rejected.
    pub(super) fn decode(codec: &impl Codec<Out>, known: Known<'_>, messages: Messages) -> Self {
        let (read_at, read_millis) = (Instant::now(), clock::now_millis());
        let mut fates: Vec<_> = (0..messages.len()).map(|_| Fate::Undecided).collect();
        let mut indices = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            if expired(&message, read_millis) {
                fates[index] = Fate::Skipped(SkipReason::Expired);
            } else if known.too_large.contains(&(message.partition, message.offset)) {
                fates[index] = Fate::Rejected { rejection: refused_result(known.advice_on_size), attempts: 2 };
            } else if let Some(home) = known.homes.and_then(|homes| homes.elsewhere(codec, &message)) {
                fates[index] = Fate::Moved(home);
            } else {
                indices.push(index);
            }
        }
        let decoded = codec.decode(&messages, &indices);
        for (index, rejection) in decoded.rejected {
            fates[index] = Fate::Rejected { rejection, attempts: 1 };
        }
        let shadow = Shadow::of(decoded.shadow, decoded.shadow_rejected);
        let waiting = decoded.waiting.into_iter();
        let waiting = waiting.map(|waiting| (messages.get(waiting.message).partition, waiting.version)).collect();
        let (batches, decoding) = (decoded.batches.into_iter().map(|batch| (batch, 1)).collect(), read_at.elapsed());
        Self { messages, fates, batches, shadow, waiting, inferred: Vec::new(), read_millis, decoding }
    }

    /// The same messages, decoded afresh.
    pub(super) fn again(self, codec: &impl Codec<Out>, known: Known<'_>) -> Self {
        Self::decode(codec, known, self.messages)
    }

    /// Whether the operator has answered everything.
    pub(super) fn is_processed(&self) -> bool {
        self.batches.is_empty()
    }

    /// The shadow has been ended.
    pub(super) fn forget_shadow(&mut self) {
        self.shadow.forget();
    }

    /// Why the shadow fails, as far as it has been processed.
    pub(super) fn shadow_failure(&self) -> Option<&str> {
        self.shadow.failed.as_deref()
    }

    /// Processes what goes well at once; whatever needs another try waits for the loop, which may hold or bisect.
    pub(super) fn process_ahead<O: Operator<Out = Out>>(
        &mut self,
        operator: &O,
        shadow_patience: Duration,
    ) -> Result<(), RunError> {
        for (batch, attempt) in std::mem::take(&mut self.batches) {
            let started = Instant::now();
            match block_on(operator.process(&batch)) {
                Ok(outcomes) => {
                    self.inferred.push((batch.rows.num_rows(), started.elapsed()));
                    settle(operator, batch, outcomes, &mut self.fates, attempt)?;
                }
                Err(error) => {
                    tracing::debug!(operator = operator.name(), %error, "processing again after the commit");
                    self.batches.push((batch, attempt + 1));
                }
            }
        }
        self.shadow.process(operator, shadow_patience);
        Ok(())
    }
}

fn settle<O: Operator>(
    operator: &O,
    batch: Batch,
    outcomes: Vec<Outcome<O::Out>>,
    fates: &mut [Fate<O::Out>],
    attempts: u32,
) -> Result<(), RunError> {
    if outcomes.len() != batch.members.len() {
        let what = format!("{} outcomes for {} messages", outcomes.len(), batch.members.len());
        return Err(RunError::Operator { operator: operator.name(), what });
    }
    let model = batch.model;
    for (member, outcome) in batch.members.into_iter().zip(outcomes) {
        let index = member.message;
        fates[index] = match outcome {
            Outcome::Emit(out) => Fate::Scored { model, member, out },
            Outcome::Skip(reason) => Fate::Skipped(reason),
            Outcome::Reject(rejection) => Fate::Rejected { rejection, attempts },
        };
    }
    Ok(())
}

impl<C: Codec<O::Out>, O: Operator> Runner<'_, C, O> {
    /// Processes what was read and writes how each message ended.
    pub(super) fn finish(&mut self, work: Work<O::Out>, stop: &Stop) -> Result<(), RunError> {
        // No transaction stays open during long work: the broker would end it. Messages that are moved open one at once.
        let moved = self.settings.homes.is_some() && !work.is_processed();
        if moved || self.processing > self.settings.commit_interval {
            self.commit()?;
        }
        let Work { messages, mut fates, batches, shadow, waiting, inferred, read_millis, decoding } = work;
        if !waiting.is_empty() {
            return self.wait_for(&waiting);
        }
        self.times.read(&messages, read_millis);
        self.metrics.stage(Stage::ComputeInput, decoding);
        inferred.iter().for_each(|(rows, took)| self.metrics.inferred(*rows, *took));
        let began = Instant::now();
        for attempt in batches {
            if !self.process(attempt, &mut fates, stop)? {
                return Ok(());
            }
        }
        let scored_at = Instant::now();
        self.processing = scored_at - began + inferred.iter().map(|(_, took)| *took).sum::<Duration>();
        let shadowed = self.shadowed(shadow)?;
        self.write_shadow(&messages, shadowed)?;
        self.write(messages, fates)?;
        self.metrics.stage(Stage::ComputeOutput, scored_at.elapsed());
        self.opened.get_or_insert(began);
        Ok(())
    }

    /// Processes one batch, by halves where it fails for good. False where a stop was asked for meanwhile.
    fn process(&mut self, attempt: Attempt, fates: &mut [Fate<O::Out>], stop: &Stop) -> Result<bool, RunError> {
        let mut todo = vec![attempt];
        while let Some((batch, attempts)) = todo.pop() {
            let started = Instant::now();
            match block_on(self.operator.process(&batch)) {
                Ok(outcomes) => {
                    self.metrics.inferred(batch.rows.num_rows(), started.elapsed());
                    settle(self.operator, batch, outcomes, fates, attempts)?;
                }
                Err(error) => match error.retry {
                    Retry::After(pause) => {
                        tracing::warn!(operator = self.operator.name(), %error, ?pause, "operator holds the batch");
                        if !self.hold(pause, stop)? {
                            return Ok(false);
                        }
                        todo.push((batch, attempts + 1));
                    }
                    Retry::Never if batch.members.len() > 1 => {
                        let middle = batch.members.len() / 2;
                        todo.push((batch.slice(middle..batch.members.len()), attempts + 1));
                        todo.push((batch.slice(0..middle), attempts + 1));
                    }
                    Retry::Never => {
                        for member in &batch.members {
                            let rejection = Rejection::new(ErrorClass::Operator, error.message.clone());
                            fates[member.message] = Fate::Rejected { rejection, attempts };
                        }
                    }
                },
            }
        }
        Ok(true)
    }

    /// Waits before another try. What earlier batches did is committed first: no transaction stays open meanwhile.
    fn hold(&mut self, pause: Duration, stop: &Stop) -> Result<bool, RunError> {
        self.commit()?;
        Ok(!stop.wait(pause))
    }

    /// Writes every message's end, in source order.
    fn write(&mut self, mut messages: Messages, fates: Vec<Fate<O::Out>>) -> Result<(), RunError> {
        messages.iter().zip(fates).try_for_each(|(message, fate)| self.write_one(&message, fate))?;
        self.account.add_bytes(messages.bytes());
        messages.clear();
        self.spare.push(messages);
        Ok(())
    }

    fn write_one(&mut self, message: &Message<'_>, fate: Fate<O::Out>) -> Result<(), RunError> {
        let (ending, model) = match fate {
            Fate::Scored { model, member, out } => (self.write_result(message, model, &member, &out)?, Some(model)),
            Fate::Skipped(reason) => (Ending::Filtered(reason), None),
            Fate::Moved(home) => (self.move_home(message, &home)?, None),
            Fate::Rejected { rejection, attempts } => {
                (self.write_dead(message, &rejection, attempts, &out_of_rows())?, None)
            }
            Fate::Undecided => {
                let what = format!("{} was left without an outcome", message.position());
                return Err(RunError::Operator { operator: self.operator.name(), what });
            }
        };
        let dead = matches!(ending, Ending::Dead);
        if !dead {
            self.breaker.record(message.offset, false);
        }
        self.account.record(message, ending, model.filter(|_| !dead)).map_err(|unfit| self.unfit(message, unfit))
    }

    fn unfit(&self, message: &Message<'_>, unfit: Unfit) -> RunError {
        let position = message.position();
        match unfit {
            Unfit::NotAssigned => {
                let what = format!("{position} belongs to a partition that is not assigned");
                RunError::Operator { operator: self.operator.name(), what }
            }
            // An abort reads again from the committed offset, so nothing is doubled.
            Unfit::Again { next } => {
                let what = format!("{position} was read where offset {next} was due");
                RunError::Log(LogError::new(LogErrorKind::Rebalanced, what))
            }
        }
    }

    fn write_result(
        &mut self,
        message: &Message<'_>,
        model: usize,
        member: &Member,
        out: &O::Out,
    ) -> Result<Ending, RunError> {
        let mut reply = std::mem::take(&mut self.reply);
        reply.clear();
        let encoded = self.codec.encode(message, model, member, out, &mut reply);
        let ending = match encoded {
            Err(rejection) => self.write_dead(message, &rejection, 1, &out_of_rows()),
            Ok(()) => {
                push_source(&mut reply.headers, message);
                let record = answer(message, &self.settings.routes.results, Some(&reply.value), &reply.headers);
                self.write_answer(message, &record, member, out)
            }
        };
        self.reply = reply;
        ending
    }

    fn write_answer(
        &mut self,
        message: &Message<'_>,
        record: &Record<'_>,
        member: &Member,
        out: &O::Out,
    ) -> Result<Ending, RunError> {
        let size = record.wire_size();
        if let Some(limit) = self.stream.max_message_bytes(record.topic).filter(|limit| size > *limit) {
            let topic = record.topic;
            let advice = self.operator.advice_on_size();
            let what = format!("its result has {size} bytes and topic `{topic}` takes {limit}; {advice}");
            return self.write_dead(message, &Rejection::new(ErrorClass::ResultTooLarge, what), 1, &out_of_rows());
        }
        self.stream.produce(record, Some((message.partition, message.offset)))?;
        self.account.add_bytes(size);
        let failed = out.failed();
        if let Some(first) = failed.first() {
            self.write_dead(message, &first.rejection.clone(), 1, failed)?;
        }
        let dead = failed.len() as u64;
        Ok(Ending::Result(RowCounts { results: u64::from(member.request.rows) - dead, dead }))
    }

    /// Writes the dead letter of a message, or of some of its rows.
    pub(super) fn write_dead(
        &mut self,
        message: &Message<'_>,
        rejection: &Rejection,
        attempts: u32,
        rows: &[lunapark_schemas::outcome::FailedRow],
    ) -> Result<Ending, RunError> {
        // What no operator could read says nothing of this one.
        let counts = rows.is_empty() && !rejection.class.is_the_payloads();
        if counts && self.breaker.record(message.offset, true) {
            return Err(self.tripped(message, rejection));
        }
        self.account.rejected(rejection.class);
        self.refusals.note(message, rejection);
        let letter = DeadLetter { rejection, operator: self.operator.name(), attempts, rows };
        let topic = &self.settings.routes.dead;
        let limit = self.stream.max_message_bytes(topic).unwrap_or(usize::MAX);
        let mut headers = HeadersBuf::new();
        let value = letter.fit(message, limit, &mut headers);
        let record = answer(message, topic, value, &headers);
        self.stream.produce(&record, None)?;
        self.account.add_bytes(record.wire_size());
        Ok(Ending::Dead)
    }

    fn tripped(&self, message: &Message<'_>, rejection: &Rejection) -> RunError {
        RunError::Breaker {
            position: message.position().to_string(),
            rejected: rejection.message.clone(),
            share: self.settings.reject_share * 100.0,
            window: self.settings.reject_window,
            until: message.offset + 1,
        }
    }
}

/// No rows: the whole message.
fn out_of_rows() -> [lunapark_schemas::outcome::FailedRow; 0] {
    []
}

/// A result or dead letter: key, partition number and timestamp of its source.
pub(super) fn answer<'a>(
    message: &Message<'a>,
    topic: &'a str,
    value: Option<&'a [u8]>,
    headers: &'a HeadersBuf,
) -> Record<'a> {
    Record {
        topic,
        partition: Some(message.partition),
        key: message.key,
        value,
        headers: headers.view(),
        timestamp: (message.timestamp >= 0).then_some(message.timestamp),
    }
}

/// `topic/partition/offset`, written without an allocation: every result has it.
pub(super) fn push_source(headers: &mut HeadersBuf, message: &Message<'_>) {
    use std::io::Write as _;
    let mut text = [0u8; 320];
    let mut rest = &mut text[..];
    let whole = write!(rest, "{}/{}/{}", message.topic, message.partition, message.offset).is_ok();
    let left = rest.len();
    match whole {
        true => headers.push(SOURCE, Some(&text[..320 - left])),
        // Kafka's topic names have at most 249 characters; the embedded log takes what it is given.
        false => headers.push_str(SOURCE, &message.position().to_string()),
    };
}

fn expired(message: &Message<'_>, now_millis: i64) -> bool {
    if message.headers.is_empty() {
        return false;
    }
    let expiry = message.headers.get_str(CE_EXPIRYTIME).and_then(clock::parse_rfc3339_millis);
    expiry.is_some_and(|expiry| expiry < now_millis)
}

fn refused_result(advice: &str) -> Rejection {
    let message = format!("its result is larger than the result topic takes; {advice}");
    Rejection::new(ErrorClass::ResultTooLarge, message)
}
