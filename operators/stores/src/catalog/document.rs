//! Entries of the catalog and statuses of tasks as documents of a database, and back.

use std::collections::BTreeMap;

use lunapark_schemas::catalog::{CatalogRecord, ModelVersion, Reservation};
use lunapark_schemas::training::{Parameters, TrainingStatus};
use mongodb::bson::error::{Error, Result};
use mongodb::bson::{self, Bson, Document, doc};
use serde::ser::Error as _;
use serde_json::Value;

use super::search_text;

/// Where in the topic the entry is from; what never was there has [`NO_OFFSET`].
pub(super) const OFFSET: &str = "offset";
/// Older than any record of the topic.
pub(super) const NO_OFFSET: i64 = -1;
/// What a search looks through, in lower case.
pub(super) const TEXT: &str = "search_text";
/// Which of a task's statuses says where it stands: the one that has most of it.
pub(super) const RANK: &str = "rank";
/// When a task was sent, by which tasks are ordered.
pub(super) const SUBMITTED: &str = "submitted";

/// The collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Version,
    Reservation,
}

/// The document of a record, and where it belongs; none for promotions, which only the topic holds. Its `_id` is the
/// record's key without the kind.
pub(super) fn of_record(record: &CatalogRecord, offset: i64) -> Result<Option<(Kind, Document)>> {
    Ok(match record {
        CatalogRecord::Version(version) => Some((Kind::Version, of_version(version, offset)?)),
        CatalogRecord::Reservation(reservation) => Some((Kind::Reservation, of_reservation(reservation, offset))),
        CatalogRecord::Promotion(_) => None,
    })
}

pub(super) fn of_version(version: &ModelVersion, offset: i64) -> Result<Document> {
    let mut document = doc! { "_id": version.reference() };
    document.extend(bson::serialize_to_document(version)?);
    document.extend(doc! { "metrics": of_metrics(&version.metrics), TEXT: search_text(version), OFFSET: offset });
    Ok(document)
}

pub(super) fn of_reservation(reservation: &Reservation, offset: i64) -> Document {
    let Reservation { name, version, task_id } = reservation;
    let id = format!("{name}/{task_id}");
    doc! { "_id": id, "name": name, "version": i64::from(*version), "task_id": task_id, OFFSET: offset }
}

pub(super) fn version(mut document: Document) -> Result<ModelVersion> {
    let metrics = metrics(document.remove("metrics"));
    let version: ModelVersion = bson::deserialize_from_document(document)?;
    Ok(ModelVersion { metrics, ..version })
}

/// Names of metrics may hold dots, which names of fields may not: so they are a list.
fn of_metrics(metrics: &BTreeMap<String, f64>) -> Vec<Bson> {
    metrics.iter().map(|(name, value)| Bson::Document(doc! { "name": name, "value": value })).collect()
}

fn metrics(list: Option<Bson>) -> BTreeMap<String, f64> {
    named(list, |value| value.as_f64())
}

/// What a list of names and values says.
fn named<V>(list: Option<Bson>, value: impl Fn(&Bson) -> Option<V>) -> BTreeMap<String, V> {
    let entry = |entry: &Bson| {
        let entry = entry.as_document()?;
        Some((entry.get_str("name").ok()?.to_owned(), value(entry.get("value")?)?))
    };
    list.as_ref().and_then(Bson::as_array).into_iter().flatten().filter_map(entry).collect()
}

/// The status of a task, under the task's name. Measures and parameters are lists, as metrics are; the epochs are one JSON
/// text, because a document of thousands of fields takes some servers seconds to read.
pub(super) fn of_task(status: &TrainingStatus, rank: i64) -> Result<Document> {
    let mut document = doc! { "_id": &status.task_id };
    document.extend(bson::serialize_to_document(status)?);
    let trials = status.search.iter().flat_map(|search| &search.leaderboard);
    for (row, trial) in leaderboard(&mut document).zip(trials) {
        row.insert("parameters", of_parameters(&trial.parameters)?);
    }
    let (submitted, evaluation) = (&status.stats.submitted, of_metrics(&status.evaluation));
    let history = serde_json::to_string(&status.history).map_err(Error::custom)?;
    document.extend(doc! { "evaluation": evaluation, "history": history, SUBMITTED: submitted, RANK: rank });
    Ok(document)
}

pub(super) fn task(mut document: Document) -> Result<TrainingStatus> {
    let evaluation = metrics(document.remove("evaluation"));
    let history = document.remove("history");
    let history = history.as_ref().and_then(Bson::as_str).map_or(Ok(Vec::new()), serde_json::from_str);
    let history = history.map_err(Error::custom)?;
    let parameters: Vec<Parameters> =
        leaderboard(&mut document).map(|row| named(row.insert("parameters", Document::new()), parameter)).collect();
    let mut status: TrainingStatus = bson::deserialize_from_document(document)?;
    let trials = status.search.iter_mut().flat_map(|search| &mut search.leaderboard);
    trials.zip(parameters).for_each(|(trial, parameters)| trial.parameters = parameters);
    Ok(TrainingStatus { evaluation, history, ..status })
}

