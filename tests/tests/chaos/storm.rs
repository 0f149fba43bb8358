//! Instances come and go in order, all the time: rebalances without a single fault.

use std::time::{Duration, Instant};

use lunapark_tests::harness::{Kafka, Service, Workplace};
use lunapark_tests::verifier::Random;

use super::scene::{MOVES_AGAIN, Scene};
use super::{alone, any_moment, times};

const RATE: f64 = 1_500.0;
const NAMES: [&str; 3] = ["one", "two", "three"];

#[test]
fn instances_come_and_go_under_load() {
    let _alone = alone();
    let mut random = Random::from_environment("instances_come_and_go_under_load");
    let work = Workplace::kafka().with("kafka.session_timeout", "\"6s\"").with("score.drain_budget", "\"5s\"");
    let scene = Scene::open(work, &Kafka::bootstrap(), RATE);
    let mut services = NAMES.map(|_| None);
    services[0] = Some(scene.instance(NAMES[0]));
    for _ in 0..times(12, 60) {
        any_moment(&mut random, Duration::from_millis(1500));
        toggle(&scene, &mut services, random.below(NAMES.len()));
    }
    let then = scene.progress.ends();
    let moved = scene.progress.moved_past(&then, Instant::now(), MOVES_AGAIN);
    let slowest = moved.iter().map(|moved| moved.after).max().expect("partitions");
    println!("after the storm every partition moves within {slowest:.2?}");
    scene.close(services.into_iter().flatten().collect());
}

/// Starts this instance, or ends it in order where it runs; the last one stays.
fn toggle(scene: &Scene, services: &mut [Option<Service>; 3], which: usize) {
    match services[which].take() {
        None => services[which] = Some(scene.instance_unready(NAMES[which])),
        Some(service) if services.iter().any(Option::is_some) => drop(service.terminate().ok()),
        last => services[which] = last,
    }
}
