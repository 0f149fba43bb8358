//! The head of a LightGBM file: inputs, outputs, objective.

use super::objective::Objective;
use super::text::Fields;
use crate::ModelError;

/// More input features than any table of ours; bounds what one row can cost.
const MAX_FEATURES: usize = 1 << 16;
/// More classes than any model of ours; bounds what one row can cost.
const MAX_OUTPUTS: usize = 1 << 12;

/// What holds for all trees.
#[derive(Debug)]
pub(super) struct Head {
    pub features: usize,
    /// Names of the features; none where nobody named them.
    pub names: Vec<String>,
    /// Trees per iteration, so margins per row.
    pub outputs: usize,
    /// Whether the margins are averages over the iterations (`boosting=rf`) instead of sums.
    pub average: bool,
    pub objective: Objective,
    /// The objective as the file tells it.
    pub objective_name: String,
}

impl Head {
    pub(super) fn read(fields: &Fields) -> Result<Self, ModelError> {
        check_version(fields.get("version").unwrap_or_default())?;
        let features = fields.count("max_feature_idx")?.saturating_add(1);
        if features > MAX_FEATURES {
            let what = format!("max_feature_idx is {}", features - 1);
            return Err(ModelError::unsupported(what, format!("train on at most {MAX_FEATURES} features")));
        }
        let classes = fields.count("num_class")?;
        let outputs =
            fields.get("num_tree_per_iteration").map_or(Ok(classes), |_| fields.count("num_tree_per_iteration"))?;
        if !(1..=MAX_OUTPUTS).contains(&outputs) {
            let what = format!("num_tree_per_iteration is {outputs}");
            return Err(ModelError::unsupported(what, format!("train with 1 to {MAX_OUTPUTS} classes")));
        }
        let objective_name = fields.get("objective").unwrap_or("custom").trim().to_owned();
        let objective = Objective::parse(&objective_name, outputs)?;
        let average = fields.get("average_output").is_some();
        Ok(Self { features, names: names(fields, features)?, outputs, average, objective, objective_name })
    }
}

fn check_version(version: &str) -> Result<(), ModelError> {
    match version {
        "v2" | "v3" | "v4" => Ok(()),
        other => {
            let what = format!("LightGBM's file version \"{}\"", other.escape_debug());
            Err(ModelError::unsupported(what, "save the model with LightGBM 2.1 to 4.x"))
        }
    }
}

/// The features' names. `Column_0`, `Column_1` … are what LightGBM calls features without names.
fn names(fields: &Fields, features: usize) -> Result<Vec<String>, ModelError> {
    let names: Vec<String> =
        fields.get("feature_names").unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
    if names.len() != features {
        return Err(ModelError::unreadable(format!("{} feature_names for {features} features", names.len())));
    }
    let unnamed = names.iter().enumerate().all(|(at, name)| name.strip_prefix("Column_") == Some(&at.to_string()));
    Ok(if unnamed { Vec::new() } else { names })
}
