//! Two versions compared from the topics, with labels; promotions that decide by themselves; what labels train; cards.

use lunapark_tests::harness::{Backend, Event, Workplace, quoted, until};
use serde_json::{Value, json};

use super::higgs::{self, Format, PERCEPTRON, TREES};
use super::training::{self, ended};
use super::{PATIENCE, on_both};

on_both!(
    two_versions_are_compared_and_promoted_by_condition,
    a_canary_is_judged_by_its_own_events,
    events_train_with_the_labels_of_another_topic,
);

/// Events, and those of them that have no label.
const EVENTS: usize = 120;
const UNLABELLED: usize = 20;
/// Exit code of a condition that does not hold.
const NOT_HELD: Option<i32> = Some(3);

fn key(number: usize) -> String {
    format!("event-{number}")
}

/// An event per partition in turn, under its key, in these formats in turn.
fn events(place: &Workplace, formats: &[Format]) -> Vec<Event> {
    let sample = higgs::sample(EVENTS);
    let event = |(number, features): (usize, &higgs::Features)| {
        let to = number as i32 % place.partitions();
        let format = formats[(number / place.partitions() as usize) % formats.len()];
        format.message(std::slice::from_ref(features)).key(key(number)).to(to)
    };
    sample.iter().enumerate().map(event).collect()
}

/// Labels of all but the last events; of the first ones a wrong one before, and weights.
fn label(place: &Workplace, signal: &[bool]) {
    let topic = place.topic("labels");
    place.cli(&["topics", "create", &topic, "--partitions", "4"]).ok();
    let record = |number: usize, text: Value| {
        Event::new(text.to_string()).key(key(number)).to(number as i32 % place.partitions())
    };
    let labelled = || 0..EVENTS - UNLABELLED;
    let wrong = labelled().take(10).map(|number| record(number, json!({ "label": u8::from(!signal[number]) })));
    let right = labelled().map(|number| match weight(number) {
        1.0 => record(number, json!({ "label": u8::from(signal[number]) })),
        weight => record(number, json!({ "label": u8::from(signal[number]), "weight": weight })),
    });
    place.produce("labels", &wrong.chain(right).collect::<Vec<_>>());
}

fn weight(number: usize) -> f64 {
    if number.is_multiple_of(5) { -0.5 } else { 1.0 }
}

/// The AUC with signed weights, pair by pair.
fn auc(scores: &[f32], signal: &[bool]) -> f64 {
    let of = |kind: bool| (0..EVENTS - UNLABELLED).filter(move |&number| signal[number] == kind);
    let (mut right, mut all) = (0.0, 0.0);
    for s in of(true) {
        for b in of(false) {
            let pair = weight(s) * weight(b);
            right += pair * if scores[s] > scores[b] { 1.0 } else { 0.5 * f64::from(u8::from(scores[s] == scores[b])) };
            all += pair;
        }
    }
    right / all
}

#[track_caller]
fn close(found: &Value, expected: f64) {
    let number = found.as_f64().unwrap_or_else(|| panic!("{found} is no number"));
    assert!((number - expected).abs() < 1e-6, "{found} for {expected}");
}

