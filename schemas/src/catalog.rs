//! The model catalog as it travels on the topic `models`: versions of models, and the numbers reserved for them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::promotion::Promotion;
use crate::signature::TensorSpec;

/// One entry of the topic `models`. The newest record of a key holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CatalogRecord {
    /// A version of a model, as it is now.
    Version(Box<ModelVersion>),
    /// A version number that belongs to a task, whether or not the task has ended yet.
    Reservation(Reservation),
    /// Which model a pipeline is to score with from now on.
    Promotion(Promotion),
}

/// A version of a model. Only `stage` and what goes with it ever change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelVersion {
    /// Model name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Version number, from 1; unique within the name.
    pub version: u32,
    /// The task that the number was reserved for: a training task, or `sha256:DIGEST` of a model that was added.
    pub task_id: String,
    /// How far it has come.
    pub stage: Stage,
    /// Unique id of the decision that set the stage: whoever must repeat a write tells its own from another's.
    pub decision: String,
    /// What it is for: `classification`, `regression`, `anomaly-detection`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub objective: String,
    /// Format of the artifact: `xgboost-json`, `onnx`, …
    pub format: String,
    /// For people; `models list --search` looks here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it takes.
    pub inputs: Vec<TensorSpec>,
    /// What it gives.
    pub outputs: Vec<TensorSpec>,
    /// How good it was found to be: finite numbers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// SHA-256 of the artifact, 64 hex digits in lower case; compared at every load.
    pub digest: String,
    /// Address of the artifact: `file://…` or `s3://…`.
    pub artifact: String,
    /// SHA-256 of the data that it was trained on: of the bytes of the file or object; of a range of a topic, of its
    /// rows with their labels, a line of JSON each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_digest: Option<String>,
    /// Where it comes from.
    #[serde(default)]
    pub lineage: Lineage,
    /// When it was registered, in milliseconds since 1970.
    pub created_at: i64,
}

/// How far a version has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// May be used.
    Registered,
    /// Is not to be used any more; what it scored stays explained.
    Retired,
}

impl Stage {
    /// `registered` or `retired`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Registered => "registered",
            Stage::Retired => "retired",
        }
    }
}

/// Where a version comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lineage {
    /// Position of the request that asked for it: `topic/partition/offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The data set: a path, or the topic and its range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The file that it was added from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Version of the program that registered it; with `+` and the commit where its build was told of one.
    pub code_version: String,
}

/// A version number that belongs to a task: however often the task is tried again, it gets the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reservation {
    /// Model name.
    pub name: String,
    /// The number.
    pub version: u32,
    /// Whose it is.
    pub task_id: String,
}

/// An entry that nobody may register.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {what}")]
pub struct InvalidEntry {
    /// Field of the entry.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub what: String,
}

/// Longest model name or task id: both become keys, and documents of a database.
pub const MAX_NAME_BYTES: usize = 200;

/// Refuses a name that would not fit into a key, a header (`name/version#digest`) or a path.
pub fn check_name(name: &str) -> Result<(), InvalidEntry> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(plain) {
        true => Ok(()),
        false => Err(invalid("name", "use 1 to 200 letters, digits, `-`, `_` and `.`")),
    }
}

fn invalid(field: &'static str, what: &str) -> InvalidEntry {
    InvalidEntry { field, what: what.to_owned() }
}

impl Reservation {
    /// Refuses what no key can hold.
    pub fn check(name: &str, task_id: &str) -> Result<(), InvalidEntry> {
        check_name(name)?;
        match !task_id.is_empty() && task_id.len() <= MAX_NAME_BYTES && !task_id.contains(char::is_control) {
            true => Ok(()),
            false => Err(invalid("task_id", "use 1 to 200 characters, no control characters")),
        }
    }

    /// Key of the record of a task's number.
    pub fn key_of(name: &str, task_id: &str) -> String {
        format!("task/{name}/{task_id}")
    }
}

impl ModelVersion {
    /// `name/version`.
    pub fn reference(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }

    /// Key of the record of a version.
    pub fn key_of(name: &str, version: u32) -> String {
        format!("version/{name}/{version}")
    }

    /// Refuses an entry that later readers could not use.
    pub fn check(&self) -> Result<(), InvalidEntry> {
        Reservation::check(&self.name, &self.task_id)?;
        if self.version == 0 {
            return Err(invalid("version", "versions begin with 1"));
        }
        if !is_digest(&self.digest) {
            return Err(invalid("digest", "needs the 64 lower-case hex digits of a SHA-256"));
        }
        if self.artifact.is_empty() {
            return Err(invalid("artifact", "needs the address of the artifact"));
        }
        match self.metrics.iter().find(|(_, value)| !value.is_finite()) {
            Some((name, value)) => {
                Err(invalid("metrics", &format!("`{name}` is {value}; only finite numbers are JSON")))
            }
            None => Ok(()),
        }
    }
}

/// True for 64 hex digits in lower case.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    /// The entry of the example file.
    fn example() -> ModelVersion {
        let text = include_str!("../examples/records/models/ok-version.json");
        match serde_json::from_str(text).unwrap() {
            CatalogRecord::Version(version) => *version,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_examples_read_back_and_have_their_keys() {
        let reservation = include_str!("../examples/records/models/ok-reservation.json");
        for (text, key) in [
            (include_str!("../examples/records/models/ok-version.json"), "version/higgs/3"),
            (reservation, "task/higgs/training.requests/0/17"),
            (include_str!("../examples/records/models/ok-promotion.json"), "promotion/score/7"),
        ] {
            let record: CatalogRecord = serde_json::from_str(text).unwrap();
            assert_eq!(record.key(), key);
            let again: CatalogRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
            assert_eq!(again, record);
        }
        assert_eq!(example().check(), Ok(()));
    }

    #[test]
    fn an_entry_that_nobody_could_use_is_refused_with_its_field() {
        type Change = fn(&mut ModelVersion);
        let broken: [(&str, Change); 7] = [
            ("name", |entry| entry.name = "a/b".into()),
            ("name", |entry| entry.name.clear()),
            ("task_id", |entry| entry.task_id = "a\nb".into()),
            ("version", |entry| entry.version = 0),
            ("digest", |entry| entry.digest = "9F".repeat(32)),
            ("artifact", |entry| entry.artifact.clear()),
            ("metrics", |entry| entry.metrics = [("auc".to_owned(), f64::NAN)].into()),
        ];
        for (field, breaks) in broken {
            let mut entry = example();
            breaks(&mut entry);
            assert_eq!(entry.check().unwrap_err().field, field);
        }
    }
}
