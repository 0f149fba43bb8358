//! Events of a topic as lines of a table, with their labels from another topic.
//!
//! A record is a JSON object of columns, or an event as it is scored. Of KServe v1 each instance is a row, with the columns
//! of an object, or the numbers of a list as the column `input`; of the Open Inference Protocol and of Arrow streams each
//! row is one, with a column per tensor or column of numbers.

use arrow_array::{Array, FixedSizeListArray, RecordBatch};
use lunapark_schemas::Message;
use lunapark_schemas::inference::{Limits, is_json, own_columns};
use lunapark_schemas::rows::f64_values;
use lunapark_schemas::training::Dataset;
use lunapark_train::Refusal;
use serde_json::{Map, Value};

use crate::labels::{KeyHash, LabelBook};

/// The columns that labels become.
pub(super) const LABEL: &str = "label";
pub(super) const WEIGHT: &str = "weight";
/// What holds an event's rows, and what a row without names is called.
const INSTANCES: &str = "instances";
const INPUTS: &str = "inputs";
const INPUT: &str = "input";

/// The labels, and what became of the records.
pub(super) struct Labels {
    book: LabelBook,
    /// Whether the request wants the labels' weights.
    weights: bool,
    pub(super) labelled: u64,
    pub(super) unlabelled: u64,
}

impl Labels {
    /// Refuses labels that the request does not use, or that are none.
    pub(super) fn new(book: LabelBook, dataset: &Dataset) -> Result<Self, Refusal> {
        if dataset.label.as_deref() != Some(LABEL) {
            return Err(Refusal::request(format!(
                "`dataset.path` takes labels from a topic, which become the column \"{LABEL}\"; set `dataset.label` to \
                 \"{LABEL}\""
            )));
        }
        if let Some(what) = &book.first_broken {
            let what = format!("{} records of the topic of labels are none, first {what}", book.broken);
            let advice = "write {\"label\": …} with a number or a word under the event's key";
            return Err(Refusal::data(format!("{what}; {advice}")));
        }
        let weights = dataset.weights.as_deref() == Some(WEIGHT);
        Ok(Self { book, weights, labelled: 0, unlabelled: 0 })
    }

    /// Label and weight of an event; counts whether it has one.
    fn of(&mut self, key: Option<&[u8]>) -> Option<(Value, f64)> {
        let found = key.and_then(|key| self.book.value(KeyHash::of(key)));
        match found {
            Some(_) => self.labelled += 1,
            None => self.unlabelled += 1,
        }
        found
    }

    /// The columns to be put into a row.
    fn columns(&self, (label, weight): (Value, f64)) -> Vec<(&'static str, Value)> {
        let weight = self.weights.then(|| (WEIGHT, Value::from(weight)));
        std::iter::once((LABEL, label)).chain(weight).collect()
    }
}

/// Gives the lines of a record: as it is where it is an object of columns and no label is asked for.
pub(super) fn rows(
    message: &Message<'_>,
    labels: Option<&mut Labels>,
    mut line: impl FnMut(&[u8]) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let Some(value) = message.value.filter(|value| !value.is_empty()) else { return Ok(()) };
    let mut columns = Vec::new();
    if let Some(labels) = labels {
        match labels.of(message.key) {
            Some(label) => columns = labels.columns(label),
            None => return Ok(()),
        }
    } else if is_plain(message, value) {
        return line(value);
    }
    let wrong = |what: String| Refusal::data(format!("{}: {what}", message.position()));
    for mut row in rows_of(message, value).map_err(wrong)? {
        for (name, value) in &columns {
            if row.insert((*name).to_owned(), value.clone()).is_some() {
                let what = format!("it has a column \"{name}\" of its own beside that of the topic of labels");
                return Err(wrong(format!("{what}; leave out `labels=`, or write events without it")));
            }
        }
        let text = serde_json::to_vec(&row).map_err(|error| wrong(error.to_string()))?;
        line(&text)?;
    }
    Ok(())
}

/// A quick look: most data sets of columns have no such word, and are passed on without being parsed.
fn is_plain(message: &Message<'_>, value: &[u8]) -> bool {
    let has = |word: &str| value.windows(word.len()).any(|window| window == word.as_bytes());
    is_json(message.headers) && !has(INSTANCES) && !has(INPUTS)
}

/// The object itself, or a row per instance.
fn rows_of(message: &Message<'_>, value: &[u8]) -> Result<Vec<Map<String, Value>>, String> {
    if let Some(batch) = own_columns(message, &Limits::default()).map_err(|rejection| rejection.message)? {
        return (0..batch.num_rows()).map(|row| row_of_batch(&batch, row)).collect();
    }
    let mut object: Map<String, Value> = serde_json::from_slice(value).map_err(|error| {
        format!("{error}; records of a data set are JSON objects of columns, or events as they are scored")
    })?;
    match object.get_mut(INSTANCES).map(Value::take) {
        None => Ok(vec![object]),
        Some(Value::Array(instances)) => Ok(instances.into_iter().map(row_of).collect()),
        Some(_) => Err(format!("`{INSTANCES}` is no list")),
    }
}

