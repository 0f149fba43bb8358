//! Two processes under one name: each fences the other. Neither may double anything, and both must stay up.

use std::time::Duration;

use lunapark_tests::harness::{Kafka, Service, Workplace, until};

use super::alone;
use super::scene::{MOVES_AGAIN, Scene};

const RATE: f64 = 1_000.0;
/// Fencing shows at the next commit or heartbeat.
const NOTICES: Duration = Duration::from_secs(60);
/// Back-off is at most 5 s, and the other's session may have to end.
const RECOVERS: Duration = Duration::from_secs(60);

#[test]
fn a_second_process_under_the_same_name_fences_the_first() {
    let _alone = alone();
    let scene = Scene::open(Workplace::kafka(), &Kafka::bootstrap(), RATE);
    let mut first = scene.instance("same");
    let mut second = scene.instance_unready("same");
    println!("the first says: {}", until(NOTICES, "the first process is fenced", || fenced(&first)));
    println!("the second says: {}", until(NOTICES, "the second process is fenced", || fenced(&second)));
    assert!(first.is_running() && second.is_running());
    second.terminate().ok();
    first.wait_ready(RECOVERS);
    let then = scene.progress.ends();
    scene.progress.moved_past(&then, std::time::Instant::now(), MOVES_AGAIN);
    scene.close(vec![first]);
}

/// What `/readyz` says of a thread that was fenced.
fn fenced(service: &Service) -> Option<String> {
    let answer = service.get("/readyz");
    assert_eq!(service.get("/healthz").status, 200, "a fenced thread has not failed: {}", answer.body);
    let said: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let reasons = said["threads"].as_object()?.values().filter_map(|state| state["reason"].as_str());
    let reason = reasons.into_iter().find(|reason| reason.contains("same name"))?.to_owned();
    assert_eq!(answer.status, 503);
    Some(reason)
}
