//! The contract of a model catalog: one suite, run on the topics (embedded and Kafka) and on MongoDB.

use std::collections::BTreeSet;
use std::sync::Barrier;

use lunapark_schemas::catalog::{CatalogRecord, ModelVersion, Stage};
use lunapark_schemas::training::{TaskStatus, TrainingStats, TrainingStatus, TrialReference};
use lunapark_stores::catalog::{Catalog, CatalogError, Registered, TaskFilter, decision_id};
use serde_json::json;

/// A catalog of a test's own: each handle is as another process would have it.
pub trait Shelf: Sync {
    /// Another handle on the same catalog.
    fn open(&self) -> Box<dyn Catalog>;

    /// Tells it of tasks, as workers do, in this order.
    fn tell(&self, statuses: &[TrainingStatus]);
}

/// One promise and the code that checks it.
pub struct Case {
    /// Name of its test.
    pub name: &'static str,
    /// The check.
    pub run: fn(&dyn Shelf),
}

/// All cases.
pub fn suite() -> Vec<Case> {
    let case = |name, run| Case { name, run };
    vec![
        case("numbers_belong_to_tasks", numbers_belong_to_tasks),
        case("a_version_never_changes", a_version_never_changes),
        case("what_is_not_reserved_is_not_registered", what_is_not_reserved_is_not_registered),
        case("versions_are_listed_and_found", versions_are_listed_and_found),
        case("stages_change_from_where_they_are", stages_change_from_where_they_are),
        case("searches_find_all_words_in_any_case", searches_find_all_words_in_any_case),
        case("registrations_at_once_never_share_a_number", registrations_at_once_never_share_a_number),
        case("one_of_the_changes_at_once_wins", one_of_the_changes_at_once_wins),
        case("a_task_stands_where_its_last_status_says", a_task_stands_where_its_last_status_says),
        case("an_end_is_never_taken_back", an_end_is_never_taken_back),
        case("tasks_are_listed_the_newest_first", tasks_are_listed_the_newest_first),
        case("a_status_keeps_everything_that_is_in_it", a_status_keeps_everything_that_is_in_it),
    ]
}

/// An entry with everything in it, as the published example has it.
pub fn entry(name: &str, version: u32, task_id: &str) -> ModelVersion {
    let text = include_str!("../../schemas/examples/records/models/ok-version.json");
    let CatalogRecord::Version(example) = serde_json::from_str(text).expect("the example") else { panic!("a version") };
    let (name, task_id) = (name.to_owned(), task_id.to_owned());
    ModelVersion { name, version, task_id, decision: decision_id(), ..*example }
}

/// Reserves a number for a task and registers an entry under it.
pub fn add(catalog: &dyn Catalog, name: &str, task_id: &str) -> ModelVersion {
    let version = catalog.reserve(name, task_id).expect("a number");
    let entry = entry(name, version, task_id);
    assert_eq!(catalog.register(&entry), Ok(Registered::New));
    entry
}

fn numbers_belong_to_tasks(shelf: &dyn Shelf) {
    let catalog = shelf.open();
    let reserve = |name: &str, task: &str| catalog.reserve(name, task).expect("a number");
    assert_eq!([reserve("a", "one"), reserve("a", "two"), reserve("a", "one")], [1, 2, 1]);
    assert_eq!([reserve("b", "one"), reserve("b", "training.requests/0/17")], [1, 2]);
    assert_eq!(shelf.open().reserve("a", "two"), Ok(2));
    for (name, task) in [("a/b", "one"), ("", "one"), ("a", ""), ("a", "line\nbreak")] {
        assert!(matches!(catalog.reserve(name, task), Err(CatalogError::Invalid(_))), "{name:?} {task:?}");
    }
    assert_eq!(reserve("a", "three"), 3);
}

fn a_version_never_changes(shelf: &dyn Shelf) {
    let catalog = shelf.open();
    let first = add(&*catalog, "a", "one");
    assert_eq!(catalog.register(&first), Ok(Registered::Existed));
    let again = ModelVersion { decision: decision_id(), created_at: 7, ..first.clone() };
    assert_eq!(shelf.open().register(&again), Ok(Registered::Existed));
    let other = ModelVersion { digest: "0".repeat(64), ..first.clone() };
    let taken = catalog.register(&other);
    assert_eq!(taken, Err(CatalogError::Taken { reference: "a/1".into(), digest: first.digest.clone() }));
    assert_eq!(shelf.open().get("a", Some(1)).expect("an answer"), Some(first));
}

