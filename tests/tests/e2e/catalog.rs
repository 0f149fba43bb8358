//! The model catalog from the command line: added, compared, scored with, retired, swept, copied; and job history.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use lunapark_schemas::training::TaskStatus;
use lunapark_stores::catalog::mongo::MongoCatalog;
use lunapark_stores::catalog::{Catalog, TaskFilter, Tasks};
use lunapark_tests::harness::{Backend, Event, Workplace, quoted, until, variable};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use super::higgs::{self, Format, PERCEPTRON, TREES};
use super::{PATIENCE, assert_proven, on_both, training, wait_ends};

on_both!(
    a_model_is_added_found_scored_with_and_retired,
    the_same_file_added_at_once_is_one_version,
    a_model_of_the_name_that_scores_gets_a_number_of_its_own_and_takes_over,
    two_versions_are_compared,
    artifacts_that_nothing_names_are_swept,
);

/// A place whose files `trees.json` and `net.safetensors` are models.
fn place_with_models(backend: Backend) -> Workplace {
    let place = Workplace::new(backend);
    let store = format!("file://{}", place.dir().join("store").display());
    std::fs::write(place.dir().join("trees.json"), TREES).unwrap();
    std::fs::write(place.dir().join("net.safetensors"), PERCEPTRON).unwrap();
    place.with("store.url", quoted(&store))
}

fn models(name: &str, version: &str, path: &str) -> String {
    let [name, version, path] = [name, version, path].map(quoted);
    format!("[{{ name = {name}, version = {version}, path = {path} }}]")
}

fn add(place: &Workplace, file: &str, more: &[&str]) -> Value {
    place.cli_json(&[&["models", "add", file, "--name", "higgs"], more].concat())
}

