//! A desk: where the messages of one topic are worked on. Two share a slot, one for requests and one for trials, so that
//! together they train one model at a time; what trains nothing needs no slot.
//!
//! Two groups and not one with both topics: a group balances partitions by their number, and could give one member all of
//! the requests and another none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lunapark_schemas::{Message, Position, SkipReason};
use lunapark_topics::LogError;

use super::job::{Assignment, Running};
use super::{Left, Shared, trials};
use crate::runner::{Begun, LongWork};

/// A side that wants the slot asks again five times a second: one that has not for so long wants it no more.
const WANTED_FOR: Duration = Duration::from_secs(1);

/// Of which topic the messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `training.requests`.
    Requests,
    /// `training.trials`.
    Trials,
}

/// Room for one training.
#[derive(Debug, Default)]
pub struct Slot {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    /// Who had it last.
    last: Option<Side>,
    /// When the side was refused it.
    refused: [Option<Instant>; 2],
}

/// A slot that is taken; dropped, it is free.
pub(super) struct Held {
    slot: Arc<Slot>,
    side: Side,
}

impl Held {
    /// Something trains in it: only that counts as a turn. What was not admitted after all has had none.
    fn trains(self) -> Self {
        let mut state = self.slot.state();
        (state.last, state.refused[self.side as usize]) = (Some(self.side), None);
        drop(state);
        self
    }
}

impl Slot {
    /// Takes the slot where it is free. Where both sides want it, they take turns.
    fn take(slot: &Arc<Self>, side: Side, now: Instant) -> Option<Held> {
        let mut state = slot.state();
        let recent = |refused: Instant| now.saturating_duration_since(refused) < WANTED_FOR;
        let other = state.refused[1 - side as usize].is_some_and(recent);
        if state.taken || (other && state.last == Some(side)) {
            state.refused[side as usize] = Some(now);
            return None;
        }
        state.taken = true;
        Some(Held { slot: slot.clone(), side })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.slot.state().taken = false;
    }
}

/// The work of one stream thread.
pub struct Desk {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    side: Side,
}

impl Desk {
    pub(super) fn new(shared: Arc<Shared>, slot: Arc<Slot>, side: Side) -> Self {
        Self { shared, slot, side }
    }

    fn assignment(&self, message: &Message<'_>) -> Result<Assignment, Left> {
        match self.side {
            Side::Requests => self.shared.request(message),
            Side::Trials => trials::assignment(message, &self.shared),
        }
    }

    fn start(&self, assignment: Assignment) -> Result<Begun, LogError> {
        let shared = &self.shared;
        if !assignment.trains(&shared.cancels) {
            return Ok(Begun::Work(Box::new(Running::start(shared.clone(), assignment, None)?)));
        }
        match Slot::take(&self.slot, self.side, Instant::now()) {
            Some(held) if self.admits(&assignment)? => {
                Ok(Begun::Work(Box::new(Running::start(shared.clone(), assignment, Some(held.trains()))?)))
            }
            _ => Ok(Begun::Wait),
        }
    }

    /// Whether the job may run now, by the limit of its project.
    fn admits(&self, assignment: &Assignment) -> Result<bool, LogError> {
        match &assignment.project {
            Some(project) => self.shared.seats.admits(project, &assignment.position.to_string()),
            None => Ok(true),
        }
    }
}

impl LongWork for Desk {
    fn name(&self) -> &'static str {
        "train"
    }

    fn assigned(&self, starts: &[Position]) -> Result<(), LogError> {
        let Shared { log, book, searches, .. } = &*self.shared;
        starts.iter().try_for_each(|start| {
            book.read(&**log, start.partition)?;
            if self.side == Side::Trials { searches.read(&**log, start) } else { Ok(()) }
        })
    }

    fn begin(&self, message: &Message<'_>) -> Result<Begun, LogError> {
        if self.shared.book.answered(&message.position()) {
            if self.side == Side::Trials {
                self.shared.searches.read_again(message);
            }
            return Ok(Begun::Answered);
        }
        match self.assignment(message) {
            Ok(assignment) => self.start(assignment),
            Err(Left::Rejected(rejection)) => Ok(Begun::Reject(rejection)),
            Err(Left::Repeated) => Ok(Begun::Skip(SkipReason::Repeated)),
        }
    }

    fn waits(&self, message: &Message<'_>, place: u64) {
        if self.side == Side::Requests
            && let Ok(assignment) = self.assignment(message)
        {
            self.shared.waiting.tell(&self.shared, &assignment, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_take_turns() {
        let (slot, now) = (Arc::new(Slot::default()), Instant::now());
        let take = |side| Slot::take(&slot, side, now);
        let held = take(Side::Trials).unwrap().trains();
        assert!(take(Side::Requests).is_none() && take(Side::Trials).is_none());
        drop(held);
        assert!(take(Side::Trials).is_none(), "the other side was refused");
        drop(take(Side::Requests).unwrap().trains());
        drop(take(Side::Trials).unwrap().trains());
        // Nobody else wants it.
        let held = take(Side::Trials).unwrap().trains();
        assert!(take(Side::Requests).is_none());
        drop(held);
        // By then nobody has asked for long.
        drop(Slot::take(&slot, Side::Trials, now + WANTED_FOR).unwrap());
    }

    #[test]
    fn what_is_not_admitted_has_had_no_turn() {
        let (slot, now) = (Arc::new(Slot::default()), Instant::now());
        let take = |side| Slot::take(&slot, side, now);
        let held = take(Side::Trials).unwrap().trains();
        assert!(take(Side::Requests).is_none());
        drop(held);
        // The head of the requests waits for its project; the one behind it may train.
        drop(take(Side::Requests).unwrap());
        assert!(take(Side::Trials).is_none(), "it had the last turn, and requests were refused");
        drop(take(Side::Requests).unwrap().trains());
    }
}
