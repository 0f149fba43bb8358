//! A manifest: what a collection is, as of one version.
//!
//! ```text
//! collections/NAME/manifests/00000000000000000041.json
//!   {"sha256":"…","manifest":{ number, writer, settings, segments in order, next offset per partition }}
//!                            └──────────────── what the digest is of, byte by byte ─────────────────┘
//! ```
//!
//! The order of the segments is the order of the changes: **what the last segment that names a document says of it is
//! so**. So a manifest needs no list of what is hidden, and hides all parts of a replaced document at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lunapark_stores::digest_of;
use serde::{Deserialize, Serialize};

use crate::answers::Answers;
use crate::clock::now;
use crate::history::LONGEST_HOLD;
use crate::settings::{first_rule, is_first_rule};
use crate::words::WORD_RULE;
use crate::{IndexError, Settings};

/// The format that this binary writes, and the only one that it reads.
const FORMAT: u32 = 1;
/// A larger one is refused before it is read: 20,000 segments would fit.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// More offsets or numbers than this cannot be honest: they leave room to count on.
const MAX_NUMBER: u64 = i64::MAX as u64 / 2;

/// Why a manifest was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The collection was made.
    Created,
    /// Documents were changed.
    Changed,
    /// Segments were merged.
    Compacted,
    /// The same documents, cut or embedded in another way.
    Reindexed,
    /// Nothing was changed: a rebuild that came second too often asks the writers to let it go first.
    Held,
}

/// Who wrote a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriterName {
    /// The instance, for people.
    pub instance: String,
    /// A random number of this one manifest, by which a writer knows its own.
    pub attempt: String,
}

/// A segment, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentEntry {
    /// Name of the object, without folder and ending.
    pub name: String,
    /// SHA-256 of its footer, which has those of the sections.
    pub sha256: String,
    /// Bytes of the footer, at the end.
    pub footer: u32,
    /// Bytes of the whole object.
    pub bytes: u64,
    /// Documents.
    pub documents: u32,
    /// Deletions.
    pub deletions: u32,
    /// Parents.
    pub parents: u32,
    /// Children, each with a vector.
    pub children: u32,
    /// By which rule its words were cut; the first one where nothing is said.
    #[serde(default = "first_rule", skip_serializing_if = "is_first_rule")]
    pub word_rule: u32,
}

/// A collection as of one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of this object.
    pub format: u32,
    /// Its number, which is the collection's version; the one before has one less.
    pub number: u64,
    /// Why it was written.
    pub reason: Reason,
    /// Who wrote it.
    pub writer: WriterName,
    /// When, in milliseconds since 1970, by the writer's clock.
    pub created: i64,
    /// What the collection is made with.
    pub settings: Settings,
    /// The segments, oldest changes first.
    pub segments: Vec<SegmentEntry>,
    /// The next offset of each partition: what lies before it is in the segments.
    pub next: BTreeMap<i32, i64>,
    /// Identity of the topic that the offsets are of; none before a writer knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// What the last records before these offsets were answered.
    #[serde(default, skip_serializing_if = "Answers::is_empty")]
    pub answers: Answers,
    /// How long the rebuild that [held](Reason::Held) the writers asks them to wait.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold_millis: u64,
}

fn is_zero(millis: &u64) -> bool {
    *millis == 0
}

impl Manifest {
    /// The first one of a collection.
    pub(crate) fn first(settings: &Settings, writer: WriterName, created: i64) -> Self {
        let (segments, next) = (Vec::new(), BTreeMap::new());
        Self {
            format: FORMAT,
            number: 0,
            reason: Reason::Created,
            writer,
            created,
            settings: settings.clone(),
            segments,
            next,
            topic: None,
            answers: Answers::default(),
            hold_millis: 0,
        }
    }

    /// Its successor, with what is to be changed left as it is.
    pub(crate) fn successor(&self, reason: Reason, writer: WriterName, created: i64) -> Self {
        Self { number: self.number + 1, reason, writer, created, hold_millis: 0, ..self.clone() }
    }

    /// Whether a rebuild asks writers to wait, and may still be alive. Clocks that differ cost time or fairness alone.
    pub(crate) fn is_held(&self) -> bool {
        self.reason == Reason::Held && u128::from(now().abs_diff(self.created)) < self.hold().as_millis()
    }

    /// How long writers wait at most, whatever the manifest says.
    pub(crate) fn hold(&self) -> Duration {
        Duration::from_millis(self.hold_millis).min(LONGEST_HOLD)
    }

