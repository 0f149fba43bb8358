//! Searches: of the stepper's models the one with the smallest seed is the best.

use lunapark_schemas::training::TrialState;

use super::*;

/// 6 trials, then 3, 2 and 1.
pub(super) const TRIALS: u64 = 12;

pub(super) fn search(place: &Place, task: &str) -> Value {
    let mut request = place.request(task, 8);
    request["search"] =
        json!({ "trials": 6, "metric": "loss", "ranges": { "model_train.seed": { "int": [1, 1000] } } });
    request
}

/// The search is over, its trials are ended and counted, and the best of them is what its values alone would have become.
fn assert_found(place: &Place, task: &str, more: u64) -> TrainingStatus {
    let status = place.ended(task);
    assert_eq!(status.task_status, TaskStatus::Succeeded, "{status:#?}");
    let board = status.search.clone().unwrap().leaderboard;
    let seeds: Vec<u64> = board.iter().map(|row| row.parameters["model_train.seed"].as_u64().unwrap()).collect();
    assert_eq!((board.len(), board[0].state, board[0].epochs), (6, TrialState::Finished, 8));
    assert!(board[1..].iter().all(|row| row.state == TrialState::Stopped && row.epochs < 8), "{board:#?}");
    assert_eq!(seeds.iter().min(), Some(&seeds[0]), "the best is above");
    let model = status.model.clone().unwrap();
    assert_eq!(model.digest, lunapark_stores::digest_of(&Place::artifact(8, seeds[0] as u32)));
    place.assert_proven([1 + 2 * TRIALS + more, 1 + 2 * TRIALS + more, 0, 0]);
    status
}

#[test]
fn one_worker_with_one_partition_finds_the_best() {
    let place = Place::new(1);
    place.send(&search(&place, "found"), 0);
    place.send(&place.request("behind", 2), 0);
    let worker = place.worker("a");
    place.ended("behind");
    place.ended("found");
    worker.end();
    let status = assert_found(&place, "found", 1);
    assert_eq!(status.history.len(), 8);
    let versions = TopicCatalog::new(place.log.clone(), &place.topics).list().unwrap();
    let of_search = versions.iter().find(|version| version.task_id == "found").unwrap();
    assert_eq!(of_search.lineage.request.as_deref(), Some("training.requests/0/0"));
    assert_eq!(of_search.dataset_digest, Some(lunapark_stores::digest_of(csv().as_bytes())));
    assert_eq!(versions.len(), 2);
    place.wait_forgotten();
    // The best alone is a model; the request again changes nothing.
    place.send(&search(&place, "found"), 0);
    place.send(&place.request("later", 2), 0);
    let worker = place.worker("b");
    place.ended("later");
    worker.end();
    assert_eq!(TopicCatalog::new(place.log.clone(), &place.topics).list().unwrap().len(), 3);
    place.assert_proven([4 + 2 * TRIALS, 3 + 2 * TRIALS, 1, 0]);
}

#[test]
fn workers_share_the_trials_and_come_and_go() {
    let place = Place::new(2);
    place.gate.store(1, Ordering::Release);
    place.send(&search(&place, "shared"), 1);
    let first = place.worker("a");
    let second = place.worker("b");
    place.wait("a rung", |all| {
        let done = |status: &TrainingStatus| status.trial.is_some() && status.task_status == TaskStatus::Succeeded;
        (all.iter().filter(|status| done(status)).count() >= 6).then_some(())
    });
    first.end();
    place.gate.store(3, Ordering::Release);
    let third = place.worker("c");
    place.wait("the next rung", |all| {
        let further = |status: &TrainingStatus| status.trial.as_ref().is_some_and(|trial| trial.rung == 2);
        all.iter().any(further).then_some(())
    });
    second.end();
    place.gate.store(usize::MAX, Ordering::Release);
    place.ended("shared");
    third.end();
    assert_found(&place, "shared", 0);
}

#[test]
fn a_search_is_cancelled_with_its_trials() {
    let place = Place::new(1);
    place.gate.store(0, Ordering::Release);
    place.send(&search(&place, "off"), 0);
    let worker = place.worker("a");
    place.wait("a trial runs", |all| all.iter().any(|status| status.trial.is_some()).then_some(()));
    place.cancel("off");
    let ended = place.ended("off");
    assert_eq!(ended.task_status, TaskStatus::Cancelled);
    assert!(ended.search.unwrap().leaderboard.iter().all(|row| row.state == TrialState::Cancelled));
    worker.end();
    place.assert_proven([13, 13, 0, 0]);
    place.wait_forgotten();
}

#[test]
fn a_search_that_comes_to_nothing_says_why() {
    let place = Place::new(1);
    let mut metric = search(&place, "metric");
    metric["search"]["metric"] = json!("beauty");
    let mut data = search(&place, "data");
    data["dataset"]["path"] = json!("/etc/passwd");
    let mut auc = search(&place, "auc");
    auc["search"]["metric"] = json!("auc");
    let cases = [(metric, "`beauty`"), (data, "train.datasets"), (auc, "search.metric")];
    cases.iter().for_each(|(request, _)| place.send(request, 0));
    let worker = place.worker("a");
    for (request, word) in &cases {
        let ended = place.ended(request["task_id"].as_str().unwrap());
        assert_eq!(ended.task_status, TaskStatus::Failed);
        assert!(ended.error.as_ref().unwrap().contains(word), "{ended:#?}");
    }
    worker.end();
    place.assert_proven([3 + 4 * 6, 3 + 4 * 6, 0, 0]);
}

#[test]
fn what_is_no_trial_is_a_dead_letter() {
    let place = Place::new(1);
    let topic = place.topics.training_trials.name();
    let mut writer = place.log.writer().unwrap();
    for value in [&b"{}"[..], b"no JSON"] {
        let (partition, value, key) = (Some(0), Some(value), None);
        writer.produce(&Record { topic, partition, key, value, headers: Default::default(), timestamp: None }).unwrap();
    }
    writer.flush(PATIENCE).unwrap();
    place.send(&place.request("after", 2), 0);
    let worker = place.worker("a");
    place.ended("after");
    let at = TopicPartition::new(place.topics.training_trials.dead().name().clone(), 0);
    place.wait("dead letters", |_| (place.log.watermarks(&at).unwrap().high == 2).then_some(()));
    worker.end();
    place.assert_proven([3, 1, 0, 2]);
}
