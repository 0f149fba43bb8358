//! Every event has exactly one result, with the right score, headers, partition, key and time, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use lunapark_tests::harness::{Backend, Event, OwnedRecord, Workplace, until};

use super::higgs::{self, Format, TREES};
use super::{PATIENCE, assert_proven, now_millis, on_both, wait_ends};

/// Messages of each format.
const MESSAGES: usize = 2000;
/// When the first message was made: not now, and not so long ago that retention would delete it.
static MADE_AT: LazyLock<i64> = LazyLock::new(|| now_millis() - 3_600_000);

on_both!(every_event_has_exactly_one_result_in_its_own_format, at_least_once_scores_the_same);

/// Rows of each message of a format.
fn rows(format: Format) -> usize {
    if format == Format::Arrow { 4 } else { 1 }
}

/// The key names what the message is, so that its result can be checked without its source.
fn messages(format: Format, partitions: i32) -> Vec<Event> {
    let events = higgs::sample(MESSAGES * rows(format));
    let message = |(number, events): (usize, &[higgs::Features])| {
        let event = format.message(events).key(format!("{format:?}/{number}")).at(*MADE_AT + number as i64);
        event.to(number as i32 % partitions)
    };
    events.chunks(rows(format)).enumerate().map(message).collect()
}

fn every_event_has_exactly_one_result_in_its_own_format(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    for format in Format::ALL {
        place.produce("inference.events", &messages(format, place.partitions()));
    }
    let service = place.service("one", &[("score.threads", "2")]);
    let total = MESSAGES * Format::ALL.len();
    let (results, dead) = wait_ends(&place, total, 0);
    assert_eq!((results.len(), dead.len()), (total, 0));
    check_positions(&place, &results);
    for format in Format::ALL {
        check_format(format, &results);
    }
    assert_proven(&place, total);
    service.terminate().ok();
    assert_proven(&place, total);
}

/// Results stand where their sources stand, in the same order, each once.
fn check_positions(place: &Workplace, results: &[OwnedRecord]) {
    let events = place.read_all("inference.events");
    let positions = |records: &[OwnedRecord], of: fn(&OwnedRecord) -> String| {
        let mut by_partition: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        records.iter().for_each(|record| by_partition.entry(record.partition).or_default().push(of(record)));
        by_partition
    };
    assert_eq!(positions(results, source), positions(&events, OwnedRecord::position));
}

fn source(result: &OwnedRecord) -> String {
    result.header("lunapark-source").expect("a source").to_owned()
}

fn check_format(format: Format, results: &[OwnedRecord]) {
    let expected = higgs::scores(TREES, &higgs::sample(MESSAGES * rows(format)));
    let tag = higgs::tag("higgs/1", TREES);
    let prefix = format!("{format:?}/");
    let mut checked = 0;
    for result in results {
        let key = std::str::from_utf8(result.key.as_deref().expect("a key")).unwrap();
        let Some(number) = key.strip_prefix(&prefix).map(|number| number.parse::<usize>().unwrap()) else { continue };
        let rows = rows(format);
        assert_eq!(format.scores(result), expected[number * rows..(number + 1) * rows], "{key}");
        assert_eq!(result.timestamp, *MADE_AT + number as i64, "{key}");
        assert_eq!(result.header("lunapark-model"), Some(tag.as_str()), "{key}");
        checked += 1;
    }
    assert_eq!(checked, MESSAGES, "{format:?}");
    check_labels(format, results.iter().find(|result| result.key.as_deref().unwrap().starts_with(prefix.as_bytes())));
}

fn check_labels(format: Format, result: Option<&OwnedRecord>) {
    let result = result.expect("a result of every format");
    let content_type = match format {
        // A request without any header gets an answer with only ours.
        Format::KserveV1 => None,
        Format::OpenInference => Some("application/json"),
        Format::Binary => Some("application/octet-stream"),
        Format::Arrow => Some("application/vnd.apache.arrow.stream"),
    };
    assert_eq!(result.header("content-type"), content_type);
    if format == Format::OpenInference {
        let reply = result.json();
        assert_eq!((&reply["id"], &reply["model_name"]), (&"run-7".into(), &"higgs".into()));
    }
}

fn at_least_once_scores_the_same(backend: Backend) {
    let place = Workplace::new(backend).with("score.delivery", "\"at_least_once\"");
    place.create_topics();
    place.produce("inference.events", &messages(Format::KserveV1, place.partitions()));
    let service = place.service("one", &[("score.threads", "2")]);
    let results = until(PATIENCE, "every event has a result", || {
        let mut results = place.read_all("inference.results");
        // Where partitions move while they are scored, some are scored again: each once is what is left to check.
        let mut seen = BTreeSet::new();
        results.retain(|result| seen.insert(source(result)));
        (results.len() == MESSAGES).then_some(results)
    });
    check_positions(&place, &results);
    check_format(Format::KserveV1, &results);
    service.terminate().ok();
    let report = place.cli(&["audit", "--deep", "--json"]).json();
    assert_eq!((&report["in"], &report["lost"]), (&MESSAGES.into(), &0.into()), "{report:#}");
}
