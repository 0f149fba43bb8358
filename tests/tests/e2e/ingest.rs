//! Ways of documents into a collection: rows of tables, whole tables, objects of a bucket.

use lunapark_tests::harness::{Backend, Workplace, quoted, until};
use serde_json::{Value, json};

use super::knowledge::{SERVES, documents, library, sent, words};
use super::models::{delete, put, with_store};
use super::{PATIENCE, now_millis, on_both};

on_both!(rows_of_a_table_are_documents, what_is_refused_is_told_and_what_is_gone_is_taken_out);

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

fn what_is_refused_is_told_and_what_is_gone_is_taken_out(backend: Backend) {
    let place = library(backend);
    let service = place.service("one", &SERVES);
    let folder = place.dir().join("notes");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    write("a.md", "Flutter of a wing.");
    write("deep/b.md", "Heat of a body.");
    write("broken.pdf", "%PDF-1.7 no more than that");
    write(".draft.md", "Not for others.");
    std::fs::write(place.dir().join("secret.md"), "Not for others.").unwrap();
    std::os::unix::fs::symlink(place.dir().join("secret.md"), folder.join("link.md")).unwrap();
    let ingest = |more: &[&str]| sent(&place, &[&["notes", "-c", "papers", "--wait"], more].concat());

    let report = ingest(&[]);
    assert_eq!((counts(&report), &report["refused_total"]), ((3, 0, 2), &1.into()), "{report:#}");
    let refused = &report["refused"][0];
    assert_eq!((&refused["document"], &refused["sent"]), (&"broken.pdf".into(), &true.into()), "{report:#}");
    assert!(refused["path"].as_str().unwrap().ends_with("/notes/broken.pdf"), "{refused:#}");
    assert!(refused["reason"].as_str().unwrap().starts_with("broken: the document is broken"), "{refused:#}");
    let letter = place.cli_json(&["dlq", "show", refused["dead_letter"].as_str().unwrap()]);
    assert_eq!(letter["why"]["class"], "document", "{letter:#}");
    until(PATIENCE, "the service tells of it", || service.log().contains("refused=1").then_some(()));

    // Unchanged it would be refused again, unless somebody says so.
    let report = ingest(&[]);
    assert_eq!((counts(&report), &report["refused"][0]["sent"]), ((0, 2, 2), &false.into()), "{report:#}");
    assert!(report["refused"][0]["reason"].as_str().unwrap().starts_with("broken: "), "{report:#}");
    let report = ingest(&["--again"]);
    assert_eq!((counts(&report), &report["refused"][0]["sent"]), ((1, 2, 2), &true.into()), "{report:#}");
    write("broken.pdf", "%PDF-1.7 something else");
    assert_eq!(counts(&ingest(&[])), (1, 2, 2));

    // What is gone is told, and taken out when that is said.
    std::fs::remove_file(folder.join("deep/b.md")).unwrap();
    std::fs::remove_file(folder.join("broken.pdf")).unwrap();
    let more = json!({ "id": "other", "collection": "papers", "content": "Noise of jets." });
    std::fs::write(place.dir().join("more.ndjson"), more.to_string()).unwrap();
    sent(&place, &["more.ndjson", "-c", "papers", "--wait"]);
    let report = ingest(&["--prune"]);
    assert_eq!((&report["gone_total"], &report["pruned"]), (&1.into(), &false.into()), "{report:#}");
    let unlooked = report["notes"][0].as_str().unwrap();
    assert!(unlooked.starts_with("--prune has not looked at 1 document without an address"), "{report:#}");
    assert_eq!(documents(&words(&place, "heat")), ["deep/b.md"]);
    let report = ingest(&["--prune", "--yes"]);
    assert_eq!((&report["gone"][0]["document"], &report["pruned"]), (&"deep/b.md".into(), &true.into()), "{report:#}");
    assert!(documents(&words(&place, "heat")).is_empty());
    assert_eq!(documents(&words(&place, "noise")), ["other"]);
    let file = folder.join("a.md");
    place.cli(&["ingest", file.to_str().unwrap(), "-c", "papers", "--prune"]).failed().says(&["a single file"]);

    // Two files of one name would take each other's place.
    std::fs::create_dir(place.dir().join("others")).unwrap();
    std::fs::write(place.dir().join("others/a.md"), "Divergence of a wing.").unwrap();
    let paths = ["notes", "others"].map(|name| place.dir().join(name).to_str().unwrap().to_owned());
    let both = place.cli(&["ingest", &paths[0], &paths[1], "-c", "papers", "--wait"]).failed();
    both.says(&["/notes/a.md", "/others/a.md", "the same document, `a.md`"]);
    assert_eq!(documents(&words(&place, "flutter")), ["a.md"]);
    service.terminate().ok();
}

