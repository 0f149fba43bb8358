//! `kill -9` of scorers: two instances with two stream threads each, killed at random moments under load.

use std::time::{Duration, Instant};

use lunapark_tests::harness::{Kafka, Service, Workplace};
use lunapark_tests::verifier::{Baseline, Fault, Moved, Random, verify};

use super::scene::{MOVES_AGAIN, Scene};
use super::{alone, any_moment, long, times};

const RATE: f64 = 2_000.0;
const NAMES: [&str; 2] = ["left", "right"];

/// What one kill cost; times in seconds.
struct Cost {
    victim: &'static str,
    /// It comes back at once, under its own name; otherwise after its session.
    at_once: bool,
    /// The longest pause of the partitions that were not the victim's.
    others: f64,
    /// From the kill until every partition was committed past what stood in the topic then.
    after_kill: f64,
    /// The same from the restart.
    after_restart: f64,
}

/// A partition that moves this soon after a kill, while nobody has come back, was not the victim's.
const NOT_TOUCHED: Duration = Duration::from_secs(5);

/// Every partition moves again so soon after the restart of an instance that comes back under its own name: the project's
/// promise, of a machine that does nothing else.
const BACK_AGAIN: f64 = 2.0;

#[test]
fn kafka_scorers_killed_under_load() {
    let _alone = alone();
    let mut random = Random::from_environment("kafka_scorers_killed_under_load");
    let scene = Scene::open(Workplace::kafka(), &Kafka::bootstrap(), RATE);
    let mut services = NAMES.map(|name| Some(scene.instance(name)));
    let mut costs = Vec::new();
    let first = random.below(2);
    for kill in 0..times(5, 20) {
        // A returning instance has its share of the partitions after a few seconds: before, during and after that.
        any_moment(&mut random, Duration::from_secs(4));
        let victim = random.below(2);
        let at_once = (kill + first).is_multiple_of(2);
        costs.push(kill_one(&scene, &mut services[victim], NAMES[victim], at_once));
    }
    print(&costs);
    scene.close(services.into_iter().flatten().collect());
    check_promised(&costs);
}

/// Nobody waited longer than promised: for a kill [`MOVES_AGAIN`], which every round has waited for at most; for a
/// restart at once, while the session of the killed instance lasted, in the long form.
#[track_caller]
fn check_promised(costs: &[Cost]) {
    let late = |(_, cost): &(usize, &Cost)| cost.at_once && cost.after_restart > BACK_AGAIN;
    let late: Vec<_> = costs.iter().enumerate().filter(late).map(|(kill, cost)| (kill, cost.after_restart)).collect();
    assert!(!long() || late.is_empty(), "not within {BACK_AGAIN} s of the restart (kill, seconds): {late:?}");
    let slow = costs.iter().map(|cost| cost.after_kill).fold(0.0, f64::max);
    assert!(!long() || slow <= MOVES_AGAIN.as_secs_f64(), "not within {MOVES_AGAIN:?} of the kill: {slow:.2} s");
}

fn kill_one(scene: &Scene, place: &mut Option<Service>, victim: &'static str, at_once: bool) -> Cost {
    place.take().expect("it runs").kill9();
    let killed = Instant::now();
    let (mut others, mut after_kill) = (f64::NAN, None);
    if !at_once {
        let moved = scene.progress.moved_past(&scene.progress.ends(), killed, MOVES_AGAIN);
        let pauses = moved.iter().filter(|moved| moved.after < NOT_TOUCHED).map(|moved| moved.pause);
        others = pauses.max().map_or(f64::NAN, |pause| pause.as_secs_f64());
        after_kill = Some(slowest(&moved));
    }
    let (restarted, ends) = (Instant::now(), scene.progress.ends());
    *place = Some(scene.instance_unready(victim));
    let after_restart = slowest(&scene.progress.moved_past(&ends, restarted, MOVES_AGAIN));
    let after_kill = after_kill.unwrap_or((restarted - killed).as_secs_f64() + after_restart);
    Cost { victim, at_once, others, after_kill, after_restart }
}

fn slowest(moved: &[Moved]) -> f64 {
    moved.iter().map(|moved| moved.after).max().expect("partitions").as_secs_f64()
}

fn print(costs: &[Cost]) {
    println!("kill  victim  comes back         others pause  all move after the kill  after the restart");
    for (number, Cost { victim, at_once, others, after_kill, after_restart }) in costs.iter().enumerate() {
        let comes_back = if *at_once { "at once" } else { "after its session" };
        println!(
            "{number:4}  {victim:6}  {comes_back:17}  {others:10.2} s  {after_kill:21.2} s  {after_restart:15.2} s"
        );
    }
}

/// The control: without transactions the same kill must show, to the verifier and to `lunapark audit` alike.
#[test]
fn at_least_once_repeats_but_never_loses() {
    let _alone = alone();
    // Results go out at once and offsets follow seconds later, so that a kill always falls between the two.
    let work = Workplace::kafka()
        .with("score.delivery", "\"at_least_once\"")
        .with("score.commit_interval", "\"4s\"")
        .with("score.drain_budget", "\"9s\"");
    let scene = Scene::open(work, &Kafka::bootstrap(), RATE);
    // One thread: a rebalance between two would commit.
    let one = [("score.threads", "1")];
    let service = scene.work.service(NAMES[0], &one);
    scene.work.wait_records("inference.results", 1000, MOVES_AGAIN);
    service.kill9();
    let service = scene.work.service(NAMES[0], &one);
    let (work, evidence) = scene.end(vec![service]);
    let (plan, baseline) = Baseline::higgs();
    let faults = verify(plan, baseline, &evidence).faults;
    let repeated = faults.iter().filter(|fault| matches!(fault, Fault::Duplicate { .. })).count();
    let only_repeats = |fault: &&Fault| !matches!(fault, Fault::Duplicate { .. } | Fault::OutOfOrder { .. });
    assert_eq!(faults.iter().find(only_repeats), None);
    assert!(repeated > 0, "nothing was repeated: the control controls nothing");
    let audit = work.cli(&["audit", "--deep", "--json"]).failed().json();
    println!("repeated: {repeated}; audit: lost {}, duplicated {}", audit["lost"], audit["duplicated"]);
    assert_eq!((&audit["lost"], &audit["duplicated"]), (&0.into(), &repeated.into()), "{:#}", audit["faults"]);
}
