//! The broker itself is killed and restarted under load, and a scorer with it; or it stands still for a while.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lunapark_tests::harness::{Service, Workplace, until};
use lunapark_tests::verifier::Random;

use super::scene::{MOVES_AGAIN, Scene};
use super::{alone, any_moment, long, times};

const RATE: f64 = 1_000.0;
const NAMES: [&str; 2] = ["left", "right"];
/// A stream thread gives a silent broker up after its 10 s time-outs.
const NOTICES: Duration = Duration::from_secs(90);
/// After the broker is back: elections, coordinators, back-off of the stream threads, one session time-out; twice over,
/// because a broker on a starved machine is fenced by its own controller once more. The long form holds it to the 30 s
/// that are promised of a kill.
const RECOVERS: Duration = Duration::from_secs(120);

/// A broker of this test's own.
struct Broker {
    name: String,
    bootstrap: String,
}

impl Broker {
    fn start() -> Self {
        let mut broker = Self { name: format!("chaos-{}", std::process::id()), bootstrap: String::new() };
        let printed = broker.run(&["start", "--port", "auto"]);
        broker.bootstrap = printed.trim().strip_prefix("KAFKA_BOOTSTRAP=").expect("its address").to_owned();
        broker
    }

    fn kill9(&self) {
        self.run(&["kill"]);
    }

    fn start_again(&self) {
        self.run(&["start"]);
    }

    fn freeze(&self) {
        self.run(&["freeze"]);
    }

    fn thaw(&self) {
        self.run(&["thaw"]);
    }

    fn run(&self, arguments: &[&str]) -> String {
        let script = repository().join("deploy/servers/kafka");
        let output = Command::new(script).args(arguments).args(["--dir", &self.name]).output().expect("the script");
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        stdout
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill9();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(instances().join("kafka").join(&self.name));
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository")
}

/// As `deploy/servers/common.sh` has it.
fn instances() -> PathBuf {
    let named = ["LUNAPARK_INSTANCES", "LUNAPARK_SERVERS"].into_iter().find_map(std::env::var_os);
    named.map_or_else(|| repository().join(".servers"), PathBuf::from)
}

#[test]
fn the_broker_killed_under_load() {
    let _alone = alone();
    let mut random = Random::from_environment("the_broker_killed_under_load");
    let broker = Broker::start();
    let scene = Scene::open(Workplace::on_cluster(&broker.bootstrap, &[]), &broker.bootstrap, RATE);
    let mut services = NAMES.map(|name| Some(scene.instance(name)));
    println!("round  outage                    all partitions after the broker's return");
    let mut slowest = Duration::ZERO;
    for round in 0..times(1, 5) {
        any_moment(&mut random, Duration::from_secs(2));
        let victim = random.below(2);
        let place = &mut services[victim];
        if random.below(2) == 0 {
            place.take().expect("it runs").kill9();
            broker.kill9();
        } else {
            broker.kill9();
            place.take().expect("it runs").kill9();
        }
        // Every other outage lasts until the survivor has given its producers up; the others are as short as can be.
        let noticed = round % 2 == 0;
        if noticed {
            let survivor = services[1 - victim].as_mut().expect("it runs");
            println!("       {}", says_why(survivor));
        }
        let took = recover(&scene, &broker, &mut services[victim], NAMES[victim]);
        services.iter_mut().flatten().for_each(|service| service.wait_ready(RECOVERS));
        let outage = if noticed { "until /readyz says why" } else { "short" };
        println!("{round:5}  {outage:24}  {:.2} s", took.as_secs_f64());
        slowest = slowest.max(took);
    }
    scene.close(services.into_iter().flatten().collect());
    assert!(!long() || slowest <= MOVES_AGAIN, "not within {MOVES_AGAIN:?} of the broker's return: {slowest:?}");
}

/// Longer than the broker's session with its own controller (3 s), which fences it for a moment then: partitions have
/// no leader, groups and transactions no coordinator.
const FROZEN: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(7)];

#[test]
fn the_broker_frozen_under_load() {
    let _alone = alone();
    let mut random = Random::from_environment("the_broker_frozen_under_load");
    let broker = Broker::start();
    let scene = Scene::open(Workplace::on_cluster(&broker.bootstrap, &[]), &broker.bootstrap, RATE);
    let mut services = NAMES.map(|name| scene.instance(name));
    println!("round  all partitions after the thaw");
    let rounds = times(1, 10);
    for round in 0..=rounds {
        any_moment(&mut random, Duration::from_secs(2));
        broker.freeze();
        match round < rounds {
            true => std::thread::park_timeout(random.between(FROZEN[0], FROZEN[1])),
            // Longer than a transaction may be open, in the end: until every instance has given its producers up.
            false => services.iter_mut().for_each(|service| assert_timed_out(&says_why(service))),
        }
        broker.thaw();
        let back = Instant::now();
        let moved = scene.progress.moved_past(&scene.progress.ends(), back, RECOVERS);
        services.iter_mut().for_each(|service| service.wait_ready(RECOVERS));
        let took = moved.iter().map(|moved| moved.after).max().expect("partitions");
        println!("{round:5}  {:.2} s", took.as_secs_f64());
    }
    scene.close(services.into_iter().collect());
}

/// What a stream thread says of a broker that does not answer, by the step at which it stood still: records, offsets, the
/// end of the transaction (EndTxn), or, where it has been opened again already, its first request.
const TIMED_OUT: [&str; 6] =
    ["not acknowledged", "not answered", "not confirmed", "timed out", "no broker", "transport failure"];

#[track_caller]
fn assert_timed_out(reason: &str) {
    println!("       {reason}");
    let said = reason.to_lowercase();
    assert!(TIMED_OUT.iter().any(|words| said.contains(words)), "a time-out is not what this says: {reason}");
}

/// The process stays up, and `/readyz` says what is wrong. It may be unready before for another reason: an outage in the
/// moment of a rebalance finds partitions that are being taken over.
fn says_why(service: &mut Service) -> String {
    let mut seen = String::new();
    let reason = until(NOTICES, "/readyz says 503 and why a thread waits", || {
        let answer = service.get("/readyz");
        let reason = (answer.status == 503).then(|| reason(&answer.body))?;
        if reason.is_none() && answer.body != seen {
            println!("       no reason yet: {}", answer.body);
            seen = answer.body;
        }
        reason
    });
    assert!(service.is_running());
    assert_eq!(service.get("/healthz").status, 200, "a thread that waits has not failed: {reason}");
    reason
}

fn reason(body: &str) -> Option<String> {
    let said: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let threads = said["threads"].as_object().unwrap_or_else(|| panic!("no threads: {body}"));
    let mut waiting = threads.values().filter(|state| state["state"] == "restarting");
    waiting.find_map(|state| state["reason"].as_str().filter(|reason| !reason.is_empty()).map(str::to_owned))
}

fn recover(scene: &Scene, broker: &Broker, place: &mut Option<Service>, name: &str) -> Duration {
    broker.start_again();
    let back = Instant::now();
    *place = Some(scene.instance_unready(name));
    let then = scene.progress.ends();
    let moved = scene.progress.moved_past(&then, back, RECOVERS);
    moved.iter().map(|moved| moved.after).max().expect("partitions")
}
