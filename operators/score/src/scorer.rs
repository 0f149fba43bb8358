//! The operator: rows that the model cannot take are set aside, the rest is scored in one call.

use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use lunapark_models::Model;
use lunapark_operator::{Batch, Member, Operator, OperatorError, Scored};
use lunapark_schemas::outcome::FailedRow;
use lunapark_schemas::rows::{f32_values, f64_values};
use lunapark_schemas::{ErrorClass, Outcome, Rejection, Signature};

use crate::models::ModelSet;

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
        let model = &self.models.get(batch.model).ok_or_else(unknown)?.model;
        match missing_rows(model.as_ref(), &batch.rows) {
            None => {
                let outputs = Arc::new(infer(model.as_ref(), &batch.rows)?);
                Ok(batch.members.iter().map(|member| scored(member, &outputs)).collect())
            }
            Some(missing) => score_without(model.as_ref(), batch, &missing),
        }
    }
}

fn infer(model: &dyn Model, rows: &RecordBatch) -> Result<RecordBatch, OperatorError> {
    let outputs = model.infer(rows).map_err(|error| OperatorError::fatal(error.to_string()))?;
    match outputs.num_rows() == rows.num_rows() {
        true => Ok(outputs),
        false => Err(OperatorError::fatal(format!("{} rows in, {} rows out", rows.num_rows(), outputs.num_rows()))),
    }
}

fn scored(member: &Member, outputs: &Arc<RecordBatch>) -> Outcome<Scored> {
    let failed = member.request.failed().to_vec();
    Outcome::Emit(Scored { outputs: outputs.clone(), rows: member.rows(), failed })
}

/// For each row the first missing element (input and element number), where the model cannot take missing values
/// and there is any.
fn missing_rows(model: &dyn Model, rows: &RecordBatch) -> Option<Vec<Option<(usize, usize)>>> {
    if model.accepts_missing() || !rows.columns().iter().any(|column| any_nan(column.as_ref())) {
        return None;
    }
    let widths: Vec<usize> = model.signature().inputs.iter().map(|spec| spec.width).collect();
    Some((0..rows.num_rows()).map(|row| first_missing(rows, &widths, row)).collect())
}

fn any_nan(column: &dyn Array) -> bool {
    match (f32_values(column), f64_values(column)) {
        // NaN propagates through a sum, which vectorises where a search does not; an overflow to infinity minus
        // infinity only costs the exact search.
        (Some(values), _) => values.iter().map(|v| v * 0.0).sum::<f32>().is_nan(),
        (_, Some(values)) => values.iter().map(|v| v * 0.0).sum::<f64>().is_nan(),
        _ => false,
    }
}

fn first_missing(rows: &RecordBatch, widths: &[usize], row: usize) -> Option<(usize, usize)> {
    widths.iter().enumerate().find_map(|(input, &width)| {
        let column = rows.column(input).as_ref();
        let range = row * width..(row + 1) * width;
        let in_f32 = f32_values(column).and_then(|v| v.get(range.clone())?.iter().position(|x| x.is_nan()));
        let in_f64 = || f64_values(column).and_then(|v| v.get(range)?.iter().position(|x| x.is_nan()));
        in_f32.or_else(in_f64).map(|element| (input, element))
    })
}

/// Scores the rows that have every value; the others fail, each with the field that is missing.
fn score_without(
    model: &dyn Model,
    batch: &Batch,
    missing: &[Option<(usize, usize)>],
) -> Result<Vec<Outcome<Scored>>, OperatorError> {
    let keep = BooleanArray::from_iter(missing.iter().map(|m| Some(m.is_none())));
    let kept = filter_record_batch(&batch.rows, &keep).map_err(|error| OperatorError::fatal(error.to_string()))?;
    let outputs = Arc::new(infer(model, &kept)?);
    let mut next = 0;
    let outcome = |member: &Member| {
        let fates = &missing[member.rows()];
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
    fates: &[Option<(usize, usize)>],
    mut scored: Scored,
) -> Outcome<Scored> {
    scored.failed = member.request.failed().to_vec();
    for (row, fate) in message_rows(member).zip(fates) {
        if let Some(at) = fate {
            scored.failed.push(FailedRow { row, rejection: missing_value(signature, row, *at) });
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

fn missing_value(signature: &Signature, row: u32, (input, element): (usize, usize)) -> Rejection {
    let spec = &signature.inputs[input];
    let field = spec.fields.get(element).map_or(format!("`{}`[{element}]", spec.name), |f| format!("`{f}`"));
    let what = format!("row {row}: {field} is missing and this model takes no missing values");
    Rejection::new(ErrorClass::Missing, format!("{what}; send a number"))
}
