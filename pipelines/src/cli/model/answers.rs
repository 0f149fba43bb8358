//! A model's answers to the rows of a table: a column per value, nothing where a row was refused.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use arrow_array::{ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use arrow_select::filter::filter_record_batch;
use lunapark_models::Model;
use lunapark_schemas::inference::table::TablePlan;
use lunapark_schemas::rows::{f32_values, f64_values, i64_values, string_values};
use lunapark_schemas::{Datatype, RowsBuilder, Signature, TensorSpec};
use lunapark_score::refused_rows;

/// The answers to a batch.
pub struct Answers {
    /// One column per value, as [`columns`] names them; null where the row was refused.
    pub columns: Vec<ArrayRef>,
    /// Refused rows of the batch and why, ascending.
    pub refused: Vec<(usize, String)>,
}

/// Names and types of the columns of a model's answers: the output's name, numbered where it has several values.
pub fn columns(signature: &Signature) -> Vec<Field> {
    let of = |spec: &TensorSpec| {
        let (name, element) = (spec.name.clone(), spec.datatype.arrow());
        let one = |at: usize| Field::new(format!("{name}_{at}"), element.clone(), true);
        match spec.width {
            1 => vec![Field::new(&name, element, true)],
            width => (0..width).map(one).collect(),
        }
    };
    signature.outputs.iter().flat_map(of).collect()
}

/// A plan for the table's columns, or what is missing.
pub fn plan(schema: &Schema, signature: &Signature, aside: &[usize]) -> anyhow::Result<TablePlan> {
    TablePlan::new(schema, signature, aside).map_err(|rejection| anyhow!(rejection.message))
}

/// Rows of a batch: a few megabytes of values, whatever the width of the model.
pub fn batch_rows(signature: &Signature) -> usize {
    const VALUES: usize = 1 << 20;
    let widths = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.width).sum::<usize>();
    (VALUES / (widths(&signature.inputs) + widths(&signature.outputs)).max(1)).clamp(1, 8192)
}

/// Scores the rows of `batch`, which holds the plan's columns alone.
pub fn answer(model: &dyn Model, plan: &TablePlan, batch: &RecordBatch) -> anyhow::Result<Answers> {
    let signature = model.signature();
    let mut builder = RowsBuilder::new(signature.clone(), batch.num_rows());
    let failed = plan.append(batch, &mut builder).map_err(|rejection| anyhow!(rejection.message))?;
    let rows = builder.finish()?;
    let mut refused: Vec<_> = failed.into_iter().map(|f| (f.row as usize, f.rejection.message)).collect();
    let decoded: Vec<usize> = {
        let bad = |row: &usize| refused.binary_search_by_key(row, |(row, _)| *row).is_ok();
        (0..batch.num_rows()).filter(|row| !bad(row)).collect()
    };
    let fates = refused_rows(model, &rows).unwrap_or_else(|| vec![None; rows.num_rows()]);
    let mut place = vec![None; batch.num_rows()];
    let mut kept = 0;
    for (row, fate) in decoded.into_iter().zip(&fates) {
        match fate {
            None => {
                place[row] = Some(kept);
                kept += 1;
            }
            Some(fate) => refused.push((row, fate.rejection(signature, row as u32).message)),
        }
    }
    refused.sort_unstable_by_key(|(row, _)| *row);
    let keep = fates.iter().map(|fate| Some(fate.is_none())).collect();
    let outputs = match kept {
        0 => RecordBatch::new_empty(signature.output_schema()),
        _ if kept == rows.num_rows() => model.infer(&rows)?,
        _ => model.infer(&filter_record_batch(&rows, &keep)?)?,
    };
    let columns: Vec<_> = signature.outputs.iter().zip(outputs.columns()).collect();
    let spread = columns.into_iter().map(|(spec, column)| spread(spec, column, &place));
    Ok(Answers { columns: spread.collect::<anyhow::Result<Vec<_>>>()?.concat(), refused })
}

/// One column per value of an output; `place` says where each row's answer is.
fn spread(spec: &TensorSpec, column: &ArrayRef, place: &[Option<usize>]) -> anyhow::Result<Vec<ArrayRef>> {
    let width = spec.width;
    let other = || format!("output `{}` is not as the signature says", spec.name);
    macro_rules! numbers {
        ($array:ty, $values:expr) => {{
            let values = $values.with_context(other)?;
            let at = |element: usize| place.iter().map(move |row| row.map(|row| values[row * width + element]));
            (0..width).map(|element| Arc::new(at(element).collect::<$array>()) as ArrayRef).collect()
        }};
    }
    Ok(match spec.datatype {
        Datatype::Fp32 => numbers!(Float32Array, f32_values(column)),
        Datatype::Fp64 => numbers!(Float64Array, f64_values(column)),
        Datatype::Int64 => numbers!(Int64Array, i64_values(column)),
        Datatype::Bytes => {
            let texts = string_values(column).with_context(other)?;
            let at =
                |element: usize| place.iter().map(|row| row.map(|row| texts.value(row * width + element))).collect();
            (0..width).map(|element| Arc::<StringArray>::new(at(element)) as ArrayRef).collect()
        }
    })
}