fn what_is_not_reserved_is_not_registered(shelf: &dyn Shelf) {
    let catalog = shelf.open();
    let refused = |entry: &ModelVersion| matches!(catalog.register(entry), Err(CatalogError::NotReserved { .. }));
    assert!(refused(&entry("a", 1, "one")));
    assert_eq!(catalog.reserve("a", "one"), Ok(1));
    assert!(refused(&entry("a", 1, "two")) && refused(&entry("a", 2, "one")) && refused(&entry("b", 1, "one")));
    let broken = ModelVersion { digest: "short".into(), ..entry("a", 1, "one") };
    assert!(matches!(catalog.register(&broken), Err(CatalogError::Invalid(_))));
    assert_eq!(catalog.list(), Ok(Vec::new()));
}

fn versions_are_listed_and_found(shelf: &dyn Shelf) {
    let catalog = shelf.open();
    assert_eq!((catalog.list(), catalog.get("a", None)), (Ok(Vec::new()), Ok(None)));
    let second = add(&*catalog, "b", "one");
    let versions: Vec<_> = (0..11).map(|task| add(&*catalog, "a", &format!("task {task}"))).collect();
    let mut expected = versions.clone();
    expected.push(second);
    let catalog = shelf.open();
    assert_eq!(catalog.list().expect("a list"), expected);
    assert_eq!(catalog.get("a", Some(4)).expect("an answer"), Some(versions[3].clone()));
    assert_eq!(catalog.get("a", None).expect("an answer"), Some(versions[10].clone()));
    assert_eq!((catalog.get("a", Some(12)), catalog.get("c", None)), (Ok(None), Ok(None)));
    catalog.set_stage("a", 11, Stage::Registered, Stage::Retired).expect("it retires");
    assert_eq!(catalog.get("a", None).expect("an answer"), Some(versions[9].clone()));
}

fn stages_change_from_where_they_are(shelf: &dyn Shelf) {
    let catalog = shelf.open();
    let entry = add(&*catalog, "a", "one");
    let (registered, retired) = (Stage::Registered, Stage::Retired);
    let changed = catalog.set_stage("a", 1, registered, retired).expect("it retires");
    assert_eq!(ModelVersion { stage: registered, decision: entry.decision.clone(), ..changed.clone() }, entry);
    assert_eq!(shelf.open().get("a", Some(1)), Ok(Some(changed)));
    let again = catalog.set_stage("a", 1, registered, retired);
    let conflict = CatalogError::Conflict { reference: "a/1".into(), expected: registered, found: retired };
    assert_eq!(again, Err(conflict));
    assert_eq!(catalog.set_stage("a", 1, retired, registered).expect("and back").stage, registered);
    assert_eq!(catalog.set_stage("a", 2, registered, retired), Err(CatalogError::Missing("a/2".into())));
    // What is registered again does not come back to its first stage.
    catalog.set_stage("a", 1, registered, retired).expect("it retires");
    assert_eq!(catalog.register(&entry), Ok(Registered::Existed));
    assert_eq!(catalog.get("a", Some(1)).expect("an answer").expect("a/1").stage, retired);
}

fn searches_find_all_words_in_any_case(shelf: &dyn Shelf) {
    let catalog = shelf.open();
    let describe = |name: &str, objective: &str, description: &str| {
        let version = catalog.reserve(name, "one").expect("a number");
        let (objective, description) = (objective.to_owned(), description.to_owned());
        let entry = ModelVersion { objective, description, ..entry(name, version, "one") };
        assert_eq!(catalog.register(&entry), Ok(Registered::New));
    };
    describe("jets", "classification", "Quark or gluon (pT > 20 GeV), Größe.");
    describe("tracks", "regression", "Momentum of muons");
    let found = |text: &str| {
        let found = catalog.search(text).expect("an answer");
        found.into_iter().map(|version| version.name).collect::<Vec<_>>()
    };
    assert_eq!(found("GLUON quark"), ["jets"]);
    assert_eq!(found("CLASSIFICATION jets größe"), ["jets"]);
    assert_eq!(found("on"), ["jets", "tracks"]);
    assert_eq!(found("  "), ["jets", "tracks"]);
    assert_eq!(found("(pt > 20"), ["jets"]);
    for nothing in ["quark muons", "qu.rk", ".*", "$", "^"] {
        assert_eq!(found(nothing), [""; 0], "{nothing}");
    }
}

