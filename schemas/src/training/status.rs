//! `TrainingStatus`: where a task stands and what came of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SearchReport, TrialReference};
use crate::Event;

/// One event of `training.status`. Each task has exactly one whose status is terminal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingStatus {
    /// Which task.
    pub task_id: String,
    /// Whose task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Where it stands.
    pub task_status: TaskStatus,
    /// Times.
    pub stats: TrainingStats,
    /// Place in the queue, 1 is next; while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u64>,
    /// While it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<TrainingProgress>,
    /// Losses and scores of each epoch so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Epoch>,
    /// What the trained model does on the test part: `auc`, `accuracy`, `log_loss`, `rmse` and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evaluation: BTreeMap<String, f64>,
    /// What it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetReport>,
    /// The version that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelReference>,
    /// Why it failed and what to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of a search: how its trials stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchReport>,
    /// Of a trial: the search that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialReference>,
}

impl Event for TrainingStatus {
    fn key(&self) -> String {
        self.task_id.clone()
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// Waits.
    #[default]
    Submitted,
    /// Is trained.
    Running,
    /// Has become a version in the catalog.
    Succeeded,
    /// Cannot be trained; the error says why.
    Failed,
    /// Was cancelled.
    Cancelled,
}

impl TaskStatus {
    /// Nothing follows it.
    pub fn terminal(self) -> bool {
        !matches!(self, TaskStatus::Submitted | TaskStatus::Running)
    }
}

/// Times of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingStats {
    /// When the request was sent, RFC 3339.
    pub submitted: String,
    /// When a worker first took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// Seconds since a worker first took it, also those in which none was at it.
    #[serde(default)]
    pub elapsed_seconds: f64,
    /// How often a checkpoint was gone on from.
    #[serde(default)]
    pub resumed: u32,
}

/// How far a task is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingProgress {
    /// Epoch being trained, from 1.
    pub epoch: u32,
    /// All epochs.
    pub epochs: u32,
    /// Steps done.
    pub step: u64,
    /// All steps.
    pub steps: u64,
    /// Rows a second.
    pub samples_per_second: f64,
    /// Seconds to the last epoch at this speed.
    pub eta_seconds: f64,
}

/// What an epoch gave. `val_` is the validation part (of early stopping, a search, or `dataset.validation_split`), or
/// without one the test part; of many rows some thousands, drawn by the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Epoch {
    /// From 1.
    pub epoch: u32,
    /// Mean training loss, taken while the weights changed.
    pub loss: f64,
    /// Loss on the held-out rows after the epoch.
    pub val_loss: f64,
    /// Share of held-out rows answered right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_accuracy: Option<f64>,
    /// Area under the ROC curve of the held-out rows; of more than two classes the mean of each one's against the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_auc: Option<f64>,
    /// Learning rate at its end.
    pub learning_rate: f64,
}

/// The table as the trainer saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetReport {
    /// Rows that trained.
    pub samples_train: u64,
    /// Rows held out of them to judge each epoch.
    #[serde(default)]
    pub samples_validation: u64,
    /// Rows that test.
    pub samples_test: u64,
    /// Rows left out because the topic of labels has none for them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlabelled: u64,
    /// Each feature over all rows.
    pub features: Vec<FeatureStatistics>,
    /// Rows and weight of each class, in the order of the model's outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_balance: Vec<ClassCount>,
}

/// What most tasks have, and need not send.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One feature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureStatistics {
    /// Column.
    pub name: String,
    /// Smallest value.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation, of the population as `StandardScaler` has it.
    pub std: f64,
    /// Missing values (null or NaN).
    pub missing: u64,
}

/// One class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassCount {
    /// The label as it is written in the table.
    pub class: String,
    /// Its rows.
    pub rows: u64,
    /// Sum of their event weights.
    pub weight: f64,
}

/// A version in the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelReference {
    /// Model name.
    pub name: String,
    /// Its number.
    pub version: u32,
    /// SHA-256 of the artifact.
    pub digest: String,
}
