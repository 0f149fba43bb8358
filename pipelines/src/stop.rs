//! A stop request that every thread sees, and can wait for.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Shared by all threads of a process; once requested, a stop stays requested.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    requested: std::sync::atomic::AtomicBool,
    mutex: Mutex<()>,
    condvar: Condvar,
}

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to finish.
    pub fn request(&self) {
        let _guard = self.inner.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.requested.store(true, std::sync::atomic::Ordering::Release);
        self.inner.condvar.notify_all();
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        self.inner.requested.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Waits for the request, at most so long; whether it came.
    pub fn wait(&self, at_most: Duration) -> bool {
        let guard = self.inner.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.inner.condvar.wait_timeout_while(guard, at_most, |()| !self.requested());
        drop(waited);
        self.requested()
    }
}
