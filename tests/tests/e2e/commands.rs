//! The commands, from a second terminal while the service is up.

use std::time::Duration;

use lunapark_tests::harness::{Backend, Event, OwnedRecord, Workplace, until};
use serde_json::{Value, json};

use super::higgs::{self, Format, TREES};
use super::{PATIENCE, assert_proven, on_both, wait_ends};

on_both!(
    topics_are_created_listed_described_and_deleted,
    lines_from_a_file_and_from_standard_input_are_produced_and_scored,
    arrow_files_are_cut_into_messages_and_scored,
    records_are_read_from_the_beginning_an_offset_a_time_and_the_end,
    followers_see_new_records_at_once,
    the_rate_is_kept,
);

fn place_with_service(backend: Backend) -> (Workplace, lunapark_tests::harness::Service) {
    let place = Workplace::new(backend);
    let service = place.service("one", &[]);
    (place, service)
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|topic| topic["name"].as_str().unwrap().to_owned()).collect()
}

fn topics_are_created_listed_described_and_deleted(backend: Backend) {
    let (place, _service) = place_with_service(backend);
    let own = place.topic("calibration");
    let created = place.cli_json(&["topics", "create", &own, "--partitions", "3", "--retention", "12h"]);
    assert_eq!((&created[0]["name"], &created[0]["outcome"]), (&json!(own), &json!("created")));
    assert_eq!(place.cli_json(&["topics", "create", &own, "--partitions", "3"])[0]["outcome"], "existed");
    place.cli(&["topics", "create", &own, "--partitions", "5"]).failed().says(&[&own, "3", "5"]);
    let all = names(&place.cli_json(&["topics", "list"]));
    for topic in ["inference.events", "inference.results", "inference.events.dead", "ledger", "metrics", "calibration"]
    {
        assert!(all.contains(&place.topic(topic)), "no {topic} in {all:?}");
    }
    assert!(!all.iter().any(|name| name.starts_with("__")), "{all:?}");
    let described = place.cli_json(&["topics", "describe", &own]);
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    assert_eq!((&described["retention_ms"], &described["cleanup"]), (&json!(12 * 3600 * 1000), &json!("delete")));
    place.cli(&["topics", "delete", &own]).failed().says(&["--yes", "3 partitions"]);
    place.cli(&["topics", "delete", &own, "--yes"]).ok();
    until(Duration::from_secs(20), "the topic is gone", || {
        (!names(&place.cli_json(&["topics", "list"])).contains(&own)).then_some(())
    });
}

fn lines(count: usize) -> String {
    let line = |(number, features): (usize, &higgs::Features)| {
        let request = higgs::v1(std::slice::from_ref(features));
        format!("{{\"id\":\"event-{number}\",{}\n", &request[1..])
    };
    higgs::sample(count).iter().enumerate().map(line).collect()
}

fn lines_from_a_file_and_from_standard_input_are_produced_and_scored(backend: Backend) {
    let (place, service) = place_with_service(backend);
    let topic = place.topic("inference.events");
    std::fs::write(place.dir().join("events.ndjson"), lines(200)).unwrap();
    let told = place.cli_json(&["produce", &topic, "events.ndjson", "--key-field", "id"]);
    assert_eq!((&told["messages"], &told["topic"]), (&json!(200), &json!(topic)));
    let piped = place.cli_with_input(&["produce", &topic, "--header", "run=7", "--json"], lines(100).as_bytes());
    assert_eq!(piped.ok().json()["messages"], 100);
    let (results, dead) = wait_ends(&place, 300, 0);
    assert_eq!((results.len(), dead.len()), (300, 0));
    let expected = higgs::scores(TREES, &higgs::sample(200));
    let with = |key: &str| results.iter().filter(|r| r.key.as_deref() == Some(key.as_bytes())).collect::<Vec<_>>();
    for number in [0, 57, 199] {
        let [result] = with(&format!("event-{number}"))[..] else { panic!("event-{number} has not one result") };
        assert_eq!(Format::KserveV1.scores(result), [expected[number]]);
        assert_eq!(result.header("ce_id"), Some(format!("events.ndjson:{}", number + 1).as_str()));
    }
    assert_eq!(results.iter().filter(|result| result.header("run") == Some("7")).count(), 100);
    assert_proven(&place, 300);
    service.terminate().ok();
}

fn arrow_files_are_cut_into_messages_and_scored(backend: Backend) {
    let (place, service) = place_with_service(backend);
    let topic = place.topic("inference.events");
    let stream = higgs::arrow(&higgs::sample(1000));
    std::fs::write(place.dir().join("run.arrow"), &stream).unwrap();
    place.cli(&["produce", &topic, "run.arrow", "--partition", "1"]).ok();
    place
        .cli_with_input(&["produce", &topic, "--arrow", "--rows-per-message", "100", "--partition", "2"], &stream)
        .ok();
    // 256 rows of each message unless asked otherwise.
    let (results, dead) = wait_ends(&place, 4 + 10, 0);
    assert_eq!((results.len(), dead.len()), (14, 0));
    let scores = |partition| -> Vec<f32> {
        results.iter().filter(|r| r.partition == partition).flat_map(|result| Format::Arrow.scores(result)).collect()
    };
    let expected = higgs::scores(TREES, &higgs::sample(1000));
    assert_eq!(scores(1), expected);
    assert_eq!(scores(2), expected);
    service.terminate().ok();
}

