//! A scorer that starts with what is still to come: what was there before is left out, and nobody calls it lost.

use lunapark_tests::harness::{Backend, Event, Workplace, until};

use super::{PATIENCE, assert_proven, higgs, on_both, wait_ends};

on_both!(what_was_there_before_a_scorer_that_starts_with_the_latest_is_not_lost);

const BEFORE: usize = 20;
const AFTER: usize = 30;

fn produce(place: &Workplace, count: usize) {
    let events = higgs::sample(count).into_iter().enumerate();
    let events = events.map(|(number, event)| Event::new(higgs::v1(&[event])).to(number as i32 % place.partitions()));
    place.produce("inference.events", &events.collect::<Vec<_>>());
}

fn what_was_there_before_a_scorer_that_starts_with_the_latest_is_not_lost(backend: Backend) {
    let place = Workplace::new(backend).with("score.start", "\"latest\"");
    place.create_topics();
    produce(&place, BEFORE);
    let service = place.service("one", &[]);
    until(PATIENCE, "every partition is settled", || place.committed().iter().all(Option::is_some).then_some(()));
    for depth in [&["audit", "--json"][..], &["audit", "--deep", "--json"]] {
        let outcome = place.cli(depth);
        let report = outcome.json();
        assert_eq!((outcome.code, &report["empty"], &report["lost"]), (Some(4), &true.into(), &0.into()), "{report:#}");
    }
    produce(&place, AFTER);
    wait_ends(&place, AFTER, 0);
    assert_proven(&place, AFTER);
    service.terminate().ok();
    // It goes on where it stood.
    produce(&place, AFTER);
    let service = place.service("one", &[]);
    wait_ends(&place, 2 * AFTER, 0);
    assert_proven(&place, 2 * AFTER);
    service.terminate().ok();
}
