//! What `/healthz` and `/readyz` say: each stream thread's state, with the reason where it is not running.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lunapark_schemas::TopicPartition;
use serde::Serialize;

/// State of one stream thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ThreadState {
    /// Being opened for the first time.
    Starting,
    /// Polling and committing.
    Running,
    /// Gave up its producer and waits to open it again.
    Restarting {
        /// Why.
        reason: String,
    },
    /// Needs a human.
    Failed {
        /// Why.
        reason: String,
    },
    /// Finished on request.
    Stopped,
}

/// States of all stream threads of this process.
#[derive(Debug, Default)]
pub struct Health {
    threads: Mutex<BTreeMap<String, ThreadState>>,
    /// Partitions that stand still, by thread and name, and why.
    paused: Mutex<BTreeMap<(String, String), String>>,
}

impl Health {
    /// A thread that is about to start.
    pub fn starting(&self, member: &str) {
        self.set(member, ThreadState::Starting);
    }

    /// It polls.
    pub fn running(&self, member: &str) {
        self.set(member, ThreadState::Running);
    }

    /// It will be opened again.
    pub fn waiting(&self, member: &str, reason: &str) {
        self.set(member, ThreadState::Restarting { reason: reason.to_owned() });
    }

    /// It ended and will not come back.
    pub fn failed(&self, member: &str, reason: &str) {
        self.set(member, ThreadState::Failed { reason: reason.to_owned() });
    }

    /// It ended on request.
    pub fn stopped(&self, member: &str) {
        self.set(member, ThreadState::Stopped);
    }

    /// A partition of a thread stands still.
    pub fn waits(&self, member: &str, at: &TopicPartition, reason: &str) {
        self.standing().insert((member.to_owned(), at.to_string()), reason.to_owned());
    }

    /// It stands still no longer, or is another's.
    pub fn goes_on(&self, member: &str, at: &TopicPartition) {
        self.standing().remove(&(member.to_owned(), at.to_string()));
    }

    /// An instance cannot do what it is asked for.
    pub fn refuses(&self, instance: &str, what: &str, reason: &str) {
        self.standing().insert((instance.to_owned(), what.to_owned()), reason.to_owned());
    }

    /// It can again, or is not asked any more.
    pub fn obeys(&self, instance: &str, what: &str) {
        self.standing().remove(&(instance.to_owned(), what.to_owned()));
    }

    /// Partitions that stand still and what else cannot be done, and why.
    pub fn paused(&self) -> BTreeMap<String, String> {
        self.standing().iter().map(|((_, at), reason)| (at.clone(), reason.clone())).collect()
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<(String, String), String>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All states, by thread.
    pub fn threads(&self) -> BTreeMap<String, ThreadState> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True where every thread polls and no partition stands still.
    pub fn ready(&self) -> bool {
        let threads = self.threads();
        self.standing().is_empty()
            && !threads.is_empty()
            && threads.values().all(|state| *state == ThreadState::Running)
    }

    /// False where a thread failed for good.
    pub fn alive(&self) -> bool {
        !self.threads().values().any(|state| matches!(state, ThreadState::Failed { .. }))
    }

    fn set(&self, member: &str, state: ThreadState) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).insert(member.to_owned(), state);
    }
}
