//! The shadow of a batch: some of its messages scored besides by another model. Nothing that goes wrong here reaches the
//! results: a shadow that fails, panics or takes too long is ended.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use lunapark_operator::{Batch, Codec, Member, Operator, Reply};
use lunapark_schemas::{Messages, Outcome, Rejection};
use lunapark_topics::{LogErrorKind, Refusal};

use super::batch::{answer, push_source};
use super::{RunError, Runner};

/// Room for what a log puts around a record: one that is refused for its size would abort the results, too.
const MARGIN: usize = 1024;

/// One message's score by the shadow.
pub(super) struct Shadowed<Out> {
    model: usize,
    member: Member,
    out: Out,
}

/// What a shadow is to score, and what it has scored.
pub(super) struct Shadow<Out> {
    todo: Vec<Batch>,
    scored: Vec<Shadowed<Out>>,
    /// Events that it does not understand or does not score, by model.
    rejected: BTreeMap<usize, u64>,
    pub(super) failed: Option<String>,
    pub(super) took: Duration,
}

impl<Out> Shadow<Out> {
    pub(super) fn of(todo: Vec<Batch>, rejected: Vec<(usize, Rejection)>) -> Self {
        let mut shadow =
            Self { todo, scored: Vec::new(), rejected: BTreeMap::new(), failed: None, took: Duration::ZERO };
        rejected.into_iter().for_each(|(model, rejection)| shadow.reject(model, &rejection.message));
        shadow
    }

    fn reject(&mut self, model: usize, reason: &str) {
        tracing::debug!(model, reason, "a shadow does not score an event");
        *self.rejected.entry(model).or_default() += 1;
    }

    /// It has been ended.
    pub(super) fn forget(&mut self) {
        *self = Self::of(Vec::new(), Vec::new());
    }

    /// Scores what is to be scored.
    pub(super) fn process<O: Operator<Out = Out>>(&mut self, operator: &O, patience: Duration) {
        for batch in std::mem::take(&mut self.todo) {
            let started = Instant::now();
            let processed = catch_unwind(AssertUnwindSafe(|| block_on(operator.process(&batch))));
            let took = started.elapsed();
            self.took += took;
            match processed {
                Ok(Ok(outcomes)) if outcomes.len() == batch.members.len() => self.keep(batch, outcomes),
                Ok(Ok(_)) => self.fail("it left messages without an outcome".to_owned()),
                Ok(Err(error)) => self.fail(error.message),
                Err(_) => self.fail("it panicked; its message is on standard error".to_owned()),
            }
            if took > patience {
                self.fail(format!("it took {took:.1?} for a batch, and score.shadow_patience is {patience:?}"));
            }
        }
    }

    fn keep(&mut self, batch: Batch, outcomes: Vec<Outcome<Out>>) {
        let model = batch.model;
        for (member, outcome) in batch.members.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Emit(out) => self.scored.push(Shadowed { model, member, out }),
                Outcome::Reject(rejection) => self.reject(model, &rejection.message),
                Outcome::Skip(reason) => self.reject(model, reason.as_str()),
            }
        }
    }

    fn fail(&mut self, reason: String) {
        self.failed.get_or_insert(reason);
    }
}

impl<C: Codec<O::Out>, O: Operator> Runner<'_, C, O> {
    /// Scores what is left of a batch's shadow; one that fails is ended before this batch, of which it scores nothing.
    pub(super) fn shadowed(&mut self, mut shadow: Shadow<O::Out>) -> Result<Vec<Shadowed<O::Out>>, RunError> {
        shadow.process(self.operator, self.settings.shadow_patience);
        self.processing += shadow.took;
        match shadow.failed {
            None => {
                shadow.rejected.iter().for_each(|(model, count)| self.shadowed.entry(*model).or_default()[1] += count);
                Ok(shadow.scored)
            }
            Some(reason) => self.end_shadows(&reason).map(|()| Vec::new()),
        }
    }

    /// Writes the scores of the shadow, as results are written.
    pub(super) fn write_shadow(&mut self, messages: &Messages, scored: Vec<Shadowed<O::Out>>) -> Result<(), RunError> {
        let Some(topic) = self.settings.routes.shadow.clone() else { return Ok(()) };
        let limit = self.stream.max_message_bytes(&topic).unwrap_or(usize::MAX).saturating_sub(MARGIN);
        let mut reply = std::mem::take(&mut self.reply);
        for shadowed in scored {
            let model = shadowed.model;
            let written = self.write_shadowed(messages, &topic, limit, shadowed, &mut reply)?;
            self.shadowed.entry(model).or_default()[usize::from(!written)] += 1;
        }
        self.reply = reply;
        Ok(())
    }

    /// False where there is no such record to be written.
    fn write_shadowed(
        &mut self,
        messages: &Messages,
        topic: &Arc<str>,
        limit: usize,
        Shadowed { model, member, out }: Shadowed<O::Out>,
        reply: &mut Reply,
    ) -> Result<bool, RunError> {
        let message = messages.get(member.message);
        reply.clear();
        if self.codec.encode(&message, model, &member, &out, reply).is_err() {
            return Ok(false);
        }
        push_source(&mut reply.headers, &message);
        let record = answer(&message, topic, Some(&reply.value), &reply.headers);
        let size = record.wire_size();
        if size > limit {
            return Ok(false);
        }
        match self.stream.produce(&record, None) {
            Ok(()) => {}
            // Some of its scores may be in the transaction already, so it cannot be ended in this one.
            Err(error) if for_good(error.kind) => {
                return Err(RunError::Shadow { topic: topic.clone(), reason: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
        self.account.add_bytes(size);
        Ok(true)
    }

    /// Whether a transaction failed by its shadow's records alone. Whoever reads that has them out of the next one.
    pub(super) fn shadow_at_fault(&mut self, error: &RunError) -> bool {
        if let RunError::Shadow { reason, .. } = error {
            self.fail_shadows(reason);
            return true;
        }
        let refusals = self.stream.refusals();
        let ours = |refusal: &&Refusal| self.settings.routes.shadow.as_deref() == Some(refusal.topic.as_str());
        let alone = refusals.iter().all(|refusal| ours(&refusal));
        // A broker that is away refuses everything: that is no fault of the shadow.
        let Some(refusal) = refusals.iter().filter(ours).find(|refusal| alone || for_good(refusal.kind)) else {
            return false;
        };
        let reason = format!("topic `{}` does not take its scores: {}", refusal.topic, refusal.reason);
        self.fail_shadows(&reason);
        alone
    }

    /// What was scored during a commit may be thrown away with it: that the shadow failed there stays known.
    pub(super) fn note_ahead(&mut self) {
        let failed = self.ahead.iter().find_map(|work| work.shadow_failure().map(str::to_owned));
        if let Some(reason) = failed {
            self.fail_shadows(&reason);
        }
    }

    /// Counts what the shadows have done, once it is committed.
    pub(super) fn count_shadowed(&mut self) {
        for (model, [scored, rejected]) in std::mem::take(&mut self.shadowed) {
            if let Some(shadow) = self.switcher.as_ref().and_then(|switcher| switcher.shadowing(model)) {
                self.metrics.shadowed(&shadow, scored, rejected);
            }
        }
    }
}

/// Whether trying again changes nothing.
fn for_good(kind: LogErrorKind) -> bool {
    use LogErrorKind::{Invalid, TooLarge, TopicMissing, Unauthorised};
    matches!(kind, Invalid | TooLarge | TopicMissing | Unauthorised)
}