/// A row of doubles by their columns' names; what is missing is null.
fn row_of_batch(batch: &RecordBatch, row: usize) -> Result<Map<String, Value>, String> {
    let schema = batch.schema();
    let cells = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let values = f64_values(column).ok_or_else(|| format!("column `{}` holds no doubles", field.name()))?;
        let list = column.as_any().downcast_ref::<FixedSizeListArray>();
        let value = match list.map(|list| list.value_length() as usize) {
            Some(width) => Value::from(&values[row * width..(row + 1) * width]),
            None => Value::from(values[row]),
        };
        Ok((field.name().clone(), value))
    });
    cells.collect()
}

fn row_of(instance: Value) -> Map<String, Value> {
    match instance {
        Value::Object(columns) => columns,
        numbers @ Value::Array(_) => Map::from_iter([(INPUT.to_owned(), numbers)]),
        number => Map::from_iter([(INPUT.to_owned(), Value::Array(vec![number]))]),
    }
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::Messages;
    use lunapark_schemas::messages::At;

    use super::*;

    fn lines(records: &[(Option<&str>, &str)], mut labels: Option<Labels>) -> Result<Vec<String>, String> {
        let mut messages = Messages::new();
        for (offset, (key, value)) in records.iter().enumerate() {
            let at = At { topic: "events", partition: 0, offset: offset as i64, timestamp: 0 };
            messages.push(at, key.map(str::as_bytes), Some(value.as_bytes()), std::iter::empty());
        }
        let mut lines = Vec::new();
        for message in messages.iter() {
            let push = |line: &[u8]| {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
                Ok(())
            };
            rows(&message, labels.as_mut(), push).map_err(|refusal| refusal.message)?;
        }
        if let Some(labels) = labels {
            lines.push(format!("{} {}", labels.labelled, labels.unlabelled));
        }
        Ok(lines)
    }

    /// Labels of the keys `s` (weight 2) and `b`, and of others.
    fn labels(weights: Option<&str>) -> Labels {
        let mut book = LabelBook::of_any(10);
        let mut messages = Messages::new();
        let records = [("s", "1,\"weight\":2"), ("b", "0"), ("top", "\"top\""), ("energy", "12.5")];
        for (key, value) in records.map(|(key, label)| (key, format!("{{\"label\":{label}}}"))) {
            let at = At { topic: "labels", partition: 0, offset: 0, timestamp: 0 };
            messages.push(at, Some(key.as_bytes()), Some(value.as_bytes()), std::iter::empty());
        }
        messages.iter().for_each(|message| book.take(&message));
        Labels::new(book, &dataset("label", weights)).map_err(|refusal| refusal.message).unwrap()
    }

    fn dataset(label: &str, weights: Option<&str>) -> Dataset {
        serde_json::from_value(serde_json::json!({ "path": "topic://e", "label": label, "weights": weights })).unwrap()
    }

    #[test]
    fn events_become_rows_and_columns_stay_as_they_are() {
        let records = [
            (None, "{ \"x\":1.50 }"),
            (None, "{\"instances\":[[1,2.5],[3,null]]}"),
            (None, "{\"instances\":[{\"x\":1,\"y\":2}, 7]}"),
            (
                None,
                "{\"inputs\":[{\"name\":\"x\",\"shape\":[2],\"datatype\":\"FP32\",\"data\":[1,null]},\
                    {\"name\":\"y\",\"shape\":[2,2],\"datatype\":\"INT8\",\"data\":[3,4,5,6]}]}",
            ),
            (None, "{\"inputs\":3}"),
        ];
        let expected = [
            "{ \"x\":1.50 }",
            "{\"input\":[1,2.5]}",
            "{\"input\":[3,null]}",
            "{\"x\":1,\"y\":2}",
            "{\"input\":[7]}",
            "{\"x\":1.0,\"y\":[3.0,4.0]}",
            "{\"x\":null,\"y\":[5.0,6.0]}",
            "{\"inputs\":3}",
        ];
        assert_eq!(lines(&records, None).unwrap(), expected);
        assert!(lines(&[(None, "{\"instances\":3}")], None).unwrap_err().starts_with("events/0/0: `instances`"));
    }

    #[test]
    fn labels_are_joined_by_key_and_what_has_none_is_counted() {
        let records = [
            (Some("s"), "{\"instances\":[[1],[2]]}"),
            (Some("unknown"), "{\"instances\":[[3]]}"),
            (None, "{\"x\":4}"),
            (Some("b"), "{\"x\":5}"),
        ];
        let expected = ["{\"input\":[1],\"label\":1}", "{\"input\":[2],\"label\":1}", "{\"x\":5,\"label\":0}", "2 2"];
        assert_eq!(lines(&records, Some(labels(None))).unwrap(), expected);
        let weighted = lines(&records[3..], Some(labels(Some("weight")))).unwrap();
        assert_eq!(weighted, ["{\"x\":5,\"label\":0,\"weight\":1.0}", "1 0"]);
        let others = lines(&[(Some("top"), "{\"x\":6}"), (Some("energy"), "{\"x\":7}")], Some(labels(None))).unwrap();
        assert_eq!(others, ["{\"x\":6,\"label\":\"top\"}", "{\"x\":7,\"label\":12.5}", "2 0"]);
        let twice = lines(&[(Some("s"), "{\"x\":1,\"label\":0}")], Some(labels(None))).unwrap_err();
        assert!(twice.contains("column \"label\" of its own"), "{twice}");
        let refused = Labels::new(LabelBook::new(1), &dataset("truth", None)).map(drop).unwrap_err();
        assert!(refused.message.contains("`dataset.label`"), "{}", refused.message);
    }
}
