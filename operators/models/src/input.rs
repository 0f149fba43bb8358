//! The values of a batch, checked against a signature.

use arrow_array::{Array, RecordBatch};
use lunapark_schemas::{Signature, TensorSpec, rows};

use crate::ModelError;

/// The row-major values of a model's one FP32 input, as they lie in the batch.
pub(crate) fn input_values<'a>(signature: &Signature, batch: &'a RecordBatch) -> Result<&'a [f32], ModelError> {
    values(signature, batch, rows::f32_values)
}

/// The same of a model's one FP64 input.
pub(crate) fn input_values_f64<'a>(signature: &Signature, batch: &'a RecordBatch) -> Result<&'a [f64], ModelError> {
    values(signature, batch, rows::f64_values)
}

fn values<'a, T>(
    signature: &Signature,
    batch: &'a RecordBatch,
    read: impl FnOnce(&'a dyn Array) -> Option<&'a [T]>,
) -> Result<&'a [T], ModelError> {
    let (spec, column) = match (&signature.inputs[..], batch.columns()) {
        ([spec], [column]) => (spec, column),
        (_, columns) => return Err(ModelError::shape(format!("{} input columns, expected 1", columns.len()))),
    };
    let expected = spec.arrow();
    let fits = expected.data_type().equals_datatype(column.data_type()) && column.null_count() == 0;
    let values = read(&**column).filter(|v| fits && v.len() == batch.num_rows() * spec.width);
    values.ok_or_else(|| {
        let (found, nulls) = (column.data_type(), column.null_count());
        let expected = expected.data_type();
        ModelError::shape(format!("input \"{}\" is {found} with {nulls} nulls, expected {expected}", spec.name))
    })
}

/// The row-major values of one input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InputValues<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I64(&'a [i64]),
}

/// The values of all inputs, as they lie in the batch.
pub(crate) fn columns<'a>(signature: &Signature, batch: &'a RecordBatch) -> Result<Vec<InputValues<'a>>, ModelError> {
    let (found, expected) = (batch.num_columns(), signature.inputs.len());
    if found != expected {
        return Err(ModelError::shape(format!("{found} input columns, expected {expected}")));
    }
    let columns = signature.inputs.iter().zip(batch.columns());
    columns.map(|(spec, column)| column_values(spec, &**column, batch.num_rows())).collect()
}

fn column_values<'a>(spec: &TensorSpec, column: &'a dyn Array, rows: usize) -> Result<InputValues<'a>, ModelError> {
    let expected = spec.arrow();
    let fits = expected.data_type().equals_datatype(column.data_type()) && column.null_count() == 0;
    let whole = |len: usize| fits && len == rows * spec.width;
    let single = || rows::f32_values(column).filter(|v| whole(v.len())).map(InputValues::F32);
    let double = || rows::f64_values(column).filter(|v| whole(v.len())).map(InputValues::F64);
    let whole_numbers = || rows::i64_values(column).filter(|v| whole(v.len())).map(InputValues::I64);
    single().or_else(double).or_else(whole_numbers).ok_or_else(|| {
        let (found, nulls) = (column.data_type(), column.null_count());
        let expected = expected.data_type();
        ModelError::shape(format!("input \"{}\" is {found} with {nulls} nulls, expected {expected}", spec.name))
    })
}
