//! Objectives: how a base score becomes a margin, and a margin an answer.

use crate::{ModelError, math};

/// The objectives that give one number per row. Multi-class, ranking and counting objectives belong here too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objective {
    /// `binary:logistic`, `reg:logistic`: trees add up to log-odds, the answer is a probability.
    Logistic,
    /// `binary:logitraw`: as logistic, but the answer is the log-odds.
    LogitRaw,
    /// `reg:squarederror`: the answer is the sum itself.
    Identity,
}

const KNOWN: &str = "train with binary:logistic, binary:logitraw, reg:logistic or reg:squarederror";

impl Objective {
    pub(super) fn from_name(name: &str) -> Result<Self, ModelError> {
        match name {
            "binary:logistic" | "reg:logistic" => Ok(Objective::Logistic),
            "binary:logitraw" => Ok(Objective::LogitRaw),
            "reg:squarederror" => Ok(Objective::Identity),
            other => Err(ModelError::unsupported(format!("objective \"{}\"", other.escape_debug()), KNOWN)),
        }
    }

    /// The margin of a base score, as XGBoost has it: only the logistic link takes it for a probability.
    pub(super) fn margin(self, base_score: f32) -> Result<f32, ModelError> {
        match self {
            Objective::Identity | Objective::LogitRaw => Ok(base_score),
            Objective::Logistic if (0.0..=1.0).contains(&base_score) => Ok(logit(base_score)),
            Objective::Logistic => {
                Err(ModelError::unreadable(format!("base_score {base_score} is no probability between 0 and 1")))
            }
        }
    }

    /// Turns margins into answers.
    pub(super) fn apply(self, margins: &mut [f32]) {
        if self == Objective::Logistic {
            margins.iter_mut().for_each(|margin| *margin = math::sigmoid(*margin));
        }
    }

    /// Name of the output tensor.
    pub(super) fn output(self) -> &'static str {
        match self {
            Objective::Logistic => "probability",
            Objective::LogitRaw | Objective::Identity => "score",
        }
    }
}

/// XGBoost keeps a base score this far from 0 and 1, where the log-odds are infinite.
const EDGE: f32 = 1e-6;

fn logit(probability: f32) -> f32 {
    -(1.0 / probability.clamp(EDGE, 1.0 - EDGE) - 1.0).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The margin is what XGBoost 3.2 predicts with a base score of 1 and a single leaf of zero.
    #[test]
    fn a_base_score_at_the_edge_has_a_finite_margin() {
        assert_eq!(Objective::Logistic.margin(1.0).unwrap(), 13.745_16);
        assert_eq!(Objective::Logistic.margin(0.5).unwrap(), 0.0);
        assert_eq!(Objective::LogitRaw.margin(0.3).unwrap(), 0.3);
        assert!(Objective::Logistic.margin(1.5).is_err());
    }
}
