//! Ways of documents into a collection: rows of tables, whole tables, objects of a bucket.

use lunapark_tests::harness::{Backend, Workplace};
use serde_json::{Value, json};

use super::knowledge::{SERVES, documents, library, words};
use super::models::{put, with_store};
use super::{PATIENCE, now_millis, on_both};

on_both!(rows_of_a_table_are_documents);

const TABLE: &str = "doi,abstract,name,year\nx/1,Flutter of a wing.,Wings,1957\nx/2,,Nothing,1960\n\
                     x/3,Heat of a body.,Bodies,1969\n";

fn ingest(place: &Workplace, file: &str, arguments: &[&str]) -> Value {
    let path = place.dir().join(file);
    let table = ["ingest", path.to_str().unwrap(), "-c", "papers", "--page-content-column", "abstract", "--wait"];
    place.cli_json(&[&table[..], arguments].concat())
}

fn counts(report: &Value) -> (i64, i64, usize) {
    let skipped = report["skipped"].as_array().unwrap().len();
    (report["sent"].as_i64().unwrap(), report["unchanged"].as_i64().unwrap(), skipped)
}

fn rows_of_a_table_are_documents(backend: Backend) {
    let place = library(backend);
    let service = place.service("one", &SERVES);
    std::fs::write(place.dir().join("table.csv"), TABLE).unwrap();
    let named = ["--id-column", "doi", "--title-column", "name"];
    let report = ingest(&place, "table.csv", &named);
    assert_eq!(counts(&report), (2, 0, 1), "{report:#}");
    let reason = report["skipped"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("row 2: there is no text in its \"abstract\""), "{reason}");
    let found = words(&place, "flutter");
    let hit = &found["answers"][0]["results"][0];
    assert_eq!((&hit["document"], &hit["title"]), (&"x/1".into(), &"Wings".into()), "{found:#}");

    // What stands beside the text counts as well.
    std::fs::write(place.dir().join("table.csv"), TABLE.replace("1957", "1987")).unwrap();
    let report = ingest(&place, "table.csv", &named);
    assert_eq!(counts(&report), (1, 1, 1), "{report:#}");
    let filtered = ["search", "wing body", "-c", "papers", "--mode", "words", "--filter", "year > 1980"];
    assert_eq!(documents(&place.cli_json(&filtered)), ["x/1"]);

    // Without a column of ids a row's number is part of its id, whichever rows have no text.
    let rows = [json!({ "abstract": "" }), json!({ "abstract": "Noise of jets.", "loud": true })];
    std::fs::write(place.dir().join("rows.jsonl"), rows.map(|row| format!("{row}\n")).concat()).unwrap();
    assert_eq!(counts(&ingest(&place, "rows.jsonl", &[])), (1, 0, 1));
    assert_eq!(documents(&words(&place, "noise")), ["rows.jsonl#2"]);

    // A record that is a table is one document, which says in which row a passage is.
    let whole = json!({
        "id": "whole", "collection": "papers", "content": TABLE.replace("wing", "rotor"), "content_type": "text/csv",
        "page_content_column": "abstract",
    });
    let topic = place.topic("documents.ingest");
    let before = place.read_all("documents.indexed").len();
    place.cli_with_input(&["produce", &topic, "--key-field", "id"], whole.to_string().as_bytes()).ok();
    let indexed = place.wait_records("documents.indexed", before + 1, PATIENCE);
    let whole = indexed.iter().map(|record| record.json()).find(|record| record["id"] == "whole");
    assert_eq!(whole.unwrap()["kind"], "table");
    let found = words(&place, "rotor");
    let hit = &found["answers"][0]["results"][0];
    assert_eq!((&hit["document"], &hit["heading"]), (&"whole".into(), &"row 1".into()), "{found:#}");
    service.terminate().ok();
}

#[test]
fn a_bucket_is_walked_and_what_has_changed_is_sent() {
    let folder = format!("papers-{}", now_millis());
    let layer = put(&format!("{folder}/layer.md"), b"# Layers\n\nTransition of a laminar layer.\n");
    let address = layer.strip_suffix("layer.md").unwrap();
    put(&format!("{folder}/deep/wing (1) & co.html"), b"<title>Wings</title><p>Flutter of a wing.</p>");
    put(&format!("{folder}/picture.png"), b"\x89PNG\r\n\x1a\n");
    let place = with_store(library(Backend::Embedded)).with("documents.sources", json!(address));
    let service = place.service("one", &SERVES);
    let ingest = |arguments: &[&str]| place.cli_json(&[&["ingest", address, "--wait"][..], arguments].concat());

    let report = ingest(&["-c", "papers"]);
    assert_eq!(counts(&report), (2, 0, 1), "{report:#}");
    assert!(report["skipped"][0]["reason"].as_str().unwrap().contains("PNG"), "{report:#}");
    let found = words(&place, "laminar");
    let hit = &found["answers"][0]["results"][0];
    assert_eq!((&hit["document"], &hit["uri"]), (&"layer.md".into(), &layer.as_str().into()), "{found:#}");
    assert_eq!(documents(&words(&place, "flutter")), ["deep/wing (1) & co.html"]);
    assert_eq!(counts(&ingest(&["-c", "papers"])), (0, 2, 1));

    // The service fetches what is sent by its address; what is no document is its dead letter.
    assert_eq!(counts(&ingest(&["-c", "fetched", "--by-uri"])), (3, 0, 0));
    assert_eq!(place.read_all("documents.ingest.dead").len(), 1, "the picture");
    put(&format!("{folder}/layer.md"), b"# Layers\n\nTransition of a turbulent layer.\n");
    assert_eq!(counts(&ingest(&["-c", "fetched", "--by-uri"])), (2, 1, 0), "the picture, and what has changed");
    let search = ["search", "turbulent", "-c", "fetched", "--mode", "words"];
    assert_eq!(documents(&place.cli_json(&search)), ["layer.md"]);

    // One object, and a prefix with nothing below it.
    let one = place.cli_json(&["ingest", &layer, "-c", "one", "--wait"]);
    assert_eq!(counts(&one), (1, 0, 0), "{one:#}");
    place.cli(&["ingest", &format!("{address}none/"), "-c", "one"]).failed().says(&["nothing below it"]);
    place.cli(&["ingest", "s3://no-such-bucket/x/", "-c", "one"]).failed().says(&["s3://no-such-bucket"]);
    service.terminate().ok();
}
