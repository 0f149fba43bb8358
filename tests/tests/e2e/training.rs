//! Training by event: the service and `lunapark train`, with the trainers as they are.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lunapark_tests::harness::{Backend, Event, OwnedRecord, Workplace, quoted, until};
use serde_json::{Value, json};

use super::{higgs, on_both};

on_both!(
    a_request_becomes_a_model_with_its_files,
    bad_requests_end_with_a_sentence,
    a_cancelled_task_ends_as_cancelled,
    a_killed_worker_goes_on_and_ends_with_the_same_bytes,
);

/// A job of a few seconds, on two cores that also run a broker and other tests.
const TRAINS: Duration = Duration::from_secs(90);
const REQUESTS: &str = "training.requests";
const STATUS: &str = "training.status";

/// A table that a perceptron learns: two features, a line between the classes.
fn table(rows: usize) -> String {
    let row = |n: usize| {
        let (x, y) = (((n * 37) % 101) as f64 / 101.0, ((n * 53) % 97) as f64 / 97.0);
        format!("{x:.5},{y:.5},{}\n", u8::from(x + y > 1.0))
    };
    std::iter::once("x,y,label\n".to_owned()).chain((0..rows).map(row)).collect()
}

pub fn place(backend: Backend) -> Workplace {
    let place = Workplace::new(backend).with("score.threads", 0).with("train.threads", 1);
    let store = quoted(&format!("file://{}", place.dir().join("store").display()));
    let datasets = quoted(&place.dir().to_string_lossy());
    std::fs::write(place.dir().join("t.csv"), table(2000)).unwrap();
    place.with("store.url", store).with("train.datasets", datasets).with("train.checkpoint_interval", "\"100ms\"")
}

pub fn request(place: &Workplace, task: &str, epochs: u32) -> Value {
    json!({
        "task_id": task,
        "model": { "objective": "classification", "name": "toy", "architecture": { "hidden": [16] } },
        "model_train": { "epochs": epochs, "batch_size": 32, "seed": 3, "optimizer": { "name": "AdamW", "init_lr": 0.01 } },
        "dataset": { "path": place.dir().join("t.csv"), "label": "label", "train_test_split": 0.25 }
    })
}

pub fn send(place: &Workplace, requests: &[Value]) {
    let event = |request: &Value| Event::new(request.to_string()).key(request["task_id"].as_str().unwrap_or_default());
    place.produce(REQUESTS, &requests.iter().map(event).collect::<Vec<_>>());
}

pub fn status(record: &OwnedRecord) -> Value {
    serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON")
}

fn terminal(status: &Value) -> bool {
    matches!(status["task_status"].as_str(), Some("succeeded" | "failed" | "cancelled"))
}

/// The terminal statuses of a task so far.
pub fn ends(place: &Workplace, task: &str) -> Vec<Value> {
    let all = place.read_all(STATUS);
    let of_task = |record: &OwnedRecord| Some(status(record)).filter(|s| s["task_id"] == task && terminal(s));
    all.iter().filter_map(of_task).collect()
}

/// The one terminal status of a task.
#[track_caller]
pub fn ended(place: &Workplace, task: &str) -> Value {
    let ends = until(TRAINS, &format!("{task} ends"), || {
        std::thread::park_timeout(Duration::from_millis(100));
        Some(ends(place, task)).filter(|ends| !ends.is_empty())
    });
    assert_eq!(ends.len(), 1, "{ends:#?}");
    ends[0].clone()
}

/// The audit proves so many requests: in, results, filtered, dead.
#[track_caller]
pub fn assert_proven(place: &Workplace, counts: [u64; 4]) {
    for depth in [&["audit", "--pipeline", "train"][..], &["audit", "--pipeline", "train", "--deep"]] {
        let report = place.cli_json(depth);
        assert_eq!(report["proven"], true, "{report:#}");
        let counted = ["in", "results", "filtered", "dead"].map(|name| report[name].as_u64().unwrap());
        assert_eq!(counted, counts, "{report:#}");
    }
}

fn a_request_becomes_a_model_with_its_files(backend: Backend) {
    let place = place(backend);
    let service = place.service("one", &[]);
    let file = place.dir().join("request.json");
    std::fs::write(&file, request(&place, "first", 40).to_string()).unwrap();
    let out = place.dir().join("files");
    let [file, out] = [&file, &out].map(|path| path.to_string_lossy().into_owned());
    let printed = place.cli(&["train", &file, "--out", &out]).ok();
    for word in ["evaluation", "auc", "model: toy/1#", "validation"] {
        assert!(printed.stdout.contains(word), "no {word} in {}", printed.stdout);
    }
    let status = ended(&place, "first");
    assert_eq!(status["task_status"], "succeeded");
    assert!(status["evaluation"]["auc"].as_f64().unwrap() > 0.9, "{status:#}");
    let digest = status["model"]["digest"].as_str().unwrap();
    let checked = place.cli_json(&["model", "check", &format!("{out}/model.safetensors"), "--no-speed"]);
    assert_eq!(checked["sha256"], digest, "{checked:#}");
    let names: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().filter(|name| name.ends_with(".svg")).count() >= 2, "{names:?}");
    let listed = place.cli_json(&["train", "list"]);
    assert_eq!((&listed[0]["task_id"], &listed[0]["task_status"]), (&json!("first"), &json!("succeeded")));
    let models = place.read_all("models");
    let version = |record: &&OwnedRecord| record.key.as_deref() == Some(b"version/toy/1");
    assert_eq!(models.iter().filter(version).count(), 1);
    // The same request again changes nothing.
    send(&place, &[request(&place, "first", 40), request(&place, "second", 2)]);
    ended(&place, "second");
    assert_eq!(ends(&place, "first").len(), 1);
    service.terminate().ok();
    assert_proven(&place, [3, 2, 1, 0]);
}

