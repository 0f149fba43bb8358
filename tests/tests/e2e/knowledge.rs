//! Documents sent to a topic are found, changed and taken out, each exactly once; questions come by topic and by terminal.

use std::path::{Path, PathBuf};

use lunapark_tests::harness::{Backend, Event, Workplace, until};
use lunapark_topics::partitioner::partition_of;
use serde_json::{Value, json};

use super::{PATIENCE, on_both};

/// Documents and questions, nothing else.
pub const SERVES: [(&str, &str); 3] = [("score.threads", "0"), ("documents.threads", "1"), ("search.threads", "1")];

on_both!(
    documents_become_searchable_and_stay_right,
    what_lies_on_another_partition_is_put_in_order_first,
    segments_are_merged_while_documents_come,
    a_topic_that_was_made_anew_is_refused,
);

/// A small encoder of 220 words, from the tests of the encoders.
pub fn encoder() -> PathBuf {
    fixture("bert")
}

/// An encoder of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operators/embed/tests/fixtures");
    fixtures.join(name).canonicalize().unwrap()
}

/// A workplace whose services and commands have the small encoder.
pub fn library(backend: Backend) -> Workplace {
    Workplace::new(backend)
        .with("documents.encoder", json!(encoder()))
        .with("documents.child_tokens", 32)
        .with("documents.child_overlap", 8)
        .with("documents.parent_tokens", 48)
        .with("documents.batch_interval", "\"50ms\"")
}

