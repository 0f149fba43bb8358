//! Which model had to score what: the cuts, against what each result says of itself.

use std::collections::HashMap;

use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::headers::MODEL;
use lunapark_schemas::{Message, Share, TopicPartition};
use lunapark_topics::{Log, LogError, LogErrorKind};

use super::report::{FindingKind, Findings};
use super::source::Source;
use crate::swap::history;

/// The cuts of one pipeline and input topic.
#[derive(Default)]
pub struct CutBook {
    partitions: HashMap<i32, Vec<Ruled>>,
}

/// From this offset on results name this model.
struct Ruled {
    from: i64,
    tag: String,
    canary: Option<(Share, String)>,
}

impl CutBook {
    /// All cuts of offsets that were committed before this call; none where there is no such topic.
    pub fn read(log: &dyn Log, cuts: &str, pipeline: &str, source: &str, partitions: &[i32]) -> Result<Self, LogError> {
        let there = match log.topic(cuts) {
            Err(error) if error.kind == LogErrorKind::TopicMissing => 0,
            found => found?.partitions,
        };
        let partitions: Vec<i32> = partitions.iter().copied().filter(|partition| *partition < there).collect();
        let tracks = history::read(log, cuts, pipeline, source, &partitions)?;
        let ruled =
            |(partition, tracks): (i32, history::Tracks)| (partition, tracks.live.iter().map(Ruled::new).collect());
        Ok(Self { partitions: tracks.into_iter().map(ruled).collect() })
    }

    /// The header `lunapark-model` of the result of an event that pins no model; none before the first cut.
    pub fn due(&self, partition: i32, offset: i64, key: Option<&[u8]>) -> Option<&str> {
        let ruled = self.partitions.get(&partition)?;
        let governing = ruled[..ruled.partition_point(|ruled| ruled.from <= offset)].last()?;
        let canary = governing.canary.as_ref().filter(|(share, _)| share.takes_event(key, partition, offset));
        Some(canary.map_or(&governing.tag, |(_, tag)| tag))
    }

    /// A result names the model that the cuts give its event.
    pub fn check(&self, message: &Message<'_>, source: &Source<'_>, at: &TopicPartition, findings: &mut Findings) {
        let Some(due) = self.due(source.partition, source.offset, message.key) else { return };
        let found = message.headers.get_str(MODEL).unwrap_or("nobody");
        if found != due {
            findings.add(FindingKind::WrongModel, at, (source.offset, source.offset + 1), || {
                format!("its result at {} is by {found}, and the cuts say {due}", message.position())
            });
        }
    }
}

impl Ruled {
    fn new(cut: &CutRecord) -> Self {
        let tag = |model: &str, version: &str, digest: &str| {
            format!("{model}/{version}#{}", digest.get(..8).unwrap_or(digest))
        };
        let canary =
            cut.canary.as_ref().map(|canary| (canary.share, tag(&canary.model, &canary.version, &canary.digest)));
        Self { from: cut.next_offset, tag: tag(&cut.model, &cut.version, &cut.digest), canary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_due_to_the_cut_before_it_and_its_canary() {
        let cut = |text: &str| Ruled::new(&serde_json::from_str::<CutRecord>(text).unwrap());
        let plain = cut(include_str!("../../../schemas/examples/records/model.cuts/ok-cut.json"));
        let canary = cut(include_str!("../../../schemas/examples/records/model.cuts/ok-canary.json"));
        let book = CutBook { partitions: [(1, vec![plain, canary])].into() };
        let due = |offset, key: &str| book.due(1, offset, Some(key.as_bytes()));
        assert_eq!((due(47_999, "0"), due(48_000, "0")), (None, Some("higgs/3#3b1f0c9e")));
        // The hash of "0" is 58,860 of a million, that of "event-1" 176,658: a tenth takes the first.
        assert_eq!((due(52_000, "0"), due(52_000, "event-1")), (Some("higgs/4#9f9f9f9f"), Some("higgs/3#3b1f0c9e")));
        assert_eq!(book.due(2, 60_000, None), None);
    }
}
