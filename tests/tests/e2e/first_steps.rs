//! The first ten minutes: an encoder is pulled, the demo of documents runs, the doctor tells what is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use lunapark_tests::harness::{Outcome, Workplace, quoted};
use serde_json::{Value, json};

/// A small encoder of 220 words, from the tests of the encoders.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../operators/embed/tests/fixtures/bert").canonicalize().unwrap()
}

/// It takes few tokens, so passages must be short.
fn place() -> Workplace {
    Workplace::embedded()
        .with("documents.child_tokens", 32)
        .with("documents.child_overlap", 8)
        .with("documents.parent_tokens", 48)
}

/// A hub with one repository, `lab/tiny`, for the life of this process.
fn hub() -> String {
    let names = ["1_Pooling/config.json", "config.json", "model.safetensors", "modules.json", "tokenizer.json"];
    let names = names.into_iter().chain(["sentence_bert_config.json"]);
    let files: BTreeMap<_, _> = names.map(|name| (name, std::fs::read(fixture().join(name)).unwrap())).collect();
    let siblings: Vec<_> =
        files.iter().map(|(name, bytes)| json!({ "rfilename": name, "size": bytes.len() })).collect();
    let list = json!({ "sha": "c0ffee", "tags": ["license:apache-2.0"], "siblings": siblings }).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = |path: &str| match path.strip_prefix("/lab/tiny/resolve/c0ffee/") {
                Some(name) => files.get(name).cloned(),
                None => path.starts_with("/api/models/lab/tiny/").then(|| list.clone().into_bytes()),
            };
            // A client that goes away early is not the server's fault.
            let _gone = converse(stream, answer);
        }
    });
    url
}

fn converse(mut stream: TcpStream, answer: impl Fn(&str) -> Option<Vec<u8>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let found = answer(first.split(' ').nth(1).unwrap_or_default());
    let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
    let body = found.unwrap_or_default();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

/// A command with the hub in its environment.
fn with_hub(place: &Workplace, hub: &str, arguments: &[&str]) -> Outcome {
    place.cli_with_env(arguments, &[("HF_ENDPOINT", hub), ("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")])
}

/// Standard output has all of these.
#[track_caller]
fn shows(outcome: &Outcome, words: &[&str]) {
    for word in words {
        assert!(outcome.stdout.contains(word), "no `{word}` in:\n{}", outcome.stdout);
    }
}

fn demo(place: &Workplace) -> Outcome {
    let data = place.dir().join("demo");
    place.cli(&["demo", "search", "--data", &data.to_string_lossy(), "--json"])
}

fn last_line(outcome: &Outcome) -> Value {
    serde_json::from_str(outcome.stdout.lines().last().unwrap_or_default()).unwrap()
}

#[test]
fn an_encoder_is_pulled_and_papers_are_found_with_it() {
    let mut place = place();
    place.set("documents.encoder", quoted("hf://lab/tiny"));
    demo(&place).failed().says(&["lunapark models pull hf://lab/tiny"]);

    let hub = hub();
    let pulled = with_hub(&place, &hub, &["models", "pull", "hf://lab/tiny", "--json"]).ok().json();
    assert_eq!((&pulled["model"], &pulled["new"]), (&json!("tiny/1"), &json!(true)), "{pulled:#}");
    let again = with_hub(&place, &hub, &["models", "pull", "hf://lab/tiny", "--json"]).ok().json();
    assert_eq!((&again["model"], &again["new"]), (&json!("tiny/1"), &json!(false)), "{again:#}");
    let shown = place.cli_json(&["models", "show", "tiny"]);
    assert_eq!(shown["format"], "sentence-transformers", "{shown:#}");
    shows(&place.cli(&["models", "card", "tiny/1"]).ok(), &["encoder = \"hf://lab/tiny\""]);
    place.cli(&["models", "pull", "maxilm"]).failed().says(&["minilm"]);

    let told = last_line(&demo(&place).ok());
    let counts = ["in", "results", "filtered", "dead", "lost", "duplicated"].map(|name| told[name].as_u64().unwrap());
    assert_eq!(counts, [200, 200, 0, 0, 0, 0], "{told:#}");
    assert_eq!((&told["proven"], &told["documents"]), (&json!(true), &json!(200)), "{told:#}");
    let questions = told["questions"].as_array().unwrap();
    assert_eq!(questions.len(), 3, "{told:#}");
    for question in questions {
        assert_eq!(question["results"].as_array().unwrap().len(), 3, "{question:#}");
    }
    // What it suggests works on its folder alone.
    place.set("embedded.data", quoted(&place.dir().join("demo").to_string_lossy()));
    // The small encoder knows no meanings; words it needs none for.
    let asked = place.cli_json(&["search", "sonic boom", "--collection", "cranfield", "--mode", "words"]);
    let hits = asked["answers"][0]["results"].as_array().unwrap();
    assert!(hits.iter().any(|hit| hit["title"].as_str().unwrap().contains("boom")), "{asked:#}");
    let audit = place.cli_json(&["audit", "--deep", "--pipeline", "documents"]);
    assert_eq!((&audit["in"], &audit["proven"]), (&json!(200), &json!(true)), "{audit:#}");
}

#[test]
fn without_json_the_demo_shows_passages_with_their_words_marked() {
    let place = place().with("documents.encoder", json!(fixture()));
    let data = place.dir().join("demo");
    let printed = place.cli(&["demo", "search", "--data", &data.to_string_lossy()]).ok();
    let lines = ["200 abstracts sent", "*the*", "in 200 = results 200", "lost 0, duplicated 0", "proven", "try next"];
    shows(&printed, &lines);
}

fn checks(outcome: &Outcome) -> BTreeMap<String, String> {
    let told = outcome.json();
    let checks = told["checks"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checks.iter().map(|check| (text(&check["what"]), text(&check["state"]))).collect()
}

#[test]
fn the_doctor_tells_what_works_what_is_missing_and_what_is_broken() {
    let mut place = place();
    let found = checks(&place.cli(&["doctor", "--json"]).ok());
    for (what, state) in [
        ("cpu", "ok"),
        ("configuration", "ok"),
        ("log", "ok"),
        ("object store", "ok"),
        ("MongoDB", "off"),
        ("models", "ok"),
        ("text encoder", "missing"),
        ("PDF", "ok"),
    ] {
        assert_eq!(found.get(what).map(String::as_str), Some(state), "{what} in {found:?}");
    }
    assert!(!place.dir().join("data").exists(), "a look makes nothing");

    // What somebody names is wanted, also where nothing runs that needs it; and a hint is one that works.
    place.set("documents.encoder", quoted("no-such-encoder"));
    let told = place.cli(&["doctor"]).failed();
    shows(&told, &["FAILED", "no-such-encoder", "gets minilm and hf://OWNER/NAME", "correct documents.encoder"]);
    assert!(!told.stdout.contains("models pull no-such-encoder"), "{}", told.stdout);

    place.set("documents.encoder", json!(fixture()));
    place.set("documents.threads", 1);
    let found = checks(&place.cli(&["doctor", "--json"]).ok());
    assert_eq!(found["text encoder"], "ok");
    place.set("documents.encoder", quoted("/no/such/folder"));
    shows(&place.cli(&["doctor"]).failed(), &["FAILED", "/no/such/folder", "models pull minilm"]);
    place.set("score.thraeds", 1);
    shows(&place.cli(&["doctor"]).failed(), &["FAILED", "score.threads"]);
}
