//! From a parsed file to its numbers: every one is checked before anything relies on it.

use super::file::{Booster, Learner, LearnerParam, Model};
use super::objective::Objective;
use super::{json, ubjson};
use crate::ModelError;
use crate::xgboost::file::File;

/// More input features than any table of ours; bounds what one row can cost.
const MAX_FEATURES: usize = 1 << 16;
/// More classes or targets than any model of ours; bounds what one row can cost.
const MAX_OUTPUTS: usize = 1 << 12;

/// Parses the JSON or UBJSON.
pub(super) fn read(bytes: &[u8], binary: bool) -> Result<File, ModelError> {
    if binary { ubjson::read(bytes) } else { json::read(bytes) }
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

/// Margins per row: classes, or targets, or one.
pub(super) fn outputs(param: &LearnerParam) -> Result<usize, ModelError> {
    let classes = optional(&param.num_class, "num_class", 0)?;
    let targets = optional(&param.num_target, "num_target", 1)?;
    let outputs = classes.max(targets).max(1);
    if classes > 1 && targets > 1 {
        return Err(ModelError::unreadable(format!("num_class is {classes} and num_target {targets}: one must be 1")));
    }
    if outputs > MAX_OUTPUTS {
        let what = format!("{outputs} classes or targets");
        return Err(ModelError::unsupported(what, format!("train with {MAX_OUTPUTS} at most")));
    }
    Ok(outputs)
}

/// The margin that each output starts with: of one base score for all, or of one each.
pub(super) fn base(text: &str, objective: Objective, outputs: usize) -> Result<Vec<f64>, ModelError> {
    let scores = base_scores(text)?;
    if scores.len() != 1 && scores.len() != outputs {
        return Err(ModelError::unreadable(format!("{} base scores for {outputs} outputs", scores.len())));
    }
    let margin = |output: usize| objective.margin(scores[output % scores.len()]).map(f64::from);
    (0..outputs).map(margin).collect()
}

/// `5E-1`, or since version 3.1 `[5E-1,2.5E-1]`, one or one per output.
fn base_scores(text: &str) -> Result<Vec<f32>, ModelError> {
    let inner = text.trim().strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let score = |part: &str| part.trim().parse::<f32>().ok().filter(|score| score.is_finite());
    let scores: Option<Vec<f32>> = inner.split(',').map(score).collect();
    scores.ok_or_else(|| ModelError::unreadable(format!("base_score \"{}\" is no number", text.escape_debug())))
}

/// The trees or weights, and the factor of each tree (`dart`); of other boosters none.
pub(super) fn booster(booster: &Booster) -> Result<(&Model, &[f32]), ModelError> {
    let (model, weights) = match booster.name.as_str() {
        "gbtree" | "gblinear" => (&booster.model, &booster.model.weight_drop),
        "dart" if booster.weight_drop.is_empty() => (&booster.gbtree.model, &booster.gbtree.model.weight_drop),
        "dart" => (&booster.gbtree.model, &booster.weight_drop),
        other => {
            let what = format!("booster \"{}\"", other.escape_debug());
            return Err(ModelError::unsupported(what, "train with booster gbtree, dart or gblinear"));
        }
    };
    let (trees, factors) = (model.trees.len(), weights.len());
    match weights.iter().position(|weight| !weight.is_finite()) {
        Some(at) => Err(ModelError::unreadable(format!("weight_drop[{at}] is {}", weights[at]))),
        // Without its weight a tree would count in full.
        None if factors != trees && (factors > 0 || booster.name == "dart") => {
            Err(ModelError::unreadable(format!("{factors} weights in weight_drop, {trees} trees")))
        }
        None => Ok((model, weights)),
    }
}

/// XGBoost 1.6 sends a category beyond a set's last word where missing values go, all later versions to the left, as is
/// done here.
pub(super) fn categories(version: &[u32], model: &Model) -> Result<(), ModelError> {
    let categorical = || model.trees.iter().any(|tree| tree.split_type.contains(&1));
    if version.starts_with(&[1, 6]) && categorical() {
        let what = "categorical splits of XGBoost 1.6, whose rule for unknown categories no other version has";
        let advice = "load the model in XGBoost 1.7 or later, compare its answers and save it from there";
        return Err(ModelError::unsupported(what, advice));
    }
    Ok(())
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
        let base = |text, outputs| base(text, Objective::Identity, outputs);
        assert_eq!(base("5E-1", 1).unwrap(), [0.5]);
        assert_eq!(base("[5E-1]", 2).unwrap(), [0.5, 0.5]);
        assert_eq!(base("[5E-1,-2.5E-1]", 2).unwrap(), [0.5, -0.25]);
        assert_eq!(base("0.25", 1).unwrap(), [0.25]);
        assert!(base("[5E-1,5E-1]", 3).unwrap_err().to_string().contains("2 base scores for 3 outputs"));
        for bad in ["[NaN]", "", "inf", "[1,]", "[[1]]"] {
            assert!(base(bad, 1).is_err(), "{bad:?}");
        }
    }
}
