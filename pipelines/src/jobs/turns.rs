//! Turns: of one task one message is worked on at a time, in the order in which they came. Work that needs no slot begins
//! beside a training; without turns, a request that was sent twice and then cancelled would end twice, and two trials' ends
//! of one search would each miss the other.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A task of a partition: requests of one task have one key, and so one partition.
type Task = (i32, String);

/// The tasks of which a message has its turn.
#[derive(Clone, Default)]
pub(super) struct Turns {
    tasks: Arc<Mutex<HashSet<Task>>>,
}

/// The turn of a message, from when it is first looked at until it is over, also while it waits; over when dropped.
pub(super) struct Turn {
    of: Turns,
    task: Task,
}

impl Turns {
    /// Takes the turn of a task; `None` where another message has it.
    pub(super) fn take(&self, partition: i32, task_id: &str) -> Option<Turn> {
        let task = (partition, task_id.to_owned());
        self.tasks().insert(task.clone()).then(|| Turn { of: self.clone(), task })
    }

    fn tasks(&self) -> MutexGuard<'_, HashSet<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.tasks().remove(&self.task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_of_a_task_has_the_turn() {
        let turns = Turns::default();
        let first = turns.take(0, "t").unwrap();
        assert!(turns.take(0, "t").is_none());
        assert!(turns.take(0, "other").is_some() && turns.take(1, "t").is_some());
        drop(first);
        assert!(turns.take(0, "t").is_some());
    }
}
