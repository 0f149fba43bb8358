//! The operator: rows that the model cannot take are set aside, the rest is scored in one call.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use lunapark_models::{Model, ModelError, ModelErrorKind};
use lunapark_operator::{Batch, Member, Operator, OperatorError, Retry, Scored};
use lunapark_schemas::outcome::FailedRow;
use lunapark_schemas::{Outcome, Signature};

use crate::models::ModelSet;
use crate::refused::{Refused, refused_rows};

/// Scores batches by the models of a set.
pub struct Scorer {
    models: Arc<ModelSet>,
}

impl Scorer {
    /// A scorer over these models.
    pub fn new(models: Arc<ModelSet>) -> Self {
        Self { models }
    }
}

impl Operator for Scorer {
    type Out = Scored;

    fn name(&self) -> &'static str {
        "score"
    }

    async fn process(&self, batch: &Batch) -> Result<Vec<Outcome<Scored>>, OperatorError> {
        let unknown = || OperatorError::fatal(format!("no model at index {}", batch.model));
        let model = self.models.get(batch.model).ok_or_else(unknown)?.model().ok_or_else(away)?;
        match refused_rows(model.as_ref(), &batch.rows) {
            None => {
                let outputs = Arc::new(infer(model.as_ref(), &batch.rows)?);
                Ok(batch.members.iter().map(|member| scored(member, &outputs)).collect())
            }
            Some(refused) => score_without(model.as_ref(), batch, &refused),
        }
    }
}

/// Whoever decoded for a model keeps it loaded; if not, nothing must be scored by another.
fn away() -> OperatorError {
    let retry = Retry::After(Duration::from_secs(1));
    OperatorError { retry, message: "the model was unloaded while events waited for it; please report it".to_owned() }
}

fn infer(model: &dyn Model, rows: &RecordBatch) -> Result<RecordBatch, OperatorError> {
    if rows.num_rows() == 0 {
        return Ok(RecordBatch::new_empty(model.signature().output_schema()));
    }
    let outputs = model.infer(rows).map_err(|error| failed(&error))?;
    match outputs.num_rows() == rows.num_rows() {
        true => Ok(outputs),
        false => Err(OperatorError::fatal(format!("{} rows in, {} rows out", rows.num_rows(), outputs.num_rows()))),
    }
}

/// How often a device that does not answer is asked again.
const DEVICE_PAUSE: Duration = Duration::from_secs(1);

/// A device that does not answer is no fault of the events: they wait.
fn failed(error: &ModelError) -> OperatorError {
    let retry = match error.kind {
        ModelErrorKind::Device => Retry::After(DEVICE_PAUSE),
        _ => Retry::Never,
    };
    OperatorError { retry, message: error.to_string() }
}

fn scored(member: &Member, outputs: &Arc<RecordBatch>) -> Outcome<Scored> {
    let failed = member.request.failed().to_vec();
    Outcome::Emit(Scored { outputs: outputs.clone(), rows: member.rows(), failed })
}

/// Scores the rows that the model takes; the others fail, each with the field at fault.
fn score_without(
    model: &dyn Model,
    batch: &Batch,
    refused: &[Option<Refused>],
) -> Result<Vec<Outcome<Scored>>, OperatorError> {
    let keep = BooleanArray::from_iter(refused.iter().map(|fate| Some(fate.is_none())));
    let kept = filter_record_batch(&batch.rows, &keep).map_err(|error| OperatorError::fatal(error.to_string()))?;
    let outputs = Arc::new(infer(model, &kept)?);
    let mut next = 0;
    let outcome = |member: &Member| {
        let fates = &refused[member.rows()];
        let start = next;
        next += fates.iter().filter(|fate| fate.is_none()).count();
        partly_scored(
            model.signature(),
            member,
            fates,
            Scored { outputs: outputs.clone(), rows: start..next, failed: Vec::new() },
        )
    };
    Ok(batch.members.iter().map(outcome).collect())
}

fn partly_scored(
    signature: &Signature,
    member: &Member,
    fates: &[Option<Refused>],
    mut scored: Scored,
) -> Outcome<Scored> {
    scored.failed = member.request.failed().to_vec();
    for (row, fate) in message_rows(member).zip(fates) {
        if let Some(refused) = fate {
            scored.failed.push(FailedRow { row, rejection: refused.rejection(signature, row) });
        }
    }
    scored.failed.sort_by_key(|failed| failed.row);
    match scored.failed.first() {
        Some(first) if scored.rows.is_empty() => Outcome::Reject(first.rejection.clone()),
        _ => Outcome::Emit(scored),
    }
}

/// Row numbers in the message of the rows that decoded, in order.
fn message_rows(member: &Member) -> impl Iterator<Item = u32> {
    let failed = member.request.failed();
    (0..member.request.rows).filter(move |row| failed.binary_search_by_key(row, |f| f.row).is_err())
}
