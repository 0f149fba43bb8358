//! Cuts: from which offset of a partition on which model scores, so that *which model scored what* is a function of
//! the topics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::share::Share;

/// The format of the cuts that this version writes, and the last one that it reads. Fields that a reader does not know
/// are passed over; whatever must not be passed over, because it changes which model scores, raises this number.
pub const FORMAT: u32 = 1;

/// One entry of the topic `model.cuts`: the partition's owner wrote it inside the transaction that took effect with it.
///
/// Events of the partition from `next_offset` on that pin no version are scored by this model, until the next cut; those
/// that a canary takes are scored by it. A cut of the role `shadow` says which model scores some of them besides.
/// Each cut has a key of its own, so that compaction keeps them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CutRecord {
    /// What a reader must understand; not spelled out where it is 1. Readers refuse a number that they do not know.
    #[serde(default = "first_format", skip_serializing_if = "is_first_format")]
    pub format: u32,
    /// Pipeline (consumer group) that scores.
    pub pipeline: String,
    /// Input topic.
    pub topic: String,
    /// Input partition.
    pub partition: i32,
    /// First offset that the model scores.
    pub next_offset: i64,
    /// Model name.
    pub model: String,
    /// Model version.
    pub version: String,
    /// SHA-256 of the artifact, 64 hex digits.
    pub digest: String,
    /// Address of the artifact: a path, `file://`, `s3://` or `builtin:`.
    pub artifact: String,
    /// Number of the promotion that asked for it; 0 where no promotion did and this is the model of the configuration.
    pub promotion: u64,
    /// What it decides.
    #[serde(default, skip_serializing_if = "Role::is_live")]
    pub role: Role,
    /// Role `live`: the version that scores a share of the events in place of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Role `shadow`: the share that the model scores besides; without one the shadow ends here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Why a shadow ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a cut decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whose scores are the results.
    #[default]
    Live,
    /// Whose scores go to `inference.shadow`.
    Shadow,
}

impl Role {
    fn named(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }

    /// True for the role that records do not spell out.
    pub fn is_live(&self) -> bool {
        *self == Self::Live
    }
}

/// A version whose scores are the results of a share of the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Canary {
    /// Model name.
    pub model: String,
    /// Model version.
    pub version: String,
    /// SHA-256 of the artifact, 64 hex digits.
    pub digest: String,
    /// Address of the artifact.
    pub artifact: String,
    /// Which events.
    pub share: Share,
}

fn first_format() -> u32 {
    1
}

fn is_first_format(format: &u32) -> bool {
    *format == first_format()
}

/// A record that holds no cut which this version can obey.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableCut {
    /// It says more than this version knows.
    #[error("a newer version of Lunapark wrote it ({what}), and this one reads cuts up to format {FORMAT}: upgrade it")]
    Newer {
        /// What is not known.
        what: String,
    },
    /// It is none.
    #[error(
        "it is damaged ({what}): write the right record under its key, or one without a value to take the cut back"
    )]
    Damaged {
        /// What does not read.
        what: String,
    },
}

/// What tells a newer version's record from a damaged one.
#[derive(Deserialize)]
struct Head {
    #[serde(default = "first_format")]
    format: u32,
    #[serde(default)]
    role: Option<String>,
}

impl CutRecord {
    /// The cut that these bytes hold. Never a guess: who scored by another model than a cut says could not take it back.
    pub fn read(bytes: &[u8]) -> Result<Self, UnreadableCut> {
        let newer = |what| Err(UnreadableCut::Newer { what });
        if let Ok(Head { format, role }) = serde_json::from_slice(bytes) {
            if format > FORMAT {
                return newer(format!("its format is {format}"));
            }
            if let Some(role) = role.filter(|role| Role::named(role).is_none()) {
                return newer(format!("its role is `{}`", role.escape_debug()));
            }
        }
        serde_json::from_slice(bytes).map_err(|error| UnreadableCut::Damaged { what: error.to_string() })
    }
}

impl Event for CutRecord {
    fn key(&self) -> String {
        let role = if self.role.is_live() { "" } else { "/shadow" };
        format!("{}/{}/{}/{}{role}", self.pipeline, self.topic, self.partition, self.next_offset)
    }
}

/// The cuts that take effect, ascending: of one partition's of one role, in any order. A later promotion's cut undoes what
/// earlier ones planned for its offset and for those behind it; nothing that was scored already changes by that.
pub fn effective(mut cuts: Vec<CutRecord>) -> Vec<CutRecord> {
    cuts.sort_by_key(|cut| (cut.promotion, cut.next_offset));
    let mut stairs: Vec<CutRecord> = Vec::with_capacity(cuts.len());
    for cut in cuts {
        while stairs.last().is_some_and(|planned| planned.next_offset >= cut.next_offset) {
            stairs.pop();
        }
        stairs.push(cut);
    }
    stairs
}

