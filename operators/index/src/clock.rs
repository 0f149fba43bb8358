//! Time and chance.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// 128 random bits in hex: the operating system seeds them, and no two are the same in practice.
pub(crate) fn random() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

/// A pause between two tries at a store that has trouble.
#[expect(clippy::disallowed_methods, reason = "back-off with a deadline, between two tries of a call")]
pub(crate) fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

/// How long something has taken, by whichever clock saw more: one stops while the machine sleeps, one may be set.
pub(crate) struct Watch {
    ticks: Instant,
    clock: SystemTime,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self { ticks: Instant::now(), clock: SystemTime::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.ticks.elapsed().max(self.clock.elapsed().unwrap_or_default())
    }
}
