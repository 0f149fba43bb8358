//! `topics`, `produce`, `consume`.

use lunapark_schemas::{Headers, Record};
use serde_json::Value;

use super::{Fixture, parsed, printed, scorer};
use crate::cli::output::Output;
use crate::cli::{consume, produce, topics};

fn topics(fixture: &Fixture, json: bool, args: &[&str]) -> String {
    printed(json, |out| topics::execute(&fixture.context, &parsed(args), out)).0
}

fn consume(fixture: &Fixture, args: &[&str]) -> Vec<Value> {
    let args = [&["lab.inference.events"], args].concat();
    let text = printed(true, |out| consume::execute(&fixture.context, &parsed(&args), out)).0;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn topics_are_created_listed_and_deleted() {
    let fixture = Fixture::new();
    // The fixture made those of scoring.
    let made = topics(&fixture, false, &["create"]);
    let new = |topic: &str| made.contains(&format!("created  lab.{topic} "));
    assert!(new("training.requests") && new("training.ledger") && !new("inference.events"), "{made}");
    assert!(topics(&fixture, false, &["create"]).lines().all(|line| line.starts_with("existed  lab.")));
    let create = ["create", "calibration", "--partitions", "3", "--retention", "12h", "--compact"];
    assert_eq!(topics(&fixture, false, &create), "created  calibration (3 partitions)\n");
    let list: Value = serde_json::from_str(&topics(&fixture, true, &["list"])).unwrap();
    let made = list.as_array().unwrap().iter().find(|topic| topic["name"] == "calibration").unwrap();
    assert_eq!((&made["cleanup"], &made["retention_ms"]), (&"compact".into(), &43_200_000.into()));
    let refused =
        topics::execute(&fixture.context, &parsed(&["delete", "calibration"]), &mut Output::new(vec![], false));
    assert!(refused.unwrap_err().to_string().contains("--yes"));
    topics(&fixture, false, &["delete", "calibration", "--yes"]);
    assert!(!topics(&fixture, false, &["list"]).contains("calibration"));
}

#[test]
fn work_left_is_counted_and_zero_when_caught_up() {
    let fixture = Fixture::new();
    fixture.produce_words(&["score"; 4]);
    let describe =
        || -> Value { serde_json::from_str(&topics(&fixture, true, &["describe", "lab.inference.events"])).unwrap() };
    assert_eq!(describe()["groups"].as_array().unwrap().len(), 0);
    scorer::score(&fixture);
    assert_eq!((&describe()["groups"][0]["work_left"], &describe()["groups"][0]["exact"]), (&0.into(), &true.into()));
    fixture.produce_words(&["score"; 3]);
    let group = &describe()["groups"][0];
    assert_eq!((&group["group"], &group["work_left"]), (&"lab.score".into(), &3.into()));
    let text = topics(&fixture, false, &["describe", "lab.inference.events"]);
    assert!(text.contains("work left (messages)") && text.contains("lab.score"), "{text}");
}

/// Writes so many events, round the two partitions.
fn fill(fixture: &Fixture, events: i32) {
    let topic = fixture.context.catalog.inference_events.name();
    let mut writer = fixture.context.log.writer().unwrap();
    for number in 0..events {
        let (partition, value, headers) = (Some(number % 2), Some(&b"{}"[..]), Headers::default());
        writer.produce(&Record { topic, partition, key: None, value, headers, timestamp: None }).unwrap();
    }
    writer.flush(std::time::Duration::from_secs(60)).unwrap();
}

/// Work left of the scorer's group (each partition, all), as JSON has it, and whether it is exact; then the text.
fn left(fixture: &Fixture) -> (Vec<u64>, bool, String) {
    let args = ["describe", "lab.inference.events"];
    let described: Value = serde_json::from_str(&topics(fixture, true, &args)).unwrap();
    let group = &described["groups"][0];
    let parts = group["partitions"].as_array().unwrap().iter().chain([group]);
    let work: Vec<_> = parts.map(|part| part["work_left"].as_u64().unwrap()).collect();
    (work, group["exact"].as_bool().unwrap(), topics(fixture, false, &args))
}

#[test]
fn from_100_000_offsets_of_a_group_on_work_left_is_a_bound() {
    let fixture = Fixture::new();
    fixture.produce_words(&["a", "b", "c", "d"]);
    scorer::score(&fixture);
    fill(&fixture, 99_998);
    let (work, exact, text) = left(&fixture);
    assert_eq!((work, exact), (vec![49_999, 49_999, 99_998], true));
    assert!(text.contains("99,998") && !text.contains('≤'), "{text}");
    let (audit, _) = fixture.audit(&[]);
    assert_eq!((&audit["pending"], &audit["pending_exact"]), (&99_998.into(), &true.into()), "{audit:#}");

    // No partition has so many, the group has.
    fill(&fixture, 2);
    let (work, exact, text) = left(&fixture);
    assert_eq!((work, exact), (vec![50_000, 50_000, 100_000], false));
    assert!(text.contains("≤ 50,000") && text.contains("≤ 100,000"), "{text}");
    let (audit, _) = fixture.audit(&[]);
    assert_eq!((&audit["pending"], &audit["pending_exact"]), (&100_000.into(), &false.into()), "{audit:#}");
}

#[test]
fn lines_become_messages_verbatim() {
    let fixture = Fixture::new();
    let lines = ["{\"id\":\"a\", \"x\":1}", "", "  ", "{\"id\":7}\r"];
    let options = ["--key-field", "id", "--header", "ce_id=mine", "--header", "run=7", "--partition", "1"];
    let summary = fixture.produce(&lines, &options);
    assert!(summary.starts_with("2 messages, 25 B to lab.inference.events in"), "{summary}");
    let messages = consume(&fixture, &[]);
    assert_eq!(
        messages.iter().map(|m| (&m["key"], &m["value"])).collect::<Vec<_>>(),
        [(&"a".into(), &lines[0].into()), (&"7".into(), &"{\"id\":7}".into())]
    );
    let headers = messages[0]["headers"].as_array().unwrap();
    let headers: Vec<_> = headers.iter().map(|h| (h["name"].as_str().unwrap(), h["value"].as_str().unwrap())).collect();
    assert_eq!(headers, [("content-type", "application/json"), ("ce_id", "mine"), ("run", "7")]);
}

#[test]
fn without_a_key_field_file_and_line_are_the_id() {
    let fixture = Fixture::new();
    fixture.produce(&["{}", "", "{}"], &["--expiry", "1h"]);
    let mut keys: Vec<_> = consume(&fixture, &[]).iter().map(|m| m["key"].as_str().unwrap().to_owned()).collect();
    keys.sort();
    assert_eq!(keys, ["events.ndjson:1", "events.ndjson:3"]);
    assert_eq!(consume(&fixture, &[])[0]["headers"][2]["name"], "ce_expirytime");
}

#[test]
fn a_line_without_its_key_stops_with_the_line_number_and_keeps_those_before() {
    let fixture = Fixture::new();
    let file = fixture.folder.path().join("events.ndjson");
    std::fs::write(&file, "{\"id\":1}\n{\"no\":1}\n").unwrap();
    let args = parsed(&["lab.inference.events", file.to_str().unwrap(), "--key-field", "id"]);
    let error = produce::execute(&fixture.context, &args, &mut Output::new(vec![], false)).unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("events.ndjson, line 2") && told.contains("stopped after 1 message"), "{told}");
    assert_eq!(consume(&fixture, &[]).len(), 1);
}