/// The cut that governs an offset: the last one at or before it among [`effective`] cuts.
pub fn governing(cuts: &[CutRecord], offset: i64) -> Option<&CutRecord> {
    cuts[..cuts.partition_point(|cut| cut.next_offset <= offset)].last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(next_offset: i64) -> CutRecord {
        CutRecord {
            format: FORMAT,
            pipeline: "score".into(),
            topic: "t".into(),
            partition: 2,
            next_offset,
            model: "m".into(),
            version: "1".into(),
            digest: "0".repeat(64),
            artifact: "builtin:m".into(),
            promotion: 1,
            role: Role::Live,
            canary: None,
            share: None,
            reason: None,
        }
    }

    #[test]
    fn a_cut_governs_from_its_offset_to_the_next() {
        let cuts = [cut(5), cut(9)];
        let found = [4, 5, 8, 9, 100].map(|offset| governing(&cuts, offset).map(|cut| cut.next_offset));
        assert_eq!(found, [None, Some(5), Some(5), Some(9), Some(9)]);
    }

    #[test]
    fn a_later_promotion_undoes_what_was_planned_behind_it() {
        let of = |promotion, next_offset| CutRecord { promotion, ..cut(next_offset) };
        let found = effective(vec![of(3, 20), of(1, 5), of(2, 50), of(4, 20), of(5, 90)]);
        let found: Vec<_> = found.iter().map(|cut| (cut.promotion, cut.next_offset)).collect();
        assert_eq!(found, [(1, 5), (4, 20), (5, 90)]);
    }

    #[test]
    fn cuts_of_the_configuration_follow_each_other_and_undo_no_promotion() {
        let of = |promotion, next_offset| CutRecord { promotion, ..cut(next_offset) };
        let found = effective(vec![of(0, 30), of(0, 5), of(1, 50)]);
        assert_eq!(found.iter().map(|cut| cut.next_offset).collect::<Vec<_>>(), [5, 30, 50]);
    }

    #[test]
    fn a_newer_versions_cut_is_told_from_a_damaged_one_and_neither_is_passed_over() {
        let text = serde_json::to_value(cut(5)).unwrap();
        assert!(text.get("format").is_none(), "records of the first format are what they were");
        let read = |name: &str, value: serde_json::Value| {
            let mut text = text.clone();
            text[name] = value;
            CutRecord::read(text.to_string().as_bytes())
        };
        assert_eq!(read("weather", "fine".into()), Ok(cut(5)), "an unknown field changes nothing");
        assert_eq!(read("format", 1.into()), Ok(cut(5)));
        for (name, value, says) in [("format", 2.into(), "format is 2"), ("role", "referee".into(), "`referee`")] {
            let error = read(name, value).unwrap_err();
            assert!(matches!(&error, UnreadableCut::Newer { what } if what.contains(says)), "{error}");
        }
        for broken in [&b"{\"pipeline\":\"score\""[..], b"", b"\xff", b"[]"] {
            assert!(matches!(CutRecord::read(broken), Err(UnreadableCut::Damaged { .. })));
        }
        let error = read("next_offset", "soon".into()).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("soon") && error.contains("under its key"), "{error}");
    }

    #[test]
    fn every_cut_has_its_own_key_and_reads_back() {
        assert_eq!((cut(5).key(), cut(9).key()), ("score/t/2/5".into(), "score/t/2/9".into()));
        assert_eq!(CutRecord { role: Role::Shadow, ..cut(5) }.key(), "score/t/2/5/shadow");
        let example: CutRecord =
            serde_json::from_str(include_str!("../examples/records/model.cuts/ok-cut.json")).unwrap();
        assert_eq!(example.key(), "score/inference.events/1/48000");
        let canary: CutRecord =
            serde_json::from_str(include_str!("../examples/records/model.cuts/ok-canary.json")).unwrap();
        assert_eq!(canary.canary.map(|canary| f64::from(canary.share)), Some(0.1));
        let shadow: CutRecord =
            serde_json::from_str(include_str!("../examples/records/model.cuts/ok-shadow.json")).unwrap();
        assert_eq!((shadow.role, shadow.share.map(f64::from)), (Role::Shadow, Some(0.2)));
        let text = serde_json::to_string(&cut(5)).unwrap();
        assert_eq!(serde_json::from_str::<CutRecord>(&text).unwrap(), cut(5));
    }
}
