//! Jobs on the embedded log, with a trainer that does as its gate says.

mod beside;
mod datasets;
mod faults;
mod hanging;
mod kept;
mod projects;
mod search;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lunapark_schemas::control::ControlRecord;
use lunapark_schemas::training::{Epoch, TaskStatus, TrainingRequest, TrainingStatus};
use lunapark_schemas::{Record, Signature, TopicPartition};
use lunapark_stores::artifacts::{ArtifactStore, digest_of};
use lunapark_stores::catalog::Catalog as _;
use lunapark_topics::embedded::{self, EmbeddedOptions};
use lunapark_topics::{Catalog, Log, LogError};
use lunapark_train::{Job, Progress, Refusal, Tables, Trained, Trainer};
use serde_json::{Value, json};

use super::{Shelf, Side};
use crate::audit::scan::Scan;
use crate::audit::{AuditRequest, audit};
use crate::catalog::TopicCatalog;
use crate::config::Config;
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::pipelines::train::Train;
use crate::runner::RunError;
use crate::service::check_training_topics;
use crate::stop::Stop;

const PATIENCE: Duration = Duration::from_secs(60);
/// A batch size with which a trainer does not come back while its gate is closed.
const HELD_UP: u32 = 17;
/// A batch size whose device does not answer while the gate is closed.
const AWAY: u32 = 19;

/// Trains "steps": an epoch of one step each, as many as the gate lets through.
struct Stepper {
    gate: Arc<AtomicUsize>,
    running: Arc<Running>,
}

/// Jobs at once.
#[derive(Default)]
struct Running {
    now: AtomicUsize,
    peak: AtomicUsize,
    /// How often a device did not answer.
    away: AtomicUsize,
}

