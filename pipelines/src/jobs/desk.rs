//! A desk: where the messages of one topic are worked on. Two share a slot, one for requests and one for trials, so that
//! together they train one model at a time; what trains nothing needs no slot.
//!
//! Two groups and not one with both topics: a group balances partitions by their number, and could give one member all of
//! the requests and another none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lunapark_schemas::{Message, Position, Rejection, SkipReason};
use lunapark_topics::LogError;

use super::job::{Assignment, Running};
use super::turns::{Turn, Turns};
use super::{Shared, trials};
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
    lobby: Lobby<Understood>,
    turns: Turns,
}

/// What was understood of a message, and its turn among the messages of its task once it has come.
struct Understood {
    assignment: Assignment,
    turn: Option<Turn>,
}

/// What was understood of the messages that wait: they are looked at five times a second, and read once.
struct Lobby<T> {
    waiting: Mutex<HashMap<Position, T>>,
}

impl<T> Default for Lobby<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default() }
    }
}

impl<T> Lobby<T> {
    /// Takes what waits there, or reads the message.
    fn take<E>(&self, at: &Position, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let waited = self.waiting().remove(at);
        waited.map_or_else(read, Ok)
    }

    fn put(&self, at: Position, understood: T) {
        self.waiting().insert(at, understood);
    }

    /// This message waits no more.
    fn forget(&self, at: &Position) {
        self.waiting().remove(at);
    }

    /// Under these positions there may be other messages from now on.
    fn clear(&self) {
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Position, T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a start came to.
enum Start {
    Works(Running),
    Waits(Understood),
}

impl Desk {
    pub(super) fn new(shared: Arc<Shared>, slot: Arc<Slot>, side: Side) -> Self {
        Self { shared, slot, side, lobby: Lobby::default(), turns: Turns::default() }
    }

    fn understood(&self, message: &Message<'_>) -> Result<Understood, Rejection> {
        self.lobby.take(&message.position(), || {
            let assignment = match self.side {
                Side::Requests => self.shared.request(message),
                Side::Trials => trials::assignment(message, &self.shared),
            };
            assignment.map(|assignment| Understood { assignment, turn: None })
        })
    }

    /// Whether its task has ended before, or is under way as a search; or the search that it belongs to has ended.
    fn repeated(&self, assignment: &Assignment) -> bool {
        let book = &self.shared.book;
        match assignment.origin() {
            Some(origin) => book.finished(origin.partition, &origin.task_id),
            None => book.ended(assignment.position.partition, &assignment.task_id),
        }
    }

    fn start(&self, Understood { assignment, turn }: Understood) -> Result<Start, LogError> {
        let take_turn = || self.turns.take(assignment.position.partition, &assignment.task_id);
        let Some(turn) = turn.or_else(take_turn) else {
            return Ok(Start::Waits(Understood { assignment, turn: None }));
        };
        let shared = &self.shared;
        if !assignment.trains(&shared.cancels) {
            return Ok(Start::Works(Running::start(shared.clone(), assignment, turn, None)?));
        }
        match Slot::take(&self.slot, self.side, Instant::now()) {
            Some(held) if self.admits(&assignment)? => {
                Ok(Start::Works(Running::start(shared.clone(), assignment, turn, Some(held.trains()))?))
            }
            _ => Ok(Start::Waits(Understood { assignment, turn: Some(turn) })),
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
        self.lobby.clear();
        starts.iter().try_for_each(|start| {
            book.read(&**log, start.partition)?;
            if self.side == Side::Trials { searches.read(&**log, start) } else { Ok(()) }
        })
    }

    fn begin(&self, message: &Message<'_>) -> Result<Begun, LogError> {
        let position = message.position();
        if self.shared.book.answered(&position) {
            self.lobby.forget(&position);
            if self.side == Side::Trials {
                self.shared.searches.read_again(message);
            }
            return Ok(Begun::Answered);
        }
        let understood = match self.understood(message) {
            Ok(understood) => understood,
            Err(rejection) => return Ok(Begun::Reject(rejection)),
        };
        if self.repeated(&understood.assignment) {
            tracing::info!(task_id = understood.assignment.task_id, %position, "this task has ended before");
            return Ok(Begun::Skip(SkipReason::Repeated));
        }
        Ok(match self.start(understood)? {
            Start::Works(running) => Begun::Work(Box::new(running)),
            Start::Waits(understood) => {
                // What comes of a trial is read when its turn has come: it is to see all that came before it.
                if understood.turn.is_some() {
                    self.lobby.put(position, understood);
                }
                Begun::Wait
            }
        })
    }

    fn waits(&self, message: &Message<'_>, place: u64) -> bool {
        if self.side == Side::Trials {
            return true;
        }
        let Ok(understood) = self.understood(message) else { return true };
        let assignment = &understood.assignment;
        let told = self.repeated(assignment) || self.shared.waiting.tell(assignment, place);
        self.lobby.put(message.position(), understood);
        told
    }
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::TopicPartition;

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
    fn a_message_that_waits_is_read_once() {
        let (lobby, at, mut reads) = (Lobby::default(), TopicPartition::new("t", 0).at(7), 0);
        for _ in 0..10 {
            let understood = lobby.take(&at, || {
                reads += 1;
                Ok::<_, ()>("request")
            });
            lobby.put(at.clone(), understood.unwrap());
        }
        assert_eq!(reads, 1);
        assert_eq!(lobby.take(&TopicPartition::new("t", 0).at(8), || Err("another")), Err("another"));
        lobby.clear();
        assert_eq!(lobby.take(&at, || Ok::<_, ()>("anew")), Ok("anew"));
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
