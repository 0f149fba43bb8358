//! What the verifier can find, and what it says in the end.

use std::fmt;

/// One thing that is wrong; positions are `topic/partition/offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`source` is the message, `at` the record that answers it")]
pub enum Fault {
    /// An acknowledged event is not where the log said.
    NotStored { number: u64, at: Option<(i32, i64)> },
    /// An event stands in the topic twice.
    StoredTwice { number: u64, at: String },
    /// A record of the event topic that the oracle did not issue.
    NotIssued { at: String },
    /// A message that should have a result, or a dead letter, and has not.
    Lost { source: String, what: &'static str },
    /// A second result or dead letter of one message.
    Duplicate { source: String, at: String },
    /// A result or dead letter of a message that should have none.
    Unexpected { source: String, at: String },
    /// A result or dead letter that names no message, or whose key, timestamp, partition or id is another's.
    WrongSource { at: String, what: String },
    /// A result that differs from that of the undisturbed run, or a dead letter that differs from its event.
    WrongValue { source: String, at: String, what: &'static str },
    /// An answer that stands behind the answer to a later message of the same partition.
    OutOfOrder { at: String, source: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotStored { number, at } => write!(f, "accepted event {number} is not in the topic (said: {at:?})"),
            Fault::StoredTwice { number, at } => write!(f, "event {number} stands in the topic again at {at}"),
            Fault::NotIssued { at } => write!(f, "{at}: nobody issued this event"),
            Fault::Lost { source, what } => write!(f, "lost: {source} has no {what}"),
            Fault::Duplicate { source, at } => write!(f, "duplicate: {source} is answered again at {at}"),
            Fault::Unexpected { source, at } => {
                write!(f, "unexpected: {at} answers {source}, which takes no such answer")
            }
            Fault::WrongSource { at, what } => write!(f, "wrong source: {at}: {what}"),
            Fault::WrongValue { source, at, what } => write!(f, "wrong value: {at}, the answer to {source}: {what}"),
            Fault::OutOfOrder { at, source } => write!(f, "out of order: {at}, the answer to {source}"),
        }
    }
}

/// Messages and rows, counted from the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages of the event topic.
    pub messages: u64,
    /// Those acknowledged to the load.
    pub accepted: u64,
    /// Messages with a result.
    pub results: u64,
    /// Messages filtered.
    pub filtered: u64,
    /// Messages that ended as a dead letter.
    pub dead: u64,
    /// Messages with a result and a dead letter for some rows.
    pub partial: u64,
    /// Rows of the messages with a result.
    pub rows: u64,
    /// Rows with a score.
    pub scored_rows: u64,
}

/// The end of a verification.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
    /// Everything that was counted.
    pub totals: Totals,
}

impl Verdict {
    /// Panics where anything is wrong, naming the first faults of each kind.
    #[track_caller]
    pub fn assert_proven(&self) {
        let named: Vec<String> = self.faults.iter().take(40).map(Fault::to_string).collect();
        let (count, totals) = (self.faults.len(), self.totals);
        assert!(self.faults.is_empty(), "{count} faults\n{}\n{totals:?}", named.join("\n"));
    }
}
