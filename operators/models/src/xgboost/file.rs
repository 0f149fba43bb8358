//! The JSON of an XGBoost model, as far as scoring needs it.
//!
//! Every vector grows with the bytes read, never with a number that the file claims.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub learner: Learner,
}

#[derive(Debug, Deserialize)]
pub(super) struct Learner {
    #[serde(default)]
    pub feature_names: Vec<String>,
    pub gradient_booster: Booster,
    pub learner_model_param: LearnerParam,
    pub objective: Objective,
}

#[derive(Debug, Deserialize)]
pub(super) struct Objective {
    pub name: String,
}

/// Numbers are strings in XGBoost's parameter blocks.
#[derive(Debug, Deserialize)]
pub(super) struct LearnerParam {
    pub base_score: String,
    pub num_feature: String,
    #[serde(default)]
    pub num_class: String,
    #[serde(default)]
    pub num_target: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Booster {
    pub name: String,
    #[serde(default)]
    pub model: Trees,
}

/// `gblinear` has a `model` without trees, `dart` none: both must parse, to be refused by name.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Trees {
    #[serde(default)]
    pub gbtree_model_param: TreesParam,
    #[serde(default)]
    pub tree_info: Vec<i32>,
    #[serde(default)]
    pub trees: Vec<Tree>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct TreesParam {
    #[serde(default)]
    pub num_trees: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tree {
    #[serde(deserialize_with = "super::flags::read")]
    pub default_left: Vec<bool>,
    pub left_children: Vec<i32>,
    pub right_children: Vec<i32>,
    pub split_conditions: Vec<f32>,
    pub split_indices: Vec<u32>,
    #[serde(default)]
    pub split_type: Vec<u8>,
    pub tree_param: TreeParam,
}

#[derive(Debug, Deserialize)]
pub(super) struct TreeParam {
    pub num_nodes: String,
    #[serde(default)]
    pub num_deleted: String,
    #[serde(default)]
    pub size_leaf_vector: String,
}
