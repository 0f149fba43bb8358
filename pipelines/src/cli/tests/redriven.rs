//! `dlq`: what it shows, and that a redrive happens once.

use std::process::ExitCode;

use lunapark_schemas::headers::dead;
use serde_json::Value;

use super::{Fixture, parsed, printed, scorer};
use crate::cli::redrive::{self, Redriver};
use crate::cli::{consume, dlq};

fn scored() -> Fixture {
    let fixture = Fixture::new();
    fixture.produce_words(&["dead", "score", "dead", "partial", "dead", "score"]);
    scorer::score(&fixture);
    fixture
}

fn dlq(fixture: &Fixture, args: &[&str]) -> (Value, ExitCode) {
    let (text, code) = printed(true, |out| dlq::execute(&fixture.context, &parsed(args), out));
    (serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text)), code)
}

fn redrive(fixture: &Fixture, args: &[&str]) -> [u64; 4] {
    let (done, _) = dlq(fixture, &[&["redrive"], args].concat());
    ["redriven", "already", "partial", "refused"].map(|name| done[name].as_u64().unwrap())
}

/// Every message of a topic as JSON.
fn all(fixture: &Fixture, topic: &str) -> Vec<Value> {
    let text = printed(true, |out| consume::execute(&fixture.context, &parsed(&[topic]), out)).0;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn position(message: &Value) -> String {
    format!("{}/{}/{}", message["topic"].as_str().unwrap(), message["partition"], message["offset"])
}

#[test]
fn dead_letters_are_counted_listed_and_shown() {
    let fixture = scored();
    let (count, _) = dlq(&fixture, &["count"]);
    assert_eq!((&count["total"], &count["redriven"]), (&4.into(), &0.into()));
    let reasons = count["reasons"].as_array().unwrap();
    assert_eq!(
        reasons.iter().map(|r| (&r["class"], &r["count"])).collect::<Vec<_>>(),
        [(&"malformed".into(), &3.into()), (&"shape".into(), &1.into())]
    );
    let list = printed(false, |out| dlq::execute(&fixture.context, &parsed(&["list", "--class", "shape"]), out)).0;
    assert!(list.lines().count() == 1 && list.contains("rows 2-3"), "{list}");
    let letter = &all(&fixture, "lab.inference.events.dead")[0];
    let show = |raw: &[&str]| {
        let position = position(letter);
        let args = [&["show", &position], raw].concat();
        printed(false, |out| dlq::execute(&fixture.context, &parsed(&args), out)).0
    };
    let text = show(&[]);
    assert!(text.contains("field `x` is missing") && text.contains("00000000: 7b22 646f"), "{text}");
    assert_eq!(show(&["--raw"]), letter["value"].as_str().unwrap());
}

#[test]
fn a_position_without_a_message_is_an_error() {
    let fixture = scored();
    for position in ["lab.inference.events.dead/0/4000", "lab.inference.events.dead/9/0", "nowhere.dead/0/0"] {
        let mut out = crate::cli::output::Output::new(Vec::new(), false);
        let error = dlq::execute(&fixture.context, &parsed(&["show", position]), &mut out).unwrap_err();
        assert!(format!("{error:#}").contains(position), "{error:#}");
    }
}

#[test]
fn a_redrive_happens_once_and_the_audit_agrees() {
    let fixture = scored();
    assert_eq!(redrive(&fixture, &["--all", "--dry-run"]), [3, 0, 1, 0]);
    assert_eq!(all(&fixture, "lab.inference.events").len(), 6);
    assert_eq!(redrive(&fixture, &["--class", "malformed"]), [3, 0, 0, 0]);
    assert_eq!(redrive(&fixture, &["--all"]), [0, 3, 1, 0]);
    assert_eq!(redrive(&fixture, &["--all", "--partial"]), [1, 3, 0, 0]);
    assert_eq!(redrive(&fixture, &["--all", "--partial"]), [0, 4, 0, 0]);
    let letter = all(&fixture, "lab.inference.events.dead").remove(0);
    assert_eq!(redrive(&fixture, &[&position(&letter)]), [0, 1, 0, 0]);
    let events = all(&fixture, "lab.inference.events");
    assert_eq!(events.len(), 10);
    let back: Vec<_> = events.iter().filter(|event| event["key"] == letter["key"]).collect();
    assert_eq!((back.len(), &back[0]["headers"], &back[0]["value"]), (2, &back[1]["headers"], &back[1]["value"]));
    assert_eq!(dlq(&fixture, &["count"]).0["redriven"], 4);
    scorer::score(&fixture);
    let (report, code) = fixture.audit(&["--deep"]);
    assert_eq!((code, &report["in"], &report["redriven"]), (ExitCode::SUCCESS, &10.into(), &4.into()), "{report}");
}

#[test]
fn of_two_redrives_at_once_the_older_is_fenced_and_nothing_is_doubled() {
    let fixture = scored();
    let args = parsed(&["--all"]);
    let mut older = Redriver::open(&fixture.context, &args).unwrap();
    older.select().unwrap();
    assert_eq!(redrive(&fixture, &["--all"]), [3, 0, 1, 0]);
    let error = older.commit().unwrap_err();
    let text = format!("{:#}", older.give_up(error));
    assert!(text.contains("another redrive has taken over; nothing was redriven"), "{text}");
    assert_eq!(all(&fixture, "lab.inference.events").len(), 9);
}

#[test]
fn a_dead_letter_that_names_another_topic_stays() {
    let fixture = scored();
    let dead_topic = "lab.inference.events.dead";
    for topic in ["lab.ledger", "lab.inference.results"] {
        fixture.plant(dead_topic, 0, &[(dead::TOPIC, topic), (dead::PARTITION, "0"), (dead::OFFSET, "0")], b"{}");
    }
    let far = [(dead::TOPIC, "lab.inference.events"), (dead::PARTITION, "7"), (dead::OFFSET, "0")];
    fixture.plant(dead_topic, 0, &far, b"{}");
    fixture.plant(dead_topic, 0, &[], b"{}");
    let before = all(&fixture, "lab.ledger").len();
    assert_eq!(redrive(&fixture, &["--all"]), [3, 0, 1, 4]);
    assert_eq!(dlq(&fixture, &["redrive", "--all"]).1, ExitCode::FAILURE);
    // Two fences, three notes.
    assert_eq!(all(&fixture, "lab.ledger").len(), before + 5);
}

/// Dead letters of two pipelines: four of scoring, and two of documents.
fn of_two_pipelines() -> Fixture {
    let fixture = scored();
    let catalog = &fixture.context.catalog;
    for spec in catalog.document_specs().into_iter().chain(catalog.search_specs()) {
        fixture.context.log.create_topic(&spec).unwrap();
    }
    let headers =
        [(dead::TOPIC, "lab.documents.ingest"), (dead::PARTITION, "1"), (dead::OFFSET, "0"), (dead::CLASS, "document")];
    for content in ["{\"id\": \"a\"}", "{\"id\": \"b\"}"] {
        fixture.plant("lab.documents.ingest.dead", 1, &headers, content.as_bytes());
    }
    fixture
}

fn said(fixture: &Fixture, args: &[&str]) -> String {
    printed(false, |out| dlq::execute(&fixture.context, &parsed(args), out)).0
}

#[test]
fn counting_listing_and_redriving_look_at_the_same_topics() {
    let fixture = of_two_pipelines();
    let counted = |args: &[&str]| dlq(&fixture, &[&["count"], args].concat()).0["total"].as_u64().unwrap();
    let listed = |args: &[&str]| said(&fixture, &[&["list"], args].concat()).lines().count() as u64;
    let some = |args: &[&str]| redrive(&fixture, &[&["--all", "--partial", "--dry-run"], args].concat())[0];
    for (args, letters) in [
        (&[][..], 6),
        (&["--pipeline", "score"], 4),
        (&["--pipeline", "lab.documents"], 2),
        (&["--topic", "lab.documents.ingest"], 2),
        (&["--topic", "lab.inference.events.dead"], 4),
    ] {
        assert_eq!((counted(args), listed(args), some(args)), (letters, letters, letters), "{args:?}");
    }
    assert_eq!((counted(&["lab.documents.ingest"]), listed(&["lab.documents.ingest"])), (2, 2));
    assert_eq!(listed(&["--max", "5"]), 5);
}

#[test]
fn a_redrive_of_several_topics_happens_once() {
    let fixture = of_two_pipelines();
    assert_eq!(redrive(&fixture, &["--class", "document"]), [2, 0, 0, 0]);
    assert_eq!(redrive(&fixture, &["--all"]), [3, 2, 1, 0]);
    assert_eq!(redrive(&fixture, &["--all", "--partial"]), [1, 5, 0, 0]);
    assert_eq!(redrive(&fixture, &["--all", "--partial"]), [0, 6, 0, 0]);
    let back = all(&fixture, "lab.documents.ingest");
    assert_eq!(back.iter().map(|record| &record["value"]).collect::<Vec<_>>(), ["{\"id\": \"a\"}", "{\"id\": \"b\"}"]);
    assert_eq!(all(&fixture, "lab.inference.events").len(), 10);
}

#[test]
fn where_nothing_is_found_it_says_what_was_looked_at() {
    let fixture = of_two_pipelines();
    for args in [&["list", "--class", "docment"][..], &["redrive", "--class", "docment"]] {
        let text = said(&fixture, args);
        for words in
            ["`docment`", "lab.inference.events.dead", "lab.documents.ingest.dead", "mean `document`?", "shape"]
        {
            assert!(text.contains(words), "no {words}: {text}");
        }
    }
    for args in [&["list", "--pipeline", "search"][..], &["redrive", "--all", "--topic", "lab.search.requests"]] {
        assert_eq!(said(&fixture, args), "no dead letters in lab.search.requests.dead\n");
    }
    // Where no service of it has run, there is nothing to look at.
    for args in [&["list", "--pipeline", "train"][..], &["redrive", "--all", "--pipeline", "train"]] {
        assert_eq!(said(&fixture, args), "no dead letters: there is no topic for them yet\n");
    }
    let mut out = crate::cli::output::Output::new(Vec::new(), false);
    for args in [&["list", "--pipeline", "documnts"][..], &["count", "--pipeline", "documnts"]] {
        let error = dlq::execute(&fixture.context, &parsed(args), &mut out).unwrap_err().to_string();
        assert!(error.contains("no pipeline `documnts`; did you mean `documents`?"), "{error}");
    }
}

#[test]
fn a_redrive_must_say_what() {
    use clap::Parser;
    assert!(super::Line::<redrive::Args>::try_parse_from(["redrive"]).is_err());
    assert!(super::Line::<redrive::Args>::try_parse_from(["redrive", "--all", "--class", "x"]).is_err());
}