struct Steps {
    done: usize,
    before: usize,
    all: usize,
    seed: u64,
    history: Vec<Epoch>,
    gate: Arc<AtomicUsize>,
    running: Arc<Running>,
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.running.now.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Trainer for Stepper {
    fn accepts(&self, request: &TrainingRequest) -> bool {
        request.model.objective == "classification"
    }

    fn start(&self, request: &TrainingRequest, _: Tables, resume: Option<&[u8]>) -> Result<Box<dyn Job>, Refusal> {
        let train = &request.model_train;
        let history: Vec<Epoch> = resume.map_or_else(Vec::new, |bytes| serde_json::from_slice(bytes).unwrap());
        let (done, all) = (history.len(), train.epochs as usize);
        assert!(train.batch_size != 13, "a trainer may panic");
        while train.batch_size == HELD_UP && self.gate.load(Ordering::Acquire) == 0 {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if train.batch_size == AWAY && self.gate.load(Ordering::Acquire) == 0 {
            self.running.away.fetch_add(1, Ordering::AcqRel);
            return Err(Refusal::device("cuda:0 does not answer"));
        }
        let (gate, running) = (self.gate.clone(), self.running.clone());
        running.peak.fetch_max(running.now.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
        Ok(Box::new(Steps { done, before: done, all, seed: train.seed, history, gate, running }))
    }
}

impl Job for Steps {
    fn step(&mut self, _: Duration) -> Result<Progress, Refusal> {
        std::thread::park_timeout(Duration::from_millis(2));
        if self.done < self.all.min(self.gate.load(Ordering::Acquire)) {
            self.done += 1;
            // Whole numbers: they read back from JSON to the bit.
            let loss = (self.all - self.done) as f64 + self.seed as f64;
            self.history.push(Epoch { epoch: self.done as u32, loss, val_loss: loss, ..Default::default() });
        }
        let [step, steps, steps_before] = [self.done, self.all, self.before].map(|count| count as u64);
        let (epoch, done) = (self.done as u32, step == steps);
        Ok(Progress { epoch, step, steps, steps_before, done, ..Default::default() })
    }

    fn history(&self) -> &[Epoch] {
        &self.history
    }

    fn checkpoint(&self) -> Result<Vec<u8>, Refusal> {
        Ok(serde_json::to_vec(&self.history).unwrap())
    }

    fn finish(self: Box<Self>) -> Result<Trained, Refusal> {
        Ok(Trained {
            artifact: serde_json::to_vec(&self.history).unwrap(),
            format: "steps",
            signature: Signature { inputs: Vec::new(), outputs: Vec::new() },
            evaluation: [("auc".to_owned(), 0.75)].into(),
            history: self.history.clone(),
            dataset: Default::default(),
            roc: Vec::new(),
            pictures: vec![("loss.svg".to_owned(), "<svg/>".to_owned())],
        })
    }
}

/// A Lunapark of one folder.
struct Place {
    folder: tempfile::TempDir,
    config: Config,
    topics: Catalog,
    log: Arc<dyn Log>,
    gate: Arc<AtomicUsize>,
    running: Arc<Running>,
}

/// A stream thread of training.
struct Worker {
    stop: Stop,
    threads: Vec<JoinHandle<Result<(), RunError>>>,
}

impl Worker {
    fn end(self) {
        self.stop.request();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    }
}

impl Place {
    fn new(partitions: i32) -> Self {
        Self::with(partitions, "", "")
    }

    /// With more lines in the sections `train` and `store`, and other sections after them.
    fn with(partitions: i32, train: &str, store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t.csv"), csv()).unwrap();
        std::fs::create_dir(folder.path().join("saved")).unwrap();
        let path = folder.path().display();
        let text = format!(
            "[topics]\npartitions = {partitions}\n[train]\nthreads = 1\ndatasets = \"{path}\"\nsave = \"{path}/saved\"\n\
             checkpoint_interval = \"20ms\"\n{train}\n[store]\nurl = \"file://{path}/store\"\n{store}"
        );
        let config = Config::from_texts(&text, std::iter::empty()).unwrap();
        let topics = Catalog::new(&config.topics);
        let log = embedded::open(&folder.path().join("data"), &EmbeddedOptions::default()).unwrap();
        check_training_topics(&*log, &topics, true).unwrap();
        Self { folder, config, topics, log, gate: Arc::new(AtomicUsize::new(usize::MAX)), running: Arc::default() }
    }

    fn store(&self) -> ArtifactStore {
        ArtifactStore::open(&self.config.artifacts, &crate::models::s3_options(&self.config.store)).unwrap()
    }

    fn worker(&self, instance: &str) -> Worker {
        let config = Config { instance: instance.to_owned(), ..self.config.clone() };
        let stop = Stop::new();
        let catalog = Arc::new(TopicCatalog::new(self.log.clone(), &self.topics));
        let shelf = Shelf::new(Arc::new(self.store()), catalog);
        let trainers: Vec<Box<dyn Trainer>> =
            vec![Box::new(Stepper { gate: self.gate.clone(), running: self.running.clone() })];
        let train = Arc::new(Train::open(&config, &self.topics, self.log.clone(), trainers, shelf, &stop).unwrap());
        let run = |side| {
            let metrics = Arc::new(PipelineMetrics::new("train", instance).unwrap());
            let (train, log, stopped) = (train.clone(), self.log.clone(), stop.clone());
            let run = move || train.run_thread((0, side), log, metrics, Arc::new(Health::default()), &stopped);
            std::thread::spawn(run)
        };
        let threads = [Side::Requests, Side::Trials].map(run).into_iter().collect();
        Worker { stop, threads }
    }

    fn dataset(&self) -> PathBuf {
        self.folder.path().join("t.csv")
    }

    /// A request for so many epochs.
    fn request(&self, task: &str, epochs: u32) -> Value {
        json!({
            "task_id": task,
            "model": { "objective": "classification", "name": "toy" },
            "model_train": { "epochs": epochs, "seed": 7 },
            "dataset": { "path": self.dataset(), "label": "label", "train_test_split": 0.25 }
        })
    }

    fn send(&self, request: &Value, partition: i32) {
        self.send_bytes(request.to_string().as_bytes(), partition);
    }

    fn send_bytes(&self, value: &[u8], partition: i32) {
        let topic = self.topics.training_requests.name();
        let (partition, value, key) = (Some(partition), Some(value), None);
        let mut writer = self.log.writer().unwrap();
        writer.produce(&Record { topic, partition, key, value, headers: Default::default(), timestamp: None }).unwrap();
        writer.flush(PATIENCE).unwrap();
    }

    fn cancel(&self, task: &str) {
        self.say(&ControlRecord::Cancel { task_id: task.to_owned() });
    }

    fn say(&self, word: &ControlRecord) {
        let event = self.topics.control.encode(word).unwrap();
        let mut writer = self.log.writer().unwrap();
        writer.produce(&event.record(Some(0))).unwrap();
        writer.flush(PATIENCE).unwrap();
    }

    fn statuses(&self) -> Vec<TrainingStatus> {
        let mut all = Vec::new();
        let topic = self.topics.training_status.name();
        for partition in 0..self.config.topics.partitions {
            let at = TopicPartition::new(topic.clone(), partition);
            let end = self.log.watermarks(&at).unwrap().high;
            let mut scan = Scan::open(&*self.log, &at, 0).unwrap();
            scan.until(end, |message| {
                all.push(serde_json::from_slice(message.value.unwrap()).unwrap());
                Ok::<(), LogError>(())
            })
            .unwrap();
        }
        all
    }

    fn wait<T>(&self, what: &str, mut ask: impl FnMut(&[TrainingStatus]) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses();
            if let Some(answer) = ask(&statuses) {
                return answer;
            }
            assert!(Instant::now() < end, "{what}: {statuses:#?}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// The one terminal status of a task.
    fn ended(&self, task: &str) -> TrainingStatus {
        let terminal = |status: &&TrainingStatus| status.task_id == task && status.task_status.terminal();
        let status = self.wait(&format!("the end of {task}"), |all| all.iter().find(terminal).cloned());
        assert_eq!(self.statuses().iter().filter(terminal).count(), 1, "{task} ended once");
        status
    }

    /// Checkpoints are removed beside the work.
    fn wait_forgotten(&self) {
        self.wait("no checkpoints", |_| self.store().list_named("checkpoints").unwrap().is_empty().then_some(()));
    }

    fn until_step(&self, task: &str, step: u64) {
        let far = |status: &TrainingStatus| {
            status.task_id == task && status.progress.as_ref().is_some_and(|progress| progress.step >= step)
        };
        self.wait(&format!("{task} at step {step}"), |all| all.iter().any(far).then_some(()));
    }

    /// The audit proves so many messages: in, results, filtered, dead.
    fn assert_proven(&self, counts: [u64; 4]) {
        for deep in [false, true] {
            let request = AuditRequest { deep, ..AuditRequest::training(&self.topics, "train") };
            let report = audit(&*self.log, &request).unwrap();
            assert!(report.proven, "{report:#?}");
            let counted = report.messages;
            assert_eq!([counted.input, counted.results, counted.filtered, counted.dead], counts, "{report:#?}");
        }
    }
}

fn csv() -> String {
    let row = |n: usize| format!("{},{},{}\n", n % 7, (n * n) % 11, n % 2);
    std::iter::once("x,y,label\n".to_owned()).chain((0..200).map(row)).collect()
}

#[test]
fn a_request_becomes_one_version_and_a_repeated_one_is_filtered() {
    let place = Place::new(1);
    let worker = place.worker("a");
    let copy = format!("file://{}/saved/t-1", place.folder.path().display());
    let mut request = place.request("t-1", 5);
    request["model_save"] = json!({ "path": copy });
    place.send(&request, 0);
    let status = place.ended("t-1");
    assert_eq!(status.task_status, TaskStatus::Succeeded, "{status:?}");
    let model = status.model.unwrap();
    assert_eq!((model.name.as_str(), model.version, status.history.len()), ("toy", 1, 5));
    let versions = TopicCatalog::new(place.log.clone(), &place.topics).list().unwrap();
    assert_eq!((versions.len(), versions[0].digest.as_str()), (1, model.digest.as_str()));
    assert_eq!(versions[0].lineage.request.as_deref(), Some("training.requests/0/0"));
    assert_eq!(versions[0].dataset_digest, Some(digest_of(csv().as_bytes())));
    let store = place.store();
    assert!(store.get(&model.digest).is_ok());
    let copied = ArtifactStore::open(&copy, &Default::default()).unwrap().get_named("model.safetensors").unwrap();
    assert_eq!(copied, store.get(&model.digest).ok());
    assert_eq!(store.get_named(&super::picture(&model.digest, "loss.svg")).unwrap().unwrap(), b"<svg/>");
    place.send(&place.request("t-1", 5), 0);
    place.send(&place.request("t-2", 6), 0);
    assert_eq!(place.ended("t-2").model.unwrap().version, 2);
    worker.end();
    place.wait_forgotten();
    place.assert_proven([3, 2, 1, 0]);
    // Another worker learns from the topic what has ended.
    let worker = place.worker("b");
    place.send(&place.request("t-1", 5), 0);
    place.send(&place.request("t-3", 5), 0);
    place.ended("t-3");
    worker.end();
    place.assert_proven([5, 3, 2, 0]);
}

#[test]
fn what_cannot_be_trained_fails_with_the_sentence_and_what_is_no_request_is_a_dead_letter() {
    let place = Place::new(1);
    let with = |task: &str, pointer: &str, value: Value| {
        let mut request = place.request(task, 3);
        *request.pointer_mut(pointer).unwrap() = value;
        request
    };
    let outside = place.folder.path().join("../elsewhere.csv");
    let cases = [
        (with("objective", "/model/objective", json!("poetry")), "`poetry`"),
        (with("name", "/model/name", json!("../x")), "model.name"),
        (with("outside", "/dataset/path", json!(outside)), "train.datasets"),
        (with("passwd", "/dataset/path", json!("/etc/passwd")), "train.datasets"),
        (with("absent", "/dataset/path", json!(place.folder.path().join("no.csv"))), "check its name"),
        (with("bucket", "/dataset/path", json!("s3://b/k.csv")), "train.datasets"),
        (with("topic", "/dataset/path", json!("topic://nowhere")), "no topic `nowhere`"),
        (with("range", "/dataset/path", json!("topic://models?since=1")), "neither from"),
        (with("no-topic", "/dataset/path", json!("topic://a b/c")), "no name of a topic"),
        (with("epochs", "/model_train/epochs", json!("many")), "\"many\""),
    ];
    for (request, _) in &cases {
        place.send(request, 0);
    }
    let mut storage = place.request("storage", 3);
    storage["dataset"]["storage_type"] = json!("s3");
    let mut hub = place.request("hub", 3);
    hub["model"]["storage_type"] = json!("hugging_face_hub");
    let mut copy = place.request("copy", 3);
    copy["model_save"] = json!({ "path": place.folder.path().join("saved/copy"), "storage_type": "s3" });
    let mut save = place.request("save", 3);
    save["model_save"] = json!({ "path": place.folder.path().join("copy") });
    let mut panics = place.request("panics", 3);
    panics["model_train"]["batch_size"] = json!(13);
    let more = [
        (storage, "dataset.storage_type"),
        (hub, "model.storage_type"),
        (copy, "model_save.storage_type"),
        (save, "train.save"),
        (panics, "panicked"),
    ];
    more.iter().for_each(|(request, _)| place.send(request, 0));
    for broken in [&b"{\"model\""[..], b"", b"{}", b"[1,2]"] {
        place.send_bytes(broken, 0);
    }
    place.send(&place.request(&"x".repeat(201), 3), 0);
    let mut unnamed = place.request("x", 3);
    unnamed.as_object_mut().unwrap().remove("task_id");
    place.send(&unnamed, 0);
    let worker = place.worker("a");
    for (request, sentence) in cases.iter().chain(&more) {
        let status = place.ended(request["task_id"].as_str().unwrap());
        assert_eq!(status.task_status, TaskStatus::Failed, "{status:?}");
        let error = status.error.unwrap();
        assert!(error.contains(sentence), "{error}");
    }
    let status = place.ended("training.requests/0/20");
    assert_eq!(status.task_status, TaskStatus::Succeeded);
    worker.end();
    place.assert_proven([21, 16, 0, 5]);
}

#[test]
fn a_job_that_is_left_goes_on_from_its_checkpoint_and_ends_with_the_same_bytes() {
    let place = Place::new(1);
    place.gate.store(10, Ordering::Release);
    place.send(&place.request("left", 30), 0);
    let worker = place.worker("a");
    place.until_step("left", 10);
    worker.end();
    let first = place.statuses();
    let begun = first.iter().find_map(|status| status.stats.started.clone());
    let worked = first.iter().map(|status| status.stats.elapsed_seconds).fold(0.0, f64::max);
    place.gate.store(usize::MAX, Ordering::Release);
    place.send(&place.request("whole", 30), 0);
    let worker = place.worker("b");
    let [left, whole] = ["left", "whole"].map(|task| place.ended(task));
    worker.end();
    assert_eq!((left.stats.resumed, whole.stats.resumed), (1, 0));
    assert!(begun.is_some() && left.stats.started == begun, "it began with its first try: {:?}", left.stats);
    assert!(left.stats.elapsed_seconds > worked, "{worked} seconds before: {:?}", left.stats);
    let [left, whole] = [left, whole].map(|status| status.model.unwrap());
    assert_eq!(left.digest, whole.digest);
    assert_eq!((left.version, whole.version), (1, 2));
    place.assert_proven([2, 2, 0, 0]);
}

#[test]
fn a_task_is_cancelled_while_it_runs_and_while_it_waits() {
    let place = Place::new(1);
    place.gate.store(3, Ordering::Release);
    place.send(&place.request("runs", 10), 0);
    place.send(&place.request("waits", 10), 0);
    place.send(&place.request("stays", 3), 0);
    let worker = place.worker("a");
    place.until_step("runs", 3);
    place.cancel("waits");
    place.cancel("runs");
    assert_eq!(place.ended("runs").task_status, TaskStatus::Cancelled);
    assert_eq!(place.ended("waits").task_status, TaskStatus::Cancelled);
    assert_eq!(place.ended("stays").task_status, TaskStatus::Succeeded);
    worker.end();
    place.assert_proven([3, 3, 0, 0]);
    // A cancel that was given while nobody was up.
    place.cancel("later");
    place.send(&place.request("later", 3), 0);
    let worker = place.worker("a");
    assert_eq!(place.ended("later").task_status, TaskStatus::Cancelled);
    worker.end();
}

#[test]
fn a_job_whose_partition_moves_is_ended_once_by_the_new_owner() {
    let place = Place::new(2);
    place.gate.store(5, Ordering::Release);
    [0, 1].iter().for_each(|partition| place.send(&place.request(&format!("p{partition}"), 20), *partition));
    let first = place.worker("a");
    place.wait("a job runs", |all| all.iter().any(|status| status.progress.is_some()).then_some(()));
    // It takes one partition over: the one whose job runs, or the other.
    let second = place.worker("b");
    for task in ["p0", "p1"] {
        place.until_step(task, 5);
    }
    place.gate.store(usize::MAX, Ordering::Release);
    for task in ["p0", "p1"] {
        assert_eq!(place.ended(task).task_status, TaskStatus::Succeeded);
    }
    first.end();
    second.end();
    place.assert_proven([2, 2, 0, 0]);
    let digests = ["p0", "p1"].map(|task| place.ended(task).model.unwrap().digest);
    assert_eq!(digests[0], digests[1], "same seed, same bytes");
}