fn bad_requests_end_with_a_sentence(backend: Backend) {
    let place = place(backend);
    let service = place.service("one", &[]);
    let one_class: String = (0..100).map(|n| format!("{},{},1\n", n % 7, n % 5)).collect();
    std::fs::write(place.dir().join("one-class.csv"), format!("x,y,label\n{one_class}")).unwrap();
    let mut cases = Vec::new();
    for (task, pointer, value, word) in [
        ("objective", "/model/objective", json!("poetry"), "model.objective"),
        ("label", "/dataset/label", json!("truth"), "truth"),
        ("path", "/dataset/path", json!("/etc/passwd"), "train.datasets"),
        ("class", "/dataset/path", json!(place.dir().join("one-class.csv")), "class"),
        ("epochs", "/model_train/epochs", json!("many"), "\"many\""),
    ] {
        let mut request = request(&place, task, 3);
        *request.pointer_mut(pointer).unwrap() = value;
        cases.push((request, word));
    }
    let requests: Vec<_> = cases.iter().map(|(request, _)| request.clone()).collect();
    send(&place, &requests);
    place.produce(REQUESTS, &[Event::new("{\"model\":"), Event::new("{}")]);
    for (request, word) in &cases {
        let status = ended(&place, request["task_id"].as_str().unwrap());
        assert_eq!(status["task_status"], "failed", "{status:#}");
        assert!(status["error"].as_str().unwrap().contains(word), "{status:#}");
    }
    let dead = place.wait_records("training.requests.dead", 2, TRAINS);
    assert!(dead.iter().all(|letter| letter.header("error-class") == Some("malformed")));
    let file = place.dir().join("bad.json");
    std::fs::write(&file, "{\"model\":").unwrap();
    place.cli(&["train", &file.to_string_lossy()]).failed().says(&["bad.json"]);
    service.terminate().ok();
    assert_proven(&place, [7, 5, 0, 2]);
}

fn a_cancelled_task_ends_as_cancelled(backend: Backend) {
    let place = place(backend).with("topics.partitions", 1);
    let service = place.service("one", &[]);
    let requests = [("long", 1_000_000), ("behind", 2), ("short", 2)];
    send(&place, &requests.map(|(task, epochs)| request(&place, task, epochs)));
    until(TRAINS, "it runs", || {
        let running = |s: &Value| s["task_id"] == "long" && s["progress"]["step"].as_u64() > Some(0);
        place.read_all(STATUS).iter().any(|record| running(&status(record))).then_some(())
    });
    place.cli(&["train", "cancel", "lon"]).failed().says(&["there is no task `lon`; did you mean `long`?"]);
    // One that waits ends at once, and not when the job before it has ended.
    place.cli(&["train", "cancel", "behind"]).ok();
    assert_eq!(ended(&place, "behind")["task_status"], "cancelled");
    assert!(ends(&place, "long").is_empty(), "the job goes on");
    place.cli(&["train", "cancel", "long"]).ok();
    assert_eq!(ended(&place, "long")["task_status"], "cancelled");
    assert_eq!(ended(&place, "short")["task_status"], "succeeded");
    place.cli(&["train", "cancel", "short"]).failed().says(&["short has ended before, as succeeded"]);
    service.terminate().ok();
    assert_proven(&place, [3, 3, 0, 0]);
}

/// Folders in which jobs of this place have saved a checkpoint that nobody has removed yet.
pub fn states(place: &Workplace) -> BTreeSet<PathBuf> {
    let within = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let store = place.dir().join("store");
    let roots = [store.clone(), store.join(format!("topics-{}", place.prefix()))];
    let jobs = || roots.iter().flat_map(|root| within(&root.join("checkpoints"))).map(|job| job.path());
    let trials = || jobs().flat_map(|job| within(&job).map(|trial| trial.path()).collect::<Vec<_>>());
    jobs().chain(trials()).filter(|folder| folder.join("state").exists()).collect()
}