fn place(backend: Backend) -> Workplace {
    let place = library(backend);
    let folder = place.dir().join("papers");
    std::fs::create_dir_all(folder.join("old")).unwrap();
    std::fs::write(folder.join("layer.md"), "# Boundary layers\n\nTransition of a laminar layer.\n").unwrap();
    std::fs::write(folder.join("old/wing.html"), "<title>Wings</title><p>Flutter of a wing at speed.</p>").unwrap();
    std::fs::write(folder.join("picture.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    std::fs::write(folder.join("broken.pdf"), b"%PDF-1.7 no more than that").unwrap();
    place
}

fn ingest(place: &Workplace, what: &str) -> Value {
    sent(place, &[what, "--collection", "papers", "--wait"])
}

/// What `ingest` says of a path below the workplace; its exit code agrees.
pub fn sent(place: &Workplace, arguments: &[&str]) -> Value {
    let path = place.dir().join(arguments[0]);
    let outcome = place.cli(&[&["ingest", path.to_str().unwrap(), "--json"], &arguments[1..]].concat());
    let all = outcome.stdout.contains("\"refused_total\": 0");
    let report = if all { outcome.ok() } else { outcome.failed() };
    report.json()
}

pub fn documents(found: &Value) -> Vec<&str> {
    let hits = found["answers"][0]["results"].as_array().unwrap_or_else(|| panic!("no answer in {found:#}"));
    hits.iter().map(|hit| hit["document"].as_str().unwrap()).collect()
}

pub fn words(place: &Workplace, question: &str) -> Value {
    place.cli_json(&["search", question, "--collection", "papers", "--mode", "words"])
}

fn audited(place: &Workplace, pipeline: &str, topic: &str, results: &str) -> Value {
    let (topic, results) = (place.topic(topic), place.topic(results));
    let group = format!("{}{pipeline}", place.prefix());
    let report = place.cli_json(&["audit", "--deep", "--pipeline", &group, "--topic", &topic, "--results", &results]);
    assert_eq!((&report["lost"], &report["duplicated"], &report["proven"]), (&0.into(), &0.into(), &true.into()));
    report
}

fn documents_become_searchable_and_stay_right(backend: Backend) {
    let place = place(backend);
    let service = place.service("one", &SERVES);

    let report = ingest(&place, "papers");
    assert_eq!((&report["sent"], report["skipped"].as_array().unwrap().len()), (&3.into(), 1), "{report:#}");
    assert_eq!((&report["refused_total"], &report["refused"][0]["document"]), (&1.into(), &"broken.pdf".into()));
    assert_eq!(documents(&words(&place, "flutter")), ["old/wing.html"]);
    let found = place.cli_json(&["search", "laminar layer", "--collection", "papers"]);
    let first = &found["answers"][0]["results"][0];
    assert_eq!((&first["document"], &first["title"]), (&"layer.md".into(), &"Boundary layers".into()), "{found:#}");
    assert_eq!(place.read_all("documents.ingest.dead").len(), 1, "the broken PDF");

    // What has not changed is not sent again; what has changed replaces the old text.
    std::fs::write(place.dir().join("papers/old/wing.html"), "<p>Divergence of a wing.</p>").unwrap();
    let report = ingest(&place, "papers");
    assert_eq!((&report["sent"], &report["unchanged"]), (&1.into(), &1.into()), "{report:#}");
    assert_eq!((&report["refused_total"], &report["refused"][0]["sent"]), (&1.into(), &false.into()), "{report:#}");
    assert!(documents(&words(&place, "flutter")).is_empty());
    assert_eq!(documents(&words(&place, "divergence")), ["old/wing.html"]);

    let records = [
        json!({ "id": "layer.md", "deleted": true }),
        json!({ "id": "n", "content": "Noise of jets.", "metadata": { "year": 1969 } }),
        json!({ "id": "passwd", "uri": "file:///etc/passwd" }),
    ];
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    std::fs::write(place.dir().join("more.ndjson"), lines).unwrap();
    ingest(&place, "more.ndjson");
    assert!(documents(&words(&place, "laminar")).is_empty());
    let near = by_topic(&place, "near", "noise", "year >= 1960");
    assert_eq!(near.get("notes"), None, "{near:#}");
    let near = &near["search_output"][0];
    let (found, place_of) = (&near["results"][0], &near["results"][0]["metadata"]);
    assert_eq!((&near["input_text"], near["results"].as_array().unwrap().len()), (&"noise".into(), 1), "{near:#}");
    assert_eq!((&found["page_content"], &place_of["document"]), (&"Noise of jets.".into(), &"n".into()), "{near:#}");
    assert!(found["score"].as_f64().is_some_and(|distance| distance > 0.0) && place_of["year"] == 1969, "{near:#}");

    // A slip of the pen is told whatever it finds.
    let slip = by_topic(&place, "slip", "noise", "yaer IS NULL");
    let notes = slip["notes"].as_array().unwrap_or_else(|| panic!("no notes in {slip:#}"));
    assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains("did you mean `year`?"), "{notes:?}");
    assert_eq!(slip["search_output"][0]["results"].as_array().map(Vec::len), Some(2), "{slip:#}");

    let shown = place.cli_json(&["collections", "show", "papers"]);
    assert_eq!(shown["documents"], 2, "{shown:#}");
    place.cli(&["collections", "compact", "papers", "--whole"]).ok();
    place.cli(&["collections", "verify", "papers"]).ok();
    assert_eq!(documents(&words(&place, "divergence")), ["old/wing.html"]);

    let report = audited(&place, "documents", "documents.ingest", "documents.indexed");
    assert_eq!((&report["in"], &report["results"], &report["dead"]), (&7.into(), &5.into(), &2.into()), "{report:#}");
    audited(&place, "search", "search.requests", "search.results");
    service.terminate().ok();
}

/// A question by way of the topics, as ML-AAS writes it.
fn by_topic(place: &Workplace, id: &str, question: &str, filter: &str) -> Value {
    let request = json!({
        "id": id, "collection": "papers", "filter": filter, "search_input": { "input_text": [question] },
    });
    let topic = place.topic("search.requests");
    place.cli_with_input(&["produce", &topic, "--key-field", "id"], request.to_string().as_bytes()).ok();
    until(PATIENCE, "the question is answered", || {
        let results = place.read_all("search.results");
        results.iter().map(|record| record.json()).find(|answer| answer["id"] == id)
    })
}

/// The partition of a document, and the one after it, where it does not belong.
fn home_and_away(place: &Workplace, id: &str) -> (i32, i32) {
    let home = partition_of(id.as_bytes(), place.partitions());
    (home, (home + 1) % place.partitions())
}

/// A record on a partition where another client has put it: with another hash, without a key, or with a key of its own.
fn astray(place: &Workplace, id: &str, mut record: Value) -> Event {
    (record["id"], record["collection"]) = (id.into(), "papers".into());
    Event::new(record.to_string()).to(home_and_away(place, id).1).header("ce_source", "elsewhere")
}

fn what_lies_on_another_partition_is_put_in_order_first(backend: Backend) {
    let place = place(backend);
    let service = place.service("one", &[("score.threads", "0"), ("documents.threads", "1")]);
    std::fs::write(place.dir().join("b.md"), "Flutter of a wing at speed.").unwrap();
    ingest(&place, "b.md");
    let file = Event::new("Divergence of a wing.").to(home_and_away(&place, "c").1).key("c");
    let file = file.header("lunapark-collection", "papers").header("content-type", "text/plain");
    place.produce(
        "documents.ingest",
        &[
            astray(&place, "a", json!({ "content": "Flutter of a panel." })),
            astray(&place, "a", json!({ "content": "Noise of jets." })).key("not-its-id"),
            astray(&place, "b.md", json!({ "deleted": true })),
            astray(&place, "d", json!({ "uri": "file:///etc/passwd" })),
            file,
        ],
    );
    // It waits for what was put elsewhere as well.
    std::fs::write(place.dir().join("e.md"), "Heat of a blunt body.").unwrap();
    ingest(&place, "e.md");
    assert!(documents(&words(&place, "flutter")).is_empty());
    assert_eq!(documents(&words(&place, "noise")), ["a"]);
    assert_eq!(documents(&words(&place, "divergence")), ["c"]);
    assert_eq!(place.cli_json(&["collections", "show", "papers"])["documents"], 3);

    let sent = place.read_all("documents.ingest");
    let moved: Vec<_> = sent.iter().filter(|record| record.header("lunapark-rekeyed").is_some()).collect();
    assert_eq!((sent.len(), moved.len()), (12, 5));
    for record in &moved {
        let id = String::from_utf8(record.key.clone().unwrap()).unwrap();
        let (home, away) = home_and_away(&place, &id);
        assert_eq!(record.partition, home, "{id}");
        let from = record.header("lunapark-rekeyed").unwrap();
        let original = sent.iter().find(|record| record.position() == from).unwrap_or_else(|| panic!("no {from}"));
        assert_eq!((original.partition, &original.value), (away, &record.value), "{id}");
        assert_eq!((original.timestamp, original.header("ce_source")), (record.timestamp, record.header("ce_source")));
    }
    // Whoever sent one finds its answer by the place where it was put first.
    let indexed = place.read_all("documents.indexed");
    let answered: Vec<_> = indexed.iter().filter_map(|record| record.header("lunapark-rekeyed")).collect();
    assert_eq!((indexed.len(), answered.len()), (6, 4));
    let report = audited(&place, "documents", "documents.ingest", "documents.indexed");
    let counted = ["in", "results", "filtered", "dead"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counted, [12, 6, 5, 1], "{report:#}");
    assert_eq!(report["pending"], 0, "{report:#}");
    service.terminate().ok();
}

fn segments_are_merged_while_documents_come(backend: Backend) {
    const DOCUMENTS: usize = 24;
    let place = place(backend).with("documents.compact_every", "\"100ms\"").with("documents.compact_segments", 4);
    // Each document is a segment.
    let settings = [("score.threads", "0"), ("documents.threads", "1"), ("documents.batch_messages", "1")];
    let service = place.service("one", &settings);
    let lines: String = (0..DOCUMENTS)
        .map(|number| format!("{}\n", json!({ "id": number.to_string(), "content": format!("Wing {number}.") })))
        .collect();
    std::fs::write(place.dir().join("many.ndjson"), lines).unwrap();
    ingest(&place, "many.ndjson");
    until(PATIENCE, "few segments are left", || {
        let shown = place.cli_json(&["collections", "show", "papers"]);
        assert_eq!(shown["documents"], DOCUMENTS, "{shown:#}");
        (shown["segments"].as_u64()? < 8).then_some(())
    });
    let merged = |line: &&str| line.starts_with("lunapark_upkeep_total") && line.contains("what=\"merges\"");
    until(PATIENCE, "the merges are counted", || {
        let metrics = service.get("/metrics").body;
        let count = metrics.lines().find(merged)?.rsplit(' ').next()?.parse::<f64>().ok()?;
        (count >= 1.0).then_some(())
    });
    service.terminate().ok();
    place.cli(&["collections", "verify", "papers"]).ok();
}

fn a_topic_that_was_made_anew_is_refused(backend: Backend) {
    let place = place(backend);
    let settings = [("score.threads", "0"), ("documents.threads", "1")];
    let service = place.service("one", &settings);
    ingest(&place, "papers");
    service.terminate().ok();
    place.cli(&["collections", "verify", "papers"]).ok();
    place.cli(&["topics", "delete", &place.topic("documents.ingest"), "--yes"]).ok();
    until(PATIENCE, "the topic is gone", || place.log().topic(&place.topic("documents.ingest")).is_err().then_some(()));
    let refused = until(PATIENCE, "the topic is made anew", || {
        // Kafka may still say that it is being deleted.
        let outcome = place.run_to_end(&settings).failed();
        outcome.stderr.contains("collection `papers`").then_some(outcome)
    });
    refused.says(&["ends at 0", "lunapark collections drop papers --yes"]);
    let verified = place.cli(&["collections", "verify", "papers", "--json"]).failed().json();
    assert!(verified["problems"][0].as_str().unwrap().contains("ends at 0"), "{verified:#}");

    // Also once it has more records than the old one had.
    let filler = |number: i32| json!({ "id": format!("filler-{number}"), "collection": "others", "deleted": true });
    let fill = |number: i32| Event::new(filler(number).to_string()).to(number % place.partitions());
    place.produce("documents.ingest", &(0..4 * place.partitions()).map(fill).collect::<Vec<_>>());
    let ways_out = ["has read topic", "lunapark collections drop papers --yes"];
    place.run_to_end(&settings).failed().says(&ways_out);
    let verified = place.cli(&["collections", "verify", "papers", "--json"]).failed().json();
    assert!(verified["problems"][0].as_str().unwrap().contains("has read topic"), "{verified:#}");
    place.cli(&["collections", "drop", "papers", "--yes"]).ok();
    let service = place.service("one", &settings);
    ingest(&place, "papers");
    assert_eq!(documents(&words(&place, "flutter")), ["old/wing.html"]);
    service.terminate().ok();
}
