//! What goes wrong around a job: stores that do not answer, workers that die, others that share the store.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use lunapark_schemas::HeadersBuf;
use lunapark_schemas::headers::SOURCE;

use super::*;
use crate::audit::report::FindingKind;

/// An S3 server with one object, which answers its first requests with these statuses.
struct Server {
    endpoint: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(first: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (first, asked) = (first.to_vec(), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut head = BufReader::new(stream.try_clone().unwrap());
                let (mut line, mut method) = (String::new(), String::new());
                while head.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if method.is_empty() {
                        method = line.split(' ').next().unwrap_or_default().to_owned();
                    }
                    line.clear();
                }
                let number = counted.fetch_add(1, Ordering::AcqRel);
                let status = first.get(number).copied().unwrap_or(200);
                let body = if status == 200 { csv() } else { String::new() };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                     ETag: \"1\"\r\nConnection: close\r\n\r\n{}",
                    body.len(),
                    if method == "HEAD" { "" } else { &body }
                );
            }
        });
        Self { endpoint, asked }
    }

    fn place(&self) -> Place {
        let keys = "s3_access_key_id = \"k\"\ns3_secret_access_key = \"s\"";
        Place::with(1, "", &format!("s3_endpoint = \"{}\"\n{keys}", self.endpoint)).allowing("s3://bucket/data/")
    }
}

impl Place {
    fn allowing(mut self, datasets: &str) -> Self {
        self.config.train.datasets = format!("{},{datasets}", self.config.train.datasets);
        self
    }

    fn of_object(&self, task: &str) -> Value {
        let mut request = self.request(task, 3);
        request["dataset"]["path"] = json!("s3://bucket/data/t.csv");
        request
    }

    /// The one claim in the store.
    fn claim(&self) -> (String, Value) {
        let saved = self.store().list_named("checkpoints").unwrap();
        let name = saved.iter().find(|object| object.name.ends_with("/claim")).unwrap().name.clone();
        let text = self.store().get_named(&name).unwrap().unwrap();
        (name, serde_json::from_slice(&text).unwrap())
    }
}

#[test]
fn a_store_that_is_away_for_a_while_ends_no_job() {
    // The client tries each request four times by itself.
    let server = Server::start(&[503; 6]);
    let place = server.place();
    place.send(&place.of_object("patient"), 0);
    let worker = place.worker("a");
    assert_eq!(place.ended("patient").task_status, TaskStatus::Succeeded);
    worker.end();
    assert!(server.asked.load(Ordering::Acquire) > 6);
    place.assert_proven([1, 1, 0, 0]);
}

#[test]
fn what_a_store_denies_or_does_not_have_fails_the_job() {
    for status in [403, 404] {
        let place = Server::start(&[status; 100]).place();
        place.send(&place.of_object("denied"), 0);
        let worker = place.worker("a");
        let ended = place.ended("denied");
        worker.end();
        assert_eq!(ended.task_status, TaskStatus::Failed);
        let error = ended.error.unwrap();
        assert!(error.contains("s3://bucket/data/t.csv") && error.contains("may be read"), "{error}");
    }
}

#[test]
fn a_job_that_waits_for_a_store_can_be_cancelled() {
    let place = Server::start(&[503; 10_000]).place();
    place.send(&place.of_object("waits"), 0);
    let worker = place.worker("a");
    place.wait("it is taken", |all| (!all.is_empty()).then_some(()));
    place.cancel("waits");
    assert_eq!(place.ended("waits").task_status, TaskStatus::Cancelled);
    worker.end();
}

#[test]
fn a_task_waits_for_a_device_that_does_not_answer() {
    let place = Place::new(1);
    place.gate.store(0, Ordering::Release);
    let mut request = place.request("patient", 3);
    request["model_train"]["batch_size"] = json!(AWAY);
    place.send(&request, 0);
    let worker = place.worker("a");
    place.wait("it is tried again", |_| (place.running.away.load(Ordering::Acquire) >= 2).then_some(()));
    place.gate.store(usize::MAX, Ordering::Release);
    assert_eq!(place.ended("patient").task_status, TaskStatus::Succeeded);
    worker.end();
    place.assert_proven([1, 1, 0, 0]);
}

