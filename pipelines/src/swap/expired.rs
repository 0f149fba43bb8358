//! Cuts whose range retention has passed: nobody can ask any more which model scores there.
//!
//! Taking them away needs no owner of the partition: nobody makes a cut before the first event that is still there, and
//! what goes here changes nothing for the events that are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lunapark_schemas::cuts::{CutRecord, effective, governing};
use lunapark_schemas::{Headers, Record, TopicPartition};
use lunapark_topics::{Log, LogError, LogErrorKind};

use super::history;

/// A record that is not acknowledged by then is not.
const PATIENCE: Duration = Duration::from_secs(30);

/// Key of a cut that is not needed any more, and the partition that it stands in.
pub type Expired = (i32, Vec<u8>);

/// Input topic, its partition, pipeline, and whether the scores are the results.
type Range = (String, i32, String, bool);

/// The expired cuts of all pipelines. A partition one of whose cuts cannot be read keeps all: that one may undo others.
pub fn find(log: &dyn Log, cuts: &Arc<str>) -> Result<Vec<Expired>, LogError> {
    let partitions = match log.topic(cuts) {
        Err(error) if error.kind == LogErrorKind::TopicMissing => 0,
        found => found?.partitions,
    };
    let places: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(cuts.clone(), partition)).collect();
    let mut last: BTreeMap<Expired, Option<CutRecord>> = BTreeMap::new();
    history::read_to_end(log, &places, |message| {
        let of = (message.partition, message.key.unwrap_or_default().to_vec());
        match message.value {
            Some(value) => drop(last.insert(of, CutRecord::read(value).ok())),
            None => drop(last.remove(&of)),
        }
    })?;
    let unread: BTreeSet<i32> = last.iter().filter(|(_, cut)| cut.is_none()).map(|((at, _), _)| *at).collect();
    let mut ranges: BTreeMap<Range, Vec<(Expired, CutRecord)>> = BTreeMap::new();
    for (of, cut) in last.into_iter().filter(|((at, _), _)| !unread.contains(at)) {
        let Some(cut) = cut else { continue };
        let range = (cut.topic.clone(), cut.partition, cut.pipeline.clone(), cut.role.is_live());
        ranges.entry(range).or_default().push((of, cut));
    }
    let of_range = ranges.into_iter().map(|((topic, partition, ..), cuts)| of_range(log, &topic, partition, cuts));
    Ok(of_range.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Those of one pipeline, partition and role.
fn of_range(
    log: &dyn Log,
    topic: &str,
    partition: i32,
    cuts: Vec<(Expired, CutRecord)>,
) -> Result<Vec<Expired>, LogError> {
    let low = match log.topic(topic) {
        // Of a topic that is gone nothing is known.
        Err(error) if error.kind == LogErrorKind::TopicMissing => return Ok(Vec::new()),
        Ok(found) if found.partitions <= partition => return Ok(Vec::new()),
        found => found.and_then(|_| log.watermarks(&TopicPartition::new(topic, partition)))?.low,
    };
    let first = needed(cuts.iter().map(|(_, cut)| cut.clone()).collect(), low);
    let expired = |cut: &CutRecord| first.is_some_and(|first| cut.next_offset < first);
    Ok(cuts.into_iter().filter(|(_, cut)| expired(cut)).map(|(of, _)| of).collect())
}

/// The first offset whose cut is needed where `low` is the first event that is still there: that of the cut that governs
/// there. A cut before it governs nothing; and whatever it undoes at or behind that offset, the one that governs undoes as
/// well, for of the two it was decided later, or it would have been undone.
fn needed(cuts: Vec<CutRecord>, low: i64) -> Option<i64> {
    governing(&effective(cuts), low).map(|cut| cut.next_offset)
}

/// Takes cuts back, each by a record without a value, so that compaction removes both.
pub fn take_away(log: &dyn Log, cuts: &Arc<str>, expired: &[Expired]) -> Result<(), LogError> {
    if expired.is_empty() {
        return Ok(());
    }
    let mut writer = log.writer()?;
    for (partition, key) in expired {
        let (partition, key, headers) = (Some(*partition), Some(key.as_slice()), Headers::default());
        writer.produce(&Record { topic: cuts, partition, key, value: None, headers, timestamp: None })?;
    }
    writer.flush(PATIENCE)
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::Event;
    use lunapark_schemas::cuts::Role;
    use lunapark_topics::embedded::{EmbeddedLog, EmbeddedOptions};
    use lunapark_topics::{Cleanup, TopicSpec};

    use super::*;
    use crate::clock;

    const HOUR: i64 = 3_600_000;

    fn cut(promotion: u64, next_offset: i64) -> CutRecord {
        let text = include_str!("../../../schemas/examples/records/model.cuts/ok-cut.json");
        let example: CutRecord = serde_json::from_str(text).unwrap();
        CutRecord { topic: "events".into(), partition: 0, promotion, next_offset, ..example }
    }

    #[test]
    fn what_is_left_governs_every_event_that_is_left_as_before() {
        const LOW: i64 = 2;
        let of_number = |number: u64| cut(number % 3, (number / 3) as i64);
        // All sets of four cuts of three promotions at five offsets.
        for set in 0..15_u64.pow(4) {
            let all: Vec<_> = (0..4).map(|place| of_number(set / 15_u64.pow(place) % 15)).collect();
            let Some(first) = needed(all.clone(), LOW) else { continue };
            let left: Vec<_> = all.iter().filter(|cut| cut.next_offset >= first).cloned().collect();
            let (all, left) = (effective(all), effective(left));
            for offset in LOW..6 {
                let by = |cuts: &[CutRecord]| governing(cuts, offset).map(|cut| (cut.promotion, cut.next_offset));
                assert_eq!(by(&left), by(&all), "of {all:#?} at {offset}");
            }
        }
    }

    #[test]
    fn nothing_expires_before_the_next_cut_governs_the_first_event() {
        let cuts = || vec![cut(1, 0), cut(2, 5), cut(3, 9)];
        assert_eq!([0, 4, 5, 8, 9, 100].map(|low| needed(cuts(), low)), [0, 0, 5, 5, 9, 9].map(Some));
        assert_eq!(needed(vec![cut(1, 5)], 4), None);
    }

    /// Two partitions of events, the first without its first four, and their cuts.
    struct Place {
        log: EmbeddedLog,
        cuts: Arc<str>,
        _dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let log = EmbeddedLog::open(dir.path(), &EmbeddedOptions::default()).unwrap();
            let events =
                TopicSpec { retention: Some(Duration::from_millis(HOUR as u64)), ..TopicSpec::new("events", 2) };
            let cuts = TopicSpec { retention: None, cleanup: Cleanup::Compact, ..TopicSpec::new("cuts", 2) };
            log.create_topic(&events).unwrap();
            log.create_topic(&cuts).unwrap();
            let place = Self { log, cuts: cuts.name, _dir: dir };
            let now = clock::now_millis();
            for age in [3, 3, 3, 3, 0] {
                place.write("events", 0, None, Some(b"event"), now - age * HOUR);
            }
            place.write("events", 1, None, Some(b"event"), now);
            place.log.maintain_now().unwrap();
            assert_eq!(place.log.watermarks(&TopicPartition::new("events", 0)).unwrap().low, 4);
            place
        }

        fn write(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>, timestamp: i64) {
            let (partition, timestamp, headers) = (Some(partition), Some(timestamp), Headers::default());
            let mut writer = self.log.writer().unwrap();
            writer.produce(&Record { topic, partition, key, value, headers, timestamp }).unwrap();
            writer.flush(PATIENCE).unwrap();
        }

        fn write_cut(&self, cut: &CutRecord) {
            let (key, value) = (cut.key(), serde_json::to_vec(cut).unwrap());
            self.write("cuts", cut.partition, Some(key.as_bytes()), Some(&value), clock::now_millis());
        }

        fn expired(&self) -> Vec<String> {
            let found = find(&self.log, &self.cuts).unwrap();
            found.into_iter().map(|(_, key)| String::from_utf8(key).unwrap()).collect()
        }
    }

    #[test]
    fn cuts_that_retention_has_passed_are_taken_away_and_no_others() {
        let place = Place::new();
        let other = |pipeline: &str| CutRecord { pipeline: pipeline.into(), ..cut(1, 0) };
        let (shadow, beside) = (CutRecord { role: Role::Shadow, ..cut(1, 1) }, CutRecord { partition: 1, ..cut(1, 0) });
        let later = CutRecord { partition: 1, ..cut(2, 1) };
        let gone = CutRecord { topic: "gone".into(), ..cut(1, 0) };
        let old = [cut(1, 0), cut(2, 2)];
        let kept = [
            cut(3, 4),
            cut(4, 9),
            shadow,
            beside,
            later,
            other("other"),
            gone,
            CutRecord { topic: "gone".into(), ..cut(2, 3) },
        ];
        old.iter().chain(&kept).for_each(|cut| place.write_cut(cut));
        assert_eq!(place.expired(), old.each_ref().map(Event::key));
        take_away(&place.log, &place.cuts, &find(&place.log, &place.cuts).unwrap()).unwrap();
        assert_eq!(place.expired(), [""; 0]);
        let tracks = history::read(&place.log, "cuts", &cut(1, 0).pipeline, "events", &[0, 1]).unwrap();
        let live = |partition| tracks[&partition].live.iter().map(|cut| cut.next_offset).collect::<Vec<_>>();
        assert_eq!((live(0), live(1), tracks[&0].shadow.len()), (vec![4, 9], vec![0, 1], 1));
    }

    #[test]
    fn a_partition_with_a_cut_that_does_not_read_keeps_all() {
        let place = Place::new();
        [cut(1, 0), cut(2, 4)].iter().for_each(|cut| place.write_cut(cut));
        place.write("cuts", 0, Some(b"score/events/0/3"), Some(b"{"), clock::now_millis());
        assert_eq!(place.expired(), [""; 0]);
        place.write("cuts", 0, Some(b"score/events/0/3"), None, clock::now_millis());
        assert_eq!(place.expired(), [cut(1, 0).key()]);
    }
}
