//! `kill -9` of training workers: every request has exactly one terminal status, and the audit is clean.

use std::collections::BTreeMap;
use std::time::Duration;

use lunapark_tests::harness::{Backend, Service, Workplace, until};
use lunapark_tests::verifier::Random;
use serde_json::Value;

use super::{alone, any_moment, times};
use crate::e2e::training;

const NAMES: [&str; 2] = ["left", "right"];
const TASKS: usize = 8;
/// Kills, a session time-out each, and a few seconds of training, on two cores that also run a broker.
const ENDS: Duration = Duration::from_secs(240);

#[test]
fn training_workers_killed_at_any_moment() {
    let _alone = alone();
    let mut random = Random::from_environment("training_workers_killed_at_any_moment");
    // More kills than a job would be allowed that ends its workers itself.
    let place = training::place(Backend::Kafka).with("train.max_crashes", 1000);
    let mut services = NAMES.map(|name| Some(place.service(name, &[])));
    let tasks: Vec<String> = (0..TASKS).map(|number| format!("task-{number}")).collect();
    let requests: Vec<Value> = tasks.iter().map(|task| training::request(&place, task, 1500)).collect();
    training::send(&place, &requests);
    // Both at once, in the middle of a job: whoever comes back goes on from its checkpoint.
    for _ in 0..3 {
        let under_way = || {
            !training::states(&place).is_empty() || tasks.iter().all(|task| !training::ends(&place, task).is_empty())
        };
        until(ENDS, "a checkpoint, or all ends", || under_way().then_some(()));
        services.iter_mut().for_each(|service| service.take().expect("it runs").kill9());
        services = NAMES.map(|name| Some(place.service_unready(name, &[])));
    }
    for _ in 0..times(5, 20) {
        any_moment(&mut random, Duration::from_secs(3));
        let victim = random.below(2);
        services[victim].take().expect("it runs").kill9();
        any_moment(&mut random, Duration::from_millis(500));
        services[victim] = Some(place.service_unready(NAMES[victim], &[]));
    }
    let (mut digests, mut resumed) = (BTreeMap::new(), 0);
    for task in &tasks {
        let ends = until(ENDS, &format!("{task} ends"), || {
            std::thread::park_timeout(Duration::from_millis(500));
            Some(training::ends(&place, task)).filter(|ends| !ends.is_empty())
        });
        assert_eq!(ends[0]["task_status"], "succeeded", "{:#}", ends[0]);
        resumed += ends[0]["stats"]["resumed"].as_u64().expect("a count");
        *digests.entry(ends[0]["model"]["digest"].to_string()).or_insert(0) += 1;
    }
    services.into_iter().flatten().for_each(|service: Service| drop(service.terminate().ok()));
    assert_eq!(digests.len(), 1, "same seed, same bytes, however often it was killed: {digests:?}");
    assert!(resumed > 0, "no job went on from a checkpoint");
    once_each(&place, &tasks);
    training::assert_proven(&place, [TASKS as u64, TASKS as u64, 0, 0]);
}

/// One terminal status and one version per task.
pub fn once_each(place: &Workplace, tasks: &[String]) {
    let mut versions: Vec<u64> = Vec::new();
    for task in tasks {
        let ends = training::ends(place, task);
        assert_eq!(ends.len(), 1, "{task}: {ends:#?}");
        versions.push(ends[0]["model"]["version"].as_u64().expect("a version"));
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=tasks.len() as u64).collect::<Vec<_>>(), "a version each");
}
