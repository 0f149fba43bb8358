//! What is wrong at start is said within seconds, with what to do, and ends the process.

use std::path::Path;
use std::time::{Duration, Instant};

use lunapark_tests::harness::{Backend, Workplace, quoted};
use lunapark_topics::TopicSpec;

use super::on_both;

on_both!(topics_that_do_not_fit_are_refused, missing_topics_are_refused_where_they_are_not_to_be_created);

/// Creates topics one by one, as an administrator would.
fn create(place: &Workplace, topics: &[(&str, i32, usize)]) {
    let log = place.log();
    for (name, partitions, max_message_bytes) in topics {
        let spec =
            TopicSpec { max_message_bytes: *max_message_bytes, ..TopicSpec::new(place.topic(name), *partitions) };
        log.create_topic(&spec).expect("a topic");
    }
}

const SIZE: usize = 1_000_000;
const LARGER: usize = SIZE + (64 << 10);
const CREATE: (&str, &str) = ("topics.create", "false");

fn topics_that_do_not_fit_are_refused(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let events = place.topic("inference.events");
    let outcome = place.run_to_end(&[("topics.partitions", "6")]).failed();
    outcome.says(&[&events, "partitions 4", "6", "topics.partitions"]);

    let place = Workplace::new(backend);
    let names = ["inference.events", "inference.results", "inference.events.dead", "ledger", "metrics"];
    let swap = [("models", 1, SIZE), ("control", 1, SIZE), ("model.cuts", 4, SIZE), ("inference.shadow", 4, SIZE)];
    create(&place, &swap);
    create(
        &place,
        &[(names[0], 4, SIZE), (names[1], 3, SIZE), (names[2], 4, LARGER), (names[3], 4, SIZE), (names[4], 1, SIZE)],
    );
    let outcome = place.run_to_end(&[CREATE]).failed();
    outcome.says(&[&place.topic("inference.results"), "3 partitions", &place.topic("inference.events"), "has 4"]);

    let place = Workplace::new(backend);
    create(&place, &swap);
    create(
        &place,
        &[(names[0], 4, SIZE), (names[1], 4, SIZE), (names[2], 4, SIZE), (names[3], 4, SIZE), (names[4], 1, SIZE)],
    );
    let dead = place.topic("inference.events.dead");
    place.run_to_end(&[CREATE]).failed().says(&[&dead, "max.message.bytes", &LARGER.to_string()]);

    let place = Workplace::new(backend);
    create(&place, &swap);
    create(
        &place,
        &[(names[0], 4, SIZE), (names[1], 4, SIZE), (names[2], 4, LARGER), (names[3], 4, SIZE), (names[4], 1, SIZE)],
    );
    place.run_to_end(&[CREATE]).failed().says(&[&place.topic("models"), "cleanup.policy", "compact"]);
}

fn missing_topics_are_refused_where_they_are_not_to_be_created(backend: Backend) {
    let place = Workplace::new(backend);
    let missing = place.topic("inference.events");
    place.run_to_end(&[CREATE]).failed().says(&[&missing, "does not exist", "lunapark topics create"]);
    // An upgrade names all topics that the version before did not need.
    let new = ["models", "model.cuts", "inference.shadow"].map(|name| place.topic(name));
    place.run_to_end(&[CREATE]).failed().says(&new.each_ref().map(String::as_str));
    place.cli(&["produce", &missing]).failed().says(&[&missing, "does not exist", "lunapark topics create"]);
    place.cli(&["consume", &missing]).failed().says(&[&missing, "does not exist"]);
    place.cli(&["topics", "create"]).ok();
    place.service("one", &[CREATE]).terminate().ok();
}

#[test]
fn an_unreachable_kafka_is_named_within_seconds() {
    // Port 9 is "discard": nothing listens there.
    let place = Workplace::on_cluster("127.0.0.1:9", &[]).with("kafka.request_timeout", "\"3s\"");
    for command in [&["run"][..], &["topics", "list"], &["audit"]] {
        let began = Instant::now();
        place.cli(command).failed().says(&["127.0.0.1:9", "refused", "kafka.bootstrap"]);
        assert!(began.elapsed() < Duration::from_secs(15), "{command:?} took {:?}", began.elapsed());
    }
}

