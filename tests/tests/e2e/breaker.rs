//! The reject breaker: a bad deploy stops loudly, with nothing committed past the stop, and can be passed on purpose.

use lunapark_tests::harness::{Backend, Event, Workplace};

use super::{assert_proven, higgs, on_both, wait_ends};

on_both!(too_many_rejects_stop_the_pipeline_and_can_be_passed_on_purpose);

const GOOD: usize = 30;
const BROKEN: usize = 150;
const BAD: usize = 400;
const WINDOW: i64 = 100;

fn too_many_rejects_stop_the_pipeline_and_can_be_passed_on_purpose(backend: Backend) {
    let place = Workplace::new(backend).with("topics.partitions", 1).with("score.reject_window", WINDOW);
    place.create_topics();
    let good = higgs::sample(GOOD).into_iter().map(|event| Event::new(higgs::v1(&[event])));
    place.produce("inference.events", &good.collect::<Vec<_>>());
    let service = place.service("one", &[]);
    wait_ends(&place, GOOD, 0);
    service.terminate().ok();
    // What nobody can read does not count, however much of it there is: a deploy is not to blame.
    place.produce("inference.events", &vec![Event::new("{"); BROKEN]);
    let service = place.service("one", &[]);
    wait_ends(&place, GOOD, BROKEN);
    service.terminate().ok();
    place.produce("inference.events", &vec![Event::new("{\"instances\":[[1.5]]}"); BAD]);
    let stop = check_stop(&place);
    check_nothing_past(&place, stop);
    pass_on_purpose(&place);
}

/// It ends by itself, and says where and how to go on; the offset at which it stopped.
fn check_stop(place: &Workplace) -> i64 {
    let outcome = place.run_to_end(&[("instance", "\"one\"")]).failed();
    let outcome =
        outcome.says(&["stopped at", "--accept-rejects-until", "50 %", "last 100 messages", "send 28 numbers"]);
    let position = format!("stopped at {}/0/", place.topic("inference.events"));
    let (_, rest) = outcome.stderr.split_once(&position).expect("the position");
    let stop: i64 = rest.split(':').next().unwrap().parse().expect("an offset");
    assert!(outcome.stderr.contains(&format!("--accept-rejects-until {}", stop + 1)), "{}", outcome.stderr);
    // Not before a window is full.
    assert_eq!(stop, (GOOD + BROKEN) as i64 + WINDOW - 1);
    stop
}

fn check_nothing_past(place: &Workplace, stop: i64) {
    let committed = place.committed()[0].unwrap_or(0);
    assert!(committed <= stop, "{committed} is committed past {stop}");
    let sources = |topic: &str| place.read_all(topic).len() as i64;
    assert_eq!(sources("inference.results") + sources("inference.events.dead"), committed);
    let report = place.cli_json(&["audit", "--deep"]);
    assert_eq!(report["pending"], (GOOD + BROKEN + BAD) as i64 - committed, "{report:#}");
}

fn pass_on_purpose(place: &Workplace) {
    let end = (GOOD + BROKEN + BAD).to_string();
    let service = place.service_with("one", &[], &["--accept-rejects-until", &end]);
    let (results, dead) = wait_ends(place, GOOD, BROKEN + BAD);
    assert_eq!((results.len(), dead.len()), (GOOD, BROKEN + BAD));
    assert_proven(place, GOOD + BROKEN + BAD);
    service.terminate().ok();
}
