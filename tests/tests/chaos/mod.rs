//! Faults under load. Whatever is killed, every accepted message ends exactly once, in order, with the undisturbed
//! answer; see `lunapark_tests::verifier`.
//!
//! Each test has a short form for every run and a long one (LUNAPARK_TEST_LONG=1) with the numbers that the project
//! promises, in times as in seconds: the short form runs beside whatever else a machine does. LUNAPARK_TEST_SEED repeats a run's choices, LUNAPARK_TEST_LOG=debug has the services say more.
#![expect(clippy::print_stdout, reason = "the seed and the times measured are shown with --nocapture")]

mod broker;
mod documents;
mod embedded;
mod fenced;
mod kills;
mod orphans;
mod scene;
mod stores;
mod storm;
mod swap;
mod training;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lunapark_tests::verifier::Random;

/// One at a time: each of these tests loads every core, and times what it breaks.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the project's own numbers are asked for.
fn long() -> bool {
    std::env::var_os("LUNAPARK_TEST_LONG").is_some()
}

/// How often: the short number, or the promised one.
fn times(short: usize, long_form: usize) -> usize {
    if long() { long_form } else { short }
}

/// Lets a random time pass: faults come at any moment of the pipeline's work.
fn any_moment(random: &mut Random, at_most: Duration) {
    std::thread::park_timeout(random.between(Duration::ZERO, at_most));
}
