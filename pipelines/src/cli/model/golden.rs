//! A model's answers against expected ones from a table.

use std::path::Path;

use anyhow::{Context as _, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, Fields};
use lunapark_models::Model;
use lunapark_tables::{ReadOptions, Table};
use serde::Serialize;

use super::answers::{self, answer};

/// How far the answers are from the expected ones.
#[derive(Debug, Default, Serialize)]
pub struct Comparison {
    /// Rows compared.
    pub rows: u64,
    /// Values compared.
    pub values: u64,
    /// Rows that the model refused.
    pub refused: u64,
    /// Values beyond the tolerance, and labels that differ.
    pub beyond: u64,
    /// The largest difference, where any value differs at all.
    pub largest: Option<Difference>,
}

/// One value that is not as expected.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// Row of the table, from 0.
    pub row: u64,
    /// Column.
    pub column: String,
    /// What the table says.
    pub expected: String,
    /// What the model says.
    pub found: String,
    /// Relative to the larger of 1 and the expected value; absent where no number says it: another label, or no answer.
    pub relative: Option<f64>,
    #[serde(skip)]
    size: f64,
}

/// Compares row by row.
pub fn compare(model: &dyn Model, path: &Path, tolerance: f64) -> anyhow::Result<Comparison> {
    let signature = model.signature();
    let rows = answers::batch_rows(signature);
    let table = Table::open(path, ReadOptions { batch_rows: rows, ..ReadOptions::default() })?;
    let schema = table.schema().clone();
    let expected: Vec<(usize, usize)> = expected_columns(schema.fields(), &answers::columns(signature));
    if expected.is_empty() {
        let names: Vec<_> = answers::columns(signature).iter().take(5).map(|field| field.name().clone()).collect();
        bail!("{}: no column of expected answers; name them {}", path.display(), names.join(", "));
    }
    let aside: Vec<usize> = expected.iter().map(|(column, _)| *column).collect();
    let plan = answers::plan(&schema, signature, &aside).with_context(|| path.display().to_string())?;
    let mut wanted: Vec<usize> = plan.columns().chain(aside).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let at = |column: usize| wanted.binary_search(&column).unwrap_or_default();
    let inputs: Vec<usize> = plan.columns().map(at).collect();
    let doubles: Vec<usize> = plan.doubles(signature).collect();
    let mut comparison = Comparison::default();
    for batch in table.batches(&wanted, &doubles)? {
        let batch = batch?;
        let answers = answer(model, &plan, &batch.project(&inputs)?)?;
        for (column, answer) in &expected {
            let (expected, found) = (batch.column(at(*column)), &answers.columns[*answer]);
            comparison.add(schema.field(*column).name(), expected, found, tolerance);
        }
        comparison.rows += batch.num_rows() as u64;
        comparison.refused += answers.refused.len() as u64;
    }
    Ok(comparison)
}

/// Columns of the table that are named as an answer, each with the answer's number.
fn expected_columns(table: &Fields, answers: &[Field]) -> Vec<(usize, usize)> {
    let place = |answer: &Field| table.iter().position(|field| field.name() == answer.name());
    answers.iter().enumerate().filter_map(|(number, answer)| Some((place(answer)?, number))).collect()
}

impl Comparison {
    fn add(&mut self, column: &str, expected: &ArrayRef, found: &ArrayRef, tolerance: f64) {
        for row in 0..expected.len() {
            let (expected, found) = (Cell::of(expected, row), Cell::of(found, row));
            let size = expected.distance(&found);
            self.values += 1;
            self.beyond += u64::from(size > tolerance);
            if size > self.largest.as_ref().map_or(0.0, |largest| largest.size) {
                let (expected, found, row) = (expected.text(), found.text(), self.rows + row as u64);
                let relative = size.is_finite().then_some(size);
                self.largest = Some(Difference { row, column: column.to_owned(), expected, found, relative, size });
            }
        }
    }
}

/// One value of a table.
#[derive(Debug, PartialEq)]
enum Cell {
    Nothing,
    Single(f32),
    Double(f64),
    Whole(i64),
    Text(String),
}

