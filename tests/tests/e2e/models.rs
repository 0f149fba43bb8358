//! Which model scores an event, and where models come from.

use std::time::{Duration, Instant};

use arrow_array::Array;
use lunapark_schemas::TensorSpec;
use lunapark_schemas::rows::{f32_values, f64_values, i64_values, string_values};
use lunapark_tests::harness::{Backend, Event, Workplace, quoted, variable};
use object_store::ObjectStoreExt;
use serde_json::{Value, json};

use super::higgs::{self, Format, PERCEPTRON, TREES};
use super::tables::{Foreign, foreign_models};
use super::{on_both, wait_ends};

on_both!(the_header_pins_the_model);

fn entry(name: &str, version: &str, path: &str, sha256: &str) -> String {
    let [name, version, path, sha256] = [name, version, path, sha256].map(quoted);
    format!("{{ name = {name}, version = {version}, path = {path}, sha256 = {sha256} }}")
}

fn models(entries: &[String]) -> String {
    format!("[{}]", entries.join(", "))
}

fn the_header_pins_the_model(backend: Backend) {
    let (trees, perceptron) = ("builtin:higgs-xgb", "builtin:higgs-mlp");
    let all = [entry("trees", "1", trees, ""), entry("net", "1", trees, ""), entry("net", "2", perceptron, "")];
    let place = Workplace::new(backend).with("score.models", models(&all));
    place.create_topics();
    let events = higgs::sample(5);
    let wanted = [None, Some("net/1"), Some("net/2"), Some("net"), Some("trees")];
    let message = |(features, model): (&higgs::Features, &Option<&str>)| {
        let event = Event::new(higgs::v1(std::slice::from_ref(features))).to(0);
        model.map_or(event.clone(), |model| event.header("lunapark-model", model))
    };
    place.produce("inference.events", &events.iter().zip(&wanted).map(message).collect::<Vec<_>>());
    let unknown = ["net/3", "trees/", "", "../net"].map(|model| message((&events[0], &Some(model))));
    place.produce("inference.events", &unknown);
    let service = place.service("one", &[]);
    let (results, dead) = wait_ends(&place, 5, unknown.len());
    let by_trees = higgs::scores(TREES, &events);
    let by_perceptron = higgs::scores(PERCEPTRON, &events);
    let expected = [
        ("trees/1", TREES, by_trees[0]),
        ("net/1", TREES, by_trees[1]),
        ("net/2", PERCEPTRON, by_perceptron[2]),
        ("net/2", PERCEPTRON, by_perceptron[3]),
        ("trees/1", TREES, by_trees[4]),
    ];
    for (result, (name, bytes, score)) in results.iter().zip(expected) {
        assert_eq!(result.header("lunapark-model"), Some(higgs::tag(name, bytes).as_str()));
        assert_eq!(Format::KserveV1.scores(result), [score], "{name}");
    }
    assert!(dead.iter().all(|letter| letter.header("error-class") == Some("unknown-model")));
    service.terminate().ok();
}

/// Puts an object into the test bucket; its `s3://` address.
pub fn put(name: &str, bytes: &[u8]) -> String {
    let key = key(name);
    runtime().block_on(bucket().put(&key.as_str().into(), bytes.to_vec().into())).expect("the object is stored");
    format!("s3://{}/{key}", variable("S3_BUCKET"))
}

/// Takes an object out of the test bucket.
pub fn delete(name: &str) {
    runtime().block_on(bucket().delete(&key(name).as_str().into())).expect("the object is gone");
}

fn key(name: &str) -> String {
    format!("tests/{}/{name}", std::process::id())
}

