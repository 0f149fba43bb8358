//! Rows under construction: codecs append decoded events, `finish` makes the Arrow batch without a copy.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int64Array, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray,
};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use crate::inference::arrow_layout::Layout;
use crate::signature::{Datatype, Signature, TensorSpec};

/// Row-major values of one tensor; NaN is a missing value, which integers and text do not have.
#[derive(Clone, Debug)]
pub enum Values {
    /// 32-bit values.
    F32(Vec<f32>),
    /// 64-bit values.
    F64(Vec<f64>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Text; outputs only.
    Strings(Vec<String>),
}

impl Values {
    /// No values of this type, room for `capacity`.
    pub fn with_capacity(datatype: Datatype, capacity: usize) -> Self {
        match datatype {
            Datatype::Fp32 => Values::F32(Vec::with_capacity(capacity)),
            Datatype::Fp64 => Values::F64(Vec::with_capacity(capacity)),
            Datatype::Int64 => Values::I64(Vec::with_capacity(capacity)),
            Datatype::Bytes => Values::Strings(Vec::with_capacity(capacity)),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::I64(values) => values.len(),
            Values::Strings(values) => values.len(),
        }
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a value, rounded to the element type (in text: its shortest digits).
    pub fn push(&mut self, value: f64) {
        match self {
            Values::F32(values) => values.push(value as f32),
            Values::F64(values) => values.push(value),
            Values::I64(values) => values.push(value as i64),
            Values::Strings(values) => values.push(value.to_string()),
        }
    }

    /// Makes room for `more` elements.
    pub fn reserve(&mut self, more: usize) {
        match self {
            Values::F32(values) => values.reserve(more),
            Values::F64(values) => values.reserve(more),
            Values::I64(values) => values.reserve(more),
            Values::Strings(values) => values.reserve(more),
        }
    }

    /// Drops all beyond the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Values::F32(values) => values.truncate(len),
            Values::F64(values) => values.truncate(len),
            Values::I64(values) => values.truncate(len),
            Values::Strings(values) => values.truncate(len),
        }
    }

    /// The Arrow column of these values.
    pub fn into_column(self, spec: &TensorSpec) -> Result<ArrayRef, ArrowError> {
        let flat: ArrayRef = match self {
            Values::F32(values) => Arc::new(Float32Array::from(values)),
            Values::F64(values) => Arc::new(Float64Array::from(values)),
            Values::I64(values) => Arc::new(Int64Array::from(values)),
            Values::Strings(values) => Arc::new(StringArray::from(values)),
        };
        match spec.arrow().data_type() {
            DataType::FixedSizeList(item, width) => {
                FixedSizeListArray::try_new(item.clone(), *width, flat, None).map(|a| Arc::new(a) as ArrayRef)
            }
            _ => Ok(flat),
        }
    }
}

/// Elements of all inputs for which a guess makes room, at most.
const GUESS_MOST: usize = 1 << 20;

/// Collects the rows of many messages for one model.
#[derive(Debug)]
pub struct RowsBuilder {
    signature: Arc<Signature>,
    schema: SchemaRef,
    columns: Vec<Values>,
    rows: usize,
    /// How the last Arrow stream was read.
    layout: Option<Arc<Layout>>,
}

impl RowsBuilder {
    /// No rows yet; room for `capacity` of them.
    pub fn new(signature: Arc<Signature>, capacity: usize) -> Self {
        let columns = signature.inputs.iter().map(|s| Values::with_capacity(s.datatype, capacity * s.width)).collect();
        Self { schema: signature.input_schema(), signature, columns, rows: 0, layout: None }
    }

    /// Makes room for so many rows in all, as a guess: what it takes is bounded whatever is guessed.
    pub fn reserve_guess(&mut self, rows: usize) {
        let width: usize = self.signature.inputs.iter().map(|spec| spec.width).sum();
        let more = rows.saturating_sub(self.rows).min(GUESS_MOST / width.max(1));
        for (column, spec) in self.columns.iter_mut().zip(&self.signature.inputs) {
            column.reserve(more * spec.width);
        }
    }

    /// What the rows must look like.
    pub fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    /// Complete rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How the last Arrow stream was read: the next one is likely to begin alike.
    pub(crate) fn layout(&self) -> Option<&Arc<Layout>> {
        self.layout.as_ref()
    }