#[test]
fn a_trainer_that_does_not_come_back_holds_nobody_up() {
    let place = Place::with(1, "", "[score]\ndrain_budget = \"200ms\"");
    place.gate.store(0, Ordering::Release);
    let mut request = place.request("stuck", 3);
    request["model_train"]["batch_size"] = json!(HELD_UP);
    place.send(&request, 0);
    let worker = place.worker("a");
    place.wait("it is taken", |all| (!all.is_empty()).then_some(()));
    worker.stop.request();
    let end = Instant::now() + PATIENCE;
    while !worker.threads.iter().all(JoinHandle::is_finished) {
        assert!(Instant::now() < end, "the worker waits for its trainer");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    worker.end();
    place.gate.store(usize::MAX, Ordering::Release);
    let worker = place.worker("b");
    assert_eq!(place.ended("stuck").task_status, TaskStatus::Succeeded);
    worker.end();
}

/// Leaves a job in the middle; its claim is put down then.
fn left_in_the_middle(place: &Place, task: &str) {
    place.gate.store(2, Ordering::Release);
    place.send(&place.request(task, 5), 0);
    let worker = place.worker("a");
    place.until_step(task, 2);
    worker.end();
    assert_eq!(place.claim().1["open"], false);
    place.gate.store(usize::MAX, Ordering::Release);
}

#[test]
fn a_job_that_ends_its_workers_fails_at_last() {
    for (crashes, expected) in [(3, TaskStatus::Succeeded), (4, TaskStatus::Failed)] {
        let place = Place::new(1);
        left_in_the_middle(&place, "killer");
        let (name, mut claim) = place.claim();
        // As it is after kills: nobody put it down. The next worker counts this one, too.
        (claim["open"], claim["crashes"]) = (json!(true), json!(crashes));
        place.store().put_named(&name, claim.to_string().as_bytes()).unwrap();
        let worker = place.worker("b");
        let ended = place.ended("killer");
        worker.end();
        assert_eq!(ended.task_status, expected, "{ended:?}");
        if expected == TaskStatus::Failed {
            assert!(ended.error.unwrap().contains("5 workers"));
        }
        place.wait_forgotten();
        place.assert_proven([1, 1, 0, 0]);
    }
}

#[test]
fn lunaparks_that_share_a_store_leave_each_others_checkpoints_alone() {
    let ours = Place::new(1);
    left_in_the_middle(&ours, "same");
    let mut theirs = Place::new(1);
    theirs.config.artifacts = ours.config.artifacts.clone();
    theirs.send(&theirs.request("same", 5), 0);
    let worker = theirs.worker("a");
    assert_eq!(theirs.ended("same").stats.resumed, 0);
    worker.end();
    let worker = ours.worker("a");
    assert_eq!(ours.ended("same").stats.resumed, 1);
    worker.end();
}

#[test]
fn a_worker_that_died_between_upload_and_commit_leaves_one_version() {
    let place = Place::new(1);
    place.send(&place.request("model", 5), 0);
    let worker = place.worker("a");
    let first = place.ended("model").model.unwrap();
    worker.end();
    // What such a worker leaves: artifact, pictures, a reserved number.
    let place = Place::new(1);
    let artifact = Place::artifact(5, 7);
    assert_eq!(place.store().put(&artifact).unwrap().digest, first.digest);
    place.store().put_named(&super::super::picture(&first.digest, "loss.svg"), b"<svg/>").unwrap();
    let catalog = TopicCatalog::new(place.log.clone(), &place.topics);
    assert_eq!(catalog.reserve("toy", "model").unwrap(), 1);
    place.send(&place.request("model", 5), 0);
    let worker = place.worker("a");
    let second = place.ended("model").model.unwrap();
    worker.end();
    assert_eq!(second, first);
    assert_eq!((catalog.list().unwrap().len(), place.store().list().unwrap().len()), (1, 1));
    place.assert_proven([1, 1, 0, 0]);
}

impl Place {
    /// What the stepper makes of so many epochs.
    pub(super) fn artifact(epochs: u32, seed: u32) -> Vec<u8> {
        let epoch = |epoch| {
            let loss = f64::from(epochs - epoch + seed);
            Epoch { epoch, loss, val_loss: loss, ..Default::default() }
        };
        serde_json::to_vec(&(1..=epochs).map(epoch).collect::<Vec<_>>()).unwrap()
    }

    pub(super) fn plant(&self, status: &TrainingStatus, source: Option<&str>) {
        let mut headers = HeadersBuf::new();
        if let Some(source) = source {
            headers.push_str(SOURCE, source);
        }
        let event = self.topics.training_status.encode(status).unwrap();
        let mut writer = self.log.writer().unwrap();
        writer.produce(&Record { headers: headers.view(), ..event.record(Some(0)) }).unwrap();
        writer.flush(PATIENCE).unwrap();
    }

    fn faults(&self, deep: bool) -> Vec<(FindingKind, String)> {
        let request = AuditRequest { deep, ..AuditRequest::training(&self.topics, "train") };
        let report = audit(&*self.log, &request).unwrap();
        assert_eq!(report.proven, report.findings.is_empty(), "{report:#?}");
        report.findings.into_iter().map(|finding| (finding.kind, finding.message)).collect()
    }
}

#[test]
fn the_audit_names_tasks_without_exactly_one_end() {
    let status = |task_status| TrainingStatus { task_id: "t".into(), task_status, ..Default::default() };
    let cases = [
        (TaskStatus::Failed, None, FindingKind::WrongSource, "names no request"),
        (TaskStatus::Failed, Some("training.requests/0/0"), FindingKind::Task, "ended before"),
        (TaskStatus::Running, Some("training.requests/0/0"), FindingKind::Task, "does not end its task"),
    ];
    for (task_status, source, kind, sentence) in cases {
        let place = Place::new(1);
        place.send(&place.request("t", 2), 0);
        let worker = place.worker("a");
        place.ended("t");
        worker.end();
        place.assert_proven([1, 1, 0, 0]);
        place.plant(&status(task_status), source);
        for deep in [false, true] {
            let found = place.faults(deep);
            assert!(found.iter().any(|(is, message)| *is == kind && message.contains(sentence)), "{found:#?}");
        }
    }
}

#[test]
fn statuses_are_read_once_by_a_process() {
    let place = Place::new(1);
    let status = |task: usize| TrainingStatus {
        task_id: format!("t-{task}"),
        task_status: TaskStatus::Failed,
        ..Default::default()
    };
    (0..50).for_each(|task| place.plant(&status(task), None));
    let book = super::super::book::Book::new(place.topics.training_status.name().clone());
    assert_eq!(book.read(&*place.log, 0).unwrap(), 50);
    place.plant(&status(50), None);
    assert_eq!(book.read(&*place.log, 0).unwrap(), 1);
    assert!(["t-0", "t-50"].iter().all(|task| book.ended(0, task)) && !book.ended(0, "t-51"));
}