impl Cell {
    fn of(array: &ArrayRef, row: usize) -> Self {
        if array.is_null(row) {
            return Cell::Nothing;
        }
        match array.data_type() {
            DataType::Float32 => Cell::Single(array.as_primitive::<Float32Type>().value(row)).unless_nan(),
            DataType::Float64 => Cell::Double(array.as_primitive::<Float64Type>().value(row)).unless_nan(),
            DataType::Int64 => Cell::Whole(array.as_primitive::<Int64Type>().value(row)),
            DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
            DataType::LargeUtf8 => Cell::Text(array.as_string::<i64>().value(row).to_owned()),
            DataType::Utf8View => Cell::Text(array.as_string_view().value(row).to_owned()),
            other => Cell::Text(format!("({other})")),
        }
    }

    /// No number is as good as none.
    fn unless_nan(self) -> Self {
        if self.number().is_some_and(f64::is_nan) { Cell::Nothing } else { self }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Cell::Single(number) => Some(f64::from(*number)),
            Cell::Double(number) => Some(*number),
            Cell::Whole(whole) => Some(*whole as f64),
            Cell::Nothing | Cell::Text(_) => None,
        }
    }

    /// Text as what the other cell is: a CSV file has nothing else.
    fn read_as(&self, other: &Cell) -> Option<Cell> {
        let Cell::Text(text) = self else { return None };
        Some(match other {
            Cell::Single(_) => Cell::Single(text.trim().parse().ok()?).unless_nan(),
            Cell::Double(_) => Cell::Double(text.trim().parse().ok()?).unless_nan(),
            Cell::Whole(_) => Cell::Whole(text.trim().parse().ok()?),
            Cell::Nothing => Cell::Double(text.trim().parse().ok()?).unless_nan(),
            Cell::Text(_) => return None,
        })
    }

    /// Difference relative to the larger of 1 and the expected value; infinite for what no number says, such as another
    /// label.
    fn distance(&self, found: &Cell) -> f64 {
        if let Some(read) = self.read_as(found) {
            return read.distance(found);
        }
        match (self, found, self.number(), found.number()) {
            (Cell::Whole(expected), Cell::Whole(found), ..) if expected != found => f64::INFINITY,
            (_, _, Some(expected), Some(found)) if expected == found => 0.0,
            (_, Cell::Whole(_), ..) => f64::INFINITY,
            (_, _, Some(expected), Some(found)) => {
                let relative = (expected - found).abs() / expected.abs().max(1.0);
                if relative.is_nan() { f64::INFINITY } else { relative }
            }
            _ if self == found => 0.0,
            _ => f64::INFINITY,
        }
    }

    fn text(&self) -> String {
        match self {
            Cell::Nothing => "nothing".to_owned(),
            Cell::Single(number) => number.to_string(),
            Cell::Double(number) => number.to_string(),
            Cell::Whole(whole) => whole.to_string(),
            Cell::Text(text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative_and_labels_are_alike_or_not() {
        let text = |text: &str| Cell::Text(text.into());
        for (expected, found, distance) in [
            (Cell::Double(0.5), Cell::Double(0.25), 0.25),
            (Cell::Double(200.0), Cell::Double(100.0), 0.5),
            (Cell::Double(0.5), Cell::Single(0.5), 0.0),
            (Cell::Double(f64::INFINITY), Cell::Double(f64::INFINITY), 0.0),
            (Cell::Double(f64::INFINITY), Cell::Double(1.0), f64::INFINITY),
            (Cell::Double(f64::NAN).unless_nan(), Cell::Nothing, 0.0),
            (Cell::Nothing, Cell::Whole(0), f64::INFINITY),
            (Cell::Whole(3), Cell::Whole(3), 0.0),
            (Cell::Whole(3), Cell::Whole(4), f64::INFINITY),
            (Cell::Whole(i64::MAX), Cell::Whole(i64::MAX - 1), f64::INFINITY),
            (Cell::Double(3.0), Cell::Whole(3), 0.0),
            (text("7"), Cell::Whole(7), 0.0),
            (text("0.1"), Cell::Single(0.1), 0.0),
            (text("x"), Cell::Single(0.1), f64::INFINITY),
            (text("a"), text("a"), 0.0),
            (text("a"), text("b"), f64::INFINITY),
        ] {
            assert_eq!(expected.distance(&found), distance, "{expected:?}, {found:?}");
        }
    }
}
