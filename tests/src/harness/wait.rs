//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Between two looks at a condition.
const STEP: Duration = Duration::from_millis(10);

/// Looks until `condition` gives a value; panics with `what` once `within` has passed.
#[track_caller]
pub fn until<T>(within: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        std::thread::park_timeout(STEP);
    }
}