const MADE_AT: i64 = 1_700_000_000_000;

fn numbered(from: usize, to: usize) -> Vec<Event> {
    let event = |number: usize| Event::new(format!("{{\"number\":{number}}}")).to((number % 2) as i32);
    (from..to).map(|number| event(number).key(format!("{number}")).at(MADE_AT + number as i64 * 1000)).collect()
}

fn shown(place: &Workplace, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["consume", "--json"];
    all.extend_from_slice(arguments);
    place.cli(&all).ok().json_lines()
}

fn records_are_read_from_the_beginning_an_offset_a_time_and_the_end(backend: Backend) {
    let (place, _service) = place_with_service(backend);
    let topic = place.topic("calibration");
    place.cli(&["topics", "create", &topic, "--partitions", "2", "--retention", "forever"]).ok();
    place.produce("calibration", &numbered(0, 20));
    let numbers = |shown: &[Value]| {
        let number = |record: &Value| record["key"].as_str().unwrap().parse::<usize>().unwrap();
        let mut numbers: Vec<_> = shown.iter().map(number).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(&shown(&place, &[&topic])), (0..20).collect::<Vec<_>>());
    assert_eq!(numbers(&shown(&place, &[&topic, "--from-beginning", "--partition", "1"])).len(), 10);
    assert_eq!(numbers(&shown(&place, &[&topic, "--offset", "1:7"])), [15, 17, 19]);
    assert_eq!(shown(&place, &[&topic, "--offset", "0:3", "--max", "1"])[0]["offset"], 3);
    assert_eq!(numbers(&shown(&place, &[&topic, "--since", "2023-11-14T22:13:36Z"])), [16, 17, 18, 19]);
    assert_eq!(numbers(&shown(&place, &[&topic, "--last", "2"])), [16, 17, 18, 19]);
    let record = &shown(&place, &[&topic, "--offset", "0:0", "--max", "1"])[0];
    assert_eq!((&record["value"], &record["timestamp"]), (&json!("{\"number\":0}"), &json!(MADE_AT)));
    let text = place.cli(&["consume", &topic, "--offset", "0:0", "--max", "1", "--headers"]).ok().stdout;
    assert!(text.contains(&format!("{topic}/0/0")) && text.contains("{\"number\":0}"), "{text}");
    place.cli(&["consume", &topic, "--offset", "7:0"]).failed().says(&["no partition 7"]);
    place.cli(&["consume", &topic, "--offset", "1:99"]).failed().says(&["no offset 99"]);
}

fn followers_see_new_records_at_once(backend: Backend) {
    let (place, service) = place_with_service(backend);
    let results = place.topic("inference.results");
    place.produce("inference.events", &[Event::new(higgs::v1(&higgs::sample(1))).key("before")]);
    wait_ends(&place, 1, 0);
    let follower = place.start(&["consume", &results, "--follow", "--from-beginning", "--max", "3", "--json"]);
    until(PATIENCE, "the follower shows what is there", || follower.printed().contains("\"before\"").then_some(()));
    let late = |key: &str| Event::new(higgs::v1(&higgs::sample(1))).key(key);
    place.produce("inference.events", &[late("first"), late("second")]);
    let outcome = follower.outcome(PATIENCE).ok();
    let mut keys: Vec<_> =
        outcome.json_lines().iter().map(|record| record["key"].as_str().unwrap().to_owned()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["before", "first", "second"]);
    service.terminate().ok();
}

fn the_rate_is_kept(backend: Backend) {
    let (place, _service) = place_with_service(backend);
    let topic = place.topic("inference.events");
    let told =
        place.cli_with_input(&["produce", &topic, "--rate", "100/s", "--json"], lines(151).as_bytes()).ok().json();
    let seconds = told["seconds"].as_f64().unwrap();
    assert!((1.5..4.0).contains(&seconds), "{told:#}");
    let spread = |records: &[OwnedRecord]| {
        let times: Vec<_> = records.iter().map(|record| record.timestamp).collect();
        times.iter().max().unwrap() - times.iter().min().unwrap()
    };
    assert!(spread(&place.read_all("inference.events")) >= 1400);
}

#[test]
fn models_are_looked_into() {
    let place = Workplace::embedded();
    std::fs::write(place.dir().join("model.bin"), higgs::PERCEPTRON).unwrap();
    let told = place.cli_json(&["model", "check", "model.bin"]);
    assert_eq!((&told["format"], &told["accepts"]["missing"]), (&json!("lunapark-mlp"), &json!(false)));
    assert_eq!(told["sha256"], higgs::model(higgs::PERCEPTRON).digest);
    assert_eq!(told["inputs"][0]["width"], 28);
    let text = place.cli(&["model", "check", "builtin:higgs-xgb"]).ok().stdout;
    for word in ["XGBoost JSON", "sha256", "lepton_pT", "151 trees", "FP32"] {
        assert!(text.contains(word), "no `{word}` in:\n{text}");
    }
}
