//! Projects whose jobs are limited: what exceeds the limit waits, and others pass it.

use lunapark_schemas::control::Seat;

use super::*;

fn of_project(place: &Place, project: &str, task: &str) -> Value {
    let mut request = place.request(task, 3);
    request["project"] = json!(project);
    request
}

/// The seat of a job of another instance, which says again and again that it is taken; given back when dropped.
struct Seated<'a> {
    place: &'a Place,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl<'a> Seated<'a> {
    /// Its clock is an hour behind: that takes no seat away.
    fn word(place: &Place, taken: bool) -> Vec<u8> {
        let [pipeline, instance, project, job] =
            ["train", "elsewhere", "cms", "training.requests/9/0"].map(str::to_owned);
        let sent_at = crate::clock::now_millis() - 3_600_000;
        let seat = ControlRecord::Seat(Seat { pipeline, instance, project, job, taken, sent_at });
        place.topics.control.encode(&seat).unwrap().record(Some(0)).value.unwrap().to_vec()
    }

    fn take(place: &'a Place) -> Self {
        let (stop, log, topic) = (Stop::new(), place.log.clone(), place.topics.control.name().clone());
        let (word, stopped) = (Self::word(place, true), stop.clone());
        write(&*log, &topic, &word);
        let again = move || {
            while !stopped.requested() {
                write(&*log, &topic, &word);
                stopped.wait(Duration::from_secs(1));
            }
        };
        Self { place, stop, thread: Some(std::thread::spawn(again)) }
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.stop.request();
        self.thread.take().map(JoinHandle::join);
        write(&*self.place.log, self.place.topics.control.name(), &Self::word(self.place, false));
    }
}

fn write(log: &dyn Log, topic: &str, value: &[u8]) {
    let (partition, value, key) = (Some(0), Some(value), Some(&b"seat"[..]));
    let mut writer = log.writer().unwrap();
    writer.produce(&Record { topic, partition, key, value, headers: Default::default(), timestamp: None }).unwrap();
    writer.flush(PATIENCE).unwrap();
}

fn limited(partitions: i32) -> Place {
    Place::with(partitions, "project_jobs = 1", "")
}

#[test]
fn what_exceeds_a_projects_limit_waits_and_others_pass_it() {
    let place = limited(1);
    let seated = Seated::take(&place);
    place.send(&place.request("first", 2), 0);
    for (project, task) in [("cms", "cms-1"), ("atlas", "atlas-1"), ("cms", "cms-2"), ("atlas", "atlas-2")] {
        place.send(&of_project(&place, project, task), 0);
    }
    place.send_bytes(b"{}", 0);
    let worker = place.worker("a");
    for task in ["atlas-1", "atlas-2"] {
        assert_eq!(place.ended(task).task_status, TaskStatus::Succeeded);
    }
    let stands = |task: &'static str, position: u64| {
        let there = move |status: &TrainingStatus| {
            status.task_id == task
                && status.task_status == TaskStatus::Submitted
                && status.queue_position == Some(position)
        };
        place.wait(&format!("{task} is {position}."), |all| all.iter().any(there).then_some(()));
    };
    stands("cms-1", 1);
    stands("cms-2", 2);
    // No offset has passed the first that waits: of those behind it nothing is accounted for yet, and nothing is wrong.
    place.assert_proven([1, 1, 0, 0]);
    worker.end();
    // Another worker reads all of them again, and does again only what has not ended.
    let worker = place.worker("b");
    drop(seated);
    for task in ["cms-1", "cms-2"] {
        assert_eq!(place.ended(task).task_status, TaskStatus::Succeeded);
    }
    place.send(&of_project(&place, "cms", "last"), 0);
    place.ended("last");
    worker.end();
    for task in ["atlas-1", "atlas-2"] {
        assert_eq!(place.ended(task).stats.resumed, 0);
    }
    place.assert_proven([7, 6, 0, 1]);
    assert_eq!(TopicCatalog::new(place.log.clone(), &place.topics).list().unwrap().len(), 6);
}

#[test]
fn one_that_waits_for_its_project_can_be_cancelled() {
    let place = limited(1);
    let _seated = Seated::take(&place);
    place.send(&of_project(&place, "cms", "waits"), 0);
    let worker = place.worker("a");
    place.wait("it waits", |all| all.iter().any(|status| status.queue_position.is_some()).then_some(()));
    place.cancel("waits");
    assert_eq!(place.ended("waits").task_status, TaskStatus::Cancelled);
    worker.end();
    place.assert_proven([1, 1, 0, 0]);
}

#[test]
fn instances_share_a_projects_limit() {
    let place = limited(2);
    let tasks: Vec<String> = (0..8).map(|number| format!("t-{number}")).collect();
    for (number, task) in (0..).zip(&tasks) {
        place.send(&of_project(&place, "cms", task), number % 2);
    }
    let workers = [place.worker("a"), place.worker("b")];
    for task in &tasks {
        assert_eq!(place.ended(task).task_status, TaskStatus::Succeeded);
    }
    workers.into_iter().for_each(Worker::end);
    assert_eq!(place.running.peak.load(Ordering::Acquire), 1);
    place.assert_proven([8, 8, 0, 0]);
}