/// A job can end before it is killed: then the next one is.
fn a_killed_worker_goes_on_and_ends_with_the_same_bytes(backend: Backend) {
    let place = place(backend);
    let mut service = place.service("one", &[]);
    send(&place, &[request(&place, "whole", 1000)]);
    let whole = ended(&place, "whole");
    let mut resumed = 0;
    for attempt in 2..12 {
        let task = format!("killed-{attempt}");
        // Those of earlier tasks may still be on their way out.
        let before = states(&place);
        send(&place, &[request(&place, &task, 1000)]);
        until(TRAINS, "a checkpoint, or the end", || {
            (!states(&place).is_subset(&before) || !ends(&place, &task).is_empty()).then_some(())
        });
        service.kill9();
        service = place.service("one", &[]);
        let killed = ended(&place, &task);
        assert_eq!(killed["task_status"], "succeeded", "{killed:#}");
        assert_eq!(killed["model"]["digest"], whole["model"]["digest"]);
        assert_eq!(killed["model"]["version"], attempt);
        resumed = killed["stats"]["resumed"].as_u64().unwrap();
        if resumed > 0 {
            service.terminate().ok();
            let tasks = attempt as u64;
            return assert_proven(&place, [tasks, tasks, 0, 0]);
        }
    }
    panic!("ten kills, and no job went on from its checkpoint ({resumed})");
}

#[test]
fn the_demo_trains_a_model_by_itself() {
    let place = Workplace::embedded();
    // Where the workplace looks for its log.
    let data = place.dir().join("data");
    let printed = place.cli(&["demo", "train", "--json", "--data", &data.to_string_lossy()]).ok();
    let last: Value = serde_json::from_str(printed.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["task_status"], &last["promoted"]), (&json!("succeeded"), &json!("higgs/1")), "{last:#}");
    assert!(last["auc"].as_f64().unwrap() > 0.6, "{last:#}");
    let cut = last["cut"].as_object().unwrap();
    assert_eq!(cut.len(), 4, "{last:#}");
    assert!(cut.values().any(|offset| offset.as_i64() > Some(0)), "{last:#}");
    let [input, results, filtered, dead, lost, duplicated] =
        ["in", "results", "filtered", "dead", "lost", "duplicated"].map(|name| last[name].as_u64().unwrap());
    assert_eq!((input, lost, duplicated), (results + filtered + dead, 0, 0), "{last:#}");
    assert_eq!((&last["proven"], &last["as_cut"]), (&json!(true), &json!(true)), "{last:#}");
    let scored: Vec<_> = last["scored"].as_array().unwrap().iter().map(|row| (&row["model"], &row["topic"])).collect();
    for (model, topic) in [("trees/1", "results"), ("higgs/1", "results"), ("higgs/1", "shadow")] {
        let topic = place.topic(&format!("inference.{topic}"));
        assert!(scored.contains(&(&json!(model), &json!(topic))), "{last:#}");
    }
    assert_switched(&place, cut, results);
    assert_held_out(&place);
}

/// Every result is by the model that the printed cuts say.
fn assert_switched(place: &Workplace, cut: &serde_json::Map<String, Value>, count: u64) {
    let results = place.read_all("inference.results");
    assert_eq!(results.len() as u64, count);
    for result in results {
        let source = result.header("lunapark-source").unwrap();
        let offset: i64 = source.rsplit('/').next().unwrap().parse().unwrap();
        let first = cut[&result.partition.to_string()].as_i64().unwrap();
        let due = if offset < first { "trees/1#" } else { "higgs/1#" };
        let model = result.header("lunapark-model").unwrap();
        assert!(model.starts_with(due), "{source}, cut at {first}, is by {model}");
    }
}

/// The stream holds no event that was trained on; what is broken cannot be one.
fn assert_held_out(place: &Workplace) {
    let bits = |number: &Value| number.as_f64().map(f64::to_bits);
    let row = |record: &OwnedRecord| -> Vec<Option<u64>> {
        let row = record.json();
        (0..higgs::FEATURES).map(|n| bits(&row[format!("feature_{n:02}")])).collect()
    };
    let trained: HashSet<_> = place.read_all("demo.rows").iter().map(row).collect();
    assert_eq!(trained.len(), 2400);
    assert!(trained.iter().flatten().all(Option::is_some), "every row has its features");
    let event = |record: &OwnedRecord| -> Option<Vec<Option<u64>>> {
        let event: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
        Some(event["instances"][0].as_array()?.iter().map(bits).collect())
    };
    let streamed: HashSet<_> = place.read_all("inference.events").iter().filter_map(event).collect();
    assert!(streamed.len() >= 600, "the 600 others go by again and again: {}", streamed.len());
    assert!(streamed.is_disjoint(&trained));
}

/// It would own the log, and so keep the worker from starting that it waits for.
#[test]
fn on_the_embedded_log_a_request_is_followed_only_where_a_worker_is_up() {
    let place = place(Backend::Embedded);
    let file = place.dir().join("request.json");
    std::fs::write(&file, request(&place, "early", 2).to_string()).unwrap();
    let file = file.to_string_lossy();
    place.cli(&["train", &file]).failed().says(&["no worker is up", "--detach"]);
    let sent = place.cli_json(&["train", &file, "--detach"]);
    assert_eq!(sent["task_id"], "early");
    let service = place.service("one", &[]);
    assert_eq!(ended(&place, "early")["task_status"], "succeeded");
    service.terminate().ok();
}
