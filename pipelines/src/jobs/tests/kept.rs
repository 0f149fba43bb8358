//! What is kept, and for how long: checkpoints of workers that died, topics of jobs, searches whose records have expired.

use lunapark_schemas::training::{SearchOrigin, SearchReport, TrialEnd, TrialPlace, TrialRecord};
use lunapark_topics::{LogErrorKind, TopicSpec};

use super::*;
use crate::jobs::leftovers;

impl Place {
    /// Every object of the checkpoints, with its bytes.
    fn saved(&self) -> Vec<(String, Vec<u8>)> {
        let store = self.store();
        let listed = store.list_named("checkpoints").unwrap();
        listed
            .into_iter()
            .map(|object| (object.name.clone(), store.get_named(&object.name).unwrap().unwrap()))
            .collect()
    }

    /// A message of the search `s`, whose request stands in partition 0.
    fn plant_trained(&self, of: &SearchOrigin, rung: u32, trial: u32, end: &TrialEnd) {
        let at = TrialPlace { trial, rung, epochs: 2, ..Default::default() };
        let record = TrialRecord::Trained { of: Box::new(of.clone()), at, end: end.clone() };
        let event = self.topics.training_trials.encode(&record).unwrap();
        let mut writer = self.log.writer().unwrap();
        writer.produce(&event.record(Some(0))).unwrap();
        writer.flush(PATIENCE).unwrap();
    }

    fn origin(&self, task: &str) -> SearchOrigin {
        let mut request = self.request(task, 2);
        request["search"] =
            json!({ "trials": 2, "metric": "loss", "ranges": { "model_train.seed": { "int": [1, 1000] } } });
        SearchOrigin {
            task_id: task.to_owned(),
            request_position: "training.requests/0/0".into(),
            partition: 0,
            submitted: 0,
            folder: "ab".repeat(16),
            range: None,
            request: serde_json::from_value(request).unwrap(),
        }
    }
}

#[test]
fn checkpoints_that_a_dead_worker_left_are_found_and_those_of_others_stay() {
    let place = Place::new(1);
    place.gate.store(2, Ordering::Release);
    place.send(&place.request("done", 5), 0);
    let worker = place.worker("a");
    place.until_step("done", 2);
    worker.end();
    let left = place.saved();
    assert!(!left.is_empty());
    place.gate.store(usize::MAX, Ordering::Release);
    let worker = place.worker("a");
    place.ended("done");
    worker.end();
    place.wait_forgotten();
    // As it is where a worker dies after its commit.
    left.iter().for_each(|(name, bytes)| place.store().put_named(name, bytes).unwrap());
    // One that goes on, and one of another Lunapark.
    place.gate.store(1, Ordering::Release);
    place.send(&place.request("open", 5), 0);
    let worker = place.worker("a");
    place.until_step("open", 1);
    worker.end();
    let (foreign, digest) = (format!("checkpoints/{}/trial-1/made", "cd".repeat(16)), "9f".repeat(32));
    place.store().put_named(&foreign, format!("{{\"digest\":\"{digest}\"}}").as_bytes()).unwrap();

    let found = leftovers(&*place.log, &place.topics, &place.store()).unwrap();
    let mut ended: Vec<_> = found.ended.into_iter().map(|object| object.name).collect();
    let mut expected: Vec<_> = left.into_iter().map(|(name, _)| name).collect();
    ended.sort();
    expected.sort();
    assert_eq!(ended, expected);
    assert_eq!(found.kept as usize + ended.len(), place.saved().len());
    assert!(found.kept > 1);
    assert!(found.made.iter().any(|saved| String::from_utf8_lossy(saved).contains(&digest)));
}

#[test]
fn the_trial_of_a_last_rung_names_its_artifact_and_so_does_the_catalog_of_topics() {
    let place = Place::new(1);
    let origin = place.origin("named");
    let mut request = place.request("named", 2);
    request["search"] = serde_json::to_value(origin.request.search.as_ref().unwrap()).unwrap();
    place.send(&request, 0);
    let worker = place.worker("a");
    let model = place.ended("named").model.unwrap();
    worker.end();
    let topic = place.topics.training_trials.name();
    assert!(place.topics.naming_artifacts().contains(topic));
    let at = TopicPartition::new(topic.clone(), 0);
    let (end, mut named) = (place.log.watermarks(&at).unwrap().high, Vec::new());
    let mut scan = Scan::open(&*place.log, &at, 0).unwrap();
    scan.until(end, |message| {
        if let TrialRecord::Trained { end, .. } = serde_json::from_slice(message.value.unwrap()).unwrap() {
            named.extend(end.artifact);
        }
        Ok::<(), LogError>(())
    })
    .unwrap();
    assert_eq!(named, [model.digest]);
}

