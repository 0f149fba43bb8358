//! Hyper-parameter searches and the limits of projects, with the trainers as they are.

use std::time::Duration;

use lunapark_tests::harness::{Backend, Event, Workplace, until};
use serde_json::{Value, json};

use super::on_both;
use super::training::{assert_proven, ended, ends, place, request, send, states, status};

on_both!(
    a_search_finds_the_best_with_one_worker_and_one_partition,
    a_search_goes_on_after_its_workers_were_killed,
    what_exceeds_a_projects_limit_waits_and_others_pass_it,
);

/// Seconds of training, on two cores that also run a broker and other tests.
const WAITS: Duration = Duration::from_secs(120);
/// 4 trials, 2 that go on, 1 that does to the end; each is a message, and so is what came of it.
const MESSAGES: u64 = 2 * (4 + 2 + 1);

fn search(place: &Workplace, task: &str, epochs: u32) -> Value {
    let mut request = request(place, task, epochs);
    request["search"] = json!({
        "trials": 4,
        "metric": "auc",
        "ranges": { "model_train.optimizer.init_lr": { "log": [1e-6, 1e-1] }, "model_train.batch_size": { "choice": [32, 64] } }
    });
    request
}

fn a_search_finds_the_best_with_one_worker_and_one_partition(backend: Backend) {
    let place = place(backend).with("topics.partitions", 1);
    let service = place.service("one", &[]);
    let file = place.dir().join("search.json");
    std::fs::write(&file, search(&place, "found", 16).to_string()).unwrap();
    let out = place.dir().join("files");
    let [file, out] = [&file, &out].map(|path| path.to_string_lossy().into_owned());
    let printed = place.cli(&["train", &file, "--out", &out]).ok();
    for word in ["leaderboard, by auc", "finished", "stopped", "init_lr=", "model: toy/1#"] {
        assert!(printed.stdout.contains(word), "no {word} in {}", printed.stdout);
    }
    let found = ended(&place, "found");
    assert_eq!(found["task_status"], "succeeded", "{found:#}");
    let board = found["search"]["leaderboard"].as_array().unwrap();
    assert_eq!((board.len(), &board[0]["state"], &board[0]["epochs"]), (4, &json!("finished"), &json!(16)));
    let metrics: Vec<f64> =
        board.iter().filter(|row| row["epochs"] == 4).map(|row| row["metric"].as_f64().unwrap()).collect();
    assert!(metrics.is_sorted_by(|a, b| a >= b), "{metrics:?}");
    assert!(found["evaluation"]["auc"].as_f64().unwrap() > 0.9, "{found:#}");
    // The values of the best alone make the same model, where the same rows are held out.
    let mut alone = request(&place, "alone", 16);
    alone["dataset"]["validation_split"] = json!(0.1);
    alone["model_train"]["optimizer"]["init_lr"] = board[0]["parameters"]["model_train.optimizer.init_lr"].clone();
    alone["model_train"]["batch_size"] = board[0]["parameters"]["model_train.batch_size"].clone();
    send(&place, &[alone]);
    let alone = ended(&place, "alone");
    assert_eq!(alone["model"]["digest"], found["model"]["digest"]);
    let held_out = ["samples_validation", "samples_test"].map(|part| found["dataset"][part].as_u64());
    assert_eq!(held_out, [Some(150), Some(501)], "those that choose do not test: {found:#}");
    assert_eq!(alone["dataset"], found["dataset"]);
    let listed = place.cli_json(&["train", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2, "trials are no tasks of their own: {listed:#}");
    service.terminate().ok();
    assert_proven(&place, [2 + MESSAGES, 2 + MESSAGES, 0, 0]);
}

/// Trials of a search that have ended at a rung so far.
fn trials_over(place: &Workplace, search: &str) -> usize {
    let all: Vec<Value> = place.read_all("training.status").iter().map(status).collect();
    let over = |status: &&Value| status["trial"]["search"] == search && status["task_status"] == "succeeded";
    all.iter().filter(over).count()
}

fn a_search_goes_on_after_its_workers_were_killed(backend: Backend) {
    let place = place(backend).with("train.max_crashes", 1000);
    let mut service = place.service("one", &[]);
    send(&place, &[search(&place, "whole", 400)]);
    let whole = ended(&place, "whole");
    let before = states(&place);
    send(&place, &[search(&place, "killed", 400)]);
    let over = |moment: &dyn Fn() -> bool| {
        until(WAITS, "the moment, or the end", || (moment() || !ends(&place, "killed").is_empty()).then_some(()));
    };
    // In the middle of a trial; then as soon as the last trial of a rung has ended, when the next rung, or the end, is due.
    over(&|| !states(&place).is_subset(&before));
    service.kill9();
    for trials in [4, 4 + 2, 4 + 2 + 1] {
        service = place.service("one", &[]);
        over(&|| trials_over(&place, "killed") >= trials);
        service.kill9();
    }
    service = place.service("one", &[]);
    let killed = ended(&place, "killed");
    assert_eq!(killed["task_status"], "succeeded", "{killed:#}");
    assert_eq!(killed["model"]["digest"], whole["model"]["digest"]);
    assert_eq!(killed["search"]["leaderboard"], whole["search"]["leaderboard"]);
    service.terminate().ok();
    assert_proven(&place, [2 + 2 * MESSAGES, 2 + 2 * MESSAGES, 0, 0]);
}

/// A word of a job of another instance that has the project's only seat.
fn seat(place: &Workplace, taken: bool) {
    let seat = json!({
        "kind": "seat", "pipeline": place.topic("train"), "instance": "elsewhere", "project": "cms",
        "job": "training.requests/9/0", "taken": taken, "sent_at": super::now_millis()
    });
    place.produce("control", &[Event::new(seat.to_string()).key("cms")]);
}

/// Waits for a task while the seat is kept.
fn ended_beside_the_seat(place: &Workplace, task: &str) -> Value {
    until(WAITS, &format!("{task} ends"), || {
        seat(place, true);
        std::thread::park_timeout(Duration::from_millis(500));
        ends(place, task).pop()
    })
}

fn what_exceeds_a_projects_limit_waits_and_others_pass_it(backend: Backend) {
    let place = place(backend).with("topics.partitions", 1).with("train.project_jobs", 1);
    let mut service = place.service("one", &[]);
    seat(&place, true);
    send(&place, &[request(&place, "first", 2)]);
    ended_beside_the_seat(&place, "first");
    let of = |project: &str, task: &str| {
        let mut request = request(&place, task, 2);
        request["project"] = json!(project);
        request
    };
    send(&place, &[of("cms", "cms-1"), of("atlas", "atlas-1"), of("cms", "cms-2")]);
    assert_eq!(ended_beside_the_seat(&place, "atlas-1")["task_status"], "succeeded");
    until(WAITS, "both stand in the queue", || {
        seat(&place, true);
        let all: Vec<Value> = place.read_all("training.status").iter().map(status).collect();
        let stands = |task: &str, at: u64| all.iter().any(|s| s["task_id"] == task && s["queue_position"] == at);
        (stands("cms-1", 1) && stands("cms-2", 2)).then_some(())
    });
    seat(&place, true);
    let listed = place.cli(&["train", "list"]).ok().stdout;
    assert!(listed.contains("submitted #1") && listed.contains("submitted #2"), "{listed}");
    seat(&place, true);
    assert_proven(&place, [1, 1, 0, 0]);
    // What has ended before the offset could pass it is not done again.
    service.kill9();
    service = place.service("one", &[]);
    seat(&place, false);
    for task in ["cms-1", "cms-2"] {
        assert_eq!(ended(&place, task)["task_status"], "succeeded");
    }
    ended(&place, "atlas-1");
    service.terminate().ok();
    assert_proven(&place, [4, 4, 0, 0]);
}