/// The trials of a search.
fn leaderboard(document: &mut Document) -> impl Iterator<Item = &mut Document> {
    let search = document.get_document_mut("search").ok();
    let trials = search.and_then(|search| search.get_array_mut("leaderboard").ok());
    trials.into_iter().flatten().filter_map(Bson::as_document_mut)
}

fn of_parameters(parameters: &Parameters) -> Result<Vec<Bson>> {
    let one = |(name, value): (&String, &Value)| -> Result<Bson> {
        Ok(Bson::Document(doc! { "name": name, "value": of_parameter(value)? }))
    };
    parameters.iter().map(one).collect()
}

/// A value is any JSON. One with parts is a text: its names may hold dots, and not every server has lists of lists.
fn of_parameter(value: &Value) -> Result<Bson> {
    match value {
        Value::Array(_) | Value::Object(_) => Ok(Bson::Document(doc! { "json": value.to_string() })),
        plain => bson::serialize_to_bson(plain),
    }
}

fn parameter(value: &Bson) -> Option<Value> {
    match value {
        Bson::Document(text) => serde_json::from_str(text.get_str("json").ok()?).ok(),
        plain => bson::deserialize_from_bson(plain.clone()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_from_its_document() {
        let text = include_str!("../../../../schemas/examples/records/models/ok-version.json");
        let CatalogRecord::Version(mut entry) = serde_json::from_str(text).unwrap() else { panic!("a version") };
        entry.metrics.insert("auc.test $1".into(), 0.25);
        let document = of_version(&entry, 7).unwrap();
        assert_eq!((document.get_str("_id").unwrap(), document.get_i64(OFFSET).unwrap()), ("higgs/3", 7));
        assert_eq!(version(document).unwrap(), *entry);
    }

    #[test]
    fn a_status_with_everything_in_it_reads_back_from_its_document() {
        let status: TrainingStatus = serde_json::from_value(serde_json::json!({
            "task_id": "training.requests/0/17",
            "project": "higgs",
            "task_status": "succeeded",
            "stats": { "submitted": "2026-01-02T03:04:05.678Z", "elapsed_seconds": 1.5, "resumed": 2 },
            "progress": {
                "epoch": 2, "epochs": 3, "step": 20, "steps": 30, "samples_per_second": 1e6, "eta_seconds": 0.0
            },
            "history": [{ "epoch": 1, "loss": 0.5, "val_loss": 0.25, "val_auc": 0.75, "learning_rate": 0.1 }],
            "evaluation": { "auc": 0.8, "auc.test $1": 0.25 },
            "dataset": {
                "samples_train": 3, "samples_test": 1,
                "features": [{ "name": "p.t", "min": 0.0, "max": 1.0, "mean": 0.5, "std": 0.1, "missing": 0 }],
                "class_balance": [{ "class": "0", "rows": 2, "weight": -1.5 }]
            },
            "model": { "name": "higgs", "version": 3, "digest": "ab" },
            "search": { "metric": "auc", "rung": 1, "rungs": 2, "leaderboard": [
                { "trial": 1, "state": "stopped", "epochs": 4, "metric": 0.7, "parameters": {
                    "model_train.optimizer.init_lr": 0.1, "model_train.seed": 7, "model.architecture.hidden": [[16], 8],
                    "$odd": { "a.b": null }, "text": "{}", "none": null
                } },
                { "trial": 0, "state": "open", "epochs": 2, "parameters": {} }
            ] }
        }))
        .unwrap();
        let document = of_task(&status, 7).unwrap();
        let text = |name: &str| document.get_str(name).unwrap();
        assert_eq!((text("_id"), text(SUBMITTED)), ("training.requests/0/17", "2026-01-02T03:04:05.678Z"));
        assert_eq!((text("task_status"), document.get_i64(RANK).unwrap()), ("succeeded", 7));
        assert_eq!(task(document).unwrap(), status);
        let plain = TrainingStatus { task_id: "t".into(), ..Default::default() };
        assert_eq!(task(of_task(&plain, 7).unwrap()).unwrap(), plain);
    }

    #[test]
    fn no_name_of_a_field_is_one_that_a_server_refuses() {
        fn check(value: &Bson) {
            if let Bson::Document(document) = value {
                assert!(document.keys().all(|name| !name.contains('.') && !name.starts_with('$')), "{document}");
                document.values().for_each(check);
            }
            let list = value.as_array().into_iter().flatten();
            list.for_each(|value| {
                assert!(value.as_array().is_none(), "a list in a list: {value}");
                check(value);
            });
        }
        let status: TrainingStatus = serde_json::from_value(serde_json::json!({
            "task_id": "t", "task_status": "running", "stats": { "submitted": "" }, "evaluation": { "a.b": 1.0 },
            "search": { "metric": "auc", "rung": 1, "rungs": 1, "leaderboard": [
                { "trial": 0, "state": "open", "epochs": 1, "parameters": { "a.b": [[1]], "$c": { "d.e": 1 } } }
            ] }
        }))
        .unwrap();
        check(&Bson::Document(of_task(&status, 0).unwrap()));
    }
}