#[test]
fn a_search_whose_rungs_have_expired_ends_once_and_says_why() {
    let place = Place::new(1);
    let (origin, end) = (place.origin("s"), TrialEnd { score: Some(0.5), ..Default::default() });
    // Of the first rung nothing is left; two of the last one: without the first nobody knows that one is too many.
    (0..2).for_each(|trial| place.plant_trained(&origin, 1, trial, &end));
    place.send(&place.request("after", 2), 0);
    let worker = place.worker("a");
    place.ended("after");
    let group = crate::pipelines::train::group_of_trials("train");
    let at = [TopicPartition::new(place.topics.training_trials.name().clone(), 0)];
    place.wait("both are passed", |_| (place.log.committed(&group, &at).unwrap()[0] == Some(2)).then_some(()));
    worker.end();
    let ended = place.ended("s");
    assert_eq!(ended.task_status, TaskStatus::Failed);
    assert!(ended.error.as_ref().unwrap().contains("topics.jobs_retention"), "{ended:#?}");
    // It is remembered from the topic, too.
    place.plant_trained(&origin, 1, 0, &end);
    let worker = place.worker("b");
    place.wait("it is passed", |_| (place.log.committed(&group, &at).unwrap()[0] == Some(3)).then_some(()));
    worker.end();
    place.ended("s");
    place.assert_proven([4, 2, 2, 0]);
}

#[test]
fn topics_of_jobs_are_kept_for_as_long_as_jobs_may_wait() {
    let place = Place::new(1);
    let day = Duration::from_secs(24 * 3600);
    let of = |topic: &str| place.log.topic(topic).unwrap().retention;
    let (requests, status) = (&place.topics.training_requests, &place.topics.training_status);
    for topic in [requests.name(), requests.dead().name(), status.name(), place.topics.training_ledger.name()] {
        assert_eq!(of(topic), None, "{topic}");
    }
    assert_eq!((of(place.topics.ledger.name()), of(place.topics.control.name())), (Some(7 * day), Some(30 * day)));
    // One that an older version made.
    place.log.delete_topic(status.name()).unwrap();
    place.log.create_topic(&TopicSpec { retention: Some(7 * day), ..status.spec.clone() }).unwrap();
    let refused = check_training_topics(&*place.log, &place.topics, true).unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::TopicMismatch);
    for word in [&**status.name(), "7.0 days", "topics.jobs_retention", "\"604800s\""] {
        assert!(refused.message.contains(word), "{refused}");
    }
    let mut options = place.config.topics.clone();
    options.jobs_retention = Some(7 * day);
    check_training_topics(&*place.log, &Catalog::new(&options), true).unwrap();
}

/// A search that has no end is named although another one is under way.
#[test]
fn the_audit_sees_a_lost_search_beside_one_that_is_under_way() {
    let place = Place::new(1);
    place.send(&place.request("t", 2), 0);
    let worker = place.worker("a");
    place.ended("t");
    worker.end();
    let ghost = TrainingStatus {
        task_id: "ghost".into(),
        task_status: TaskStatus::Running,
        search: Some(SearchReport::default()),
        ..Default::default()
    };
    place.gate.store(0, Ordering::Release);
    let mut request = place.request("alive", 4);
    request["search"] =
        json!({ "trials": 3, "metric": "loss", "ranges": { "model_train.seed": { "int": [1, 1000] } } });
    place.send(&request, 0);
    let worker = place.worker("a");
    place.wait("a trial runs", |all| all.iter().any(|status| status.trial.is_some()).then_some(()));
    let audited = || audit(&*place.log, &AuditRequest::training(&place.topics, "train")).unwrap();
    let report = audited();
    assert!(!report.faulty() && report.notes.iter().any(|note| note.contains("`alive` (3 messages")), "{report:#?}");
    place.plant(&ghost, Some("training.requests/0/0"));
    let report = audited();
    assert_eq!((report.findings.len(), report.lost), (1, 1), "{report:#?}");
    assert!(report.findings[0].message.contains("`ghost` has no end"), "{report:#?}");
    place.gate.store(usize::MAX, Ordering::Release);
    place.ended("alive");
    worker.end();
    assert!(!audited().notes.iter().any(|note| note.contains("`alive`")));
}