#[test]
fn front_matter_can_be_filtered_by_and_slips_of_the_pen_are_told() {
    let place = library(Backend::Embedded);
    let service = place.service("one", &SERVES);
    let write = |name: &str, text: &str| std::fs::write(place.dir().join(name), text).unwrap();
    let note = "---\ntitle: Wings\nyear: 1957\ntags: [jet, wing]\n---\nFlutter of a wing.\n";
    write("note.md", note);
    assert_eq!(counts(&sent(&place, &["note.md", "-c", "papers", "--wait"])), (1, 0, 0));
    assert_eq!(counts(&sent(&place, &["note.md", "-c", "papers", "--wait"])), (0, 1, 0));
    let search = ["search", "flutter", "-c", "papers", "--mode", "words"];
    let filtered = |filter: &str| place.cli(&[&search[..], &["--filter", filter, "--json"]].concat()).ok();
    let found = filtered("year < 1960 AND tags = 'jet' AND title = 'Wings'").json();
    let hit = &found["answers"][0]["results"][0];
    assert_eq!((&hit["document"], &hit["text"]), (&"note.md".into(), &"Flutter of a wing.".into()), "{found:#}");
    // What the author says of it counts as well as its text.
    write("note.md", &note.replace("1957", "1958"));
    assert_eq!(counts(&sent(&place, &["note.md", "-c", "papers", "--wait"])), (1, 0, 0));
    assert_eq!(documents(&filtered("year = 1958").json()), ["note.md"]);

    for (filter, words) in [
        ("yaer = 1958", ["no document of papers has the field `yaer`", "did you mean `year`?"]),
        ("year = '1958'", ["`year` is a number in papers", "without quotes"]),
    ] {
        let outcome = filtered(filter);
        let noted = outcome.json()["notes"][0].to_string();
        assert!(words.iter().all(|word| noted.contains(word) && outcome.stderr.contains(word)), "{noted}");
    }
    let fine = filtered("year = 1");
    assert!(fine.stderr.is_empty() && fine.json().get("notes").is_none(), "{}", fine.stderr);
    let explained = place.cli(&[&search[..], &["--explain"]].concat()).ok().stdout;
    assert!(
        explained.contains("words    BM25") && explained.ends_with("1 passage of papers, version 2\n"),
        "{explained}"
    );

    write("table.csv", TABLE);
    let table = place.dir().join("table.csv");
    let table = ["ingest", table.to_str().unwrap(), "-c", "papers", "--page-content-column"];
    let columns = "its columns are doi, abstract, name, year";
    place.cli(&[&table[..], &["abstrct"]].concat()).failed().says(&["no column \"abstrct\"", columns]);
    let id = ["abstract", "--id-column", "id"];
    place.cli(&[&table[..], &id].concat()).failed().says(&["no column \"id\" for the id", "doi"]);

    write(
        "more.ndjson",
        "{\"id\": \"n\", \"content\": \"Noise of jets.\"}\n\n{\"id\": \"m\", \"contnt\": \"Heat.\"}\n",
    );
    let more = place.dir().join("more.ndjson");
    let refused = place.cli(&["ingest", more.to_str().unwrap(), "-c", "papers"]).failed();
    let says =
        ["after 1 document was sent", "more.ndjson, line 3", "unknown field `contnt`", "one ingest record per line"];
    refused.says(&says);
    write("more.ndjson", "{\"id\": \"n\", }\n");
    let refused = place.cli(&["ingest", more.to_str().unwrap(), "-c", "papers"]).failed();
    refused.says(&["nothing was sent", "line 1", "no JSON", "at column"]);
    write("more.ndjson", "{\"id\": \"n\", \"collection\": \"other\", \"content\": \"Noise of jets.\"}\n");
    let refused = place.cli(&["ingest", more.to_str().unwrap(), "-c", "papers"]).failed();
    refused.says(&["nothing was sent", "line 1", "`other`", "--collection is `papers`"]);
    let empty = place.dir().join("empty.txt");
    std::fs::write(&empty, "").unwrap();
    place.cli(&["ingest", empty.to_str().unwrap(), "-c", "papers"]).failed();

    place.cli(&["collections", "drop", "nope"]).failed().says(&["there is no collection `nope`"]);
    place.cli(&["collections", "drop", "papers"]).failed().says(&["add --yes"]);
    place.cli(&["audit", "--pipeline", "nope"]).failed().says(&["no pipeline `nope`", "the ledger holds documents"]);
    write("broken.pdf", "%PDF-1.7 no more than that");
    sent(&place, &["broken.pdf", "-c", "papers", "--wait"]);
    let letters = place.cli_json(&["dlq", "count"]);
    assert_eq!((&letters["total"], letters["topics"].as_array().unwrap().len() > 1), (&1.into(), true), "{letters:#}");
    assert_eq!(letters["reasons"][0]["source_topic"], "documents.ingest", "{letters:#}");
    let told = place.cli(&["dlq", "count"]).ok().stdout;
    assert!(told.contains("1 dead letter in documents.ingest.dead\n") && told.contains(" topics\n"), "{told}");
    service.terminate().ok();
}

