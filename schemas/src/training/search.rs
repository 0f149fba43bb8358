//! Hyper-parameter search: what is asked for, and the trials that come of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::TrainingRequest;
use crate::Event;

/// Values of a trial, by the field of the request that each takes the place of.
pub type Parameters = BTreeMap<String, Value>;

/// A search for the best values of some fields of `model_train` and `model.architecture`, by successive halving: all
/// trials begin, and after each rung the better half goes on. Rows held out of those that train choose it, by
/// `dataset.validation_split` or early stopping; those that test have no part in it, so that the evaluation is fair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The budget: so many trials begin.
    pub trials: u32,
    /// What is compared on the held-out rows: `auc` (of more than two classes the mean of each one's against all
    /// others), `accuracy` or `loss`. Where absent, `auc` of a classification, `loss` of anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Where the values are looked for, by the field's path, such as `model_train.optimizer.init_lr`.
    pub ranges: BTreeMap<String, SearchRange>,
    /// Of the values: same seed, same trials.
    #[serde(default)]
    pub seed: u64,
}

/// Values that a field may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SearchRange {
    /// Any number between both, each as likely.
    Linear([f64; 2]),
    /// Any number between both, each order of magnitude as likely.
    Log([f64; 2]),
    /// Any whole number between both, both included.
    Int([i64; 2]),
    /// One of these.
    Choice(Vec<Value>),
}

/// One event of `training.trials`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TrialRecord {
    /// A trial is to be trained up to an epoch; any worker may.
    Trial {
        /// Of which search.
        of: Box<SearchOrigin>,
        /// Which trial, how far.
        at: TrialPlace,
    },
    /// It has been. In the partition of the search, whose owner decides what comes next.
    Trained {
        /// Of which search.
        of: Box<SearchOrigin>,
        /// Which trial, how far.
        at: TrialPlace,
        /// What came of it.
        end: TrialEnd,
    },
}

impl TrialRecord {
    /// The search that it belongs to.
    pub fn origin(&self) -> &SearchOrigin {
        match self {
            TrialRecord::Trial { of, .. } | TrialRecord::Trained { of, .. } => of,
        }
    }
}

impl Event for TrialRecord {
    fn key(&self) -> String {
        self.origin().task_id.clone()
    }
}

/// The search that a trial belongs to, with all that any worker needs to know of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchOrigin {
    /// The search's task.
    pub task_id: String,
    /// Where its request stands: `training.requests/PARTITION/OFFSET`.
    pub request_position: String,
    /// Partition in which its trials are counted.
    pub partition: i32,
    /// When the request was sent, milliseconds since 1970.
    pub submitted: i64,
    /// Folder of its checkpoints in the store: 32 hex digits.
    pub folder: String,
    /// What an open `topic://` data set means: the same for all trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<TopicRange>,
    /// The request.
    pub request: TrainingRequest,
}

/// A range of a topic: offsets `[from, to)` of each partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopicRange {
    /// Its name.
    pub topic: String,
    /// From and to, by partition.
    pub partitions: Vec<(i64, i64)>,
    /// The labels of these records, as they were when the task began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Box<TopicRange>>,
}

/// A trial at a rung of the ladder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialPlace {
    /// Number of the trial, from 0.
    pub trial: u32,
    /// Rung, from 0.
    pub rung: u32,
    /// Epochs that it has then been trained in all.
    pub epochs: u32,
    /// Its values.
    pub parameters: Parameters,
}

/// What came of a trial at a rung.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialEnd {
    /// The metric, of which more is better: a loss counts as negative. Absent where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It was cancelled.
    #[serde(default)]
    pub cancelled: bool,
    /// Digest of the model that a trial of the last rung has become: until it is registered, nothing else names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
}

/// How a search stands: the leaderboard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchReport {
    /// What is compared.
    pub metric: String,
    /// Rung under way, from 1, and all rungs.
    pub rung: u32,
    /// All rungs.
    pub rungs: u32,
    /// The trials, the best first.
    pub leaderboard: Vec<TrialReport>,
}

/// One trial on the leaderboard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialReport {
    /// Its number, from 0.
    pub trial: u32,
    /// Where it stands.
    pub state: TrialState,
    /// Epochs trained.
    pub epochs: u32,
    /// The metric of its last rung, as the metric is: a loss is positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<f64>,
    /// Its values.
    pub parameters: Parameters,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where a trial stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrialState {
    /// Its rung is not over.
    #[default]
    Open,
    /// Others were better.
    Stopped,
    /// Trained to the end.
    Finished,
    /// Cannot be trained.
    Failed,
    /// Was cancelled.
    Cancelled,
}

/// Which trial a status is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrialReference {
    /// Task of the search.
    pub search: String,
    /// Its number, from 0.
    pub trial: u32,
    /// Rung, from 0.
    pub rung: u32,
}
