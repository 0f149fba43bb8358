//! The messages that were taken and that no committed offset has passed yet, in a line for each partition: work ends in
//! any order, offsets are committed in order.

use std::collections::{BTreeMap, VecDeque};

use lunapark_schemas::{Messages, Rejection, TopicPartition};

use super::account::Ending;

/// Messages in memory, at most: enough to find work past a project whose requests wait, however few workers there are.
const MOST_MESSAGES: usize = 256;
/// And so many bytes.
const MOST_BYTES: usize = 64 << 20;

/// The lines of all partitions of a member.
#[derive(Default)]
pub(super) struct Lines {
    lines: BTreeMap<TopicPartition, VecDeque<Entry>>,
    arrivals: u64,
}

/// A message in its line.
pub(super) struct Entry {
    /// The one message.
    pub(super) message: Messages,
    pub(super) state: State,
    /// When it was read, milliseconds since 1970.
    pub(super) read_millis: i64,
    /// The place in the queue that was told last.
    pub(super) told: Option<u64>,
    arrival: u64,
}

/// Where a message stands.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing has been done about it.
    Waits,
    /// It is worked on.
    Worked,
    /// A dead letter, written when all before it have ended.
    Dead(Rejection),
    /// It has ended, and what answers it is committed or needs no record.
    Ended(Ending),
}

/// Which message.
pub(super) type Place = (TopicPartition, i64);

impl Lines {
    /// Takes a message to the end of its line.
    pub(super) fn take(&mut self, message: Messages, read_millis: i64) -> Place {
        let (at, offset) = (message.get(0).topic_partition(), message.get(0).offset);
        let entry = Entry { message, state: State::Waits, read_millis, told: None, arrival: self.arrivals };
        self.arrivals += 1;
        self.lines.entry(at.clone()).or_default().push_back(entry);
        (at, offset)
    }

    /// Those that wait, first come first.
    pub(super) fn waiting(&self) -> Vec<Place> {
        let all = self.lines.iter().flat_map(|(at, line)| line.iter().map(move |entry| (at, entry)));
        let waits = all.filter(|(_, entry)| matches!(entry.state, State::Waits));
        let mut waiting: Vec<_> = waits.map(|(at, entry)| (entry.arrival, at, entry.message.get(0).offset)).collect();
        waiting.sort_unstable_by_key(|(arrival, ..)| *arrival);
        waiting.into_iter().map(|(_, at, offset)| (at.clone(), offset)).collect()
    }

    /// The message at this place.
    pub(super) fn get(&mut self, (at, offset): &Place) -> Option<&mut Entry> {
        self.lines.get_mut(at)?.iter_mut().find(|entry| entry.message.get(0).offset == *offset)
    }

    /// Whether a line begins with a message that has ended.
    pub(super) fn any_ended(&self) -> bool {
        self.lines.values().any(|line| line.front().is_some_and(Entry::over))
    }

    /// Takes out what has ended at the head of each line: offsets may pass it.
    pub(super) fn pass(&mut self) -> Vec<Entry> {
        let mut passed = Vec::new();
        for line in self.lines.values_mut() {
            while line.front().is_some_and(Entry::over) {
                passed.extend(line.pop_front());
            }
        }
        passed
    }

    /// Whether no more is to be taken.
    pub(super) fn full(&self) -> bool {
        let all = || self.lines.values().flatten();
        all().count() >= MOST_MESSAGES || all().map(|entry| entry.message.bytes()).sum::<usize>() >= MOST_BYTES
    }

    /// These partitions are not ours any more.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        self.lines.retain(|at, _| !partitions.contains(at));
    }

    /// All will be read again.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
    }
}

impl Entry {
    fn over(&self) -> bool {
        matches!(self.state, State::Dead(_) | State::Ended(_))
    }
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::SkipReason;
    use lunapark_schemas::messages::At;

    use super::*;

    fn message(partition: i32, offset: i64) -> Messages {
        let mut messages = Messages::new();
        let at = At { topic: "t", partition, offset, timestamp: 0 };
        messages.push(at, None, Some(b"x"), std::iter::empty());
        messages
    }

    fn places(lines: &Lines) -> Vec<(i32, i64)> {
        lines.waiting().into_iter().map(|(at, offset)| (at.partition, offset)).collect()
    }

    #[test]
    fn who_comes_first_waits_first_and_offsets_pass_in_order() {
        let mut lines = Lines::default();
        let places_taken = [(1, 7), (0, 3), (1, 8), (1, 9)].map(|(p, offset)| lines.take(message(p, offset), 0));
        assert_eq!(places(&lines), [(1, 7), (0, 3), (1, 8), (1, 9)]);
        for place in &places_taken[2..] {
            lines.get(place).unwrap().state = State::Ended(Ending::Filtered(SkipReason::Repeated));
        }
        assert!(!lines.any_ended() && lines.pass().is_empty());
        assert_eq!(places(&lines), [(1, 7), (0, 3)]);
        lines.get(&places_taken[0]).unwrap().state = State::Ended(Ending::Dead);
        assert!(lines.any_ended());
        let passed: Vec<_> = lines.pass().iter().map(|entry| entry.message.get(0).offset).collect();
        assert_eq!(passed, [7, 8, 9]);
        lines.forget(&[places_taken[1].0.clone()]);
        assert!(lines.waiting().is_empty());
    }

    #[test]
    fn a_member_takes_no_more_than_it_can_hold() {
        let mut lines = Lines::default();
        let taken = (0..).take_while(|offset| {
            let room = !lines.full();
            if room {
                lines.take(message(0, *offset), 0);
            }
            room
        });
        assert_eq!(taken.count(), MOST_MESSAGES);
    }
}
