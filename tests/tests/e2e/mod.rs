//! End to end: the binary as a child process, on the embedded log and on a real Apache Kafka.

mod absent;
mod bad_input;
mod breaker;
mod cascades;
pub mod catalog;
mod clients;
mod commands;
mod compare;
mod dead_letters;
mod demo;
mod drain;
mod expiry;
mod first_steps;
mod help;
mod higgs;
mod ingest;
pub mod knowledge;
mod lag;
mod latest;
mod metrics;
mod models;
mod pages;
mod questions;
mod reindex;
mod scoring;
mod searches;
mod security;
mod start_up;
mod swap;
mod tables;
pub mod training;

use std::time::{Duration, UNIX_EPOCH};

use lunapark_tests::harness::{OwnedRecord, Workplace};

/// Results and dead letters must be there within this, on two cores that also run a broker and other tests.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Each of these functions of a [`Backend`](lunapark_tests::harness::Backend) as two tests.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[test]
            fn $name() {
                super::$name(lunapark_tests::harness::Backend::Embedded);
            })+
        }
        mod kafka {
            $(#[test]
            fn $name() {
                super::$name(lunapark_tests::harness::Backend::Kafka);
            })+
        }
    };
}
pub(crate) use on_both;

/// Milliseconds since 1970.
pub fn now_millis() -> i64 {
    UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis() as i64
}

/// Results and dead letters, once there are as many as that.
#[track_caller]
pub fn wait_ends(place: &Workplace, results: usize, dead: usize) -> (Vec<OwnedRecord>, Vec<OwnedRecord>) {
    let results = place.wait_records("inference.results", results, PATIENCE);
    (results, place.wait_records("inference.events.dead", dead, PATIENCE))
}

/// The audit proves the account, quick and deep, of so many messages.
#[track_caller]
pub fn assert_proven(place: &Workplace, input: usize) {
    for depth in [&["audit", "--json"][..], &["audit", "--deep", "--json"]] {
        let report = place.cli(depth).ok().json();
        assert_eq!(report["in"], input, "{report:#}");
        assert_eq!((&report["lost"], &report["duplicated"]), (&0.into(), &0.into()), "{report:#}");
    }
}
