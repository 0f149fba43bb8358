//! SIGTERM: what is in flight is committed, or done by the next start, each exactly once.

use std::time::{Duration, Instant};

use lunapark_tests::harness::{Backend, Event, Workplace};

use super::{assert_proven, higgs, on_both, wait_ends};

on_both!(sigterm_under_load_ends_in_time_and_the_next_start_does_the_rest_once, sigterm_commits_what_is_open);

/// `score.drain_budget` of these tests.
const BUDGET: Duration = Duration::from_secs(5);

fn place(backend: Backend) -> Workplace {
    let place = Workplace::new(backend).with("score.drain_budget", "\"5s\"");
    place.create_topics();
    place
}

fn events(count: usize) -> Vec<Event> {
    higgs::sample(count).into_iter().map(|event| Event::new(higgs::v1(&[event]))).collect()
}

fn sigterm_under_load_ends_in_time_and_the_next_start_does_the_rest_once(backend: Backend) {
    const COUNT: usize = 60_000;
    let place = place(backend);
    place.produce("inference.events", &events(COUNT));
    // Small batches, so that the stop comes while there is work.
    let small = [("score.threads", "2"), ("score.batch_messages", "64")];
    let service = place.service("one", &small);
    let asked = Instant::now();
    service.terminate().ok();
    assert!(asked.elapsed() < BUDGET, "{:?}", asked.elapsed());
    let first = place.read_all("inference.results").len();
    let service = place.service("one", &[]);
    let (results, _) = wait_ends(&place, COUNT, 0);
    assert_eq!(results.len(), COUNT, "{first} of them by the first run");
    service.terminate().ok();
    assert_proven(&place, COUNT);
}

fn sigterm_commits_what_is_open(backend: Backend) {
    let place = place(backend);
    let count = 200;
    // As long as the time-outs permit: the events are scored long before.
    let service = place.service("one", &[("score.commit_interval", "\"5s\"")]);
    place.produce("inference.events", &events(count));
    let processed = || {
        let metrics = service.get("/metrics").body;
        let rows = metrics.lines().find(|line| line.starts_with("lunapark_batch_rows_sum"))?;
        rows.ends_with(&format!(" {count}")).then_some(())
    };
    lunapark_tests::harness::until(Duration::from_secs(30), "every event is scored", processed);
    let asked = Instant::now();
    service.terminate().ok();
    assert!(asked.elapsed() < BUDGET, "{:?}", asked.elapsed());
    assert_eq!(place.read_all("inference.results").len(), count);
    assert_proven(&place, count);
}
