//! Objectives: how a base score becomes a margin, and margins an answer (XGBoost's `ProbToMargin` and `PredTransform`
//! of each file in `src/objective/`).

use lunapark_schemas::rows::Values;
use lunapark_schemas::{Datatype, TensorSpec};

use crate::{ModelError, link};

/// The objectives by what they do to the sum of the leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objective {
    /// `binary:logistic`, `reg:logistic`: trees add up to log-odds, the answer is a probability.
    Logistic,
    /// Regressions and rankings: the answer is the sum itself.
    Identity,
    /// `binary:logitraw` of XGBoost before 1.3: the same, but the base score is a probability, as for Logistic.
    RawLogistic,
    /// Counts, amounts and survival: trees add up to a logarithm.
    Exponential,
    /// `binary:hinge`: the answer is the label.
    Hinge,
    /// `multi:softprob`: a probability per class.
    Probabilities,
    /// `multi:softmax`: the most probable class.
    Label,
    /// `reg:quantileerror` of several quantiles, as XGBoost 3.4 and later answer: ascending.
    Sorted,
}

const KNOWN: &str = "train with one of XGBoost's own objectives (binary:, multi:, reg:, count:, rank:, survival:)";
/// Before this XGBoost, `binary:logitraw` has the base score of `binary:logistic` (`LogisticRaw` has no `ProbToMargin` of
/// its own).
const RAW_BASE_SCORE: [u32; 2] = [1, 3];
/// From this XGBoost on, several quantiles of a row are sorted; the version that wrote the file decides.
const SORTS_QUANTILES: [u32; 2] = [3, 4];

impl Objective {
    /// `version` is that of the XGBoost that wrote the file, `outputs` the number of margins per row.
    pub(super) fn from_name(name: &str, version: &[u32], outputs: usize) -> Result<Self, ModelError> {
        match name {
            "binary:logistic" | "reg:logistic" => Ok(Objective::Logistic),
            "reg:quantileerror" if outputs > 1 && version >= &SORTS_QUANTILES[..] => Ok(Objective::Sorted),
            "binary:logitraw" if !version.is_empty() && version < &RAW_BASE_SCORE[..] => Ok(Objective::RawLogistic),
            "binary:logitraw"
            | "reg:squarederror"
            | "reg:linear"
            | "reg:squaredlogerror"
            | "reg:pseudohubererror"
            | "reg:absoluteerror"
            | "reg:quantileerror"
            | "rank:pairwise"
            | "rank:ndcg"
            | "rank:map" => Ok(Objective::Identity),
            "count:poisson" | "reg:gamma" | "reg:tweedie" | "survival:cox" | "survival:aft" => {
                Ok(Objective::Exponential)
            }
            "binary:hinge" => Ok(Objective::Hinge),
            "multi:softprob" => Ok(Objective::Probabilities),
            "multi:softmax" => Ok(Objective::Label),
            other => Err(ModelError::unsupported(format!("objective \"{}\"", other.escape_debug()), KNOWN)),
        }
    }

    /// The margin of a base score, as XGBoost has it.
    pub(super) fn margin(self, base_score: f32) -> Result<f32, ModelError> {
        match self {
            Objective::Logistic | Objective::RawLogistic if (0.0..=1.0).contains(&base_score) => Ok(logit(base_score)),
            Objective::Logistic | Objective::RawLogistic => {
                Err(ModelError::unreadable(format!("base_score {base_score} is no probability between 0 and 1")))
            }
            Objective::Exponential if base_score > 0.0 => Ok(base_score.ln()),
            Objective::Exponential => Err(ModelError::unreadable(format!(
                "base_score {base_score} has no logarithm, which the objective takes"
            ))),
            _ => Ok(base_score),
        }
    }

    /// Turns margins, `width` per row, into answers.
    pub(super) fn apply(self, mut margins: Vec<f32>, width: usize) -> Values {
        match self {
            Objective::Identity | Objective::RawLogistic => {}
            Objective::Logistic => link::sigmoid(&mut margins),
            Objective::Exponential => link::exp(&mut margins),
            Objective::Probabilities => link::softmax(&mut margins, width),
            Objective::Sorted => link::sort(&mut margins, width),
            Objective::Hinge => return Values::I64(margins.iter().map(|&margin| i64::from(margin > 0.0)).collect()),
            Objective::Label => return Values::I64(link::arg_max(&margins, width)),
        }
        Values::F32(margins)
    }

    /// The output tensor, of `width` margins per row.
    pub(super) fn output(self, width: usize) -> TensorSpec {
        let (name, datatype, width) = match self {
            Objective::Logistic if width == 1 => ("probability", Datatype::Fp32, 1),
            Objective::Logistic | Objective::Probabilities => ("probabilities", Datatype::Fp32, width),
            Objective::Identity | Objective::RawLogistic | Objective::Exponential | Objective::Sorted => {
                ("score", Datatype::Fp32, width)
            }
            Objective::Hinge => ("label", Datatype::Int64, width),
            Objective::Label => ("label", Datatype::Int64, 1),
        };
        TensorSpec::new(name, datatype, width)
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
        assert_eq!(Objective::Identity.margin(-0.3).unwrap(), -0.3);
        assert_eq!(Objective::Exponential.margin(1.0).unwrap(), 0.0);
        assert!(Objective::Logistic.margin(1.5).is_err() && Objective::Exponential.margin(0.0).is_err());
    }

    /// XGBoost 1.2 predicts -0.847 with a base score of 0.3 and a single leaf of zero, 1.3 predicts 0.3.
    #[test]
    fn a_raw_score_starts_at_the_log_odds_before_version_1_3() {
        let objective = |version: &[u32]| Objective::from_name("binary:logitraw", version, 1).unwrap();
        for old in [[1, 0, 2], [1, 2, 1]] {
            assert_eq!(objective(&old), Objective::RawLogistic);
            let margin = objective(&old).margin(0.3).unwrap();
            assert!((margin + 0.847_298).abs() < 1e-6 && objective(&old).margin(1.5).is_err(), "{margin}");
            assert!(matches!(objective(&old).apply(vec![margin], 1), Values::F32(values) if values == [margin]));
        }
        for new in [&[1, 3, 0][..], &[1, 7, 6], &[3, 2, 0], &[]] {
            assert_eq!(objective(new), Objective::Identity, "{new:?}");
        }
    }

    #[test]
    fn quantiles_are_sorted_from_the_version_that_does() {
        let objective = |version: &[u32], outputs| Objective::from_name("reg:quantileerror", version, outputs).unwrap();
        assert_eq!(objective(&[3, 4, 0], 3), Objective::Sorted);
        let sorted = objective(&[4, 0, 0], 3).apply(vec![3.0, 1.0, 2.0, 0.0, -1.0, 5.0], 3);
        assert!(matches!(sorted, Values::F32(values) if values == [1.0, 2.0, 3.0, -1.0, 0.0, 5.0]));
        for (version, outputs) in [(&[3, 2, 0][..], 3), (&[3, 4, 1], 1), (&[], 3)] {
            assert_eq!(objective(version, outputs), Objective::Identity);
        }
    }
}
