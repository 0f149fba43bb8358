//! Training while its stores are in trouble: the object store slow, saying 503 or gone, MongoDB stopped, workers killed.

use std::time::{Duration, Instant};

use lunapark_tests::harness::{Backend, Proxy, Service, Weather, Workplace, quoted, until, variable};
use lunapark_tests::verifier::Random;
use serde_json::{Value, json};

use super::training::once_each;
use super::{alone, any_moment, times};
use crate::e2e::catalog::Mongo;
use crate::e2e::{now_millis, training};

const NAMES: [&str; 2] = ["left", "right"];
/// Tasks that begin in each round.
const TASKS: usize = 2;
/// A second of training and more, so that faults come in the middle of it.
const EPOCHS: u32 = 800;
/// Rounds of faults, and back-offs that have grown meanwhile, on two cores that also run a broker.
const ENDS: Duration = Duration::from_secs(240);
/// The longest that one thing is broken before the next.
const MOMENT: Duration = Duration::from_secs(2);
/// Seconds for which MongoDB is away at a stretch: longer than its followers wait between two looks, or the minute that is
/// promised.
const AWAY: (usize, usize) = (5, 60);

/// A place whose artifacts and checkpoints lie in the tests' bucket behind this proxy.
fn place(proxy: &Proxy, mongo: &Mongo) -> Workplace {
    let url = format!("s3://{}/tests/{}-{}", variable("S3_BUCKET"), std::process::id(), now_millis());
    training::place(Backend::Kafka)
        .with("train.max_crashes", 1000)
        .with("store.url", quoted(&url))
        .with("store.s3_endpoint", quoted(&format!("http://{}", proxy.address())))
        .with("store.s3_access_key_id", quoted(&variable("AWS_ACCESS_KEY_ID")))
        .with("store.s3_secret_access_key", quoted(&variable("AWS_SECRET_ACCESS_KEY")))
        .with("catalog.mongodb", quoted(&mongo.uri))
}

/// Whether one of these has made a step, or all have ended.
fn under_way(place: &Workplace, tasks: &[String]) -> bool {
    let all: Vec<Value> = place.read_all("training.status").iter().map(training::status).collect();
    let steps = |status: &Value| status["progress"]["step"].as_u64() > Some(0);
    all.iter().any(|status| steps(status) && tasks.iter().any(|task| status["task_id"] == **task))
        || tasks.iter().all(|task| !training::ends(place, task).is_empty())
}

/// These tasks begin and end while MongoDB is away, which is back only after its time.
fn train_without(mongo: &Mongo, place: &Workplace, tasks: &[String]) {
    mongo.run(&["stop"]);
    let back = Instant::now() + Duration::from_secs(times(AWAY.0, AWAY.1) as u64);
    let requests: Vec<Value> = tasks.iter().map(|task| training::request(place, task, EPOCHS)).collect();
    training::send(place, &requests);
    tasks.iter().for_each(|task| assert_eq!(training::ended(place, task)["task_status"], "succeeded"));
    until(ENDS, "its time is over", || (Instant::now() > back).then_some(()));
    mongo.run(&["start"]);
}

#[track_caller]
fn wait_caught_up(place: &Workplace, mongo: &Mongo, tasks: usize) {
    until(ENDS, "MongoDB has caught up", || {
        let [topics, copy] = mongo.both(place);
        let complete = [&topics[0], &topics[1]].iter().all(|all| all.as_array().is_some_and(|all| all.len() == tasks));
        (complete && topics == copy).then_some(())
    });
}

#[test]
fn training_outlasts_its_stores_troubles_and_kills() {
    let _alone = alone();
    let mut random = Random::from_environment("training_outlasts_its_stores_troubles_and_kills");
    let server = variable("S3_ENDPOINT");
    let proxy = Proxy::before(server.trim_start_matches("http://").trim_end_matches('/'));
    let mongo = Mongo::start("chaos");
    let place = place(&proxy, &mongo);
    let mut services = NAMES.map(|name| Some(place.service(name, &[])));
    let mut tasks = vec!["undisturbed".to_owned()];
    training::send(&place, &[training::request(&place, &tasks[0], EPOCHS)]);
    let undisturbed = training::ended(&place, &tasks[0]);
    for round in 0..times(3, 20) {
        let new: Vec<String> = (0..TASKS).map(|number| format!("round-{round}-{number}")).collect();
        let requests: Vec<Value> = new.iter().map(|task| training::request(&place, task, EPOCHS)).collect();
        training::send(&place, &requests);
        until(ENDS, "a task is under way", || under_way(&place, &new).then_some(()));
        mongo.run(&["stop"]);
        proxy.set(Weather::BAD[round % Weather::BAD.len()]);
        any_moment(&mut random, MOMENT);
        let victim = random.below(2);
        services[victim].take().expect("it runs").kill9();
        any_moment(&mut random, MOMENT);
        services[victim] = Some(place.service_unready(NAMES[victim], &[]));
        any_moment(&mut random, MOMENT);
        proxy.set(Weather::Clear);
        mongo.run(&["start"]);
        tasks.extend(new);
    }
    for task in &tasks {
        let ends = until(ENDS, &format!("{task} ends"), || {
            std::thread::park_timeout(Duration::from_millis(500));
            Some(training::ends(&place, task)).filter(|ends| !ends.is_empty())
        });
        assert_eq!(ends[0]["task_status"], "succeeded", "{:#}", ends[0]);
        assert_eq!(ends[0]["model"]["digest"], undisturbed["model"]["digest"], "{task}");
    }
    wait_caught_up(&place, &mongo, tasks.len());
    let away: Vec<String> = (0..TASKS).map(|number| format!("away-{number}")).collect();
    train_without(&mongo, &place, &away);
    tasks.extend(away);
    wait_caught_up(&place, &mongo, tasks.len());
    services.into_iter().flatten().for_each(|service: Service| drop(service.terminate().ok()));
    let copy = mongo.documents(place.prefix());
    assert_eq!(place.cli_json(&["catalog", "rebuild"])["tasks"], tasks.len());
    assert_eq!(mongo.documents(place.prefix()), copy);
    once_each(&place, &tasks);
    let count = tasks.len() as u64;
    training::assert_proven(&place, [count, count, 0, 0]);
    // What killed workers left is found, and nothing else.
    assert_eq!(place.cli_json(&["models", "gc"])["checkpoints"]["kept"], 0);
    let again = place.cli_json(&["models", "gc"]);
    assert_eq!((&again["checkpoints"]["removed"], &again["kept"]), (&json!(0), &json!(1)), "{again:#}");
}