    /// The next offset of a partition; 0 where nothing of it has been seen.
    pub fn next_of(&self, partition: i32) -> i64 {
        self.next.get(&partition).copied().unwrap_or(0)
    }

    /// True where words of a segment were cut by an older rule than this version's: what questions name may not be found
    /// there until a compaction writes it again.
    pub fn has_older_words(&self) -> bool {
        self.segments.iter().any(SegmentEntry::has_older_words)
    }

    /// Refuses offsets of another topic than this; where either is not known, nothing is said against it.
    pub fn check_topic(&self, collection: &str, topic: Option<&str>) -> Result<(), IndexError> {
        match (&self.topic, topic) {
            (Some(has), Some(given)) if has != given => Err(IndexError::OtherTopic {
                collection: collection.to_owned(),
                has: has.clone(),
                given: given.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let body = serde_json::to_string(self)?;
        Ok(format!("{}{}{MIDDLE}{body}}}", START, digest_of(body.as_bytes())).into_bytes())
    }

    /// Reads a manifest; whatever the bytes are, the answer is a manifest that holds together, or an error.
    pub(crate) fn decode(object: &str, number: u64, bytes: &[u8]) -> Result<Self, IndexError> {
        let corrupt = |what: String| IndexError::corrupt(object, what);
        let parts = split(bytes).ok_or_else(|| corrupt("it is cut off, or no manifest".into()))?;
        let (digest, body) = parts;
        if digest_of(body).as_bytes() != digest {
            return Err(corrupt("its bytes do not have the digest that it names".into()));
        }
        Self::decode_body(number, body).map_err(corrupt)
    }

    /// What is below the digest.
    pub(crate) fn decode_body(number: u64, body: &[u8]) -> Result<Self, String> {
        let manifest: Manifest = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        manifest.check(number).map_err(str::to_owned)?;
        Ok(manifest)
    }

    fn check(&self, number: u64) -> Result<(), &'static str> {
        if self.format != FORMAT {
            return Err("its format is not known here: a newer lunapark wrote it");
        }
        if self.number != number || number > MAX_NUMBER {
            return Err("its number is not that of its name");
        }
        if self.next.values().any(|&next| !(0..=MAX_NUMBER as i64).contains(&next)) {
            return Err("an offset is out of range");
        }
        if !self.answers.fit(&self.next) {
            return Err("it has an answer to what it has not read");
        }
        self.settings.check().map_err(|_| "its settings are out of range")?;
        let names: BTreeSet<&str> = self.segments.iter().map(|entry| entry.name.as_str()).collect();
        if names.len() != self.segments.len() || !self.segments.iter().all(SegmentEntry::is_sound) {
            return Err("a segment's entry contradicts itself");
        }
        Ok(())
    }
}

impl SegmentEntry {
    /// Deletions have no words.
    pub(crate) fn has_older_words(&self) -> bool {
        self.parents > 0 && self.word_rule < WORD_RULE
    }

    fn is_sound(&self) -> bool {
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        plain(&self.name) && plain(&self.sha256) && u64::from(self.footer) <= self.bytes && self.bytes <= MAX_NUMBER
    }
}

const START: &str = "{\"sha256\":\"";
const MIDDLE: &str = "\",\"manifest\":";
const DIGEST_CHARACTERS: usize = 64;

/// The digest, and what it is of.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (digest, rest) = bytes.strip_prefix(START.as_bytes())?.split_at_checked(DIGEST_CHARACTERS)?;
    Some((digest, rest.strip_prefix(MIDDLE.as_bytes())?.strip_suffix(b"}")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_says_no_rule_has_the_words_of_the_first() {
        let older =
            r#"{"name":"a","sha256":"b","footer":1,"bytes":2,"documents":1,"deletions":0,"parents":1,"children":1}"#;
        let read: SegmentEntry = serde_json::from_str(older).unwrap();
        assert!(read.word_rule == 1 && read.has_older_words());
        assert_eq!(serde_json::to_string(&read).unwrap(), older, "its manifests stay what they are");
        assert!(!SegmentEntry { parents: 0, ..read.clone() }.has_older_words(), "deletions have no words");
        let new = SegmentEntry { word_rule: WORD_RULE, ..read };
        assert!(!new.has_older_words() && serde_json::to_string(&new).unwrap().contains("\"word_rule\":2"));
    }
}
