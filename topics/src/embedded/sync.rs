//! Small blocking tools: locks that outlive a panic, and the signal that wakes waiting readers.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Takes a lock; a thread that panicked while holding it left whole values behind, as every change here is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], shared.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], exclusive.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// The instant `wait` from now; a wait that no clock can say is an hour, callers ask again.
pub(crate) fn deadline(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + Duration::from_secs(3600))
}

/// Counts changes; who saw count n waits until it is another. Nothing is missed between looking and waiting.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// Take this before looking for what you want.
    pub fn current(&self) -> u64 {
        *lock(&self.count)
    }

    /// Something changed: wakes everybody.
    pub fn raise(&self) {
        *lock(&self.count) += 1;
        self.changed.notify_all();
    }

    /// Waits until the count is no longer `seen`, or the time has come.
    pub fn wait(&self, seen: u64, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let count = lock(&self.count);
        drop(self.changed.wait_timeout_while(count, left, |count| *count == seen));
    }
}
