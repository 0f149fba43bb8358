//! `audit` on a real log: clean, and with faults planted beside the pipeline.

use std::process::ExitCode;

use lunapark_schemas::headers::SOURCE;
use lunapark_schemas::{Headers, Record};
use serde_json::{Value, json};

use super::{Fixture, parsed, printed, scorer};
use crate::cli::audit;
use crate::cli::output::Output;

const WORDS: [&str; 9] = ["score", "dead", "score", "filtered", "partial", "score", "score", "filtered", "score"];

fn scored() -> Fixture {
    let fixture = Fixture::new();
    fixture.produce_words(&WORDS);
    scorer::score(&fixture);
    fixture
}

/// Partition and offsets of the findings of a kind, in the input topic.
fn offsets(report: &Value, kind: &str) -> Vec<(i64, i64, i64)> {
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["kind"] == kind);
    let number = |finding: &Value, name: &str| finding[name].as_i64().unwrap();
    findings
        .map(|finding| {
            assert_eq!(finding["topic"], "lab.inference.events", "{finding}");
            (number(finding, "partition"), number(finding, "first"), number(finding, "next"))
        })
        .collect()
}

/// Where the event is whose payload says a word.
fn place_of(fixture: &Fixture, word: &str) -> (i64, i64) {
    let args = parsed(&["lab.inference.events", "--max", "3"]);
    let (text, _) = printed(true, |out| crate::cli::consume::execute(&fixture.context, &args, out));
    let messages = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found = messages.filter(|message| message["value"].to_string().contains(word));
    let message = found.next().unwrap_or_else(|| panic!("no {word} in {text}"));
    (message["partition"].as_i64().unwrap(), message["offset"].as_i64().unwrap())
}

/// Kinds of the faults, and the text of all findings.
fn faults(report: &Value) -> (Vec<String>, String) {
    let kinds = report["faults"].as_object().unwrap().keys().cloned().collect();
    (kinds, report["findings"].to_string())
}

#[test]
fn a_clean_pipeline_is_proven_quick_and_deep() {
    let fixture = scored();
    for options in [&[][..], &["--deep"], &["--deep", "--from-beginning"], &["--pipeline", "score"]] {
        let (report, code) = fixture.audit(options);
        assert_eq!(code, ExitCode::SUCCESS, "{report}");
        assert_eq!(report["in"], 9, "{report}");
        let ends = ["results", "filtered", "dead", "partial", "lost", "duplicated", "pending", "unprovable"];
        assert_eq!(ends.map(|name| report[name].as_u64().unwrap()), [6, 2, 1, 1, 0, 0, 0, 0]);
        assert_eq!(report["proven"], true);
    }
    let (text, _) = printed(false, |out| audit::execute(&fixture.context, &parsed(&["--deep"]), out));
    assert!(text.contains("PROVEN from the records"), "{text}");
}

#[test]
fn what_is_not_scored_yet_is_pending() {
    let fixture = scored();
    fixture.produce_words(&["score"; 5]);
    let (report, code) = fixture.audit(&["--deep"]);
    assert_eq!((&report["pending"], &report["lost"], code), (&json!(5), &json!(0), ExitCode::SUCCESS));
}

#[test]
fn a_pipeline_that_never_ran_is_not_proven() {
    let mut fixture = scored();
    fixture.context.group_of_pipeline = "lab.other".to_owned();
    let (report, code) = fixture.audit(&["--pipeline", "other"]);
    assert_eq!((code, &report["empty"], &report["pending"]), (ExitCode::from(4), &json!(true), &json!(9)), "{report}");
    assert!(report["notes"].to_string().contains("nothing of pipeline"), "{report}");
    let text = printed(false, |out| audit::execute(&fixture.context, &parsed(&["--pipeline", "other"]), out)).0;
    assert!(
        text.ends_with(
            "NOTHING TO AUDIT YET: 9 messages wait for pipeline lab.other, and none has ended; does its service run?\n"
        ),
        "{text}"
    );
    // One that ran under another configuration can be audited as long as the ledger knows it.
    assert_eq!(fixture.audit(&["--pipeline", "score"]).1, ExitCode::SUCCESS);
}

