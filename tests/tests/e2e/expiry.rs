//! What retention takes away before it was read is told, not passed over in silence.

use std::time::Duration;

use lunapark_schemas::TopicPartition;
use lunapark_tests::harness::{Event, Kafka, TopicSettings, Workplace, until};
use serde_json::json;

use super::{PATIENCE, higgs, now_millis, wait_ends};

const HOUR: i64 = 3_600_000;
/// A segment takes the records of one minute: the events here are an hour apart.
const SEGMENT: (&str, &str) = ("segment.ms", "60000");
/// A broker begins to look for what is too old half a minute after its start, then every five seconds, as
/// `deploy/servers/kafka` has it.
const KAFKA_LOOKS: Duration = Duration::from_secs(90);

/// Writes events of these ages, in hours.
fn produce(place: &Workplace, ages: &[i64]) {
    for (hours, features) in ages.iter().zip(higgs::sample(ages.len())) {
        // One at a time: a batch is never parted between segments.
        let event = Event::new(higgs::v1(std::slice::from_ref(&features))).to(0).at(now_millis() - hours * HOUR);
        place.produce("inference.events", &[event]);
    }
}

#[test]
fn events_that_expire_before_they_are_read_are_named() {
    let place = Workplace::kafka().with("topics.partitions", 1);
    let (topic, settings) = (place.topic("inference.events"), TopicSettings::of(&Kafka::bootstrap()));
    settings.create(&topic, 1, &[("retention.ms", "-1"), SEGMENT]);
    place.create_topics();
    produce(&place, &[4]);
    let service = place.service("one", &[]);
    wait_ends(&place, 1, 0);
    service.terminate().ok();
    assert_eq!(place.committed(), [Some(1)]);

    produce(&place, &[3, 2, 0, 0]);
    settings.set(&topic, &[("retention.ms", &HOUR.to_string()), SEGMENT]);
    let at = TopicPartition::new(topic.as_str(), 0);
    until(KAFKA_LOOKS, "the old segments are gone", || {
        place.log().watermarks(&at).is_ok_and(|ends| ends.low == 3).then_some(())
    });
    let service = place.service("one", &[]);
    let results = place.wait_records("inference.results", 3, PATIENCE);
    let sources: Vec<_> = results.iter().filter_map(|result| result.header("lunapark-source")).collect();
    assert_eq!(sources, [0, 3, 4].map(|offset| format!("{topic}/0/{offset}")), "it goes on with what is there");
    until(PATIENCE, "offsets are committed", || (place.committed() == [Some(5)]).then_some(()));
    let log = service.log();
    assert!(log.contains("messages expired before they were read"), "{log}");
    service.terminate().ok();

    for depth in [&["audit", "--json"][..], &["audit", "--deep", "--json"]] {
        let report = place.cli(depth).failed().json();
        assert_eq!((&report["in"], &report["proven"], &report["duplicated"]), (&json!(3), &json!(false), &json!(0)));
        let gap = |finding: &&serde_json::Value| finding["kind"] == "gap";
        let gap = report["findings"].as_array().and_then(|all| all.iter().find(gap));
        let gap = gap.unwrap_or_else(|| panic!("no gap in {report:#}"));
        assert_eq!((&gap["partition"], &gap["first"], &gap["next"]), (&json!(0), &json!(1), &json!(3)), "{report:#}");
    }
}
