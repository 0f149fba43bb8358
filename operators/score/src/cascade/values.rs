//! Where values come from, and how they are read row by row.

use arrow_array::{Array, RecordBatch, StringArray};
use lunapark_models::ModelError;
use lunapark_schemas::rows::{Values, f32_values, f64_values, i64_values, string_values};
use lunapark_schemas::{Datatype, TensorSpec};

use super::condition::Scalar;
use super::run::Answered;

/// A value of the event, or of an earlier step's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The step; `None` is the event.
    pub(super) step: Option<usize>,
    /// Which of the event's inputs, or of the step's outputs.
    pub(super) tensor: usize,
    /// One element of it; `None` is all.
    pub(super) element: Option<usize>,
}

impl Source {
    /// The whole of one of the event's inputs.
    pub(super) fn input(tensor: usize) -> Self {
        Self { step: None, tensor, element: None }
    }

    /// What a source of this tensor is, under another name.
    pub(super) fn spec(&self, tensor: &TensorSpec, name: &str) -> TensorSpec {
        match self.element {
            None => TensorSpec { name: name.to_owned(), ..tensor.clone() },
            Some(_) => TensorSpec::new(name, tensor.datatype, 1),
        }
    }
}

/// A column of the event or of an answer, row-major.
enum Column<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I64(&'a [i64]),
    Text(StringArray),
}

impl<'a> Column<'a> {
    fn of(array: &'a dyn Array) -> Option<Self> {
        f32_values(array)
            .map(Column::F32)
            .or_else(|| f64_values(array).map(Column::F64))
            .or_else(|| i64_values(array).map(Column::I64))
            .or_else(|| string_values(array).map(Column::Text))
    }
}

/// A source in a batch: which row of the batch has its values where.
pub(super) struct View<'a> {
    column: Column<'a>,
    width: usize,
    elements: std::ops::Range<usize>,
    /// For each row of the batch its row in the column; `None` where they are the same.
    place: Option<&'a [u32]>,
}

/// Stands for a row without an answer.
pub(super) const NO_ANSWER: u32 = u32::MAX;

impl<'a> View<'a> {
    pub(super) fn of(
        source: &Source,
        tensor: &TensorSpec,
        event: &'a RecordBatch,
        answered: &'a [Answered],
    ) -> Result<Self, ModelError> {
        let (batch, place) = match source.step {
            None => (event, None),
            Some(step) => (&answered[step].outputs, answered[step].place.as_deref()),
        };
        let width = tensor.width;
        let elements = source.element.map_or(0..width, |element| element..element + 1);
        let column = batch.columns().get(source.tensor).and_then(|array| Column::of(array.as_ref()));
        let column = column.filter(|column| column.len() == batch.num_rows() * width);
        let column = column.ok_or_else(|| super::run::broken(format!("`{}` is not as its model says", tensor.name)))?;
        Ok(Self { column, width, elements, place })
    }

    /// Where the row's values are; nothing where its step gave no answer.
    fn row(&self, row: usize) -> Option<usize> {
        let Some(place) = self.place else { return Some(row) };
        Some(place[row]).filter(|row| *row != NO_ANSWER).map(|row| row as usize)
    }

    pub(super) fn answers(&self, row: usize) -> bool {
        self.row(row).is_some()
    }

    /// The one value of a row.
    pub(super) fn scalar(&self, row: usize) -> Option<Scalar<'_>> {
        let at = self.row(row)? * self.width + self.elements.start;
        Some(match &self.column {
            Column::F32(values) => Scalar::Number(f64::from(values[at])),
            Column::F64(values) => Scalar::Number(values[at]),
            Column::I64(values) => Scalar::Whole(values[at]),
            Column::Text(values) => Scalar::Text(values.value(at)),
        })
    }

    /// Appends a row's values; a row that has none gets missing values.
    pub(super) fn append(&self, row: usize, to: &mut Values) {
        let first = self.row(row).map(|row| row * self.width);
        for element in self.elements.clone() {
            let at = first.map(|first| first + element);
            match (&self.column, &mut *to) {
                (Column::F32(values), Values::F32(to)) => to.push(at.map_or(f32::NAN, |at| values[at])),
                (Column::F32(values), to) => to.push(at.map_or(f64::NAN, |at| f64::from(values[at]))),
                (Column::F64(values), to) => to.push(at.map_or(f64::NAN, |at| values[at])),
                (Column::I64(values), Values::I64(to)) => to.push(at.map_or(0, |at| values[at])),
                (Column::I64(values), to) => to.push(at.map_or(f64::NAN, |at| values[at] as f64)),
                (Column::Text(values), Values::Strings(to)) => {
                    to.push(at.map_or_else(String::new, |at| values.value(at).to_owned()));
                }
                // Binding has let text go to text alone.
                (Column::Text(_), to) => to.push(f64::NAN),
            }
        }
    }
}

impl Column<'_> {
    fn len(&self) -> usize {
        match self {
            Column::F32(values) => values.len(),
            Column::F64(values) => values.len(),
            Column::I64(values) => values.len(),
            Column::Text(values) => values.len(),
        }
    }
}

/// Whether values of one type can stand for another without becoming something else.
pub(super) fn goes_into(from: Datatype, to: Datatype) -> bool {
    match to {
        Datatype::Fp32 | Datatype::Fp64 => from != Datatype::Bytes,
        Datatype::Int64 | Datatype::Bytes => from == to,
    }
}
