//! Columns of a table in a file as rows of a model: which column holds what, and the values, row by row.
//!
//! Columns are found by name: a column named as the input (a list of its values; a number where the width is 1), one
//! named as each field, or one named `input_0`, `input_1`, … for each value. Where no name fits at all, columns count by
//! their order if there are exactly as many as the model takes values. Nulls and empty cells are missing values; text,
//! as a CSV file has it, is read as a number.

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};

use crate::outcome::{ErrorClass, FailedRow, Rejection};
use crate::rows::RowsBuilder;
use crate::signature::{Datatype, Signature, TensorSpec};

use super::arrow_columns::{self, Place};
use super::columns::Failures;
use super::json::shorten;

/// Which columns of a table a model reads, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePlan {
    /// Columns of the table, ascending, each with its place among the inputs.
    columns: Vec<(usize, Place)>,
}

impl TablePlan {
    /// Fits the columns to the model's inputs. `aside` are columns that have another purpose, such as event numbers:
    /// they are left out where columns are counted, and may be read by name all the same.
    pub fn new(schema: &Schema, signature: &Signature, aside: &[usize]) -> Result<Self, Rejection> {
        let mut columns = match by_name(schema, signature) {
            Ok(columns) => columns,
            Err(Missing { any_found: false, error }) => by_order(schema, signature, aside).ok_or(error)?,
            Err(Missing { error, .. }) => return Err(error),
        };
        columns.iter().try_for_each(|(column, place)| check_type(schema, *column, *place, signature))?;
        columns.sort_by_key(|(column, _)| *column);
        match columns.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            None => Ok(Self { columns }),
            Some(pair) => {
                let name = shorten(schema.field(pair[0].0).name().as_bytes());
                let text = format!("column `{name}` fits two inputs; name columns apart");
                Err(Rejection::new(ErrorClass::Shape, text))
            }
        }
    }

    /// The columns to read, ascending.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().map(|(column, _)| *column)
    }

    /// Appends the rows of a batch that holds [`columns`](Self::columns) and no others, in this order. Gives the rows
    /// that failed, ascending; the others are appended.
    pub fn append(&self, batch: &RecordBatch, rows: &mut RowsBuilder) -> Result<Vec<FailedRow>, Rejection> {
        let (signature, at) = (rows.signature().clone(), rows.rows());
        let mut failures = Failures::default();
        for ((_, place), array) in self.columns.iter().zip(batch.columns()) {
            let (spec, values) = (&signature.inputs[place.input], &mut rows.columns_mut()[place.input]);
            let mut target = arrow_columns::Target { spec, values, at, first_row: 0, field: place.field };
            arrow_columns::append(array, &mut target, &mut failures)?;
        }
        failures.commit_good(batch.num_rows(), rows)
    }
}

/// Inputs that no column name fits.
struct Missing {
    /// Whether some name fitted: then the order of the columns says nothing.
    any_found: bool,
    error: Rejection,
}

fn by_name(schema: &Schema, signature: &Signature) -> Result<Vec<(usize, Place)>, Missing> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (input, spec) in signature.inputs.iter().enumerate() {
        match columns_of(schema, spec) {
            Ok(columns) => found.extend(columns.into_iter().map(|(column, field)| (column, Place { input, field }))),
            Err(names) => missing.push((spec, names)),
        }
    }
    let Some((spec, names)) = missing.first() else { return Ok(found) };
    let any_found = !found.is_empty() || missing.iter().any(|(spec, names)| names.len() < spec.width);
    Err(Missing { any_found, error: no_columns(schema, spec, names) })
}

/// The columns of an input, each with the element that it holds; or the names of those that are not there.
fn columns_of(schema: &Schema, spec: &TensorSpec) -> Result<Vec<(usize, Option<usize>)>, Vec<String>> {
    let named = |name: &str| {
        let mut found = schema.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
        found.next().map(|(column, _)| column).filter(|_| found.next().is_none())
    };
    if let Some(column) = named(&spec.name) {
        return Ok(vec![(column, None)]);
    }
    let numbered: Vec<String> = (0..spec.width).map(|index| format!("{}_{index}", spec.name)).collect();
    let all = |names: &[String]| {
        let columns = names.iter().enumerate().map(|(index, name)| Some((named(name)?, Some(index))));
        columns.collect::<Option<Vec<_>>>()
    };
    let fields = if spec.fields.is_empty() { &numbered } else { &spec.fields };
    if let Some(columns) = all(fields).or_else(|| all(&numbered)) {
        return Ok(columns);
    }
    Err(fields.iter().filter(|name| named(name).is_none()).cloned().collect())
}

fn by_order(schema: &Schema, signature: &Signature, aside: &[usize]) -> Option<Vec<(usize, Place)>> {
    let mut places = Vec::new();
    for (input, spec) in signature.inputs.iter().enumerate() {
        places.extend((0..spec.width).map(|element| Place { input, field: Some(element) }));
    }
    let columns: Vec<usize> = (0..schema.fields().len()).filter(|column| !aside.contains(column)).collect();
    if columns.len() == signature.inputs.len() && columns.len() < places.len() {
        places = (0..columns.len()).map(|input| Place { input, field: None }).collect();
    }
    (columns.len() == places.len()).then(|| columns.into_iter().zip(places).collect())
}

fn no_columns(schema: &Schema, spec: &TensorSpec, missing: &[String]) -> Rejection {
    let quoted = |names: &mut dyn Iterator<Item = &str>| {
        names.map(|name| format!("`{}`", shorten(name.as_bytes()))).collect::<Vec<_>>().join(", ")
    };
    let more = |count: usize| if count > 5 { ", …" } else { "" };
    let there = quoted(&mut schema.fields().iter().take(5).map(|field| field.name().as_str()));
    let lacks = quoted(&mut missing.iter().take(5).map(String::as_str));
    let (name, width) = (&spec.name, spec.width);
    let text = format!(
        "no column {lacks}{} among {there}{}; the model's input `{name}` takes {width} values: name the columns so, \
         or give one column `{name}` of lists",
        more(missing.len()),
        more(schema.fields().len())
    );
    Rejection::new(ErrorClass::Shape, text)
}

fn check_type(schema: &Schema, column: usize, place: Place, signature: &Signature) -> Result<(), Rejection> {
    let (found, spec) = (schema.field(column), &signature.inputs[place.input]);
    let width = if place.field.is_some() { 1 } else { spec.width };
    let fits = match found.data_type() {
        _ if spec.datatype == Datatype::Bytes => false,
        DataType::FixedSizeList(item, size) => {
            place.field.is_none() && usize::try_from(*size) == Ok(width) && arrow_columns::is_number(item.data_type())
        }
        DataType::List(item) | DataType::LargeList(item) => {
            place.field.is_none() && arrow_columns::is_number(item.data_type())
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => width == 1,
        scalar => width == 1 && arrow_columns::is_number(scalar),
    };
    if fits {
        return Ok(());
    }
    let (name, found) = (shorten(found.name().as_bytes()), shorten(found.data_type().to_string().as_bytes()));
    let text = format!("column `{name}` is {found} where the model takes {width} numbers per row; give such a column");
    Err(Rejection::new(ErrorClass::Shape, text))
}
