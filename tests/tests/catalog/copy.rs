//! MongoDB as a copy of the topic.

use lunapark_schemas::catalog::{CatalogRecord, ModelVersion, Reservation, Stage};
use lunapark_schemas::training::{TaskStatus, TrainingStatus};
use lunapark_stores::catalog::{Catalog, CatalogError, TaskFilter, Tasks};
use lunapark_tests::catalog::{entry, status};

use super::Documents;

/// A history as the topic would have it: offset and record.
fn history() -> Vec<(i64, CatalogRecord)> {
    let reservation = |name: &str, version, task: &str| {
        CatalogRecord::Reservation(Reservation { name: name.into(), version, task_id: task.into() })
    };
    let version = |entry: &ModelVersion| CatalogRecord::Version(Box::new(entry.clone()));
    let (one, two) = (entry("a", 1, "one"), entry("a", 2, "two"));
    let retired = ModelVersion { stage: Stage::Retired, decision: "later".into(), ..one.clone() };
    vec![
        (0, reservation("a", 1, "one")),
        (2, reservation("a", 2, "two")),
        (5, version(&one)),
        (7, version(&two)),
        (9, version(&retired)),
    ]
}

/// What the history amounts to.
fn expected() -> Vec<(u32, Stage)> {
    vec![(1, Stage::Retired), (2, Stage::Registered)]
}

fn found(documents: &Documents) -> Vec<(u32, Stage)> {
    let listed = documents.open().list().expect("a list");
    listed.into_iter().map(|version| (version.version, version.stage)).collect()
}

#[test]
fn records_in_any_order_and_however_often_make_the_same_copy() {
    let documents = Documents::new();
    let mongo = documents.open();
    mongo.prepare().expect("an index");
    let project = |(offset, record): &(i64, CatalogRecord)| mongo.project(record, *offset).expect("an upsert");
    history().iter().for_each(project);
    assert_eq!(found(&documents), expected());
    history().iter().rev().for_each(project);
    history().iter().for_each(project);
    assert_eq!(found(&documents), expected());
    assert_eq!(mongo.reserve("a", "two"), Ok(2));
    assert_eq!(mongo.reserve("a", "three"), Ok(3));
}

#[test]
fn a_rebuilt_copy_holds_what_the_topic_says_and_nothing_else() {
    let documents = Documents::new();
    let mongo = documents.open();
    mongo.prepare().expect("an index");
    // Of a topic that was deleted since: other entries, later offsets, and a number that is another task's now.
    let old = ModelVersion { description: "old".into(), ..entry("a", 2, "old") };
    let reserved = Reservation { name: "a".into(), version: 2, task_id: "old".into() };
    mongo.project(&CatalogRecord::Reservation(reserved), 90).expect("an upsert");
    mongo.project(&CatalogRecord::Version(Box::new(old)), 91).expect("an upsert");
    mongo.project(&CatalogRecord::Version(Box::new(entry("gone", 1, "gone"))), 3).expect("an upsert");
    let (offset, conflicting) = &history()[1];
    let refused = mongo.project(conflicting, *offset).unwrap_err();
    assert!(matches!(&refused, CatalogError::Unavailable(what) if what.contains("catalog rebuild")), "{refused}");
    let last: Vec<_> = history().into_iter().filter(|(offset, _)| *offset != 5).collect();
    mongo.rebuild(&last).expect("a copy");
    assert_eq!(found(&documents), expected());
    assert_eq!(mongo.get("a", Some(2)).expect("an answer").expect("a/2").description, entry("a", 2, "two").description);
    assert_eq!((mongo.reserve("a", "two"), mongo.reserve("a", "next")), (Ok(2), Ok(3)));
}

/// What was told of two tasks, as their partitions would have it: offset and status.
fn told() -> Vec<(i64, TrainingStatus)> {
    use TaskStatus::{Cancelled, Running, Submitted, Succeeded};
    vec![
        (0, status("one", Submitted, 1)),
        (3, status("one", Running, 1)),
        (4, status("two", Submitted, 2)),
        (6, status("one", Succeeded, 1)),
        (7, status("one", Running, 1)),
        (8, status("two", Running, 2)),
        (9, status("one", Cancelled, 1)),
    ]
}

