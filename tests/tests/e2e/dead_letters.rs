//! `lunapark dlq`: count, show, redrive, each exactly once.

use std::time::Duration;

use lunapark_tests::harness::{Backend, Event, Workplace};
use serde_json::json;

use super::{assert_proven, higgs, on_both, wait_ends};

on_both!(
    dead_letters_are_counted_shown_and_listed,
    redriven_events_are_scored_once_after_the_fix,
    concurrent_redrives_write_every_event_once,
    dead_letters_of_single_rows_are_redriven_only_when_asked,
);

fn event() -> Event {
    Event::new(higgs::v1(&higgs::sample(1)))
}

/// Three events for a model that nobody has loaded, two truncated ones, one good.
fn place_with_letters(backend: Backend) -> Workplace {
    let place = Workplace::new(backend);
    place.create_topics();
    let unknown = |number| event().header("lunapark-model", "calib/7").key(format!("unknown/{number}")).to(number);
    let truncated = |number| Event::new("{\"instances\":[[1,").key(format!("truncated/{number}")).to(number);
    let all = [unknown(0), unknown(1), unknown(1), truncated(1), truncated(2), event().to(3)];
    place.produce("inference.events", &all);
    let service = place.service("one", &[]);
    wait_ends(&place, 1, 5);
    service.terminate().ok();
    place
}

fn dead_letters_are_counted_shown_and_listed(backend: Backend) {
    let place = place_with_letters(backend);
    let count = place.cli_json(&["dlq", "count"]);
    let reasons: Vec<_> = count["reasons"].as_array().unwrap().iter().map(|r| (&r["class"], &r["count"])).collect();
    assert_eq!(reasons, [(&json!("malformed"), &json!(2)), (&json!("unknown-model"), &json!(3))]);
    assert_eq!((&count["total"], &count["redriven"]), (&json!(5), &json!(0)));

    let listed = place.cli(&["dlq", "list", "--class", "malformed", "--json"]).ok().json_lines();
    assert_eq!(listed.len(), 2);
    let position = listed[0]["position"].as_str().unwrap();
    let shown = place.cli(&["dlq", "show", position]).ok().stdout;
    let source = place.topic("inference.events/1/");
    for word in [position, &source, "malformed", "truncated/1", "score", "7b22 696e 7374", "truncated"] {
        assert!(shown.contains(word), "no `{word}` in:\n{shown}");
    }
    assert_eq!(place.cli(&["dlq", "show", position, "--raw"]).ok().stdout, "{\"instances\":[[1,");
    let document = place.cli_json(&["dlq", "show", position]);
    assert_eq!((&document["value"], &document["why"]["class"]), (&json!("{\"instances\":[[1,"), &json!("malformed")));

    let nowhere = place.topic("inference.events.dead/3/99");
    place.cli(&["dlq", "show", &nowhere]).failed().says(&["there is no message at", "dlq list"]);
    place.cli(&["dlq", "show", "nonsense"]).failed().says(&["topic/partition/offset"]);
}

fn redriven_events_are_scored_once_after_the_fix(backend: Backend) {
    let place = place_with_letters(backend);
    let redrive = |arguments: &[&str]| {
        let all: Vec<&str> = ["dlq", "redrive"].iter().chain(arguments).copied().collect();
        let done = place.cli_json(&all);
        (done["redriven"].as_u64().unwrap(), done["already"].as_u64().unwrap())
    };
    assert_eq!(redrive(&["--class", "unknown-model", "--dry-run"]), (3, 0));
    assert_eq!(redrive(&["--class", "unknown-model"]), (3, 0));
    assert_eq!(redrive(&["--class", "unknown-model"]), (0, 3));
    let listed = place.cli(&["dlq", "list", "--class", "unknown-model", "--json"]).ok().json_lines();
    assert_eq!(redrive(&[listed[0]["position"].as_str().unwrap()]), (0, 1));
    assert_eq!(place.cli_json(&["dlq", "count"])["redriven"], 3);

    let builtin =
        |name, version| format!("{{ name = \"{name}\", version = \"{version}\", path = \"builtin:higgs-mlp\" }}");
    let models = format!("[{}, {}]", builtin("higgs", "1"), builtin("calib", "7"));
    let service = place.service("one", &[("score.models", &models)]);
    let (results, dead) = wait_ends(&place, 4, 5);
    assert_eq!((results.len(), dead.len()), (4, 5));
    let expected = higgs::tag("calib/7", higgs::PERCEPTRON);
    for number in 0..2 {
        let key = format!("unknown/{number}").into_bytes();
        let scored: Vec<_> = results.iter().filter(|result| result.key.as_ref() == Some(&key)).collect();
        assert_eq!(scored.len(), 1 + number as usize);
        assert!(scored.iter().all(|result| result.partition == number));
        assert_eq!(scored[0].header("lunapark-model"), Some(expected.as_str()));
        assert!(!scored[0].headers.iter().any(|(name, _)| name.starts_with("__streams") || name.starts_with("error-")));
    }
    assert_proven(&place, 9);
    service.terminate().ok();
    assert_eq!(redrive(&["--all"]), (2, 3));
    assert_eq!(redrive(&["--all"]), (0, 5));
}

fn concurrent_redrives_write_every_event_once(backend: Backend) {
    let place = place_with_letters(backend);
    let before = place.read_all("inference.events").len();
    let running: Vec<_> = (0..4).map(|_| place.start(&["dlq", "redrive", "--all"])).collect();
    for redrive in running {
        let outcome = redrive.outcome(Duration::from_secs(120));
        // Whoever is overtaken by another may fail, but says so and writes nothing twice.
        assert!(outcome.code == Some(0) || outcome.stderr.contains("error: "), "{outcome:?}");
    }
    let last = place.cli_json(&["dlq", "redrive", "--all"]);
    assert_eq!(last["redriven"].as_u64().unwrap() + last["already"].as_u64().unwrap(), 5, "{last:#}");
    assert_eq!(place.read_all("inference.events").len(), before + 5);
}

fn dead_letters_of_single_rows_are_redriven_only_when_asked(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let mut events = higgs::sample(2);
    events[1][0] = "\"heavy\"";
    place.produce("inference.events", &[Event::new(higgs::v1(&events))]);
    let service = place.service("one", &[]);
    wait_ends(&place, 1, 1);
    service.terminate().ok();
    let left = place.cli_json(&["dlq", "redrive", "--all"]);
    assert_eq!((&left["redriven"], &left["partial"]), (&json!(0), &json!(1)));
    assert_eq!(place.cli_json(&["dlq", "redrive", "--all", "--partial"])["redriven"], 1);
    assert_eq!(place.read_all("inference.events").len(), 2);
}