fn a_model_is_added_found_scored_with_and_retired(backend: Backend) {
    let place = place_with_models(backend);
    assert_eq!(place.cli_json(&["models", "list"]), json!([]));
    let text = ["--objective", "classification", "--description", "Boson or background", "--metric", "auc=0.8"];
    let added = add(&place, "trees.json", &text);
    let digest = higgs::model(TREES).digest;
    assert_eq!((&added["model"], &added["new"], &added["digest"]), (&"higgs/1".into(), &true.into(), &json!(digest)));
    assert_eq!(add(&place, "trees.json", &text)["new"], false);
    assert_eq!(add(&place, "net.safetensors", &[])["model"], "higgs/2");

    let shown = place.cli_json(&["models", "show", "higgs/1"]);
    assert_eq!(
        (&shown["digest"], &shown["metrics"]["auc"], &shown["stage"]),
        (&json!(digest), &json!(0.8), &"registered".into())
    );
    assert_eq!((&shown["format"], &shown["inputs"][0]["width"]), (&"xgboost-json".into(), &json!(28)));
    let listed = |more: &[&str]| {
        let list = place.cli_json(&[&["models", "list"], more].concat());
        list.as_array().unwrap().iter().map(|version| version["version"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((listed(&[]), listed(&["--search", "BOSON"]), listed(&["other"])), (vec![1, 2], vec![1], vec![]));
    let card = place.cli(&["models", "card", "higgs/1"]).ok().stdout;
    assert!(card.contains("# higgs/1") && card.contains("catalog:higgs/1") && card.contains("| auc | 0.8 |"), "{card}");

    score_with(&place, "catalog:higgs/1");

    assert_eq!(place.cli_json(&["models", "retire", "higgs/2"])["changed"], true);
    assert_eq!(place.cli_json(&["models", "retire", "higgs/2"])["changed"], false);
    assert_eq!(place.cli_json(&["models", "show", "higgs"])["version"], 1);
    place.cli(&["models", "show", "higgs/3"]).failed().says(&["higgs/3", "models list"]);
    place.cli(&["models", "add", "none.json", "--name", "higgs"]).failed().says(&["none.json"]);
    place.cli(&["models", "add", "trees.json", "--name", "a/b"]).failed().says(&["name"]);
}

/// A service with this model answers as the trees do; what is not the catalog's is refused at start.
fn score_with(place: &Workplace, path: &str) {
    place.create_topics();
    let events = higgs::sample(3);
    place.produce("inference.events", &[Event::new(higgs::v1(&events)).to(0)]);
    let service = place.service("one", &[("score.models", &models("higgs", "1", path))]);
    let (results, _) = wait_ends(place, 1, 0);
    assert_eq!(results[0].header("lunapark-model"), Some(higgs::tag("higgs/1", TREES).as_str()));
    assert_eq!(Format::KserveV1.scores(&results[0]), higgs::scores(TREES, &events));
    // Through the owner of the log.
    assert_eq!(place.cli_json(&["model", "check", path, "--no-speed"])["format"], "xgboost-json");
    service.terminate().ok();
    assert_proven(place, 1);
    for (path, words) in [("catalog:higgs/9", "higgs/9"), ("catalog:higgs", "NAME/VERSION"), ("catalog:/1", "catalog")]
    {
        place.run_to_end(&[("score.models", &models("higgs", "1", path))]).failed().says(&[words]);
    }
    tampered(place, path);
}

/// Bytes that are not those of the digest are never scored with.
fn tampered(place: &Workplace, path: &str) {
    let shown = place.cli_json(&["models", "show", "higgs/1"]);
    let file = shown["artifact"].as_str().unwrap().strip_prefix("file://").expect("a file").to_owned();
    std::fs::write(&file, PERCEPTRON).unwrap();
    let digest = shown["digest"].as_str().unwrap();
    place.run_to_end(&[("score.models", &models("higgs", "1", path))]).failed().says(&[path, digest]);
    std::fs::write(&file, TREES).unwrap();
}

/// Where nothing is configured, `higgs/1` scores.
fn a_model_of_the_name_that_scores_gets_a_number_of_its_own_and_takes_over(backend: Backend) {
    let place = place_with_models(backend);
    let _service = place.service("one", &[]);
    assert_eq!(add(&place, "net.safetensors", &[])["model"], "higgs/2");
    assert_eq!(add(&place, "trees.json", &[])["model"], "higgs/3");
    assert_eq!(place.cli_json(&["models", "promote", "higgs/2"])["promoted"], "higgs/2");
    assert_eq!(place.cli_json(&["models", "rollback"])["promoted"], "higgs/1");
}

fn the_same_file_added_at_once_is_one_version(backend: Backend) {
    let place = place_with_models(backend);
    // The embedded log needs an owner to be shared.
    let _service = place.service("one", &[]);
    let start = |file: &str| place.start(&["models", "add", file, "--name", "higgs", "--json"]);
    let running = [start("trees.json"), start("net.safetensors"), start("trees.json")];
    let [one, net, other] = running.map(|running| running.outcome(PATIENCE).ok().json());
    assert_eq!(one["model"], other["model"]);
    assert_ne!(one["model"], net["model"]);
    assert_eq!([&one, &other].iter().filter(|told| told["new"] == true).count(), 1, "{one} {other}");
    assert_eq!(place.cli_json(&["models", "list"]).as_array().unwrap().len(), 2);
}

fn two_versions_are_compared(backend: Backend) {
    let place = place_with_models(backend);
    add(&place, "trees.json", &["--metric", "auc=0.8"]);
    add(&place, "net.safetensors", &["--metric", "auc=0.75", "--metric", "loss=0.5"]);
    let events = higgs::sample(200);
    let rows = events.iter().map(|event| event.join(","));
    let header = (0..28).map(|column| format!("c{column}")).collect::<Vec<_>>().join(",");
    std::fs::write(place.dir().join("sample.csv"), std::iter::once(header).chain(rows).collect::<Vec<_>>().join("\n"))
        .unwrap();
    let diff = ["models", "diff", "higgs/1", "higgs/2", "--sample", "sample.csv", "--picture", "scores.svg"];
    let diff = place.cli_json(&diff);
    let picture = std::fs::read_to_string(place.dir().join("scores.svg")).unwrap();
    assert!(picture.contains("higgs/1") && picture.contains("higgs/2"), "{picture}");
    let metric = |index: usize| &diff["metrics"][index];
    assert_eq!((&metric(0)["one"], &metric(0)["other"]), (&json!(0.8), &json!(0.75)));
    assert_eq!((&metric(1)["one"], &metric(1)["other"]), (&Value::Null, &json!(0.5)));
    let (trees, net) = (higgs::scores(TREES, &events), higgs::scores(PERCEPTRON, &events));
    let flipped = trees.iter().zip(&net).filter(|(one, other)| (**one >= 0.5) != (**other >= 0.5)).count();
    let scores = &diff["scores"][0];
    assert_eq!((&scores["one"]["rows"], &scores["distance"]["rows"]), (&json!(200), &json!(200)));
    let close = |found: &Value, expected: f64| (found.as_f64().unwrap() - expected).abs() < 1e-6;
    assert!(close(&scores["distance"]["flipped"], flipped as f64 / 200.0), "{scores}");
    assert!(
        close(&scores["one"]["mean"], trees.iter().map(|score| f64::from(*score)).sum::<f64>() / 200.0),
        "{scores}"
    );
    let written = ["models", "card", "higgs/2", "--folder", "card", "--sample", "sample.csv"];
    assert_eq!(place.cli_json(&written)["pictures"], json!(["sample.svg"]));
    assert!(std::fs::read_to_string(place.dir().join("card/README.md")).unwrap().contains("](sample.svg)"));
    let same = place.cli_json(&["models", "diff", "higgs/1", "higgs/1", "--sample", "sample.csv"]);
    assert_eq!(same["scores"][0]["distance"]["kolmogorov_smirnov"], 0.0);
    let text = place.cli(&["models", "diff", "higgs/1", "higgs/2"]).ok().stdout;
    assert!(text.contains("higgs/1 → higgs/2") && text.contains("-0.050000"), "{text}");
}

/// Models of a search's trials, none of which is registered yet: one that a record names, one that a trial has just saved.
fn trials_models(place: &Workplace, store: &Path) -> [PathBuf; 2] {
    place.cli(&["topics", "create"]).ok();
    let digests = ["3", "4"].map(|last| format!("{}{last}", "0".repeat(63)));
    let end = json!({ "kind": "trained", "end": { "score": 0.5, "artifact": digests[0] } });
    place.produce("training.trials", &[Event::new(end.to_string()).key("search")]);
    let trial = store.join("checkpoints").join("ab".repeat(16)).join("trial-0");
    std::fs::create_dir_all(&trial).unwrap();
    std::fs::write(trial.join("made"), json!({ "digest": digests[1] }).to_string()).unwrap();
    digests.map(|digest| {
        let file = store.join("artifacts/sha256/00").join(digest);
        std::fs::write(&file, b"a trial's").unwrap();
        let written = SystemTime::now() - Duration::from_secs(48 * 3600);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(written).unwrap();
        file
    })
}

fn artifacts_that_nothing_names_are_swept(backend: Backend) {
    let place = place_with_models(backend);
    let named = add(&place, "trees.json", &[])["artifact"].as_str().unwrap().to_owned();
    let folder = Path::new(named.strip_prefix("file://").unwrap()).parent().unwrap().with_file_name("00");
    std::fs::create_dir_all(&folder).unwrap();
    let [old, young] = ["1", "2"].map(|last| folder.join(format!("{}{last}", "0".repeat(63))));
    for file in [&old, &young, Path::new(named.strip_prefix("file://").unwrap())] {
        if !file.exists() {
            std::fs::write(file, b"nobody's").unwrap();
        }
        let hours = if file == young { 1 } else { 48 };
        let written = SystemTime::now() - Duration::from_secs(hours * 3600);
        std::fs::File::options().write(true).open(file).unwrap().set_modified(written).unwrap();
    }
    let of_trials =
        trials_models(&place, Path::new(named.strip_prefix("file://").unwrap()).ancestors().nth(4).unwrap());
    let told = place.cli_json(&["models", "gc", "--dry-run"]);
    assert_eq!((&told["removed"], &told["kept"], old.exists()), (&json!(1), &json!(4), true));
    let told = place.cli_json(&["models", "gc"]);
    assert_eq!((&told["removed"], &told["bytes"]), (&json!(1), &json!(8)));
    assert_eq!((&told["checkpoints"]["removed"], &told["checkpoints"]["kept"]), (&json!(0), &json!(1)));
    assert!(!old.exists() && young.exists() && of_trials.iter().all(|file| file.exists()), "{told:#}");
    assert_eq!(place.cli_json(&["model", "check", "catalog:higgs/1", "--no-speed"])["format"], "xgboost-json");
    place.cli(&["models", "gc", "--older-than", "1h"]).failed().says(&["2h"]);
}

#[test]
fn artifacts_lie_in_a_bucket_where_the_configuration_says_so() {
    let place = place_with_models(Backend::Embedded);
    let url = format!("s3://{}/tests/{}-{}", variable("S3_BUCKET"), std::process::id(), super::now_millis());
    let place = place.with("store.url", quoted(&url)).with("store.s3_endpoint", quoted(&variable("S3_ENDPOINT")));
    let place = place.with("store.s3_access_key_id", quoted(&variable("AWS_ACCESS_KEY_ID")));
    let place = place.with("store.s3_secret_access_key", quoted(&variable("AWS_SECRET_ACCESS_KEY")));
    let added = add(&place, "trees.json", &[]);
    assert!(added["artifact"].as_str().unwrap().starts_with(&url), "{added}");
    let shown = place.cli_json(&["model", "check", "catalog:higgs/1", "--no-speed"]);
    assert_eq!(shown["sha256"], json!(higgs::model(TREES).digest));
}

/// A MongoDB of a test's own.
pub struct Mongo {
    name: String,
    pub uri: String,
}

impl Mongo {
    pub fn start(name: &str) -> Self {
        let mut mongo = Self { name: format!("{name}-{}", std::process::id()), uri: String::new() };
        let printed = mongo.run(&["start", "--port", "auto"]);
        mongo.uri = printed.trim().strip_prefix("MONGODB_URI=").expect("its address").to_owned();
        mongo
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/servers/mongodb");
        let output = Command::new(script).args(arguments).args(["--dir", &self.name]).output().expect("the script");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The copy under a prefix, as a catalog.
    pub fn open(&self, prefix: &str) -> MongoCatalog {
        MongoCatalog::open(&self.uri, prefix).expect("a client").with_patience(PATIENCE)
    }

    /// Every version and every task, as the topics have them, and as the copy has them.
    pub fn both(&self, place: &Workplace) -> [Value; 2] {
        let copy = self.open(place.prefix());
        let tasks = copy.tasks(&TaskFilter::default(), usize::MAX).expect("a list");
        let copy = json!([copy.list().expect("a list"), tasks]);
        let topics = [place.cli_json(&["models", "list"]), place.cli_json(&["train", "list", "--max", "100000"])];
        // Numbers that have been text once are to be text once on both sides.
        [json!(topics), serde_json::from_str(&copy.to_string()).expect("JSON")]
    }

    /// Every document with all that it says, by collection and id, read without Lunapark. Positions are left out: they are
    /// no part of the copy, but how far those are who make it.
    pub fn documents(&self, prefix: &str) -> BTreeMap<String, BTreeMap<String, Document>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let all = runtime.block_on(async {
            let database = mongodb::Client::with_uri_str(&self.uri).await?.database("lunapark");
            let mut all = BTreeMap::new();
            for name in database.list_collection_names().await?.into_iter().filter(|name| name.starts_with(prefix)) {
                let mut found = database.collection::<Document>(&name).find(doc! {}).await?;
                let documents: &mut BTreeMap<_, _> = all.entry(name).or_default();
                while found.advance().await? {
                    let document = found.deserialize_current()?;
                    documents.insert(document.get_str("_id").expect("an id").to_owned(), document);
                }
            }
            Ok::<_, mongodb::error::Error>(all)
        });
        let mut all = all.expect("documents");
        all.retain(|name, documents| !documents.is_empty() && *name != format!("{prefix}positions"));
        all
    }

    #[track_caller]
    fn wait_both(&self, place: &Workplace) {
        until(PATIENCE, "the copy holds what the topics say", || {
            let [topics, copy] = self.both(place);
            (topics == copy).then_some(())
        });
    }

    /// Its entries, as others would read them.
    #[track_caller]
    fn wait_entries(&self, prefix: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, stage)| ((*name).to_owned(), (*stage).to_owned())).collect();
        until(PATIENCE, "the copy holds what the topic says", || {
            let listed = self.open(prefix).list().expect("a list").into_iter();
            let entries: Vec<_> = listed.map(|entry| (entry.reference(), entry.stage.as_str().to_owned())).collect();
            (entries == expected).then_some(())
        });
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        self.run(&["stop"]);
    }
}

#[test]
fn mongodb_follows_the_topic_and_stops_no_scoring_while_it_is_away() {
    let mongo = Mongo::start("e2e");
    let place = place_with_models(Backend::Kafka).with("catalog.mongodb", quoted(&mongo.uri));
    let service = place.service("one", &[]);
    add(&place, "trees.json", &[]);
    mongo.wait_entries(place.prefix(), &[("higgs/1", "registered")]);

    mongo.run(&["stop"]);
    add(&place, "net.safetensors", &[]);
    place.cli(&["models", "retire", "higgs/1"]).ok();
    place.produce("inference.events", &[Event::new(higgs::v1(&higgs::sample(1)))]);
    wait_ends(&place, 1, 0);
    // Swept blindly, an entry of the copy could lose its artifact.
    place.cli(&["models", "gc"]).failed().says(&["catalog"]);
    mongo.run(&["start"]);
    let after = [("higgs/1", "retired"), ("higgs/2", "registered")];
    mongo.wait_entries(place.prefix(), &after);

    let copy = mongo.documents(place.prefix());
    let counts: Vec<_> = copy.values().map(BTreeMap::len).collect();
    assert_eq!(counts, [2, 2], "versions and numbers, each once: {copy:#?}");
    lunapark_tests::catalog::add(&mongo.open(place.prefix()), "stranger", "one");
    assert_eq!(place.cli_json(&["catalog", "rebuild"]), json!({ "entries": 4, "tasks": 0 }));
    assert_eq!(mongo.documents(place.prefix()), copy);
    service.terminate().ok();
    assert_proven(&place, 1);
    Workplace::embedded().cli(&["catalog", "rebuild"]).failed().says(&["catalog.mongodb"]);
}

#[test]
fn job_history_follows_its_topic_and_is_rebuilt_from_it() {
    let mongo = Mongo::start("history");
    let place = training::place(Backend::Kafka).with("catalog.mongodb", quoted(&mongo.uri));
    let service = place.service("one", &[]);
    training::send(&place, &[training::request(&place, "good", 3)]);
    assert_eq!(training::ended(&place, "good")["task_status"], "succeeded");
    mongo.wait_both(&place);

    mongo.run(&["stop"]);
    let mut bad = training::request(&place, "bad", 3);
    bad["dataset"]["label"] = json!("truth");
    training::send(&place, &[bad]);
    assert_eq!(training::ended(&place, "bad")["task_status"], "failed");
    mongo.run(&["start"]);
    mongo.wait_both(&place);
    let names = |more: &[&str]| {
        let listed = place.cli_json(&[&["train", "list"], more].concat());
        listed.as_array().unwrap().iter().map(|task| task["task_id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((names(&[]), names(&["--status", "failed"])), (vec![json!("bad"), json!("good")], vec![json!("bad")]));
    assert!(names(&["--project", "none"]).is_empty());
    place.cli(&["train", "list", "--status", "done"]).failed().says(&["succeeded"]);

    // Whoever starts anew goes on where it stopped, and changes nothing.
    service.terminate().ok();
    let copy = mongo.documents(place.prefix());
    let service = place.service("one", &[]);
    training::send(&place, &[training::request(&place, "good", 3), training::request(&place, "last", 3)]);
    training::ended(&place, "last");
    mongo.wait_both(&place);
    service.terminate().ok();
    let after = mongo.documents(place.prefix());
    assert_eq!(copy.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (collection, documents) in &copy {
        assert!(documents.iter().all(|(id, document)| after[collection].get(id) == Some(document)), "{collection}");
    }

    let stray = lunapark_tests::catalog::status("stray", TaskStatus::Running, 1);
    let mut strays = Tasks::default();
    strays.apply(stray, 1000);
    mongo.open(place.prefix()).project_tasks(&strays).expect("an upsert");
    assert_ne!(mongo.documents(place.prefix()), after);
    assert_eq!(place.cli_json(&["catalog", "rebuild"])["tasks"], 3);
    assert_eq!(mongo.documents(place.prefix()), after);
}

#[test]
fn job_history_of_a_topic_that_was_made_anew_is_made_anew() {
    let mongo = Mongo::start("anew");
    let place = training::place(Backend::Kafka).with("catalog.mongodb", quoted(&mongo.uri));
    let service = place.service("one", &[]);
    // Its statuses have higher offsets than the one of the new topic.
    let first: Vec<_> = ["one", "two", "three"].map(|task| training::request(&place, task, 3)).into();
    training::send(&place, &first);
    first.iter().for_each(|request| drop(training::ended(&place, request["task_id"].as_str().unwrap())));
    mongo.wait_both(&place);
    service.terminate().ok();

    let statuses = place.topic("training.status");
    place.cli(&["topics", "delete", &statuses, "--yes"]).ok();
    until(PATIENCE, "the topic is gone", || place.log().topic(&statuses).is_err().then_some(()));
    // Kafka may still say that it is being deleted.
    until(PATIENCE, "the topic is made anew", || (place.cli(&["topics", "create"]).code == Some(0)).then_some(()));
    let service = place.service("one", &[]);
    training::send(&place, &[training::request(&place, "last", 3)]);
    training::ended(&place, "last");
    mongo.wait_both(&place);
    service.terminate().ok();
    let tasks = mongo.open(place.prefix()).tasks(&TaskFilter::default(), usize::MAX).expect("a list");
    assert_eq!(tasks.into_iter().map(|task| task.task_id).collect::<Vec<_>>(), ["last"]);
}