/// What a task is told to stand at by these alone.
fn tasks<'a>(told: impl IntoIterator<Item = &'a (i64, TrainingStatus)>) -> Tasks {
    let mut tasks = Tasks::default();
    told.into_iter().for_each(|(offset, status)| tasks.apply(status.clone(), *offset));
    tasks
}

fn stand(documents: &Documents) -> Vec<(String, TaskStatus)> {
    let listed = documents.open().tasks(&TaskFilter::default(), usize::MAX).expect("a list");
    listed.into_iter().map(|task| (task.task_id, task.task_status)).collect()
}

fn where_they_stand() -> Vec<(String, TaskStatus)> {
    vec![("two".into(), TaskStatus::Running), ("one".into(), TaskStatus::Succeeded)]
}

#[test]
fn statuses_in_any_order_and_however_often_make_the_same_job_history() {
    let documents = Documents::new();
    let mongo = documents.open();
    let project = |one: &(i64, TrainingStatus)| mongo.project_tasks(&tasks([one])).expect("an upsert");
    told().iter().for_each(project);
    assert_eq!(stand(&documents), where_they_stand());
    told().iter().rev().for_each(project);
    told().iter().for_each(project);
    mongo.project_tasks(&tasks(&told()[..3])).expect("an upsert");
    assert_eq!(stand(&documents), where_they_stand());
}

#[test]
fn a_rebuilt_job_history_holds_what_the_topic_says_and_nothing_else() {
    let documents = Documents::new();
    let mongo = documents.open();
    // Of a topic that was deleted since: another task, a later status of one, and another status in the place of the other.
    let old = [(5, status("gone", TaskStatus::Failed, 9)), (90, status("two", TaskStatus::Failed, 3))];
    let forged = TrainingStatus { project: Some("forged".into()), ..status("one", TaskStatus::Succeeded, 1) };
    mongo.project_tasks(&tasks(old.iter().chain([&(6, forged)]))).expect("an upsert");
    mongo.set_position("follower", 100).expect("a position");
    mongo.rebuild_tasks(&tasks(&told())).expect("a copy");
    assert_eq!(stand(&documents), where_they_stand());
    assert_eq!(mongo.task("one"), Ok(Some(status("one", TaskStatus::Succeeded, 1))));
    assert_eq!(mongo.position("follower"), Ok(None), "whoever follows reads all again");
}

#[test]
fn a_follower_finds_its_own_word_and_no_others() {
    let documents = Documents::new();
    let mongo = documents.open();
    assert_eq!(mongo.position("one"), Ok(None));
    mongo.set_position("one", 7).expect("a position");
    mongo.set_position("other", 9).expect("a position");
    mongo.set_position("one", 5).expect("a position");
    let positions = ["one", "other", "none"].map(|follower| documents.open().position(follower));
    assert_eq!(positions, [Ok(Some(5)), Ok(Some(9)), Ok(None)]);
}

#[test]
fn a_copy_knows_of_which_topic_it_is_also_when_it_is_rebuilt() {
    let documents = Documents::new();
    let mongo = documents.open();
    assert_eq!(mongo.source("statuses"), Ok(None));
    mongo.set_source("statuses", "first").expect("a word");
    mongo.set_position("one/statuses/first/0", 7).expect("a position");
    mongo.rebuild_tasks(&tasks(&told())).expect("a copy");
    assert_eq!(mongo.source("statuses"), Ok(Some("first".into())));
    assert_eq!(mongo.position("one/statuses/first/0"), Ok(None));
    mongo.set_source("statuses", "second").expect("a word");
    assert_eq!(documents.open().source("statuses"), Ok(Some("second".into())));
}

#[test]
fn a_server_that_is_not_there_is_said_so_without_the_password() {
    let uri = "mongodb://user:hunter2@127.0.0.1:9/lunapark?serverSelectionTimeoutMS=200";
    let mongo = lunapark_stores::catalog::mongo::MongoCatalog::open(uri, "").expect("a client");
    let error = mongo.with_patience(std::time::Duration::ZERO).list().unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:9") && !error.contains("hunter2"), "{error}");
}