    /// Keeps how an Arrow stream is read.
    pub(crate) fn remember(&mut self, layout: Arc<Layout>) {
        self.layout = Some(layout);
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
    primitive_values::<Float32Type>(column)
}

/// As [`f32_values`], for 64-bit columns.
pub fn f64_values(column: &dyn Array) -> Option<&[f64]> {
    primitive_values::<Float64Type>(column)
}

/// As [`f32_values`], for integer columns.
pub fn i64_values(column: &dyn Array) -> Option<&[i64]> {
    primitive_values::<Int64Type>(column)
}

/// As [`f32_values`], for text columns; shares the column's memory.
pub fn string_values(column: &dyn Array) -> Option<StringArray> {
    match column.as_any().downcast_ref::<FixedSizeListArray>() {
        None => column.as_any().downcast_ref::<StringArray>().cloned(),
        Some(list) => {
            let values = list.values().as_any().downcast_ref::<StringArray>()?;
            let (start, len) = list_range(list);
            (start + len <= values.len()).then(|| values.slice(start, len))
        }
    }
}

fn primitive_values<T: ArrowPrimitiveType>(column: &dyn Array) -> Option<&[T::Native]> {
    match column.as_any().downcast_ref::<FixedSizeListArray>() {
        None => column.as_any().downcast_ref::<PrimitiveArray<T>>().map(|a| &a.values()[..]),
        Some(list) => {
            let values = list.values().as_any().downcast_ref::<PrimitiveArray<T>>()?;
            let (start, len) = list_range(list);
            values.values().get(start..start + len)
        }
    }
}

/// First value and number of values that a list sees of its child.
fn list_range(list: &FixedSizeListArray) -> (usize, usize) {
    (list.value_offset(0) as usize, list.len() * list.value_length() as usize)
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
    fn a_guess_makes_room_once_and_is_bounded() {
        let inputs = ["a", "b"].map(|name| TensorSpec::new(name, Datatype::Fp32, 3)).to_vec();
        let outputs = vec![TensorSpec::new("y", Datatype::Fp32, 1)];
        let mut rows = RowsBuilder::new(Arc::new(Signature { inputs, outputs }), 0);
        let room = |rows: &RowsBuilder| -> Vec<usize> {
            rows.columns.iter().map(|c| if let Values::F32(values) = c { values.capacity() } else { 0 }).collect()
        };
        rows.reserve_guess(1000);
        assert_eq!(room(&rows), [3000, 3000]);
        (0..2).for_each(|column| (0..3000).for_each(|v| rows.columns_mut()[column].push(f64::from(v))));
        assert!(rows.commit(1000));
        assert_eq!(room(&rows), [3000, 3000]);
        rows.reserve_guess(usize::MAX);
        assert!(room(&rows).iter().sum::<usize>() <= 6000 + GUESS_MOST);
    }

    #[test]
    fn a_slice_sees_its_own_rows() {
        let mut rows = RowsBuilder::new(signature(), 4);
        (0..6).for_each(|v| rows.columns_mut()[0].push(f64::from(v)));
        assert!(rows.commit(2));
        let batch = rows.finish().unwrap().slice(1, 1);
        assert_eq!(f32_values(batch.column(0)), Some(&[3.0, 4.0, 5.0][..]));
    }

    #[test]
    fn integers_and_text_keep_their_values_through_a_slice() {
        let whole = TensorSpec::new("n", Datatype::Int64, 2);
        let column = Values::I64(vec![1, i64::MAX, -3, i64::MIN]).into_column(&whole).unwrap();
        assert_eq!(i64_values(&*column.slice(1, 1)), Some(&[-3, i64::MIN][..]));
        let text = TensorSpec::new("t", Datatype::Bytes, 2);
        let column = Values::Strings(["a", "", "ü", "d"].map(String::from).into()).into_column(&text).unwrap();
        let values = string_values(&*column.slice(1, 1)).unwrap();
        assert_eq!(values.iter().collect::<Vec<_>>(), [Some("ü"), Some("d")]);
        let label = Values::Strings(vec!["x".into()]).into_column(&TensorSpec::new("l", Datatype::Bytes, 1)).unwrap();
        assert_eq!(string_values(&*label).unwrap().value(0), "x");
        assert!(i64_values(&*label).is_none() && f32_values(&*column).is_none());
    }

    #[test]
    fn a_shape_is_the_width_in_another_form() {
        let spec = TensorSpec::with_shape("image", Datatype::Fp32, vec![2, 3]);
        assert_eq!((spec.width, spec.dims()), (6, &[2, 3][..]));
        assert_eq!(TensorSpec::new("x", Datatype::Fp32, 6).dims(), [6]);
        assert_eq!(TensorSpec::new("x", Datatype::Fp32, 1).dims(), [0; 0]);
        assert_eq!(TensorSpec::with_shape("x", Datatype::Fp32, vec![1]).dims(), [1]);
    }
}
