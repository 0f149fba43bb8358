//! What goes on beside a job that runs: cancels, searches, other workers.

use super::search::{TRIALS, search};
use super::*;

/// A worker whose job holds at its third step.
fn busy() -> (Place, Worker) {
    let place = Place::new(1);
    place.gate.store(3, Ordering::Release);
    place.send(&place.request("runs", 10), 0);
    let worker = place.worker("a");
    place.until_step("runs", 3);
    (place, worker)
}

impl Place {
    fn wait_until_it_waits(&self, task: &str) {
        let waits = |status: &TrainingStatus| status.task_id == task && status.queue_position == Some(1);
        self.wait(&format!("{task} waits"), |all| all.iter().any(waits).then_some(()));
    }

    /// Of the records of this task none ends it.
    fn assert_open(&self, task: &str) {
        let ends = |status: &TrainingStatus| status.task_id == task && status.task_status.terminal();
        assert!(!self.statuses().iter().any(ends), "{task} has ended");
    }
}

#[test]
fn a_task_that_waits_behind_a_job_is_cancelled_while_the_job_runs() {
    let (place, worker) = busy();
    place.send(&place.request("waits", 10), 0);
    place.send(&place.request("stays", 2), 0);
    place.wait_until_it_waits("waits");
    place.cancel("waits");
    assert_eq!(place.ended("waits").task_status, TaskStatus::Cancelled);
    place.wait_until_it_waits("stays");
    place.assert_open("runs");
    worker.end();
    // No offset has passed the job: another worker reads the cancelled one again, and does not answer it again.
    place.gate.store(usize::MAX, Ordering::Release);
    let worker = place.worker("b");
    for task in ["runs", "stays"] {
        assert_eq!(place.ended(task).task_status, TaskStatus::Succeeded);
    }
    worker.end();
    assert_eq!(place.ended("runs").stats.resumed, 1);
    assert_eq!(place.ended("waits").task_status, TaskStatus::Cancelled);
    place.assert_proven([3, 3, 0, 0]);
}

#[test]
fn a_search_is_published_and_a_bad_request_fails_while_a_job_runs() {
    let (place, worker) = busy();
    let mut bad = place.request("bad", 3);
    bad["model_train"]["epochs"] = json!("many");
    place.send(&search(&place, "found"), 0);
    place.send(&bad, 0);
    assert_eq!(place.ended("bad").task_status, TaskStatus::Failed);
    let published = |status: &TrainingStatus| status.task_id == "found" && status.search.is_some();
    place.wait("the search is published", |all| all.iter().any(published).then_some(()));
    let trials = TopicPartition::new(place.topics.training_trials.name().clone(), 0);
    assert!(place.log.watermarks(&trials).unwrap().high >= 6, "with its trials");
    place.assert_open("runs");
    place.gate.store(usize::MAX, Ordering::Release);
    for task in ["runs", "found"] {
        assert_eq!(place.ended(task).task_status, TaskStatus::Succeeded);
    }
    worker.end();
    place.assert_proven([3 + 2 * TRIALS, 3 + 2 * TRIALS, 0, 0]);
}

#[test]
fn a_task_that_was_sent_again_and_again_ends_once() {
    let (place, worker) = busy();
    for _ in 0..2 {
        place.send(&place.request("twice", 10), 0);
        place.send(&place.request("runs", 10), 0);
    }
    // It needs no slot, and yet it does not end what came before it.
    place.send(&search(&place, "twice"), 0);
    place.wait_until_it_waits("twice");
    place.send(&place.request("heard", 10), 0);
    place.cancel("heard");
    assert_eq!(place.ended("heard").task_status, TaskStatus::Cancelled);
    place.assert_open("twice");
    for task in ["twice", "runs"] {
        place.cancel(task);
        assert_eq!(place.ended(task).task_status, TaskStatus::Cancelled);
    }
    place.send(&place.request("last", 3), 0);
    assert_eq!(place.ended("last").task_status, TaskStatus::Succeeded);
    worker.end();
    for task in ["twice", "runs"] {
        place.ended(task);
    }
    place.assert_proven([8, 4, 4, 0]);
}

#[test]
fn a_worker_that_is_added_interrupts_no_job_whose_partition_stays() {
    let place = Place::new(2);
    place.gate.store(3, Ordering::Release);
    place.send(&place.request("stays", 10), 0);
    let first = place.worker("a");
    place.until_step("stays", 3);
    let second = place.worker("b");
    // The embedded log moves the last partition: there the new worker trains, beside the first.
    place.send(&place.request("moves", 10), 1);
    place.until_step("moves", 3);
    place.gate.store(usize::MAX, Ordering::Release);
    for task in ["stays", "moves"] {
        let ended = place.ended(task);
        assert_eq!((ended.task_status, ended.stats.resumed), (TaskStatus::Succeeded, 0), "{task}");
    }
    first.end();
    second.end();
    place.assert_proven([2, 2, 0, 0]);
}
