//! A collection is given another encoder while documents come: the old service is told, the new one goes on.

use lunapark_tests::harness::{Backend, Workplace, until};
use serde_json::json;

use super::knowledge::{SERVES, documents, fixture, library, words};
use super::{PATIENCE, on_both};

on_both!(a_collection_gets_another_encoder, a_collection_of_another_encoder_holds_up_no_other);

fn ingest(place: &Workplace, id: &str, content: &str, arguments: &[&str]) {
    ingest_into(place, "papers", id, content, arguments);
}

fn ingest_into(place: &Workplace, collection: &str, id: &str, content: &str, arguments: &[&str]) {
    let path = place.dir().join(format!("{id}.ndjson"));
    std::fs::write(&path, format!("{}\n", json!({ "id": id, "content": content }))).unwrap();
    let command = ["ingest", path.to_str().unwrap(), "--collection", collection];
    place.cli_json(&[&command[..], arguments].concat());
}

fn a_collection_gets_another_encoder(backend: Backend) {
    let mut place = library(backend);
    let old = place.service("one", &SERVES);
    let long = "Flutter of a wing at speed. ".repeat(20);
    ingest(&place, "wing", &long, &["--wait"]);
    ingest(&place, "layer", "Transition of a laminar layer.", &["--wait"]);
    let before = place.cli_json(&["collections", "show", "papers"]);
    let dense = ["search", "flutter", "--collection", "papers", "--mode", "dense", "--documents"];

    place.set("documents.encoder", json!(fixture("mpnet")));
    place.set("documents.child_tokens", 20);
    place.cli(&dense).failed().says(&["lunapark collections reindex papers"]);
    let done = place.cli_json(&["collections", "reindex", "papers"]);
    assert_eq!((&done["reindexed"], &done["settings"]["model"]), (&true.into(), &"mpnet".into()), "{done:#}");
    let shown = place.cli_json(&["collections", "show", "papers"]);
    assert_eq!((&shown["documents"], &shown["settings"]["dimension"]), (&2.into(), &24.into()), "{shown:#}");
    assert_eq!((&shown["next"], &shown["version"]), (&before["next"], &done["version"]));
    place.cli(&["collections", "verify", "papers"]).ok();
    let mut found = documents(&place.cli_json(&dense)).iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    found.sort();
    found.dedup();
    assert_eq!(found, ["layer", "wing"]);
    assert_eq!(place.cli_json(&["collections", "reindex", "papers"])["reindexed"], false, "it has these settings");

    // A service with the old encoder holds what comes, and says what to do.
    ingest(&place, "late", "Noise of jets.", &[]);
    until(PATIENCE, "the old service to be refused", || {
        old.log().contains("lunapark collections reindex papers").then_some(())
    });
    old.terminate().ok();
    assert!(documents(&words(&place, "noise")).is_empty());
    let new = place.service("one", &SERVES);
    ingest(&place, "later", "Heat of a body.", &["--wait"]);
    assert_eq!(documents(&words(&place, "noise")), ["late"]);
    assert_eq!(documents(&words(&place, "heat")), ["later"]);

    // What was, can still be read.
    let version = before["version"].to_string();
    let as_of = ["search", "noise", "--collection", "papers", "--mode", "words", "--as-of", &version];
    assert!(documents(&place.cli_json(&as_of)).is_empty());
    place.cli(&[&dense[..], &["--as-of", &version]].concat()).failed().says(&["mpnet"]);
    new.terminate().ok();
}

fn a_collection_of_another_encoder_holds_up_no_other(backend: Backend) {
    let mut place = library(backend).with("documents.compact_every", "\"100ms\"");
    let service = place.service("one", &SERVES);
    for collection in ["papers", "notes"] {
        ingest_into(&place, collection, "first", "Flutter of a wing at speed.", &["--wait"]);
    }
    // Other sizes are the collection's own: who fills it goes on with them.
    let long = "Flutter of a wing at speed. ".repeat(20);
    place.set("documents.child_tokens", 20);
    assert_eq!(place.cli_json(&["collections", "reindex", "notes"])["reindexed"], true);
    ingest_into(&place, "notes", "long", &long, &["--wait"]);
    let shown = place.cli_json(&["collections", "show", "notes"]);
    let cut = (&shown["settings"]["chunking"]["child_tokens"], &shown["documents"]);
    assert_eq!(cut, (&20.into(), &2.into()), "{shown:#}");
    assert_eq!(place.cli_json(&["collections", "reindex", "notes"])["reindexed"], false);
    assert!(place.read_all("documents.ingest.dead").is_empty());

    place.set("documents.encoder", json!(fixture("mpnet")));
    assert_eq!(place.cli_json(&["collections", "reindex", "papers"])["reindexed"], true);
    place.set("documents.encoder", json!(fixture("bert")));
    ingest(&place, "late", "Noise of jets.", &[]);
    let dead = place.wait_records("documents.ingest.dead", 1, PATIENCE);
    let why = dead[0].header("__streams.errors.message").unwrap();
    assert!(why.contains("lunapark collections reindex papers") && why.contains("dlq redrive"), "{why}");
    ingest_into(&place, "notes", "late", "Noise of jets.", &["--wait"]);
    assert_eq!(place.cli_json(&["collections", "show", "notes"])["documents"], 3);
    let readiness = service.get("/readyz");
    assert!(readiness.status == 503 && readiness.body.contains("collections reindex papers"), "{readiness:?}");

    assert_eq!(place.cli_json(&["collections", "reindex", "papers"])["reindexed"], true);
    until(PATIENCE, "it is ready again", || (service.get("/readyz").status == 200).then_some(()));
    place.cli(&["dlq", "redrive", "--topic", &place.topic("documents.ingest"), "--all"]).ok();
    until(PATIENCE, "what came meanwhile is in", || {
        (place.cli_json(&["collections", "show", "papers"])["documents"] == 2).then_some(())
    });
    assert_eq!(documents(&words(&place, "noise")), ["late"]);
    service.terminate().ok();
}