fn bucket() -> object_store::aws::AmazonS3 {
    let endpoint = variable("S3_ENDPOINT");
    let builder = object_store::aws::AmazonS3Builder::from_env().with_endpoint(endpoint).with_allow_http(true);
    builder.with_bucket_name(variable("S3_BUCKET")).build().expect("an S3 client")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// With the settings that lead to the test bucket.
pub fn with_store(place: Workplace) -> Workplace {
    let place = place.with("store.s3_endpoint", quoted(&variable("S3_ENDPOINT")));
    let place = place.with("store.s3_access_key_id", quoted(&variable("AWS_ACCESS_KEY_ID")));
    place.with("store.s3_secret_access_key", quoted(&variable("AWS_SECRET_ACCESS_KEY")))
}

#[test]
fn a_model_comes_from_s3_and_its_digest_is_checked() {
    let address = put("higgs.json", TREES);
    let digest = higgs::model(TREES).digest;
    let place = with_store(Workplace::embedded());
    place.create_topics();
    place.produce("inference.events", &[Event::new(higgs::v1(&higgs::sample(1)))]);
    let service = place.service("one", &[("score.models", &models(&[entry("higgs", "1", &address, &digest)]))]);
    let (results, _) = wait_ends(&place, 1, 0);
    assert_eq!(results[0].header("lunapark-model"), Some(higgs::tag("higgs/1", TREES).as_str()));
    service.terminate().ok();

    let wrong = "0".repeat(64);
    let refused = |settings: &str| place.run_to_end(&[("score.models", settings)]).failed();
    refused(&models(&[entry("higgs", "1", &address, &wrong)])).says(&["higgs/1", &address, &wrong, &digest]);
    refused(&models(&[entry("higgs", "1", "s3://lunapark/no/such.json", "")])).says(&["s3://lunapark/no/such.json"]);
    let shown = place.cli_json(&["model", "check", &address]);
    assert_eq!((&shown["sha256"], &shown["format"]), (&digest.into(), &"xgboost-json".into()));
}

#[test]
fn an_s3_server_that_is_not_there_is_named_within_seconds() {
    let place = Workplace::embedded().with("store.s3_endpoint", "\"http://127.0.0.1:9\"");
    let place = place.with("store.s3_access_key_id", "\"a\"").with("store.s3_secret_access_key", "\"hunter2\"");
    let began = Instant::now();
    let model = models(&[entry("higgs", "1", "s3://bucket/model.json", "")]);
    let outcome =
        place.run_to_end(&[("score.models", &model)]).failed().says(&["s3://bucket/model.json", "127.0.0.1:9"]);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn broken_model_files_are_refused_at_start() {
    let place = Workplace::embedded();
    let file = |name: &str, bytes: &[u8]| {
        let path = place.dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_string_lossy().into_owned()
    };
    let text = String::from_utf8(TREES.to_vec()).unwrap();
    let giant = text.replacen("\"num_nodes\":\"", "\"num_nodes\":\"1000000", 1);
    assert_ne!(giant, text, "the fixture has another form");
    let cases = [
        (file("cut.json", &TREES[..TREES.len() / 2]), "ends too early"),
        (file("cut.safetensors", &PERCEPTRON[..PERCEPTRON.len() / 2]), "ends too early"),
        (file("empty.json", b""), "empty"),
        (file("giant.json", giant.as_bytes()), "nodes"),
        (file("picture.png", b"\x89PNG\r\n\x1a\n"), "XGBoost JSON"),
        (place.dir().join("none.json").to_string_lossy().into_owned(), "check that it exists"),
        ("builtin:none".to_owned(), "builtin:higgs-xgb"),
    ];
    for (path, word) in cases {
        let outcome = place.run_to_end(&[("score.models", &models(&[entry("higgs", "1", &path, "")]))]).failed();
        outcome.says(&["model higgs/1", &path, word]);
        place.cli(&["model", "check", &path]).failed().says(&[word]);
    }
}

/// An Open Inference message of all rows of a model: a tensor per input, a missing value as null.
fn open_inference(foreign: &Foreign, rows: usize) -> Event {
    let tensor = |(spec, values): (&TensorSpec, &Vec<f64>)| {
        let whole = |value: &f64| if spec.datatype.as_str() == "INT64" { json!(*value as i64) } else { json!(value) };
        let data: Vec<Value> = values.iter().map(whole).collect();
        json!({"name": spec.name, "shape": [rows, spec.width], "datatype": spec.datatype.as_str(), "data": data})
    };
    let inputs: Vec<Value> = foreign.specs().iter().zip(&foreign.inputs).map(tensor).collect();
    let event = Event::new(json!({"inputs": inputs}).to_string()).header("content-type", "application/json");
    event.header("lunapark-model", foreign.name).to(0)
}

/// What an output's column is in JSON.
fn as_json(column: &dyn Array) -> Vec<Value> {
    let singles = f32_values(column).map(|values| values.iter().map(|value| json!(value)).collect());
    let doubles = || f64_values(column).map(|values| values.iter().map(|value| json!(value)).collect());
    let whole = || i64_values(column).map(|values| values.iter().map(|value| json!(value)).collect());
    let texts = || string_values(column).map(|texts| texts.iter().map(|text| json!(text)).collect());
    singles.or_else(doubles).or_else(whole).or_else(texts).expect("numbers or texts")
}

/// The same number, which JSON may spell with more digits than single precision has.
fn same(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => found == expected || found as f32 == expected as f32,
        _ => found == expected,
    }
}

/// A label as text beside a vector, two inputs of different types, doubles: each is a service's model.
#[test]
fn models_of_other_tools_score_a_stream() {
    const ROWS: usize = 6;
    let place = Workplace::embedded();
    let foreign = foreign_models(ROWS);
    let file = |foreign: &Foreign| {
        let path = place.dir().join(foreign.file);
        std::fs::write(&path, foreign.bytes).unwrap();
        entry(foreign.name, "1", &path.to_string_lossy(), "")
    };
    let all = models(&foreign.iter().map(file).collect::<Vec<_>>());
    place.create_topics();
    place.produce("inference.events", &foreign.iter().map(|foreign| open_inference(foreign, ROWS)).collect::<Vec<_>>());
    let service = place.service("one", &[("score.models", &all)]);
    let (results, _) = wait_ends(&place, foreign.len(), 0);
    for (result, foreign) in results.iter().zip(&foreign) {
        let tag = higgs::tag(&format!("{}/1", foreign.name), foreign.bytes);
        assert_eq!(result.header("lunapark-model"), Some(tag.as_str()));
        let (reply, answers) = (result.json(), foreign.answers());
        let outputs = &reply["outputs"];
        for (at, column) in answers.columns().iter().enumerate() {
            let (found, expected) = (outputs[at]["data"].as_array().expect("data"), as_json(column));
            assert_eq!(outputs[at]["name"], answers.schema().field(at).name().as_str(), "{}", foreign.name);
            assert_eq!(outputs[at]["shape"][0], ROWS, "{}", foreign.name);
            assert!(
                found.len() == expected.len()
                    && found.iter().zip(&expected).all(|(found, expected)| same(found, expected)),
                "{}: {found:?} instead of {expected:?}",
                foreign.name
            );
        }
    }
    service.terminate().ok();
}