#[test]
fn a_key_field_can_be_left_out_of_the_value() {
    let fixture = Fixture::new();
    fixture.produce(&["{\"id\":\"e1\",\"label\":1}"], &["--key-field", "id", "--drop-key-field"]);
    let messages = consume(&fixture, &[]);
    assert_eq!((&messages[0]["key"], &messages[0]["value"]), (&"e1".into(), &"{\"label\":1}".into()));
}

#[test]
fn unknown_topics_partitions_and_offsets_are_named() {
    let fixture = Fixture::new();
    let refused = |args: &[&str]| {
        let error = consume::execute(&fixture.context, &parsed(args), &mut Output::new(vec![], false)).unwrap_err();
        format!("{error:#}")
    };
    assert!(refused(&["nowhere"]).contains("nowhere"));
    assert!(refused(&["lab.inference.events", "--partition", "2"]).contains("no partition 2"));
    assert!(refused(&["lab.inference.events", "--offset", "0:5"]).contains("no offset 5"));
    let args = parsed(&["lab.inference.events", "-", "--partition", "2"]);
    let error = produce::execute(&fixture.context, &args, &mut Output::new(vec![], false)).unwrap_err();
    assert!(format!("{error:#}").contains("no partition 2"));
}

#[test]
fn a_topic_can_be_read_from_any_place() {
    let fixture = Fixture::new();
    let lines: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    fixture.produce(&lines, &["--partition", "0"]);
    fixture.produce(&["other"], &["--partition", "1"]);
    let values = |args: &[&str]| -> Vec<String> {
        consume(&fixture, args).iter().map(|m| m["value"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&[]).len(), 21);
    assert_eq!(values(&["--offset", "0:18"]), ["18", "19"]);
    assert_eq!(values(&["--partition", "0", "--last", "2"]), ["18", "19"]);
    assert_eq!(values(&["--partition", "0", "--last", "200"]).len(), 20);
    assert_eq!(values(&["--partition", "1", "--since", "1h"]), ["other"]);
    assert_eq!(values(&["--partition", "0", "--max", "3"]), ["0", "1", "2"]);
    assert_eq!(values(&["--follow", "--from-beginning", "--max", "21"]).len(), 21);
}

#[test]
fn people_see_text_escaped_and_bytes_in_hexadecimal() {
    let fixture = Fixture::new();
    let arrow = [("content-type", "application/vnd.apache.arrow.stream")];
    fixture.plant("lab.inference.events", 0, &[], b"a\x1b[2J");
    fixture.plant("lab.inference.events", 0, &[], b"\xff\x00");
    fixture.plant("lab.inference.events", 0, &arrow, b"12345");
    let args = parsed(&["lab.inference.events", "--headers"]);
    let text = printed(false, |out| consume::execute(&fixture.context, &args, out)).0;
    let ends = ["[]  a\\u{1b}[2J", "[]  0xff00 (2 bytes)", "<arrow 5 bytes>"];
    assert!(text.lines().zip(ends).all(|(line, end)| line.ends_with(end)), "{text}");
    assert_eq!(consume(&fixture, &[])[1]["value_base64"], "/wA=");
}
