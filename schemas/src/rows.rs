//! Rows under construction: codecs append decoded events, `finish` makes the Arrow batch without a copy.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, Float64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use crate::signature::{Datatype, Signature, TensorSpec};

/// Row-major values of one tensor; NaN is a missing value.
#[derive(Clone, Debug)]
pub enum Values {
    /// 32-bit values.
    F32(Vec<f32>),
    /// 64-bit values.
    F64(Vec<f64>),
}

impl Values {
    /// No values of this type, room for `capacity`.
    pub fn with_capacity(datatype: Datatype, capacity: usize) -> Self {
        match datatype {
            Datatype::Fp32 => Values::F32(Vec::with_capacity(capacity)),
            Datatype::Fp64 => Values::F64(Vec::with_capacity(capacity)),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
        }
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a value, rounded to the element type.
    pub fn push(&mut self, value: f64) {
        match self {
            Values::F32(values) => values.push(value as f32),
            Values::F64(values) => values.push(value),
        }
    }

    /// Drops all beyond the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Values::F32(values) => values.truncate(len),
            Values::F64(values) => values.truncate(len),
        }
    }

    /// The Arrow column of these values.
    pub fn into_column(self, spec: &TensorSpec) -> Result<ArrayRef, ArrowError> {
        let flat: ArrayRef = match self {
            Values::F32(values) => Arc::new(Float32Array::from(values)),
            Values::F64(values) => Arc::new(Float64Array::from(values)),
        };
        match spec.arrow().data_type() {
            DataType::FixedSizeList(item, width) => {
                FixedSizeListArray::try_new(item.clone(), *width, flat, None).map(|a| Arc::new(a) as ArrayRef)
            }
            _ => Ok(flat),
        }
    }
}

/// Collects the rows of many messages for one model.
#[derive(Debug)]
pub struct RowsBuilder {
    signature: Arc<Signature>,
    schema: SchemaRef,
    columns: Vec<Values>,
    rows: usize,
}

impl RowsBuilder {
    /// No rows yet; room for `capacity` of them.
    pub fn new(signature: Arc<Signature>, capacity: usize) -> Self {
        let columns = signature.inputs.iter().map(|s| Values::with_capacity(s.datatype, capacity * s.width)).collect();
        Self { schema: signature.input_schema(), signature, columns, rows: 0 }
    }

    /// What the rows must look like.
    pub fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    /// Complete rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The values of each input, for codecs to append to. Call [`commit`](Self::commit) or
    /// [`rollback`](Self::rollback) afterwards.
    pub fn columns_mut(&mut self) -> &mut [Values] {
        &mut self.columns
    }

    /// Declares that `rows` more rows are complete in every column. False, and rolled back, where they are not.
    pub fn commit(&mut self, rows: usize) -> bool {
        let total = self.rows + rows;
        let whole = self.columns.iter().zip(&self.signature.inputs).all(|(c, s)| c.len() == total * s.width);
        if whole {
            self.rows = total;
        } else {
            self.rollback(self.rows);
        }
        whole
    }

    /// Drops everything after the first `rows` rows, complete or not.
    pub fn rollback(&mut self, rows: usize) {
        self.rows = rows;
        for (column, spec) in self.columns.iter_mut().zip(&self.signature.inputs) {
            column.truncate(rows * spec.width);
        }
    }

    /// The batch, without a copy of the values.
    pub fn finish(self) -> Result<RecordBatch, ArrowError> {
        let columns = self.columns.into_iter().zip(&self.signature.inputs).map(|(c, s)| c.into_column(s));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(self.schema, columns.collect::<Result<_, _>>()?, &options)
    }
}

/// The row-major values of a column that [`Values::into_column`] made, as seen through any slicing.
pub fn f32_values(column: &dyn Array) -> Option<&[f32]> {
    match column.as_any().downcast_ref::<FixedSizeListArray>() {
        None => column.as_any().downcast_ref::<Float32Array>().map(|a| &a.values()[..]),
        Some(list) => {
            let values = list.values().as_any().downcast_ref::<Float32Array>()?;
            let (start, len) = (list.value_offset(0) as usize, list.len() * list.value_length() as usize);
            values.values().get(start..start + len)
        }
    }
}

/// As [`f32_values`], for 64-bit columns.
pub fn f64_values(column: &dyn Array) -> Option<&[f64]> {
    match column.as_any().downcast_ref::<FixedSizeListArray>() {
        None => column.as_any().downcast_ref::<Float64Array>().map(|a| &a.values()[..]),
        Some(list) => {
            let values = list.values().as_any().downcast_ref::<Float64Array>()?;
            let (start, len) = (list.value_offset(0) as usize, list.len() * list.value_length() as usize);
            values.values().get(start..start + len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Arc<Signature> {
        let input = TensorSpec::new("x", Datatype::Fp32, 3);
        Arc::new(Signature { inputs: vec![input], outputs: vec![TensorSpec::new("y", Datatype::Fp32, 1)] })
    }

    #[test]
    fn an_incomplete_row_is_rolled_back() {
        let mut rows = RowsBuilder::new(signature(), 4);
        (0..3).for_each(|v| rows.columns_mut()[0].push(f64::from(v)));
        assert!(rows.commit(1));
        rows.columns_mut()[0].push(9.0);
        assert!(!rows.commit(1));
        assert_eq!(rows.rows(), 1);
        assert_eq!(f32_values(rows.finish().unwrap().column(0)), Some(&[0.0, 1.0, 2.0][..]));
    }

    #[test]
    fn a_slice_sees_its_own_rows() {
        let mut rows = RowsBuilder::new(signature(), 4);
        (0..6).for_each(|v| rows.columns_mut()[0].push(f64::from(v)));
        assert!(rows.commit(2));
        let batch = rows.finish().unwrap().slice(1, 1);
        assert_eq!(f32_values(batch.column(0)), Some(&[3.0, 4.0, 5.0][..]));
    }
}
