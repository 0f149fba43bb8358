//! Several models on one event: what a cascade answers in a stream, and what is refused at start.

use lunapark_tests::harness::{Backend, Event, Workplace, quoted};
use serde_json::json;

use super::higgs::{self, Format, PERCEPTRON, TREES};
use super::{assert_proven, on_both, wait_ends};

on_both!(a_cascade_answers_a_stream);

const CASCADE: &str = r#"
kind = "cascade"

[[steps]]
name = "gate"
model = "net.safetensors"

[[steps]]
name = "trees"
model = "parts/trees.json"
when = "gate.probability >= 0.5"

[[outputs]]
name = "probability"
from = ["trees.probability", "gate.probability"]
"#;

/// Writes the cascade and its parts; its path, and the setting that names it.
fn cascade(place: &Workplace, text: &str) -> (String, String) {
    let dir = place.dir();
    std::fs::create_dir_all(dir.join("parts")).unwrap();
    std::fs::write(dir.join("net.safetensors"), PERCEPTRON).unwrap();
    std::fs::write(dir.join("parts/trees.json"), TREES).unwrap();
    std::fs::write(dir.join("cascade.toml"), text).unwrap();
    let path = dir.join("cascade.toml").to_string_lossy().into_owned();
    let setting = format!("[{{ name = \"two\", version = \"1\", path = {} }}]", quoted(&path));
    (path, setting)
}

/// Scores and names of steps, as the two models give them one by one.
fn expected(events: &[higgs::Features]) -> Vec<(f32, &'static str)> {
    let (gate, trees) = (higgs::scores(PERCEPTRON, events), higgs::scores(TREES, events));
    let answer = |(gate, trees)| if gate >= 0.5 { (trees, "trees") } else { (gate, "gate") };
    gate.into_iter().zip(trees).map(answer).collect()
}

fn a_cascade_answers_a_stream(backend: Backend) {
    let place = Workplace::new(backend);
    let (path, setting) = cascade(&place, CASCADE);
    place.create_topics();
    let events = higgs::sample(200);
    let expected = expected(&events);
    assert!(expected.iter().any(|(_, step)| *step == "gate") && expected.iter().any(|(_, step)| *step == "trees"));
    let one_by_one = events.iter().map(|event| Event::new(higgs::v1(std::slice::from_ref(event))).to(0));
    place.produce("inference.events", &one_by_one.collect::<Vec<_>>());
    place.produce("inference.events", &[Format::OpenInference.message(&events).to(0)]);
    let service = place.service("one", &[("score.models", &setting)]);
    let (results, _) = wait_ends(&place, events.len() + 1, 0);
    let digest = place.cli_json(&["model", "check", &path, "--no-speed"])["sha256"].as_str().unwrap().to_owned();
    for (result, (score, step)) in results.iter().zip(&expected) {
        let answer = &result.json()["predictions"][0];
        assert_eq!((answer["probability"].as_f64().map(|p| p as f32), &answer["step"]), (Some(*score), &json!(step)));
        assert_eq!(result.header("lunapark-model"), Some(format!("two/1#{}", &digest[..8]).as_str()));
    }
    // The same rows in one message: bit for bit the same answers.
    let whole = results[events.len()].json();
    let scores: Vec<f32> = Format::OpenInference.scores(&results[events.len()]);
    assert_eq!(scores, expected.iter().map(|(score, _)| *score).collect::<Vec<_>>());
    let steps: Vec<_> = expected.iter().map(|(_, step)| *step).collect();
    assert_eq!((&whole["outputs"][1]["datatype"], &whole["outputs"][1]["data"]), (&json!("BYTES"), &json!(steps)));
    service.terminate().ok();
    assert_proven(&place, events.len() + 1);
}

#[test]
fn the_digest_of_a_cascade_changes_with_its_parts() {
    let place = Workplace::embedded();
    let (path, _) = cascade(&place, CASCADE);
    let check = || place.cli_json(&["model", "check", &path, "--no-speed"]);
    let told = check();
    assert_eq!((&told["format"], &told["steps"][1]["when"]), (&json!("cascade"), &json!("gate.probability >= 0.5")));
    assert_eq!(told["steps"][0]["sha256"], higgs::model(PERCEPTRON).digest);
    std::fs::write(place.dir().join("parts/trees.json"), [TREES, b"\n"].concat()).unwrap();
    assert_ne!(check()["sha256"], told["sha256"]);
}

#[test]
fn cascades_that_cannot_work_are_refused_at_start() {
    let place = Workplace::embedded();
    for (from, to, words) in [
        ("parts/trees.json", "parts/none.json", ["step `trees`", "check that it exists"]),
        ("parts/trees.json", "cascade.toml", ["step `trees`", "does one name itself"]),
        ("gate.probability >= 0.5", "gate.mass >= 0.5", ["step `trees`", "it has `gate.probability`"]),
        ("model = \"net", "sha256 = \"00\"\nmodel = \"net", ["step `gate`", "expected 00"]),
        ("from =", "form =", ["unknown field `form`", "two/1"]),
    ] {
        let (_, setting) = cascade(&place, &CASCADE.replacen(from, to, 1));
        place.run_to_end(&[("score.models", &setting)]).failed().says(&words);
    }
}
