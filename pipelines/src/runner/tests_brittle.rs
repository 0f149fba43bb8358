//! A scorer that fails, panics or rejects when it is told to.

use std::sync::atomic::{AtomicUsize, Ordering};

use lunapark_operator::{Batch, Operator, OperatorError, Scored};
use lunapark_schemas::{ErrorClass, Outcome, Rejection};
use lunapark_score::Scorer;

/// Scores, until it is asked for the model at this index for the so-and-so-many-th time.
pub(super) struct Brittle {
    pub(super) scorer: Scorer,
    pub(super) model: usize,
    pub(super) good: usize,
    pub(super) asked: AtomicUsize,
    pub(super) panics: bool,
    /// Rejects every so many of its events.
    pub(super) rejects: Option<usize>,
}

impl Operator for Brittle {
    type Out = Scored;

    fn name(&self) -> &'static str {
        "brittle"
    }

    async fn process(&self, batch: &Batch) -> Result<Vec<Outcome<Scored>>, OperatorError> {
        if batch.model == self.model && self.asked.fetch_add(1, Ordering::Relaxed) >= self.good {
            assert!(!self.panics, "told to panic");
            return Err(OperatorError::fatal("told to fail"));
        }
        let mut outcomes = self.scorer.process(batch).await?;
        let rejects = self.rejects.filter(|_| batch.model == self.model);
        for (outcome, _) in outcomes.iter_mut().zip(&batch.members).step_by(rejects.unwrap_or(usize::MAX)) {
            if rejects.is_some() {
                *outcome = Outcome::Reject(Rejection::new(ErrorClass::Operator, "told to reject"));
            }
        }
        Ok(outcomes)
    }
}