/// In a binary that was built without CUDA; `deploy/cuda --test` runs the tests of one that was built with it.
#[test]
fn a_device_that_is_not_there_is_an_error_and_never_a_run_on_the_cpu() {
    let model = |path: &str, device: &str| {
        let [path, device] = [path, device].map(quoted);
        format!("[{{ name = \"net\", version = \"1\", path = {path}, device = {device} }}]")
    };
    let (network, trees) = ("builtin:higgs-mlp", "builtin:higgs-xgb");
    let place = Workplace::embedded();
    place.create_topics();
    let start = |models: &str| place.run_to_end(&[("score.models", models)]).failed();
    start(&model(network, "cuda:0")).says(&["net/1", "cuda:0", "built without CUDA", "deploy/cuda", "`device`"]);
    start(&model(trees, "cuda:0")).says(&["net/1", "XGBoost JSON", "cuda:0", "trees run on the CPU"]);
    start(&model(network, "gpu")).says(&["score.models.device", "`gpu`", "cuda:0"]);
    let check = place.cli(&["model", "check", network, "--no-speed", "--device", "cuda:3"]).failed();
    check.says(&["cuda:3", "built without CUDA", "--device cpu"]);
    place.cli(&["model", "check", network, "--no-speed", "--device", "cpu"]).ok();
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operators/embed/tests/fixtures/bert");
    let encoder = quoted(&encoder.canonicalize().unwrap().display().to_string());
    let embed =
        [("documents.threads", "1"), ("documents.encoder", encoder.as_str()), ("documents.device", "\"cuda:0\"")];
    place.run_to_end(&embed).failed().says(&["bert", "cuda:0", "built without CUDA", "`documents.device`"]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let place = Workplace::embedded();
    place.run_to_end(&[("score.comit_interval", "\"1s\"")]).failed().says(&["comit_interval", "score.commit_interval"]);
    place.run_to_end(&[("scroe.threads", "1")]).failed().says(&["scroe"]);
    let (mut command, _) = place.command(&[]);
    let output = command.args(["topics", "list"]).env("LUNAPARK_SCORE_THREDS", "2").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("LUNAPARK_SCORE_THREADS"), "{text}");
}

#[test]
fn a_second_owner_of_the_embedded_log_is_refused_with_the_first_ones_pid() {
    let place = Workplace::embedded();
    let service = place.service("one", &[]);
    place.run_to_end(&[]).failed().says(&[&service.pid().to_string()]);
    assert_eq!(service.get("/readyz").status, 200);
    service.terminate().ok();
    place.service("two", &[]).terminate().ok();
}

#[test]
fn a_taken_http_port_is_named() {
    let place = Workplace::embedded();
    let service = place.service("one", &[]);
    let other = Workplace::embedded();
    let taken = service.http.to_string();
    other.run_to_end(&[("http.listen", &quoted(&taken))]).failed().says(&["http.listen", &taken, "port"]);
}

#[test]
fn lunapark_data_names_the_folder_of_the_embedded_log() {
    let place = Workplace::embedded();
    let elsewhere = place.dir().join("elsewhere");
    let (mut command, _) = place.command(&[]);
    let made = command.args(["topics", "create"]).env("LUNAPARK_DATA", &elsewhere).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(elsewhere.is_dir() && !place.dir().join("data").exists());
}

#[test]
fn the_printed_defaults_are_a_valid_configuration() {
    let place = Workplace::embedded();
    let printed = place.bare_command().arg("config").output().unwrap();
    assert!(printed.status.success());
    let all = String::from_utf8(printed.stdout).unwrap();
    for setting in ["commit_interval", "bootstrap", "drain_budget", "reject_share", "s3_endpoint", "interval"] {
        assert!(all.contains(setting), "no {setting} in:\n{all}");
    }
    let file = place.dir().join("all.toml");
    std::fs::write(&file, all).unwrap();
    let merged = place.bare_command().arg("--config").arg(file).arg("config").output().unwrap();
    assert!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
}