/// As many as take part in the cases of concurrency; each has a handle of its own.
const AT_ONCE: usize = 3;
/// Versions that each of them adds.
const EACH: usize = 3;

fn registrations_at_once_never_share_a_number(shelf: &dyn Shelf) {
    let together = Barrier::new(AT_ONCE);
    let work = |worker: usize| {
        let catalog = shelf.open();
        together.wait();
        let shared = catalog.reserve("a", "shared").expect("a number");
        let own: Vec<_> = (0..EACH).map(|task| add(&*catalog, "a", &format!("{worker}/{task}")).version).collect();
        (shared, own)
    };
    let (shared, own): (BTreeSet<u32>, Vec<Vec<u32>>) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).unzip()
    });
    assert_eq!(shared.len(), 1, "one task has one number: {shared:?}");
    let mut all: Vec<u32> = own.into_iter().flatten().chain(shared).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=(AT_ONCE * EACH + 1) as u32).collect::<Vec<_>>());
    assert_eq!(shelf.open().list().expect("a list").len(), AT_ONCE * EACH);
}

fn one_of_the_changes_at_once_wins(shelf: &dyn Shelf) {
    add(&*shelf.open(), "a", "one");
    let together = Barrier::new(AT_ONCE);
    let work = || {
        let catalog = shelf.open();
        together.wait();
        catalog.set_stage("a", 1, Stage::Registered, Stage::Retired)
    };
    let ended: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "{lost:?}");
    assert!(lost.iter().all(|ended| matches!(ended, Err(CatalogError::Conflict { .. }))), "{lost:?}");
    let decision = won.into_iter().next().and_then(Result::ok).map(|version| version.decision);
    assert_eq!(shelf.open().get("a", Some(1)).expect("an answer").map(|version| version.decision), decision);
}

/// A status of a task that was sent at this second.
pub fn status(task_id: &str, task_status: TaskStatus, second: u32) -> TrainingStatus {
    let stats = TrainingStats { submitted: format!("2026-01-02T03:04:{second:02}.000Z"), ..Default::default() };
    TrainingStatus { task_id: task_id.to_owned(), task_status, stats, ..Default::default() }
}

fn a_task_stands_where_its_last_status_says(shelf: &dyn Shelf) {
    let catalog = shelf.open();
    let stands = |task: &str| catalog.task(task).expect("an answer");
    assert_eq!((stands("a"), catalog.tasks(&TaskFilter::default(), 9)), (None, Ok(Vec::new())));
    let submitted = status("a", TaskStatus::Submitted, 1);
    let running = |resumed| {
        let plain = status("a", TaskStatus::Running, 1);
        TrainingStatus { stats: TrainingStats { resumed, ..plain.stats.clone() }, ..plain }
    };
    shelf.tell(std::slice::from_ref(&submitted));
    assert_eq!(stands("a"), Some(submitted));
    shelf.tell(&[running(1), running(2), status("b", TaskStatus::Submitted, 1), running(0)]);
    assert_eq!((stands("a"), stands("c")), (Some(running(0)), None));
    assert_eq!(shelf.open().task("b"), Ok(Some(status("b", TaskStatus::Submitted, 1))));
}

fn an_end_is_never_taken_back(shelf: &dyn Shelf) {
    let ended = TrainingStatus { error: Some("no such label".into()), ..status("a", TaskStatus::Failed, 1) };
    let late = [status("a", TaskStatus::Running, 1), status("a", TaskStatus::Succeeded, 1)];
    shelf.tell(&[status("a", TaskStatus::Running, 1), ended.clone()]);
    shelf.tell(&late);
    let catalog = shelf.open();
    assert_eq!(catalog.task("a"), Ok(Some(ended.clone())));
    assert_eq!(catalog.tasks(&TaskFilter::default(), 9), Ok(vec![ended]));
}

