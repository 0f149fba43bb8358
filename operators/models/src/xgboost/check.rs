//! From a parsed file to a forest: every number is checked before anything relies on it.

use super::file::{File, Learner};
use super::{nesting, tree};
use crate::ModelError;
use crate::trees::{Combine, Forest, ForestBuilder, ForestSpec, Precision};

/// More input features than any table of ours; bounds what one row can cost.
const MAX_FEATURES: usize = 1 << 16;

/// Parses the JSON.
pub(super) fn read(bytes: &[u8]) -> Result<Learner, ModelError> {
    nesting::check(bytes)?;
    sonic_rs::from_slice::<File>(bytes).map(|file| file.learner).map_err(|error| {
        let (line, column, text) = (error.line(), error.column(), error.to_string());
        let reason = text.lines().next().and_then(|first| first.split(" at line ").next()).unwrap_or_default();
        ModelError::unreadable(format!("no XGBoost JSON model, line {line} column {column}: {reason}"))
    })
}

/// The number of features, agreed upon by all parts of the file.
pub(super) fn features(learner: &Learner) -> Result<usize, ModelError> {
    let features = number(&learner.learner_model_param.num_feature, "num_feature")?;
    if features == 0 || features > MAX_FEATURES {
        let what = format!("num_feature is {features}");
        return Err(ModelError::unsupported(what, format!("train on 1 to {MAX_FEATURES} features")));
    }
    let names = learner.feature_names.len();
    if names != 0 && names != features {
        return Err(ModelError::unreadable(format!("{names} feature_names for num_feature {features}")));
    }
    Ok(features)
}

/// `5E-1`, or since version 3 `[5E-1]`.
pub(super) fn base_score(text: &str) -> Result<f32, ModelError> {
    let inner = text.trim().strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if inner.contains(',') {
        return Err(ModelError::unsupported("base_score has several values", "train with a single target"));
    }
    match inner.trim().parse::<f32>() {
        Ok(score) if score.is_finite() => Ok(score),
        _ => Err(ModelError::unreadable(format!("base_score \"{}\" is no number", text.escape_debug()))),
    }
}

/// The trees, in the file's order, as a forest whose rows start at `base`.
pub(super) fn forest(learner: &Learner, features: usize, base: f32) -> Result<Forest, ModelError> {
    check_booster(learner)?;
    let model = &learner.gradient_booster.model;
    let claimed = optional(&model.gbtree_model_param.num_trees, "num_trees", model.trees.len())?;
    if claimed != model.trees.len() {
        let found = model.trees.len();
        return Err(ModelError::unreadable(format!("num_trees is {claimed}, but the file holds {found} trees")));
    }
    let (precision, combine, base) = (Precision::Single, Combine::Sum, vec![f64::from(base)]);
    let mut builder = ForestBuilder::new(ForestSpec { features, outputs: 1, precision, combine, base });
    for (index, tree) in model.trees.iter().enumerate() {
        tree::add(&mut builder, tree, &learner.feature_names).map_err(|error| in_tree(error, index))?;
    }
    builder.finish()
}

fn check_booster(learner: &Learner) -> Result<(), ModelError> {
    let booster = &learner.gradient_booster;
    let param = &learner.learner_model_param;
    let classes = optional(&param.num_class, "num_class", 0)?;
    let targets = optional(&param.num_target, "num_target", 1)?;
    if booster.name != "gbtree" {
        let what = format!("booster \"{}\"", booster.name.escape_debug());
        return Err(ModelError::unsupported(what, "train with booster=gbtree"));
    }
    if classes > 1 || targets > 1 || booster.model.tree_info.iter().any(|&group| group != 0) {
        let what = format!("num_class {classes}, num_target {targets}: several answers per row");
        return Err(ModelError::unsupported(what, "train one model per class or target"));
    }
    Ok(())
}

fn in_tree(mut error: ModelError, index: usize) -> ModelError {
    error.what = format!("tree {index}: {}", error.what);
    error
}

/// A number of a parameter block, where all are strings.
pub(super) fn number(text: &str, name: &str) -> Result<usize, ModelError> {
    text.parse().map_err(|_| ModelError::unreadable(format!("{name} \"{}\" is no whole number", text.escape_debug())))
}

/// The same, or `default` where an older version does not write it.
pub(super) fn optional(text: &str, name: &str, default: usize) -> Result<usize, ModelError> {
    if text.is_empty() { Ok(default) } else { number(text, name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_scores_of_all_versions() {
        assert_eq!(base_score("5E-1").unwrap(), 0.5);
        assert_eq!(base_score("[5E-1]").unwrap(), 0.5);
        assert_eq!(base_score("0.25").unwrap(), 0.25);
        assert!(base_score("[5E-1,5E-1]").unwrap_err().to_string().contains("several"));
        assert!(base_score("[NaN]").is_err() && base_score("").is_err() && base_score("inf").is_err());
    }
}
