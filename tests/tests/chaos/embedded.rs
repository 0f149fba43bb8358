//! `kill -9` of the one process that owns the embedded log, under load from another.

use std::time::Duration;

use lunapark_schemas::TopicPartition;
use lunapark_tests::harness::{Workplace, until};
use lunapark_tests::verifier::{Baseline, EmbeddedLoad, Evidence, Random};

use super::scene::{PARTITIONS, prove};
use super::{alone, any_moment, times};

const RATE: f64 = 4_000.0;
/// The rest of the load, on a busy machine.
const SETTLES: Duration = Duration::from_secs(60);

#[test]
fn the_embedded_log_killed_under_load() {
    let _alone = alone();
    let mut random = Random::from_environment("the_embedded_log_killed_under_load");
    let (plan, _) = Baseline::higgs();
    let work = Workplace::embedded().with("topics.partitions", PARTITIONS).with("score.threads", 2);
    work.create_topics();
    let load = EmbeddedLoad::start(&work.dir().join("data"), "inference.events", PARTITIONS, plan, RATE);
    for _ in 0..times(10, 50) {
        // One of four dies while it is still starting.
        let service = match random.below(4) {
            0 => work.service_unready("node", &[]),
            _ => work.service("node", &[]),
        };
        any_moment(&mut random, Duration::from_millis(900));
        service.kill9();
    }
    let service = work.service("node", &[]);
    let produced = load.finish();
    until(SETTLES, "the group is at the end", || (work.committed() == ends(&work)).then_some(()));
    service.terminate().ok();
    let [events, results, dead] =
        ["inference.events", "inference.results", "inference.events.dead"].map(|topic| work.read_all(topic));
    prove(&work, &Evidence { events, results, dead, accepted: produced.accepted });
}

fn ends(work: &Workplace) -> Vec<Option<i64>> {
    let log = work.log();
    let end = |p| log.watermarks(&TopicPartition::new("inference.events", p)).ok().map(|ends| ends.high);
    (0..PARTITIONS).map(end).collect()
}
