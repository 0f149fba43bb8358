//! The table that is trained on: the request's columns, picked from Arrow batches.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{DataType, Schema};
use lunapark_schemas::training::{Dataset, TrainingRequest};

use crate::Refusal;
use crate::shares::{by_share, threads_for};

/// Features as columns, label, weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    pub(crate) rows: usize,
    pub(crate) features: Vec<Feature>,
    pub(crate) label: Option<Label>,
    pub(crate) weights: Option<Vec<f64>>,
    /// Rows that the table had and that are not in it, because nobody gave them a label.
    pub(crate) unlabelled: u64,
}

/// A column of numbers; a missing one is NaN.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Feature {
    pub name: String,
    pub values: Vec<f32>,
}

/// The label column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Label {
    /// Numbers, or text that reads as numbers.
    Numbers(Vec<f64>),
    /// Words; `None` is missing.
    Words(Vec<Option<String>>),
}

/// Names that a sentence lists before it says "and so on".
const LISTED: usize = 8;

impl Tables {
    /// Picks the request's columns from batches of one schema.
    pub fn from_batches(batches: &[RecordBatch], request: &TrainingRequest) -> Result<Self, Refusal> {
        let Some(first) = batches.first() else {
            return Err(Refusal::data("the dataset has no rows; check `dataset.path`"));
        };
        let (schema, dataset) = (first.schema(), &request.dataset);
        let column = |name: &str, key: &str| one_column(batches, &schema, name, key);
        let label = dataset.label.as_deref().map(|name| column(name, "label").and_then(|c| label(name, &c)));
        let weights = dataset.weights.as_deref().map(|name| column(name, "weights").and_then(|c| weights(name, &c)));
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let share = |names: &[String]| -> Result<Vec<_>, Refusal> {
            names.iter().map(|name| feature(name, &column(name, "features")?)).collect()
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shares = by_share(&feature_names(&schema, dataset)?, threads_for(rows, cores), share);
        let features = shares.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().flatten().collect();
        Ok(Self { rows, features, label: label.transpose()?, weights: weights.transpose()?, unlabelled: 0 })
    }

    /// The same table, of a source that had so many rows more without a label: the data set's report tells of them.
    pub fn without_unlabelled(self, unlabelled: u64) -> Self {
        Self { unlabelled, ..self }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

fn one_column(batches: &[RecordBatch], schema: &Schema, name: &str, key: &str) -> Result<Vec<ArrayRef>, Refusal> {
    let missing = || {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Refusal::data(format!(
            "the {} column \"{name}\" is not in the table; set `dataset.{key}` to one of: {}",
            if key == "features" { "feature" } else { key },
            listed(&names)
        ))
    };
    batches.iter().map(|batch| batch.column_by_name(name).cloned().ok_or_else(missing)).collect()
}

/// Some names, for a sentence.
pub(crate) fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED { format!("{shown} and {} more", names.len() - LISTED) } else { shown }
}

fn feature_names(schema: &Schema, dataset: &Dataset) -> Result<Vec<String>, Refusal> {
    let special = |name: &str| dataset.label.as_deref() == Some(name) || dataset.weights.as_deref() == Some(name);
    let names = match &dataset.features {
        Some(names) => names.clone(),
        None => schema.fields().iter().map(|f| f.name().clone()).filter(|name| !special(name)).collect(),
    };
    if let Some(name) = names.iter().find(|name| special(name)) {
        let what = format!("\"{name}\" is a feature and the label or weight as well");
        return Err(Refusal::request(format!("{what}; take it out of `dataset.features`")));
    }
    match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        Some((_, name)) => Err(Refusal::request(format!("`dataset.features` names \"{name}\" twice; name it once"))),
        None if names.is_empty() => Err(Refusal::data("the table has no feature columns; add some besides the label")),
        None => Ok(names),
    }
}

/// Numbers of all batches, a missing one is NaN; the first text that is no number, where there is one.
fn numbers(column: &[ArrayRef]) -> Result<Vec<f64>, String> {
    let mut values = Vec::with_capacity(column.iter().map(|array| array.len()).sum());
    for array in column {
        let kind = array.data_type();
        if kind.is_temporal() || kind.is_nested() || !can_cast_types(kind, &DataType::Float64) {
            return Err(format!("values of the type {kind}"));
        }
        let cast = cast(array, &DataType::Float64)?;
        let cast = cast.as_primitive::<Float64Type>();
        let odd = || (0..array.len()).find(|&row| cast.is_null(row) && !array.is_null(row));
        if let Some(row) = (cast.null_count() > array.null_count()).then(odd).flatten() {
            let text = words(std::slice::from_ref(array))?[row].clone().unwrap_or_default();
            if !text.trim().is_empty() {
                return Err(format!("the text \"{}\"", text.chars().take(40).collect::<String>().escape_debug()));
            }
        }
        match cast.null_count() {
            0 => values.extend_from_slice(cast.values()),
            _ => values.extend(cast.iter().map(|value| value.unwrap_or(f64::NAN))),
        }
    }
    Ok(values)
}

/// A column that holds what the network sees already, without missing values.
fn floats(column: &[ArrayRef]) -> Option<Vec<f32>> {
    let whole = |array: &ArrayRef| array.null_count() == 0 && *array.data_type() == DataType::Float32;
    let values = || column.iter().map(|array| &array.as_primitive::<Float32Type>().values()[..]);
    column.iter().all(whole).then(|| values().collect::<Vec<_>>().concat())
}

fn words(column: &[ArrayRef]) -> Result<Vec<Option<String>>, String> {
    let mut words = Vec::new();
    for array in column {
        let text = cast(array, &DataType::Utf8)?;
        words.extend(text.as_string::<i32>().iter().map(|word| word.filter(|w| !w.is_empty()).map(str::to_owned)));
    }
    Ok(words)
}

fn cast(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, String> {
    cast_with_options(array, kind, &CastOptions::default()).map_err(|error| error.to_string())
}

fn feature(name: &str, column: &[ArrayRef]) -> Result<Vec<Feature>, Refusal> {
    match column.first().map(|array| array.data_type()) {
        Some(DataType::FixedSizeList(_, width)) => return elements(name, column, (*width).max(0) as usize),
        Some(DataType::List(_)) => {
            let (column, width) = of_one_length(name, column)?;
            return elements(name, &column, width);
        }
        _ => {}
    }
    let values = match floats(column) {
        Some(values) => values,
        None => numbers(column).map_err(|what| not_numbers(name, &what))?.iter().map(|&x| x as f32).collect(),
    };
    Ok(vec![Feature { name: name.to_owned(), values }])
}

fn not_numbers(name: &str, what: &str) -> Refusal {
    let what = format!("the feature column \"{name}\" holds {what}, no number");
    Refusal::data(format!("{what}; name only numeric columns in `dataset.features`"))
}

/// Lists of a text, which says nothing of their length, as lists of the first one's.
fn of_one_length(name: &str, column: &[ArrayRef]) -> Result<(Vec<ArrayRef>, usize), Refusal> {
    let lists = || column.iter().map(|array| array.as_list::<i32>());
    let first = lists().find_map(|lists| (0..lists.len()).find(|&row| lists.is_valid(row)).map(|row| lists.value(row)));
    let width = first.map_or(0, |first| first.len());
    for lists in lists() {
        let mut lengths =
            (0..lists.len()).filter(|&row| lists.is_valid(row)).map(|row| lists.value_length(row) as usize);
        if let Some(other) = lengths.find(|length| *length != width) {
            let what = format!("the feature column \"{name}\" holds lists of {width} and of {other} values");
            return Err(Refusal::data(format!("{what}; give every row as many, or leave it out")));
        }
    }
    let size = i32::try_from(width).map_err(|_| not_numbers(name, "lists of too many values"))?;
    let fixed = |array: &ArrayRef| {
        let DataType::List(item) = array.data_type() else { return Err("no lists".to_owned()) };
        cast(array, &DataType::FixedSizeList(item.clone(), size))
    };
    let fixed: Result<Vec<_>, String> = column.iter().map(fixed).collect();
    Ok((fixed.map_err(|what| not_numbers(name, &what))?, width))
}

/// A column of fixed-size lists is a feature per element, as events of a topic have them.
fn elements(name: &str, column: &[ArrayRef], width: usize) -> Result<Vec<Feature>, Refusal> {
    let flat: Vec<_> = column.iter().map(|array| array.as_fixed_size_list().values().clone()).collect();
    if width == 0 {
        return Err(not_numbers(name, "empty lists"));
    }
    let mut values = numbers(&flat).map_err(|what| not_numbers(name, &what))?;
    let missing = column.iter().flat_map(|lists| (0..lists.len()).map(|row| lists.is_null(row)));
    values.chunks_exact_mut(width).zip(missing).filter(|(_, missing)| *missing).for_each(|(row, _)| row.fill(f64::NAN));
    let element = |at: usize| values.iter().skip(at).step_by(width).map(|&x| x as f32).collect();
    Ok((0..width).map(|at| Feature { name: format!("{name}_{at}"), values: element(at) }).collect())
}

fn label(name: &str, column: &[ArrayRef]) -> Result<Label, Refusal> {
    let wrong =
        |what: String| Refusal::data(format!("the label column \"{name}\" cannot be read: {what}; use another"));
    let label = match numbers(column) {
        Ok(numbers) => Label::Numbers(numbers),
        Err(_) => Label::Words(words(column).map_err(wrong)?),
    };
    let missing = match &label {
        Label::Numbers(values) => values.iter().filter(|value| !value.is_finite()).count(),
        Label::Words(words) => words.iter().filter(|word| word.is_none()).count(),
    };
    if missing > 0 {
        let what = format!("the label column \"{name}\" is missing or not finite in {missing} rows");
        return Err(Refusal::data(format!("{what}; take these rows out of the table")));
    }
    Ok(label)
}

fn weights(name: &str, column: &[ArrayRef]) -> Result<Vec<f64>, Refusal> {
    let wrong = |what: String| Refusal::data(format!("the weights column \"{name}\" holds {what}; use a numeric one"));
    let values = numbers(column).map_err(wrong)?;
    match values.iter().filter(|weight| !weight.is_finite()).count() {
        0 => Ok(values),
        count => Err(Refusal::data(format!(
            "the weights column \"{name}\" is missing or not finite in {count} rows; give each row a finite weight"
        ))),
    }
}