#[test]
fn a_pipeline_that_nobody_knows_is_refused_with_the_names_there_are() {
    let fixture = scored();
    for options in [&["--pipeline", "nope"][..], &["--pipeline", "lab.nope", "--deep"]] {
        let refused = audit::execute(&fixture.context, &parsed(options), &mut Output::new(vec![], false)).unwrap_err();
        let text = refused.to_string();
        let names = ["no pipeline `nope`", "names score, train, documents, search", "the ledger holds score"];
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
    }
    let empty = Fixture::new();
    let refused = audit::execute(&empty.context, &parsed(&["--pipeline", "nope"]), &mut Output::new(vec![], false));
    assert!(refused.unwrap_err().to_string().contains("the ledger is empty"));
}

#[test]
fn before_the_first_event_there_is_nothing_to_audit() {
    let fixture = Fixture::new();
    // Of documents there is not even a topic.
    for options in [&[][..], &["--deep"], &["--pipeline", "documents"]] {
        let (report, code) = fixture.audit(options);
        assert_eq!((code, &report["empty"], &report["proven"]), (ExitCode::from(4), &json!(true), &json!(false)));
        let text = printed(false, |out| audit::execute(&fixture.context, &parsed(options), out)).0;
        assert!(text.contains("NOTHING TO AUDIT YET") && !text.contains("PROVEN"), "{text}");
    }
}

#[test]
fn a_topic_that_is_gone_is_not_one_that_was_never_there() {
    let fixture = scored();
    fixture.context.log.delete_topic("lab.inference.events").unwrap();
    for options in [&[][..], &["--deep"]] {
        let gone = audit::execute(&fixture.context, &parsed(options), &mut Output::new(vec![], false)).unwrap_err();
        assert!(gone.to_string().contains("lab.inference.events is gone, and the ledger accounts for"), "{gone}");
    }
}

#[test]
fn a_pipeline_on_a_topic_that_it_does_not_read_is_refused() {
    let fixture = scored();
    let refused = |options: &[&str]| {
        let refused = audit::execute(&fixture.context, &parsed(options), &mut Output::new(vec![], false));
        refused.unwrap_err().to_string()
    };
    for (options, words) in [
        (
            &["--pipeline", "score", "--topic", "lab.documents.ingest"][..],
            &["`score` does not read `lab.documents.ingest`, but `lab.inference.events`", "--pipeline documents"][..],
        ),
        (
            &["--pipeline", "train", "--topic", "lab.inference.events", "--deep"],
            &["`lab.training.requests` and `lab.training.trials`", "--pipeline score"],
        ),
        (&["--topic", "lab.calibration"], &["`score` does not read `lab.calibration`"]),
    ] {
        let text = refused(options);
        assert!(words.iter().all(|word| text.contains(word)), "{options:?}: {text}");
    }
    assert_eq!(fixture.audit(&["--pipeline", "score", "--topic", "lab.inference.events"]).1, ExitCode::SUCCESS);
    assert_eq!(fixture.audit(&["--topic", "lab.inference.events", "--deep"]).1, ExitCode::SUCCESS);
    let (report, code) = fixture.audit(&["--topic", "lab.documents.ingest"]);
    assert_eq!((&report["pipeline"], code), (&json!("lab.documents"), ExitCode::from(4)), "{report}");
    // One that ran under another configuration is held against what the ledger says that it read.
    let mut fixture = fixture;
    fixture.context.group_of_pipeline = "lab.other".to_owned();
    let stray = ["--pipeline", "score", "--topic", "lab.search.requests"];
    let refused = audit::execute(&fixture.context, &parsed(&stray), &mut Output::new(vec![], false)).unwrap_err();
    assert!(refused.to_string().contains("but `lab.inference.events`"), "{refused}");
}

#[test]
fn a_missing_result_is_named() {
    let fixture = Fixture::new();
    fixture.produce_words(&["score", "forgotten", "score"]);
    scorer::score(&fixture);
    assert_eq!(fixture.audit(&[]).1, ExitCode::SUCCESS);
    let (report, code) = fixture.audit(&["--deep"]);
    assert_eq!((&report["lost"], code), (&json!(1), ExitCode::FAILURE));
    let (kinds, _) = faults(&report);
    assert_eq!(kinds, ["missing", "count"]);
    let (partition, offset) = place_of(&fixture, "forgotten");
    assert_eq!(offsets(&report, "missing"), [(partition, offset, offset + 1)]);
    let text = printed(false, |out| audit::execute(&fixture.context, &parsed(&["--deep"]), out)).0;
    assert!(text.contains("missing lab.inference.events/") && text.contains("NOT PROVEN"), "{text}");
}