#[test]
fn what_is_no_text_or_empty_by_now_is_told_and_a_document_keeps_its_own_id() {
    let mut place = library(Backend::Embedded);
    let service = place.service("one", &SERVES);
    let folder = place.dir().join("notes");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    write("a#1.md", b"---\nyear: 1957\nid: x\nuri: y\n---\nFlutter of a wing.\n");
    write("b.md", b"Heat of a body.\n");
    write("open.md", b"---\nyear: 1960\nNoise of jets.\n");
    let noise: Vec<u8> = (0..4000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    write("noise.txt", &noise);
    let ingest = |more: &[&str]| sent(&place, &[&["notes", "-c", "papers", "--wait"], more].concat());
    let skipped = |report: &Value, name: &str| {
        let all = report["skipped"].as_array().unwrap();
        let one = all.iter().find(|one| one["path"].as_str().unwrap().ends_with(name));
        one.unwrap_or_else(|| panic!("{name} is not skipped in {report:#}"))["reason"].as_str().unwrap().to_owned()
    };

    let report = ingest(&[]);
    assert_eq!(counts(&report), (3, 0, 1), "{report:#}");
    assert!(skipped(&report, "noise.txt").contains("its bytes are no text"), "{report:#}");
    let notes: Vec<&str> = report["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    assert!(
        notes.len() == 2 && notes[0].contains("a#1.md: `id` and `uri`") && notes[1].contains("open.md"),
        "{notes:?}"
    );
    let filtered =
        |filter: &str| place.cli_json(&["search", "flutter", "-c", "papers", "--mode", "words", "--filter", filter]);
    assert_eq!(documents(&filtered("year = 1957 AND id = 'a#1.md'")), ["a#1.md"]);
    assert!(documents(&filtered("id = 'x' OR uri = 'y'")).is_empty());

    // An emptied file is no change that is passed over.
    write("b.md", b"");
    let report = ingest(&[]);
    assert_eq!(counts(&report), (0, 2, 2), "{report:#}");
    let reason = skipped(&report, "b.md");
    assert!(reason.starts_with("it is empty; ") && reason.contains("can still be found: --prune --yes"), "{reason}");
    assert_eq!(documents(&words(&place, "heat")), ["b.md"]);
    let report = ingest(&["--prune"]);
    assert_eq!((&report["gone"][0]["document"], &report["pruned"]), (&"b.md".into(), &false.into()), "{report:#}");
    let report = ingest(&["--prune", "--yes"]);
    assert_eq!((&report["gone_total"], &report["pruned"]), (&1.into(), &true.into()), "{report:#}");
    assert!(documents(&words(&place, "heat")).is_empty());
    assert_eq!(place.cli(&["audit", "--pipeline", "search"]).code, Some(4), "there are no questions by topic yet");
    service.terminate().ok();

    // Words are looked up without an encoder.
    place.set("documents.encoder", quoted("/no/such/folder"));
    assert_eq!(documents(&words(&place, "flutter")), ["a#1.md"]);
    place.cli(&["search", "flutter", "-c", "papers"]).failed().says(&["/no/such/folder", "--mode words"]);
    let wrong = place.cli(&["search", "flutter", "-c", "paper", "--mode", "words"]).failed();
    wrong.says(&["no collection `paper`; did you mean `papers`?"]);
    let removed = place.cli_json(&["collections", "drop", "papers", "--yes"]);
    assert_eq!(removed["name"], "papers", "{removed:#}");
    let again = place.cli(&["collections", "drop", "papers", "--yes"]).failed();
    again.says(&["no collection `papers`", "no other one"]);
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
    let fetched = || place.cli(&["ingest", address, "--wait", "-c", "fetched", "--by-uri", "--json"]).failed().json();
    let report = fetched();
    assert_eq!((counts(&report), &report["refused"][0]["document"]), ((3, 0, 0), &"picture.png".into()), "{report:#}");
    assert_eq!(place.read_all("documents.ingest.dead").len(), 1, "the picture");
    put(&format!("{folder}/layer.md"), b"# Layers\n\nTransition of a turbulent layer.\n");
    let report = fetched();
    assert_eq!((counts(&report), &report["refused_total"]), ((1, 1, 0), &1.into()), "what has changed: {report:#}");
    let search = ["search", "turbulent", "-c", "fetched", "--mode", "words"];
    assert_eq!(documents(&place.cli_json(&search)), ["layer.md"]);

    // What is gone from the prefix is taken out; the rest stays.
    delete(&format!("{folder}/deep/wing (1) & co.html"));
    let report = ingest(&["-c", "papers", "--prune", "--yes"]);
    assert_eq!((&report["gone"][0]["document"], &report["pruned"]), (&"deep/wing (1) & co.html".into(), &true.into()));
    assert!(documents(&words(&place, "flutter")).is_empty());
    assert_eq!(documents(&words(&place, "turbulent")), ["layer.md"]);

    // One object, and a prefix with nothing below it.
    let one = place.cli_json(&["ingest", &layer, "-c", "one", "--wait"]);
    assert_eq!(counts(&one), (1, 0, 0), "{one:#}");
    place.cli(&["ingest", &format!("{address}none/"), "-c", "one"]).failed().says(&["nothing below it"]);
    place.cli(&["ingest", "s3://no-such-bucket/x/", "-c", "one"]).failed().says(&["s3://no-such-bucket"]);
    service.terminate().ok();
}

#[test]
fn the_last_word_of_a_document_wins_whatever_the_collection_had_when_it_was_sent() {
    let place = library(Backend::Embedded);
    let service = place.service("one", &SERVES);
    let record = |text: &str| json!({ "id": "x", "content": text }).to_string();
    let deleted = json!({ "id": "x", "deleted": true }).to_string();
    let list = |lines: &[&str], more: &[&str]| {
        std::fs::write(place.dir().join("list.ndjson"), lines.join("\n")).unwrap();
        counts(&sent(&place, &[&["list.ndjson", "-c", "papers"], more].concat()))
    };
    let (flutter, noise) = (record("Flutter of a wing."), record("Noise of jets."));
    assert_eq!(list(&[&flutter], &["--wait"]), (1, 0, 0));
    assert_eq!(list(&[&flutter], &["--wait"]), (0, 1, 0));
    // The second line says what the collection has, and yet it is news after the first.
    assert_eq!(list(&[&noise, &flutter], &["--wait"]), (2, 0, 0));
    assert_eq!(documents(&words(&place, "flutter")), ["x"]);
    assert_eq!(list(&[&deleted, &flutter], &["--wait"]), (2, 0, 0));
    assert_eq!(documents(&words(&place, "flutter")), ["x"]);
    service.terminate().ok();

    // What is on its way to the collection is known, too: nobody indexes now.
    let away = place.service("one", &[("score.threads", "1")]);
    assert_eq!(list(&[&noise], &[]), (1, 0, 0));
    assert_eq!(list(&[&flutter], &[]), (1, 0, 0));
    away.terminate().ok();
    let service = place.service("one", &SERVES);
    list(&[&flutter], &["--wait"]);
    assert_eq!(list(&[&flutter], &["--wait"]), (0, 1, 0));
    assert_eq!(documents(&words(&place, "flutter")), ["x"]);
    service.terminate().ok();
}
