//! Objectives: from margins to the answers of `Booster.predict` (`ConvertOutput` of each file in `src/objective/`).

use crate::{ModelError, link};

/// The objectives by what they do to the margins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Objective {
    /// Regressions, rankings and objectives of the user's own: the margin itself.
    Identity,
    /// Regressions trained on roots (`reg_sqrt`): sign(x) · x².
    SignedSquare,
    /// `poisson`, `gamma`, `tweedie`: e^x.
    Exponential,
    /// `binary`, `cross_entropy`, `multiclassova`: 1 / (1 + e^(-steepness · x)).
    Logistic { steepness: f64 },
    /// `multiclass`: softmax.
    Probabilities,
    /// `cross_entropy_lambda`: ln(1 + e^x).
    SoftPlus,
}

const KNOWN: &str = "train with one of LightGBM's own objectives";

/// Regressions that may be trained on roots: each under its own name, then those of older versions
/// (`ParseObjectiveAlias`).
const ROOTS: [&str; 16] = [
    "regression",
    "regression_l2",
    "mean_squared_error",
    "mse",
    "l2",
    "l2_root",
    "root_mean_squared_error",
    "rmse",
    "regression_l1",
    "mean_absolute_error",
    "l1",
    "mae",
    "fair",
    "quantile",
    "mape",
    "mean_absolute_percentage_error",
];
/// Others whose answer is the margin, likewise.
const MARGINS: [&str; 11] = [
    "huber",
    "lambdarank",
    "rank_xendcg",
    "xendcg",
    "xe_ndcg",
    "xe_ndcg_mart",
    "xendcg_mart",
    "custom",
    "none",
    "null",
    "na",
];

impl Objective {
    /// Of the words after `objective=`, such as `binary sigmoid:1`.
    pub(super) fn parse(text: &str, outputs: usize) -> Result<Self, ModelError> {
        let mut words = text.split_ascii_whitespace();
        let name = words.next().unwrap_or("custom");
        let options: Vec<&str> = words.collect();
        let objective = Self::named(name, &options)?;
        let classes = option(&options, "num_class").unwrap_or(1.0);
        let multi = matches!(name, "multiclass" | "softmax" | "multiclassova" | "multiclass_ova" | "ova" | "ovr");
        match (multi, objective) {
            (true, _) if classes != outputs as f64 => {
                Err(ModelError::unreadable(format!("objective \"{text}\" with {outputs} trees per iteration")))
            }
            (false, objective) if outputs != 1 && objective != Objective::Identity => Err(ModelError::unreadable(
                format!("objective \"{name}\" has one answer, and {outputs} trees per iteration"),
            )),
            (_, objective) => Ok(objective),
        }
    }

    fn named(name: &str, options: &[&str]) -> Result<Self, ModelError> {
        match name {
            name if ROOTS.contains(&name) && options.contains(&"sqrt") => Ok(Objective::SignedSquare),
            name if ROOTS.contains(&name) || MARGINS.contains(&name) => Ok(Objective::Identity),
            "poisson" | "gamma" | "tweedie" => Ok(Objective::Exponential),
            "cross_entropy" | "xentropy" => Ok(Objective::Logistic { steepness: 1.0 }),
            "cross_entropy_lambda" | "xentlambda" => Ok(Objective::SoftPlus),
            "binary" | "multiclassova" | "multiclass_ova" | "ova" | "ovr" => logistic(options),
            "multiclass" | "softmax" => Ok(Objective::Probabilities),
            other => Err(ModelError::unsupported(format!("objective \"{}\"", other.escape_debug()), KNOWN)),
        }
    }

    /// Turns margins, `width` per row, into answers.
    pub(super) fn apply(self, margins: &mut [f64], width: usize) {
        match self {
            Objective::Identity => {}
            Objective::SignedSquare => link::signed_square_f64(margins),
            Objective::Exponential => link::exp_f64(margins),
            Objective::Logistic { steepness } => link::sigmoid_f64(margins, steepness),
            Objective::Probabilities => link::softmax_f64(margins, width),
            Objective::SoftPlus => link::log_one_plus_exp_f64(margins),
        }
    }

    /// Name of the output tensor.
    pub(super) fn output(self, width: usize) -> &'static str {
        match self {
            Objective::Logistic { .. } if width == 1 => "probability",
            Objective::Logistic { .. } | Objective::Probabilities => "probabilities",
            _ => "score",
        }
    }
}

fn logistic(options: &[&str]) -> Result<Objective, ModelError> {
    match option(options, "sigmoid") {
        Some(steepness) if steepness > 0.0 && steepness.is_finite() => Ok(Objective::Logistic { steepness }),
        _ => Err(ModelError::unreadable("the objective has no sigmoid above zero")),
    }
}

/// The number of an option such as `sigmoid:1`.
fn option(options: &[&str], name: &str) -> Option<f64> {
    options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_ages_and_their_options() {
        let parse = |text, outputs| Objective::parse(text, outputs).unwrap();
        assert_eq!(parse("binary sigmoid:0.7", 1), Objective::Logistic { steepness: 0.7 });
        assert_eq!(parse("regression sqrt", 1), Objective::SignedSquare);
        assert_eq!(parse("huber sqrt", 1), Objective::Identity);
        assert_eq!(parse("poisson sqrt", 1), Objective::Exponential);
        assert_eq!(parse("multiclassova num_class:3 sigmoid:2", 3), Objective::Logistic { steepness: 2.0 });
        assert_eq!(parse("none", 5), Objective::Identity);
        for (bad, outputs) in [("binary sigmoid:-1", 1), ("binary", 1), ("multiclass num_class:3", 2), ("poisson", 2)] {
            assert!(Objective::parse(bad, outputs).is_err(), "{bad}");
        }
        assert!(Objective::parse("mystery", 1).unwrap_err().to_string().contains("mystery"));
    }
}
