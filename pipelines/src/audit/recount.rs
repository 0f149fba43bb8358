//! The deep proof, from the records: every message of a partition ends exactly once, and the ledger's figures are
//! those of the records.
//!
//! A byte per offset and a few runs per commit: a million messages take about a megabyte.

use lunapark_schemas::TopicPartition;

use super::chain::Entry;
use super::report::{FindingKind, Findings};
use super::runs::Runs;
use super::source::Source;

pub(super) const MESSAGE: u8 = 1;
pub(super) const RESULT: u8 = 2;
pub(super) const DEAD: u8 = 4;
pub(super) const PARTIAL: u8 = 8;
pub(super) const FILTERED: u8 = 16;
/// It names a model in its header: the cuts do not decide.
const PINNED: u8 = 32;

/// Which of the two ends that leave a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A result.
    Result,
    /// A dead letter of the whole message.
    Dead,
    /// A dead letter of some of its rows, beside a result.
    Partial,
}

/// Where an answer stands, and whether it was visible before the group's offsets were looked up.
#[derive(Clone, Debug)]
pub struct Spot {
    /// Topic and partition of the answer.
    pub at: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// True where it cannot be of a transaction younger than the audit.
    pub settled: bool,
}

/// The state of every offset of one partition.
pub struct Recount {
    pub(super) at: TopicPartition,
    pub(super) base: i64,
    pub(super) state: Vec<u8>,
    pub(super) results: Answers,
    pub(super) dead: Answers,
    pub(super) duplicated: u64,
}

/// The answers of one output partition.
#[derive(Default)]
pub(super) struct Answers {
    /// Which answers which.
    pub runs: Runs,
    /// Source of the first answer still there, be it older than the messages still there.
    pub oldest: Option<i64>,
}

impl Recount {
    /// For the offsets `[base, end)`.
    pub fn new(at: TopicPartition, base: i64, end: i64) -> Self {
        let state = vec![0; (end - base).max(0) as usize];
        Self { at, base, state, results: Answers::default(), dead: Answers::default(), duplicated: 0 }
    }

    /// Where the account ends.
    pub fn end(&self) -> i64 {
        self.base + self.state.len() as i64
    }

    /// An input message, and whether it names a model.
    pub fn message(&mut self, offset: i64, pinned: bool) {
        let index = usize::try_from(offset - self.base).ok();
        if let Some(state) = index.and_then(|index| self.state.get_mut(index)) {
            *state |= MESSAGE | if pinned { PINNED } else { 0 };
        }
    }

    /// Whether this is a message of the account that names no model.
    pub fn unpinned(&self, source: &Source<'_>) -> bool {
        let ours = source.topic == &*self.at.topic && source.partition == self.at.partition;
        let index = usize::try_from(source.offset - self.base).ok().filter(|_| ours);
        index.and_then(|index| self.state.get(index)).is_some_and(|state| state & (MESSAGE | PINNED) == MESSAGE)
    }

    /// The filtered offsets of the ledger; call once all input messages are known.
    pub fn filtered(&mut self, entries: &[Entry], findings: &mut Findings) {
        for entry in entries {
            for (from, to) in &entry.filtered {
                let span = (*from.max(&entry.first), to.saturating_add(1).min(entry.next));
                for offset in span.0.max(self.base)..span.1.min(self.end()) {
                    self.filter(offset, findings);
                }
            }
        }
    }

    fn filter(&mut self, offset: i64, findings: &mut Findings) {
        let index = (offset - self.base) as usize;
        if self.state[index] & MESSAGE == 0 {
            findings.add(FindingKind::Count, &self.at, (offset, offset + 1), || {
                "the ledger says filtered, but there is no such message".into()
            });
        }
        self.state[index] |= FILTERED;
    }

    /// A result or dead letter and the message that it names.
    pub fn answer(&mut self, answer: Answer, spot: &Spot, source: Option<Source<'_>>, findings: &mut Findings) {
        let Some(offset) = self.own_source(answer, spot, source, findings) else { return };
        let (bit, answers) = match answer {
            Answer::Result => (RESULT, &mut self.results),
            Answer::Dead => (DEAD, &mut self.dead),
            Answer::Partial => (DEAD | PARTIAL, &mut self.dead),
        };
        answers.oldest.get_or_insert(offset);
        if offset < self.base {
            return;
        }
        let state = &mut self.state[(offset - self.base) as usize];
        if *state & bit & (RESULT | DEAD) != 0 {
            self.duplicated += 1;
            let first = answers.runs.find(offset).unwrap_or(-1);
            findings.add(FindingKind::Duplicate, &self.at, (offset, offset + 1), || {
                format!("two {}: {}/{first} and {}/{}", plural(answer), spot.at, spot.at, spot.offset)
            });
        }
        *state |= bit;
        answers.runs.push(offset, spot.offset);
    }

    /// The source's offset where it is a message of this account, or older than what is still there; what is younger
    /// than the audit is passed over.
    fn own_source(
        &self,
        answer: Answer,
        spot: &Spot,
        source: Option<Source<'_>>,
        findings: &mut Findings,
    ) -> Option<i64> {
        let offset = source.as_ref().map_or(-1, |source| source.offset);
        let complaint = match &source {
            None => Some("names no source"),
            Some(source) if source.topic != &*self.at.topic => Some("names a message of another topic"),
            Some(source) if source.partition != self.at.partition => Some("names a message of another partition"),
            Some(_) if offset >= self.end() && spot.settled => Some("names an offset that the ledger has not reached"),
            Some(_) if offset >= self.end() => return None,
            Some(_) if offset >= self.base && self.state[(offset - self.base) as usize] & MESSAGE == 0 => {
                Some("names an offset that is no message")
            }
            Some(_) => None,
        };
        let Some(complaint) = complaint else { return Some(offset) };
        findings.add(FindingKind::WrongSource, &spot.at, (spot.offset, spot.offset + 1), || {
            let named = source.map_or_else(|| "none".into(), |source| source.to_string());
            format!("this {} {complaint} (source: {named})", singular(answer))
        });
        None
    }

    /// True where every message has an end: nothing more need be waited for.
    pub fn complete(&self) -> bool {
        self.state.iter().all(|state| state & MESSAGE == 0 || (ends(*state) > 0 && !lonely(*state)))
    }
}

/// How often the message ended; a dead letter of some rows is no end of the message.
pub(super) fn ends(state: u8) -> u32 {
    let whole = if state & PARTIAL != 0 { RESULT | FILTERED } else { RESULT | DEAD | FILTERED };
    (state & whole).count_ones()
}

/// A dead letter of some rows, but no result of the others.
pub(super) fn lonely(state: u8) -> bool {
    state & PARTIAL != 0 && state & RESULT == 0
}

fn singular(answer: Answer) -> &'static str {
    if answer == Answer::Result { "result" } else { "dead letter" }
}

fn plural(answer: Answer) -> &'static str {
    if answer == Answer::Result { "results" } else { "dead letters" }
}
