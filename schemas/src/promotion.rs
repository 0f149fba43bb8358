//! Promotions: which model a pipeline is to score with from now on, and how far that has come.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::share::Share;

/// The format of the promotions that this version writes, and the last one that it obeys. Fields that a reader does not
/// know are passed over; whatever must not be passed over raises this number. Versions that know no formats take every
/// promotion for a switch; who runs says in its signs of life which formats it obeys.
pub const FORMAT: u32 = 1;

/// A promotion, on the topic `models` under the key `promotion/PIPELINE/ID`; every change of its stage writes it anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Promotion {
    /// What a reader must understand; not spelled out where it is 1. Readers refuse a number that they do not know.
    #[serde(default = "first_format", skip_serializing_if = "is_first_format")]
    pub format: u32,
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

fn first_format() -> u32 {
    1
}

fn is_first_format(format: &u32) -> bool {
    *format == first_format()
}

/// A promotion that this version cannot obey, and must not take for another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("promotion {id} asks for what this version of Lunapark does not know ({what}): upgrade it")]
pub struct UnknownPromotion {
    /// Its number.
    pub id: u64,
    /// Pipeline (consumer group) that is to switch.
    pub pipeline: String,
    /// How far it has come, where that is known.
    pub stage: Option<PromotionStage>,
    /// What is not known.
    pub what: String,
}

/// As much of a promotion as tells what it is.
#[derive(Deserialize)]
struct Head {
    kind: String,
    id: u64,
    pipeline: String,
    #[serde(default = "first_format")]
    format: u32,
    #[serde(default)]
    stage: Option<serde_json::Value>,
}

impl Promotion {
    /// The promotion that these bytes of the topic `models` hold; none where they are something else.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, UnknownPromotion> {
        let Ok(head) = serde_json::from_slice::<Head>(bytes) else { return Ok(None) };
        if head.kind != "promotion" {
            return Ok(None);
        }
        let what = match serde_json::from_slice(bytes) {
            _ if head.format > FORMAT => format!("format {}", head.format),
            Ok(promotion) => return Ok(Some(promotion)),
            // Names the variant that is not known, and those that are.
            Err(error) => error.to_string(),
        };
        let stage = head.stage.and_then(|stage| serde_json::from_value(stage).ok());
        Err(UnknownPromotion { id: head.id, pipeline: head.pipeline, stage, what })
    }
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
            format: FORMAT,
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

    #[test]
    fn a_promotion_of_tomorrow_is_named_and_not_taken_for_one_of_today() {
        let text = include_str!("../examples/records/models/ok-promotion.json");
        let promotion = Promotion::read(text.as_bytes()).unwrap().unwrap();
        let with = |name: &str, value: serde_json::Value| {
            let mut record = serde_json::to_value(CatalogRecord::Promotion(promotion.clone())).unwrap();
            record[name] = value;
            Promotion::read(record.to_string().as_bytes())
        };
        assert_eq!(with("weather", "fine".into()), Ok(Some(promotion.clone())));
        let unknown = [("intent", "bandit".into(), "`bandit`"), ("format", 2.into(), "format 2")];
        for (name, value, says) in unknown {
            let error = with(name, value).unwrap_err();
            assert_eq!((error.id, error.stage), (promotion.id, Some(promotion.stage)));
            assert!(error.to_string().contains(says) && error.to_string().contains("upgrade"), "{error}");
        }
        assert_eq!(with("stage", "postponed".into()).unwrap_err().stage, None);
        let version = include_str!("../examples/records/models/ok-version.json");
        assert_eq!(Promotion::read(version.as_bytes()), Ok(None));
        assert_eq!(Promotion::read(b"nothing"), Ok(None));
    }
}