fn two_versions_are_compared_and_promoted_by_condition(backend: Backend) {
    let place = Workplace::new(backend);
    let store = quoted(&format!("file://{}", place.dir().join("store").display()));
    let place = place.with("store.url", store);
    std::fs::write(place.dir().join("net.safetensors"), PERCEPTRON).unwrap();
    place.create_topics();
    let service = place.service("one", &[]);
    place.produce("inference.events", &events(&place, &[Format::KserveV1]));
    place.wait_records("inference.results", EVENTS, PATIENCE);
    place.cli_json(&["models", "add", "net.safetensors", "--name", "net", "--metric", "auc=0.75"]);
    let topic = place.topic("replayed");
    place.cli(&["topics", "create", &topic, "--partitions", "4"]).ok();
    place.cli(&["replay", "--model", "net/1", "--output", &topic]).ok();
    let compare = |more: &[&str]| {
        place.cli_json(&[&["models", "compare", "live", "net/1", "--in", &topic, "--threshold", "0.6"], more].concat())
    };
    let sample = higgs::sample(EVENTS);
    let scores = [higgs::scores(TREES, &sample), higgs::scores(PERCEPTRON, &sample)];
    assert_compared(&compare(&[]), &scores);

    // Two replays of one version, and a part of the events.
    place.cli(&["replay", "--model", "net/1", "--output", &topic, "--to", "20"]).ok();
    assert_compared(&compare(&[]), &scores);
    let part = compare(&["--from", "5", "--to", "15"]);
    assert_eq!((&part["events"], &part["only_a"], &part["only_b"]), (&json!(40), &json!(0), &json!(0)), "{part:#}");

    let signal = higgs::signal(EVENTS);
    label(&place, &signal);
    let picture = place.dir().join("compare.svg");
    let labelled = compare(&["--picture", picture.to_str().unwrap()]);
    assert_eq!((&labelled["labelled"], &labelled["broken_labels"]), (&json!(EVENTS - UNLABELLED), &json!(0)));
    let aucs = scores.each_ref().map(|scores| auc(scores, &signal));
    close(&labelled["auc_a"], aucs[0]);
    close(&labelled["auc_b"], aucs[1]);
    close(&labelled["auc_difference"], aucs[1] - aucs[0]);
    let deviation = labelled["auc_difference_deviation"].as_f64().unwrap();
    assert!(deviation > 0.005 && deviation < 0.2, "{labelled:#}");
    let svg = std::fs::read_to_string(picture).unwrap();
    assert!(svg.contains("higgs/1 signal") && svg.contains("net/1, AUC"), "{svg}");
    let told = place.cli(&["models", "compare", "live", "net/1", "--in", &topic]).ok().stdout;
    assert!(told.contains("AUC of B") && told.contains("rows with a label"), "{told}");

    conditions(&place, &topic, &aucs);
    service.terminate().ok();
}

#[track_caller]
fn assert_compared(found: &Value, [one, other]: &[Vec<f32>; 2]) {
    assert_eq!((&found["a"], &found["b"], &found["paired"]), (&json!("higgs/1"), &json!("net/1"), &json!(true)));
    for (name, count) in [("events", EVENTS), ("rows", EVENTS), ("only_a", 0), ("only_b", 0), ("unread", 0)] {
        assert_eq!(found[name], count, "{name}: {found:#}");
    }
    let pairs = || one.iter().zip(other).map(|(one, other)| (f64::from(*one), f64::from(*other)));
    let share = |holds: &dyn Fn((f64, f64)) -> bool| pairs().filter(|pair| holds(*pair)).count() as f64 / EVENTS as f64;
    close(&found["flipped"], share(&|(one, other)| (one >= 0.6) != (other >= 0.6)));
    close(&found["rate_a"], share(&|(one, _)| one >= 0.6));
    close(&found["rate_b"], share(&|(_, other)| other >= 0.6));
    let below = |at: f64| (share(&|(one, _)| one <= at) - share(&|(_, other)| other <= at)).abs();
    close(
        &found["kolmogorov_smirnov"],
        pairs().flat_map(|(one, other)| [below(one), below(other)]).fold(0.0, f64::max),
    );
    close(&found["mean_difference"], pairs().map(|(one, other)| (one - other).abs()).sum::<f64>() / EVENTS as f64);
    let correlation = found["correlation"].as_f64().unwrap();
    assert!(correlation > 0.3 && correlation < 1.0, "{found:#}");
}

/// What decides by itself: nothing is announced where it does not hold.
fn conditions(place: &Workplace, topic: &str, aucs: &[f64; 2]) {
    let promote = |condition: &str, more: &[&str]| {
        place.cli(&[&["models", "promote", "net/1", "--in", topic, "--if", condition], more].concat())
    };
    let unknown = promote("acu > 0.5", &[]).failed();
    unknown.says(&["`acu`", "auc_difference", "metrics.auc"]);
    promote("auc >", &[]).failed().says(&["missing at the end"]);
    let refused = promote("auc >= 2 and metrics.auc > 0.5", &[]).failed().says(&["net/1 is not promoted", "higgs/1"]);
    assert_eq!(refused.code, NOT_HELD, "{}", refused.stdout);
    assert!(refused.stdout.contains("auc >= 2") && refused.stdout.contains("yes"), "{}", refused.stdout);
    let few = promote("auc > 0", &["--wait", "500", "--within", "1s", "--json"]).failed().says(&["120", "500"]);
    assert_eq!((few.code, &few.json()["promoted"]), (NOT_HELD, &Value::Null));
    let announced = |record: &lunapark_tests::harness::OwnedRecord| {
        record.key.as_ref().is_some_and(|key| key.starts_with(b"promotion/"))
    };
    assert!(!place.read_all("models").iter().any(announced), "a condition that does not hold announces nothing");
    place.cli(&["models", "promote", "net/1", "--from", "0"]).failed().says(&["--if"]);

    let condition = format!("auc >= {} and not flipped > 0.9 and (rows == 120 or ks > 2)", aucs[1] - 1e-6);
    let promoted = promote(&condition, &["--wait", "120", "--json"]).ok().json();
    assert_eq!(promoted["promoted"], "net/1", "{promoted:#}");
    let live = place.cli_json(&["models", "compare", "live", "higgs/1", "--in", topic]);
    assert_eq!((&live["a"], &live["b"]), (&json!("net/1"), &json!("higgs/1")), "{live:#}");
    place.cli(&["models", "compare", "live", "net/1"]).failed().says(&["compared with itself"]);
}

