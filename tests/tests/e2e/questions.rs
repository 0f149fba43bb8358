//! Many questions at once: a file of them from the terminal, and more than one answer can hold by topic.

use std::collections::BTreeSet;

use lunapark_tests::harness::{Backend, Workplace};
use serde_json::{Value, json};

use super::knowledge::{SERVES, documents, library, sent, words};
use super::{PATIENCE, on_both};

on_both!(a_file_of_questions_is_answered_line_by_line, an_answer_that_is_too_large_is_a_dead_letter,);

/// A collection of three documents, the first of many passages.
fn ingest(place: &Workplace) {
    let records = [("wings", "Flutter divergence wing. ".repeat(60)), ("jets", "Jets noise.".into())];
    let records = records.into_iter().chain([("bodies", "Blunt body heat.".to_owned())]);
    let record = |(id, content): (&str, String)| format!("{}\n", json!({ "id": id, "content": content }));
    std::fs::write(place.dir().join("three.ndjson"), records.map(record).collect::<String>()).unwrap();
    let report = sent(place, &["three.ndjson", "--collection", "papers", "--wait"]);
    assert_eq!(report["sent"], 3, "{report:#}");
}

fn a_file_of_questions_is_answered_line_by_line(backend: Backend) {
    let place = library(backend);
    let service = place.service("one", &SERVES);
    ingest(&place);
    assert!(documents(&words(&place, "flutter")).len() > 1, "one document has several passages");
    let long = "flutter wing ".repeat(60);
    let questions = [
        (json!("q-9"), "jets noise", "jets"),
        (json!(7), "flutter divergence", "wings"),
        (json!("q-1"), "blunt body heat", "bodies"),
        (json!("long"), long.as_str(), "wings"),
    ];
    let lines = questions.each_ref().map(|(id, text, _)| json!({ "id": id, "text": text }).to_string());
    let file = place.dir().join("questions.ndjson");
    std::fs::write(&file, lines.join("\n\n")).unwrap();
    let ask = ["search", "--collection", "papers", "--queries", file.to_str().unwrap(), "--k", "3"];
    let answered = place.cli(&[&ask[..], &["--json"]].concat()).ok();
    let answers = answered.json_lines();
    assert_eq!(answers.len(), questions.len(), "{}", answered.stdout);
    for ((id, text, best), answer) in questions.iter().zip(&answers) {
        let keys: BTreeSet<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((&answer["id"], keys), (id, BTreeSet::from(["id", "results"])));
        best_first(answer, best);
        let alone = place.cli_json(&["search", text, "-c", "papers", "--documents", "--k", "3"]);
        assert_eq!(answer["results"], alone["answers"][0]["results"], "{text}");
    }
    // What was not read to its end is told, beside the answers.
    answered.says(&["note: the question `flutter wing", "reads the first 48"]);

    let shown = place.cli(&ask).ok().stdout;
    assert!(shown.contains("jets noise\n  1. jets"), "{shown}");
    std::fs::write(&file, "{\"id\": 1, \"text\": \"a\"}\n{\"id\": 2}\n").unwrap();
    place.cli(&ask).failed().says(&["questions.ndjson, line 2"]);
    service.terminate().ok();
}

/// Each document once, by meaning and words, the best one first.
fn best_first(answer: &Value, best: &str) {
    let hits = answer["results"].as_array().unwrap();
    let found: BTreeSet<&str> = hits.iter().map(|hit| hit["document"].as_str().unwrap()).collect();
    assert_eq!((hits.len(), found), (3, BTreeSet::from(["bodies", "jets", "wings"])), "{answer:#}");
    let scores: Vec<f64> = hits.iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert!(hits.iter().all(|hit| hit["parent"].is_u64() && hit["child"].is_u64()), "{answer:#}");
    assert_eq!(hits[0]["document"], best, "{answer:#}");
    assert!(hits[0]["dense"].is_f64() && hits[0]["words"].is_f64(), "hybrid by default: {answer:#}");
}

fn an_answer_that_is_too_large_is_a_dead_letter(backend: Backend) {
    let place = library(backend);
    place.cli(&["topics", "create", &place.topic("search.results"), "--max-message-bytes", "4000"]).ok();
    let service = place.service("one", &SERVES);
    ingest(&place);
    let ask = |id: &str, questions: usize, k: usize| {
        let request = json!({ "id": id, "collection": "papers", "query": vec!["flutter"; questions], "k": k });
        let topic = place.topic("search.requests");
        place.cli_with_input(&["produce", &topic, "--key-field", "id"], request.to_string().as_bytes()).ok();
    };
    ask("many", 200, 20);
    ask("few", 1, 1);
    let dead = place.wait_records("search.requests.dead", 1, PATIENCE);
    let answers = place.wait_records("search.results", 1, PATIENCE);
    assert_eq!((dead.len(), answers.len(), &answers[0].json()["id"]), (1, 1, &json!("few")));
    assert_eq!(dead[0].header("error-class"), Some("result-too-large"));
    let why = dead[0].header("__streams.errors.message").unwrap();
    assert!(why.contains("takes 4000") && why.contains("of 200 questions") && why.contains("smaller `k`"), "{why}");
    service.terminate().ok();
}