#[test]
fn a_duplicate_and_wrong_sources_are_named() {
    let fixture = scored();
    let results = "lab.inference.results";
    let (document, _) = fixture.audit(&["--deep"]);
    assert_eq!(document["proven"], true);
    let first = first_source(&fixture);
    let partition: i32 = first.rsplit('/').nth(1).unwrap().parse().unwrap();
    fixture.plant(results, partition, &[(SOURCE, &first)], b"{}");
    fixture.plant(results, 1 - partition, &[(SOURCE, &first)], b"{}");
    fixture.plant(results, 0, &[(SOURCE, "lab.inference.events/0/4000")], b"{}");
    fixture.plant(results, 0, &[(SOURCE, "other/0/0")], b"{}");
    fixture.plant(results, 1, &[], b"{}");
    let (report, code) = fixture.audit(&["--deep"]);
    let (kinds, findings) = faults(&report);
    assert_eq!((code, kinds), (ExitCode::FAILURE, vec!["duplicate".into(), "wrong-source".into()]));
    assert_eq!((&report["duplicated"], &report["faults"]["wrong-source"]), (&json!(1), &json!(4)));
    for text in [first.as_str(), "another partition", "has not reached", "another topic", "names no source"] {
        assert!(findings.contains(text) || text == first, "{text}: {findings}");
    }
    assert_eq!(fixture.audit(&[]).1, ExitCode::SUCCESS);
}

/// The source of some result.
fn first_source(fixture: &Fixture) -> String {
    let args = parsed(&["lab.inference.results", "--max", "1"]);
    let (text, _) = printed(true, |out| crate::cli::consume::execute(&fixture.context, &args, out));
    let message: Value = serde_json::from_str(&text).unwrap();
    message["headers"][0]["value"].as_str().unwrap().to_owned()
}

#[test]
fn gap_overlap_and_nonsense_in_the_ledger_are_named() {
    for (first, next, kind) in [(0, 1, "overlap"), (7000, 7001, "gap")] {
        let fixture = scored();
        let end = fixture.end("lab.inference.events", 0);
        let named = if kind == "gap" { (0, end, first) } else { (0, first, next) };
        let range = json!({
            "kind": "range", "pipeline": "lab.score", "instance": "intruder", "topic": "lab.inference.events",
            "partition": 0, "first": first, "next": next, "messages": {"in": 1, "results": 1, "filtered": 0, "dead": 0},
            "rows": {"in": 0, "results": 0, "filtered": 0, "dead": 0}, "checksum": "0"
        });
        fixture.plant("lab.ledger", 0, &[], range.to_string().as_bytes());
        for options in [&[][..], &["--deep"]] {
            let (report, code) = fixture.audit(options);
            let (kinds, findings) = faults(&report);
            assert!(code == ExitCode::FAILURE && kinds.iter().any(|found| found == kind), "{kind}: {findings}");
            assert!(offsets(&report, kind).contains(&named), "{named:?}: {findings}");
        }
    }
    let fixture = scored();
    fixture.plant("lab.ledger", 0, &[], b"nonsense");
    assert_eq!(faults(&fixture.audit(&[]).0).0, ["bad-ledger"]);
}

#[test]
fn a_result_by_another_model_than_the_cuts_say_is_named() {
    let fixture = scored();
    let partition: i32 = first_source(&fixture).rsplit('/').nth(1).unwrap().parse().unwrap();
    let cut = json!({
        "pipeline": "lab.score", "topic": "lab.inference.events", "partition": partition, "next_offset": 0,
        "model": "m", "version": "1", "digest": "0".repeat(64), "artifact": "builtin:m", "promotion": 0
    });
    let (topic, key, value) = ("lab.model.cuts", Some(&b"cut"[..]), cut.to_string());
    let mut writer = fixture.context.log.writer().unwrap();
    let (value, headers) = (Some(value.as_bytes()), Headers::default());
    writer.produce(&Record { topic, partition: Some(partition), key, value, headers, timestamp: None }).unwrap();
    writer.flush(std::time::Duration::from_secs(10)).unwrap();
    let (report, code) = fixture.audit(&["--deep"]);
    let (kinds, findings) = faults(&report);
    assert_eq!((code, kinds), (ExitCode::FAILURE, vec!["wrong-model".to_owned()]));
    assert!(findings.contains("m/1#00000000") && findings.contains("by nobody"), "{findings}");
    assert_eq!(fixture.audit(&[]).1, ExitCode::SUCCESS);
}
