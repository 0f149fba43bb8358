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
pub(super) struct Held(Arc<Slot>);

impl Slot {
    /// Takes the slot where it is free. Where both sides want it, they take turns.
    fn take(slot: &Arc<Self>, side: Side) -> Option<Held> {
        let mut state = slot.state();
        let other = state.refused[1 - side as usize].is_some_and(|refused| refused.elapsed() < WANTED_FOR);
        if state.taken || (other && state.last == Some(side)) {
            state.refused[side as usize] = Some(Instant::now());
            return None;
        }
        (state.taken, state.last, state.refused[side as usize]) = (true, Some(side), None);
        Some(Held(slot.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state().taken = false;
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
        let mut held = None;
        if assignment.trains(&shared.cancels) {
            held = Slot::take(&self.slot, self.side);
            if held.is_none() || !self.admits(&assignment)? {
                return Ok(Begun::Wait);
            }
        }
        Ok(Begun::Work(Box::new(Running::start(shared.clone(), assignment, held)?)))
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
        let slot = Arc::new(Slot::default());
        let held = Slot::take(&slot, Side::Trials).unwrap();
        assert!(Slot::take(&slot, Side::Requests).is_none() && Slot::take(&slot, Side::Trials).is_none());
        drop(held);
        assert!(Slot::take(&slot, Side::Trials).is_none(), "the other side was refused");
        drop(Slot::take(&slot, Side::Requests).unwrap());
        drop(Slot::take(&slot, Side::Trials).unwrap());
        // Nobody else wants it.
        drop(Slot::take(&slot, Side::Trials).unwrap());
    }
}
