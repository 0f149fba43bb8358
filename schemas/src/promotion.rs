//! Promotions: which model a pipeline is to score with from now on, and how far that has come.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::share::Share;

/// A promotion, on the topic `models` under the key `promotion/PIPELINE/ID`; every change of its stage writes it anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Promotion {
    /// Its number: of two promotions of a pipeline the one with the higher number is the later one, and wins.
    pub id: u64,
    /// Pipeline (consumer group) that is to switch.
    pub pipeline: String,
    /// Model name.
    pub model: String,
    /// Model version.
    pub version: String,
    /// SHA-256 of the artifact, 64 hex digits: every instance checks it.
    pub digest: String,
    /// Address of the artifact: a path, `file://`, `s3://` or `builtin:`.
    pub artifact: String,
    /// What the model is to do. `kind` is what the topic's records are told apart by.
    #[serde(default, rename = "intent", skip_serializing_if = "PromotionKind::is_switch")]
    pub kind: PromotionKind,
    /// Of a canary or a shadow: which events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// How far it has come.
    pub stage: PromotionStage,
    /// Partitions that switch later: the first offset that the new model scores. The others switch at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<Planned>,
    /// Why it was refused, or which instances were passed over by force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was announced, milliseconds since 1970.
    pub created_at: i64,
}

/// What the model of a promotion is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromotionKind {
    /// Score everything.
    #[default]
    Switch,
    /// Score a share of the events; its scores are the results.
    Canary,
    /// Score a share of the events besides; its scores go to `inference.shadow`.
    Shadow,
    /// Score no longer besides.
    ShadowEnd,
}

impl PromotionKind {
    /// True for the kind that records do not spell out.
    pub fn is_switch(&self) -> bool {
        *self == Self::Switch
    }

    /// Whether it decides about shadows; else about results. A promotion overtakes only those of its own side.
    pub fn shadows(self) -> bool {
        matches!(self, Self::Shadow | Self::ShadowEnd)
    }
}

/// Where one partition is to switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Partition.
    pub partition: i32,
    /// First offset that the new model scores.
    pub offset: i64,
}

impl Promotion {
    /// Where a partition is to switch, if that is planned.
    pub fn planned(&self, partition: i32) -> Option<i64> {
        self.at.iter().find(|planned| planned.partition == partition).map(|planned| planned.offset)
    }
}

/// How far a promotion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromotionStage {
    /// Instances are to load the model and say whether they can.
    Announced,
    /// The switch is on: each partition's owner makes its cut.
    On,
    /// It is not made.
    Refused,
}

impl Event for Promotion {
    fn key(&self) -> String {
        format!("promotion/{}/{}", self.pipeline, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::CatalogRecord;

    #[test]
    fn a_promotion_reads_back() {
        let promotion = Promotion {
            id: 1,
            pipeline: "score".into(),
            model: "higgs".into(),
            version: "2".into(),
            digest: "0".repeat(64),
            artifact: "s3://b/m".into(),
            kind: PromotionKind::Canary,
            share: Share::try_from(0.25).ok(),
            stage: PromotionStage::Announced,
            at: vec![Planned { partition: 3, offset: 70 }],
            reason: None,
            created_at: 1,
        };
        assert_eq!((promotion.planned(3), promotion.planned(0)), (Some(70), None));
        assert_eq!(promotion.key(), "promotion/score/1");
        let text = serde_json::to_string(&promotion).unwrap();
        assert_eq!(serde_json::from_str::<Promotion>(&text).unwrap(), promotion);
        let record = CatalogRecord::Promotion(promotion);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<CatalogRecord>(&text).unwrap(), record, "{text}");
    }
}