fn a_canary_is_judged_by_its_own_events(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let service = place.service("one", &[]);
    place.cli_json(&["models", "promote", "higgs/2", "--model", "builtin:higgs-mlp", "--share", "0.5"]);
    place.produce("inference.events", &events(&place, &[Format::KserveV1]));
    place.wait_records("inference.results", EVENTS, PATIENCE);
    let promote = |condition: &str, more: &[&str]| {
        let command = ["models", "promote", "higgs/2", "--wait", "20", "--within", "60s", "--if", condition];
        place.cli(&[&command[..], more].concat())
    };
    // It scores other events than the live version: no time would be long enough.
    let refused = promote("rate > 2 or flipped < 0.5", &[]).failed();
    refused.says(&["`flipped`", "models shadow higgs/2", "rate_change"]);
    let promoted = promote("rate >= 0 and ks <= 1", &["--json"]).ok().json();
    assert_eq!((&promoted["promoted"], &promoted["intent"]), (&json!("higgs/2"), &json!("switch")), "{promoted:#}");
    service.terminate().ok();
}

fn events_train_with_the_labels_of_another_topic(backend: Backend) {
    let place = training::place(backend);
    place.create_topics();
    place.produce("inference.events", &events(&place, &Format::ALL));
    let service = place.service("one", &[]);
    let mut request = training::request(&place, "labelled", 3);
    let [from, labels] = ["inference.events", "labels"].map(|topic| place.topic(topic));
    request["dataset"]["path"] = json!(format!("topic://{from}?labels={labels}"));
    request["dataset"]["weights"] = json!("weight");
    label(&place, &higgs::signal(EVENTS));
    training::send(&place, std::slice::from_ref(&request));
    let status = ended(&place, "labelled");
    assert_eq!(status["task_status"], "succeeded", "{status:#}");
    let rows = ["samples_train", "samples_test"].map(|name| status["dataset"][name].as_u64().unwrap());
    assert_eq!(rows.iter().sum::<u64>(), (EVENTS - UNLABELLED) as u64, "{status:#}");
    assert_eq!(status["dataset"]["unlabelled"], UNLABELLED, "{status:#}");
    assert_eq!(status["dataset"]["features"].as_array().unwrap().len(), higgs::FEATURES);
    let signal = higgs::signal(EVENTS)[..EVENTS - UNLABELLED].iter().filter(|signal| **signal).count();
    assert_eq!(status["dataset"]["class_balance"][1]["rows"], signal, "{status:#}");

    request["task_id"] = json!("other-label");
    request["dataset"]["label"] = json!("truth");
    training::send(&place, &[request]);
    let refused = ended(&place, "other-label");
    assert!(refused["error"].as_str().unwrap().contains("`dataset.label`"), "{refused:#}");

    card(&place, &labels);
    service.terminate().ok();
}

/// A folder with a page, pictures, and where the model comes from.
fn card(place: &Workplace, labels: &str) {
    until(PATIENCE, "the version is in the catalog", || {
        place.cli_json(&["models", "list"]).as_array().filter(|all| !all.is_empty()).map(drop)
    });
    let folder = place.dir().join("card");
    let written = place.cli_json(&["models", "card", "toy/1", "--folder", folder.to_str().unwrap()]);
    let pictures: Vec<_> = written["pictures"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    for file in ["loss.svg", "roc.svg", "scores.svg"] {
        assert!(pictures.contains(&file), "{written:#}");
        assert!(std::fs::read_to_string(folder.join(file)).unwrap().starts_with("<svg"));
    }
    let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for part in ["# toy/1", "](roc.svg)", "| task | labelled |", "20 had no label", "| input_27 |", labels] {
        assert!(page.contains(part), "no {part} in {page}");
    }
}
