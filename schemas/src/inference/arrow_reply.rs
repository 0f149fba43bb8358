//! Arrow replies: the model's output columns, a row per row of the request.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_buffer::NullBuffer;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};

use crate::outcome::Rejection;
use crate::signature::TensorSpec;

use super::reply::{Column, Reply, broken};

/// Reason of each failed row; there only where rows failed.
const ERROR_COLUMN: &str = "error";

pub(super) fn write(reply: &Reply<'_>, value: &mut Vec<u8>) -> Result<(), Rejection> {
    let batch = if reply.failed.is_empty() {
        let rows = reply.outputs.slice(reply.range.start, reply.range.len());
        let wanted: Vec<_> = reply.wanted().map(|(index, _)| index).collect();
        if wanted.len() == rows.num_columns() { Ok(rows) } else { rows.project(&wanted) }
    } else {
        with_failed(reply)
    };
    batch.and_then(|batch| write_stream(&batch, value)).map_err(|error| broken(error.to_string()))
}

fn write_stream(batch: &RecordBatch, value: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(value, &batch.schema())?;
    writer.write(batch)?;
    writer.finish()
}

/// The batch with null rows where rows failed, and a column that says why.
fn with_failed(reply: &Reply<'_>) -> Result<RecordBatch, ArrowError> {
    let places: Vec<_> = reply.places().collect();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (index, spec) in reply.wanted() {
        let column = reply.column(index).map_err(|error| ArrowError::ComputeError(error.message))?;
        fields.push(spec.arrow().with_nullable(true));
        columns.push(with_nulls(column, spec, &places)?);
    }
    fields.push(Field::new(ERROR_COLUMN, DataType::Utf8, true));
    columns.push(errors(reply));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn with_nulls(column: Column<'_>, spec: &TensorSpec, places: &[Option<usize>]) -> Result<ArrayRef, ArrowError> {
    let nulls = NullBuffer::from_iter(places.iter().map(Option::is_some));
    let width = spec.width;
    let elements = places.iter().flat_map(|place| (0..width).map(move |at| place.map(|row| row * width + at)));
    let scalar_nulls = (spec.width == 1).then(|| nulls.clone());
    let values: ArrayRef = match column {
        Column::F32(values) => {
            let values: Vec<f32> = elements.map(|at| at.map_or(0.0, |at| values[at])).collect();
            Arc::new(Float32Array::new(values.into(), scalar_nulls))
        }
        Column::F64(values) => {
            let values: Vec<f64> = elements.map(|at| at.map_or(0.0, |at| values[at])).collect();
            Arc::new(Float64Array::new(values.into(), scalar_nulls))
        }
        Column::I64(values) => {
            let values: Vec<i64> = elements.map(|at| at.map_or(0, |at| values[at])).collect();
            Arc::new(Int64Array::new(values.into(), scalar_nulls))
        }
        // The items of a list may not be null: those of failed rows are empty.
        Column::Text(texts) if width > 1 => {
            Arc::new(elements.map(|at| Some(at.map_or("", |at| texts.value(at)))).collect::<StringArray>())
        }
        Column::Text(texts) => Arc::new(elements.map(|at| at.map(|at| texts.value(at))).collect::<StringArray>()),
    };
    match spec.arrow().data_type() {
        DataType::FixedSizeList(item, width) => {
            Ok(Arc::new(FixedSizeListArray::try_new(item.clone(), *width, values, Some(nulls))?))
        }
        _ => Ok(values),
    }
}

fn errors(reply: &Reply<'_>) -> ArrayRef {
    let mut failed = reply.failed.iter();
    let reason = |place: Option<usize>| match place {
        Some(_) => None,
        None => failed.next().map(|failed| failed.rejection.message.as_str()),
    };
    Arc::new(reply.places().map(reason).collect::<StringArray>())
}
