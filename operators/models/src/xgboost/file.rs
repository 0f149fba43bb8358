//! An XGBoost model as it lies in its file, as far as scoring needs it; the same for JSON and UBJSON.
//!
//! Every vector grows with the bytes read, never with a number that the file claims.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub learner: Learner,
    /// The XGBoost that wrote the file: major, minor, patch.
    #[serde(default)]
    pub version: Vec<u32>,
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

/// `gbtree` and `gblinear` have a `model`; `dart` has a `gbtree` around its `model`, and weights beside it.
#[derive(Debug, Deserialize)]
pub(super) struct Booster {
    pub name: String,
    #[serde(default)]
    pub model: Model,
    #[serde(default)]
    pub gbtree: Inner,
    #[serde(default)]
    pub weight_drop: Vec<f32>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Inner {
    #[serde(default)]
    pub model: Model,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Model {
    #[serde(default)]
    pub gbtree_model_param: TreesParam,
    #[serde(default)]
    pub tree_info: Vec<i32>,
    #[serde(default)]
    pub trees: Vec<Tree>,
    /// Since 3.4 the weights of `dart` lie beside its trees.
    #[serde(default)]
    pub weight_drop: Vec<f32>,
    /// Of `gblinear`: a row per feature, then the biases; a column per output.
    #[serde(default)]
    pub weights: Vec<f32>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct TreesParam {
    #[serde(default)]
    pub num_trees: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tree {
    #[serde(deserialize_with = "super::lenient::flags")]
    pub default_left: Vec<bool>,
    pub left_children: Vec<i32>,
    pub right_children: Vec<i32>,
    #[serde(deserialize_with = "super::lenient::floats")]
    pub split_conditions: Vec<f32>,
    pub split_indices: Vec<u32>,
    #[serde(default)]
    pub split_type: Vec<u8>,
    #[serde(default)]
    pub categories: Vec<i32>,
    #[serde(default)]
    pub categories_nodes: Vec<i32>,
    #[serde(default)]
    pub categories_segments: Vec<i64>,
    #[serde(default)]
    pub categories_sizes: Vec<i64>,
    /// Of a tree with vectors in its leaves: a vector per node.
    #[serde(default, deserialize_with = "super::lenient::floats")]
    pub base_weights: Vec<f32>,
    /// The same since 3.2: a vector per leaf, whose number stands where others have the right child.
    #[serde(default, deserialize_with = "super::lenient::floats")]
    pub leaf_weights: Vec<f32>,
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
