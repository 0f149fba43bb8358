//! `TrainingRequest`: what to train, on what, and how.
//!
//! Names that the trainers decide about (objective, optimizer, storage) are text here, so that a request with a word
//! nobody knows is answered with a sentence and not thrown away.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Search;
use crate::Event;

/// One event of `training.requests`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingRequest {
    /// Name of the task; derived from the record's position where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Whose task it is; a project may have a limit of jobs at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What is trained.
    pub model: ModelSpec,
    /// How.
    #[serde(default)]
    pub model_train: ModelTrain,
    /// On what.
    pub dataset: Dataset,
    /// Where a copy of the model is to go, besides the artifact store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_save: Option<ModelSave>,
    /// Trains many models instead of one and keeps the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
}

/// The model to be trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// A model to start from; not used by the trainers of tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `s3`, `local` or `hugging_face_hub`; where there is a path, what the path is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_type: Option<String>,
    /// `classification`, `regression` or `anomaly-detection`.
    pub objective: String,
    /// Name under which the catalog registers it.
    pub name: String,
    /// Widths and activation of the network; the trainer's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
}

/// A network of dense layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Widths of the hidden layers in order. Of an autoencoder all layers between input and output; the narrowest is
    /// its code.
    pub hidden: Vec<usize>,
    /// `relu`, `tanh` or `sigmoid`, after each hidden layer.
    #[serde(default = "relu")]
    pub activation: String,
}

fn relu() -> String {
    "relu".to_owned()
}

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelTrain {
    /// Passes over the training part.
    pub epochs: u32,
    /// Rows of a step.
    pub batch_size: u32,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Of the split, the first weights and the order of the rows: same seed, same bytes.
    pub seed: u64,
    /// Stop where a held-out part no longer gains; absent trains all epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Weights of the classes; absent leaves the rows as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weight: Option<ClassWeight>,
}

impl Default for ModelTrain {
    /// 20 epochs in batches of 256: some seconds for a table of the size of the demo's.
    fn default() -> Self {
        let (optimizer, early_stopping, class_weight) = (Optimizer::default(), None, None);
        Self { epochs: 20, batch_size: 256, optimizer, seed: 0, early_stopping, class_weight }
    }
}

/// AdamW with a linear warm-up and a cosine decay to zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// `AdamW`.
    pub name: String,
    /// Learning rate after the warm-up.
    pub init_lr: f64,
    /// Steps over which the rate rises from zero.
    pub num_warm_steps: u64,
    /// Decoupled weight decay.
    pub weight_decay_rate: f64,
}

impl Default for Optimizer {
    /// torch's defaults of AdamW.
    fn default() -> Self {
        Self { name: "AdamW".to_owned(), init_lr: 1e-3, num_warm_steps: 0, weight_decay_rate: 0.01 }
    }
}

/// When to stop before the last epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStopping {
    /// Epochs without a better validation loss before it stops; the best epoch's weights are kept.
    pub patience: u32,
    /// What counts as better.
    pub min_delta: f64,
    /// Share of the training part that is held out for it.
    pub validation_fraction: f64,
}

impl Default for EarlyStopping {
    /// scikit-learn's `validation_fraction`, `n_iter_no_change` and `tol`.
    fn default() -> Self {
        Self { patience: 10, min_delta: 1e-4, validation_fraction: 0.1 }
    }
}

/// Weights of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassWeight {
    /// `balanced`: all classes count alike.
    Rule(String),
    /// A weight per label, as the label is written in the table.
    Each(BTreeMap<String, f64>),
}

/// The table to train on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// File, object or `topic://NAME?from=…&to=…`.
    pub path: String,
    /// `local`, `s3` or `topic`: what the path is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_type: Option<String>,
    /// `parquet`, `csv`, `arrow` or `ndjson`; found out where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Column of the label. Anomaly detection needs none; where it is given, rows of its first class are the normal
    /// ones and alone train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Columns of the features in order; all others than label and weights where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Names>,
    /// Column of event weights, which may be negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Share of the rows that only tests the trained model.
    #[serde(default = "a_fifth")]
    pub train_test_split: f64,
    /// Share of the other rows that does not train and judges each epoch. Early stopping has a share of its own instead
    /// (`validation_fraction`). Where absent, the rows that test judge the epochs, too; but a search, which chooses by
    /// them, holds out a tenth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<f64>,
}

/// Names of columns.
pub type Names = Vec<String>;

/// What most examples hold out.
fn a_fifth() -> f64 {
    0.2
}

/// Where a copy of the model is to go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSave {
    /// Folder, or address in an object store.
    pub path: String,
    /// `s3` or `local`: what the path is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_type: Option<String>,
}

/// What is wrong with the bytes of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No JSON object with a `model`: nobody can be answered, so it is a dead letter.
    #[error("no training request: {0}; send a JSON object with `model` and `dataset`")]
    Broken(String),
    /// A request that names a model but has a field nobody knows, or a value of the wrong type: the task fails.
    #[error("the training request is not valid: {reason}; see training-request.json for its fields")]
    Invalid {
        /// The task's own name, where it has one.
        task_id: Option<String>,
        /// What the parser says, with the field's name.
        reason: String,
    },
}

impl TrainingRequest {
    /// Reads a request. The error tells what cannot be answered from what fails with a sentence.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RequestError> {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| RequestError::Broken(error.to_string()))?;
        if value.get("model").is_none() {
            return Err(RequestError::Broken("`model` is missing".to_owned()));
        }
        let task_id = value.get("task_id").and_then(|id| id.as_str()).map(str::to_owned);
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        serde_path_to_error::deserialize(&mut parser)
            .map_err(|error| RequestError::Invalid { task_id, reason: error.to_string() })
    }
}

impl Event for TrainingRequest {
    /// The task; without a name of its own each request stands alone.
    fn key(&self) -> String {
        self.task_id.clone().unwrap_or_default()
    }
}
