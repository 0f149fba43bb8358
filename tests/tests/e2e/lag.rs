//! Lag that is true: work left is counted in messages, and transaction markers are none.

use std::time::Duration;

use lunapark_tests::harness::{Backend, Event, Workplace, until};
use serde_json::Value;

use super::{assert_proven, higgs, on_both, wait_ends};

on_both!(work_left_counts_messages_and_is_zero_when_caught_up);

const TRANSACTIONS: usize = 12;
const OF_EACH: usize = 5;

/// Writes `TRANSACTIONS` transactions, every third of them aborted; the number of messages that count.
fn produce_in_transactions(place: &Workplace) -> usize {
    let topic = place.topic("inference.events");
    let log = place.log();
    let mut transaction = log.transaction(&place.topic("detector")).expect("a transaction");
    let events = higgs::sample(TRANSACTIONS * OF_EACH);
    let mut committed = 0;
    for (number, events) in events.chunks(OF_EACH).enumerate() {
        for (index, event) in events.iter().enumerate() {
            let event = Event::new(higgs::v1(std::slice::from_ref(event))).to((index % 2) as i32);
            transaction.produce(&event.record(&topic)).expect("room");
        }
        match number % 3 {
            1 => transaction.abort().expect("aborted"),
            _ => {
                transaction.commit().expect("committed");
                committed += events.len();
            }
        }
    }
    committed
}

fn describe(place: &Workplace) -> Value {
    let group = place.group();
    let described = place.cli_json(&["topics", "describe", &place.topic("inference.events")]);
    let found = described["groups"].as_array().unwrap().iter().find(|found| found["group"] == group.as_str()).cloned();
    found.unwrap_or_else(|| panic!("no group {group} in {described:#}"))
}

fn work_left_counts_messages_and_is_zero_when_caught_up(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let first = produce_in_transactions(&place);
    let service = place.service("one", &[]);
    wait_ends(&place, first, 0);
    caught_up(&place);
    service.terminate().ok();

    let behind = produce_in_transactions(&place);
    let left = describe(&place);
    assert_eq!((&left["work_left"], &left["exact"]), (&behind.into(), &true.into()), "{left:#}");
    let lag = left["lag"].as_i64().unwrap();
    assert!(lag >= behind as i64, "{left:#}");
    assert_eq!(place.cli_json(&["audit"])["pending"], behind);
    let text = place.cli(&["topics", "describe", &place.topic("inference.events")]).ok().stdout;
    assert!(text.contains("work left") && !text.contains('≤'), "{text}");

    let service = place.service("one", &[]);
    wait_ends(&place, first + behind, 0);
    caught_up(&place);
    service.terminate().ok();
    assert_proven(&place, first + behind);
}

/// Nothing is left to do, although the last offsets may be transaction markers.
fn caught_up(place: &Workplace) {
    until(Duration::from_secs(30), "no work is left", || (describe(place)["work_left"] == 0).then_some(()));
}
