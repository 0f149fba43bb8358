//! The shadow of a batch: some of its messages scored besides by another model. Nothing that goes wrong here reaches the
//! results: a shadow that fails, panics or takes too long is ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use lunapark_operator::{Batch, Codec, Member, Operator};
use lunapark_schemas::{Messages, Outcome};

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
    failed: Option<String>,
    pub(super) took: Duration,
}

impl<Out> Shadow<Out> {
    pub(super) fn of(todo: Vec<Batch>) -> Self {
        Self { todo, scored: Vec::new(), failed: None, took: Duration::ZERO }
    }

    /// It has been ended.
    pub(super) fn forget(&mut self) {
        *self = Self::of(Vec::new());
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
            if let Outcome::Emit(out) = outcome {
                self.scored.push(Shadowed { model, member, out });
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
            None => Ok(shadow.scored),
            Some(reason) => self.end_shadows(&reason).map(|()| Vec::new()),
        }
    }

    /// Writes the scores of the shadow, as results are written.
    pub(super) fn write_shadow(&mut self, messages: &Messages, scored: Vec<Shadowed<O::Out>>) -> Result<(), RunError> {
        let Some(topic) = self.settings.routes.shadow.clone() else { return Ok(()) };
        let limit = self.stream.max_message_bytes(&topic).unwrap_or(usize::MAX).saturating_sub(MARGIN);
        let mut reply = std::mem::take(&mut self.reply);
        let mut written = 0;
        for Shadowed { model, member, out } in scored {
            let message = messages.get(member.message);
            reply.clear();
            if self.codec.encode(&message, model, &member, &out, &mut reply).is_err() {
                continue;
            }
            push_source(&mut reply.headers, &message);
            let record = answer(&message, &topic, Some(&reply.value), &reply.headers);
            let size = record.wire_size();
            if size <= limit {
                self.stream.produce(&record, None)?;
                self.account.add_bytes(size);
                written += 1;
            }
        }
        self.reply = reply;
        if written > 0 {
            self.metrics.shadowed(written);
        }
        Ok(())
    }
}
