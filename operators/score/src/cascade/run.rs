//! Running: each step on the rows that reach it. A step sees its rows as a batch of their own, and a model's answer to a
//! row does not depend on its batch; so neither does a cascade's.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use lunapark_models::{ModelError, ModelErrorKind};
use lunapark_schemas::TensorSpec;
use lunapark_schemas::rows::Values;

use super::Cascade;
use super::bind::{Output, Step};
use super::values::{NO_ANSWER, Source, View};
use crate::refused::refused_rows;

/// The answers of a step.
pub(super) struct Answered {
    pub(super) outputs: RecordBatch,
    /// For each row of the event its row among the outputs; `None` where they are the same.
    pub(super) place: Option<Vec<u32>>,
}

pub(super) fn broken(what: impl Into<String>) -> ModelError {
    ModelError {
        kind: ModelErrorKind::Shape,
        file: String::new(),
        what: format!("cascade: {}", what.into()),
        advice: "send rows that match its inputs (`lunapark model check FILE`)".to_owned(),
    }
}

fn arrow(error: ArrowError) -> ModelError {
    broken(error.to_string())
}

/// A batch of rows, and what the steps have made of them so far.
struct Run<'a> {
    cascade: &'a Cascade,
    event: &'a RecordBatch,
    answered: Vec<Answered>,
}

pub(super) fn run(cascade: &Cascade, event: &RecordBatch) -> Result<RecordBatch, ModelError> {
    let expected = cascade.signature.input_schema();
    let fits = expected.fields().iter().zip(event.schema().fields()).all(|(a, b)| a.data_type() == b.data_type());
    if !fits || expected.fields().len() != event.num_columns() {
        return Err(broken("the rows are not as its inputs are"));
    }
    let mut run = Run { cascade, event, answered: Vec::with_capacity(cascade.steps.len()) };
    for step in &cascade.steps {
        let answered = run.step(step).map_err(|mut error| {
            error.what = format!("step `{}`: {}", step.name, error.what);
            error
        })?;
        run.answered.push(answered);
    }
    run.outputs()
}

impl Run<'_> {
    fn view(&self, source: &Source) -> Result<View<'_>, ModelError> {
        let tensor = match source.step {
            None => &self.cascade.signature.inputs[source.tensor],
            Some(step) => &self.cascade.steps[step].model.signature().outputs[source.tensor],
        };
        View::of(source, tensor, self.event, &self.answered)
    }

    fn views(&self, sources: &[Source]) -> Result<Vec<View<'_>>, ModelError> {
        sources.iter().map(|source| self.view(source)).collect()
    }

    fn step(&self, step: &Step) -> Result<Answered, ModelError> {
        let count = self.event.num_rows();
        let mut rows = self.active(step)?;
        let signature = step.model.signature();
        let columns =
            signature.inputs.iter().zip(&step.inputs).map(|(spec, sources)| self.gather(spec, sources, &rows));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let mut batch =
            RecordBatch::try_new_with_options(signature.input_schema(), columns, &options).map_err(arrow)?;
        if let Some(fates) = refused_rows(&*step.model, &batch) {
            let keep = fates.iter().map(|fate| Some(fate.is_none())).collect();
            batch = filter_record_batch(&batch, &keep).map_err(arrow)?;
            rows = rows.into_iter().zip(&fates).filter(|(_, fate)| fate.is_none()).map(|(row, _)| row).collect();
        }
        let outputs = match rows.is_empty() {
            true => RecordBatch::new_empty(signature.output_schema()),
            false => step.model.infer(&batch)?,
        };
        if outputs.num_rows() != rows.len() {
            return Err(broken(format!("{} rows in, {} rows out", rows.len(), outputs.num_rows())));
        }
        Ok(Answered { outputs, place: (rows.len() < count).then(|| places(&rows, count)) })
    }

    /// The rows that a step sees: those that fulfil its condition and have all its inputs.
    fn active(&self, step: &Step) -> Result<Vec<usize>, ModelError> {
        let mut rows: Vec<usize> = (0..self.event.num_rows()).collect();
        for source in step.inputs.iter().flatten().filter(|source| source.step.is_some()) {
            let view = self.view(source)?;
            rows.retain(|row| view.answers(*row));
        }
        let Some(when) = &step.when else { return Ok(rows) };
        let mut views: Vec<(&Source, View<'_>)> = Vec::new();
        for (left, _, right) in when.comparisons() {
            for source in [left.source(), right.source()].into_iter().flatten() {
                views.push((source, self.view(source)?));
            }
        }
        let view = |source: &Source| views.iter().find(|(known, _)| *known == source).map(|(_, view)| view);
        rows.retain(|row| when.holds(&|source| view(source).and_then(|view| view.scalar(*row))));
        Ok(rows)
    }

    /// A model's input for these rows; without a copy where it is an input of the event, and all rows are there.
    fn gather(&self, spec: &TensorSpec, sources: &[Source], rows: &[usize]) -> Result<ArrayRef, ModelError> {
        if let [Source { step: None, tensor, element: None }] = sources {
            let same = self.cascade.signature.inputs[*tensor].datatype == spec.datatype;
            if same && rows.len() == self.event.num_rows() {
                return Ok(self.event.column(*tensor).clone());
            }
        }
        let views = self.views(sources)?;
        let mut values = Values::with_capacity(spec.datatype, rows.len() * spec.width);
        rows.iter().for_each(|row| views.iter().for_each(|view| view.append(*row, &mut values)));
        values.into_column(spec).map_err(arrow)
    }

    fn outputs(&self) -> Result<RecordBatch, ModelError> {
        let named = self.cascade.outputs.len() - usize::from(self.cascade.tells_step);
        let outputs = self.cascade.outputs[..named].iter().map(|output| self.output(output));
        let mut columns = outputs.collect::<Result<Vec<_>, _>>()?;
        if self.cascade.tells_step {
            columns.push(self.last_steps().into_column(&self.cascade.outputs[named].spec).map_err(arrow)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.event.num_rows()));
        let schema = self.cascade.signature.output_schema();
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(arrow)
    }

    fn output(&self, output: &Output) -> Result<ArrayRef, ModelError> {
        let views = self.views(&output.sources)?;
        let mut values = Values::with_capacity(output.spec.datatype, self.event.num_rows() * output.spec.width);
        for row in 0..self.event.num_rows() {
            let view = views.iter().find(|view| view.answers(row)).or(views.last());
            view.into_iter().for_each(|view| view.append(row, &mut values));
        }
        values.into_column(&output.spec).map_err(arrow)
    }

    /// For each row the name of the last step that answered it; empty where none did.
    fn last_steps(&self) -> Values {
        let answers = |answered: &Answered, row: usize| answered.place.as_ref().is_none_or(|p| p[row] != NO_ANSWER);
        let last = |row: usize| self.answered.iter().rposition(|answered| answers(answered, row));
        let name = |row| last(row).map_or_else(String::new, |step| self.cascade.steps[step].name.clone());
        Values::Strings((0..self.event.num_rows()).map(name).collect())
    }
}

fn places(rows: &[usize], count: usize) -> Vec<u32> {
    let mut place = vec![NO_ANSWER; count];
    rows.iter().enumerate().for_each(|(at, row)| place[*row] = at as u32);
    place
}

/// Many stream threads share a cascade.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<Cascade>>();
};