fn tasks_are_listed_the_newest_first(shelf: &dyn Shelf) {
    let of = |project: &str, status: TrainingStatus| TrainingStatus { project: Some(project.into()), ..status };
    let trial = Some(TrialReference { search: "b".into(), trial: 0, rung: 0 });
    shelf.tell(&[
        of("tau", status("b", TaskStatus::Running, 7)),
        of("higgs", status("d", TaskStatus::Failed, 12)),
        TrainingStatus { trial, ..status("b/trial-0", TaskStatus::Running, 50) },
        status("c", TaskStatus::Failed, 7),
        of("higgs", status("a", TaskStatus::Running, 9)),
        of("higgs", status("a", TaskStatus::Succeeded, 9)),
    ]);
    let catalog = shelf.open();
    let names = |project: Option<&str>, status: Option<TaskStatus>, most: usize| {
        let filter = TaskFilter { project: project.map(str::to_owned), status };
        let found = catalog.tasks(&filter, most).expect("a list");
        found.into_iter().map(|task| task.task_id).collect::<Vec<_>>()
    };
    assert_eq!(names(None, None, usize::MAX), ["d", "a", "b", "c"]);
    assert_eq!((names(None, None, 3), names(None, None, 0)), (vec!["d".into(), "a".into(), "b".into()], Vec::new()));
    assert_eq!(names(Some("higgs"), None, 9), ["d", "a"]);
    assert_eq!(names(None, Some(TaskStatus::Failed), 9), ["d", "c"]);
    assert_eq!(names(Some("higgs"), Some(TaskStatus::Succeeded), 9), ["a"]);
    assert_eq!(names(Some("higgs"), Some(TaskStatus::Running), 9), [""; 0]);
    assert_eq!(catalog.task("b/trial-0"), Ok(None));
}

fn a_status_keeps_everything_that_is_in_it(shelf: &dyn Shelf) {
    let text = json!({
        "task_id": "training.requests/0/17",
        "project": "higgs.$1",
        "task_status": "succeeded",
        "stats": {
            "submitted": "2026-01-02T03:04:05.678Z", "started": "2026-01-02T03:04:06.000Z",
            "finished": "2026-01-02T03:04:09.125Z", "elapsed_seconds": 3.125, "resumed": 2
        },
        "history": [
            { "epoch": 1, "loss": 0.7, "val_loss": 0.65, "val_auc": 0.75, "learning_rate": 0.001 },
            { "epoch": 2, "loss": 0.1, "val_loss": 1e-300, "val_accuracy": 1.0, "learning_rate": 0.0 }
        ],
        "evaluation": { "auc": 0.8125, "auc.test $1": 0.1, "rmse": 12.0 },
        "dataset": {
            "samples_train": 7500, "samples_validation": 500, "samples_test": 2000, "unlabelled": 3,
            "features": [{ "name": "p.t", "min": -1.5, "max": 1e20, "mean": 0.3, "std": 0.1, "missing": 4 }],
            "class_balance": [{ "class": "$0", "rows": 5000, "weight": -0.25 }, { "class": "1", "rows": 5000, "weight": 2.0 }]
        },
        "model": { "name": "higgs", "version": 3, "digest": "0".repeat(64) },
        "search": { "metric": "auc", "rung": 2, "rungs": 2, "leaderboard": [
            { "trial": 1, "state": "finished", "epochs": 4, "metric": 0.8125, "parameters": {
                "model_train.optimizer.init_lr": 0.1, "model_train.batch_size": 256, "model.architecture.hidden": [[16], 8],
                "$odd": { "a.b": null }, "text": "{}", "none": null, "flag": true
            } },
            { "trial": 0, "state": "failed", "epochs": 2, "parameters": {}, "error": "diverged" }
        ] }
    });
    let status: TrainingStatus = serde_json::from_value(text).expect("a status");
    shelf.tell(std::slice::from_ref(&status));
    assert_eq!(shelf.open().task(&status.task_id), Ok(Some(status)));
}
