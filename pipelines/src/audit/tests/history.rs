//! A small history of one partition: what was read, what answered it, what the ledger says.

use std::collections::HashMap;

use lunapark_schemas::TopicPartition;
use lunapark_schemas::ledger::{Counts, LedgerRange, position_hash, push_offset};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::audit::chain::{self, Chain, Entry, Scope};
use crate::audit::recount::{Answer, Recount, Spot};
use crate::audit::report::Findings;
use crate::audit::source::Source;
use crate::audit::verdict::{Expired, Verdict};

pub const TOPIC: &str = "inference.events";
pub const RESULTS: &str = "inference.results";
const DEAD: &str = "inference.events.dead";
const PARTITION: i32 = 3;

/// How a message ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Result,
    Dead,
    Filtered,
    Partial,
}

/// A result or dead letter.
#[derive(Clone, Debug)]
pub struct Given {
    pub kind: Answer,
    pub own: i64,
    pub source: (&'static str, i32, i64),
}

/// Everything that the audit of one partition looks at.
#[derive(Clone, Debug)]
pub struct History {
    pub messages: Vec<i64>,
    pub answers: Vec<Given>,
    pub ranges: Vec<Entry>,
    pub low: i64,
    pub high: i64,
    pub committed: Option<i64>,
    pub ledger_expired: i64,
    pub from_beginning: bool,
    pub settled: bool,
    /// Whether retention has taken an answer of a message that is still there.
    pub expired: bool,
    expired_topics: Expired,
    next_own: HashMap<bool, i64>,
}

/// Commits of one to six messages, some behind holes (transaction markers, aborted records).
pub fn histories() -> impl Strategy<Value = History> {
    let end = prop_oneof![
        6 => Just(End::Result),
        2 => Just(End::Dead),
        2 => Just(End::Filtered),
        1 => Just(End::Partial),
    ];
    let commit = prop::collection::vec((0i64..3, end), 1..7);
    prop::collection::vec(commit, 1..8).prop_map(|commits| History::new(&commits))
}

/// What the ledger says of a group that starts at an offset.
pub fn start_at(offset: i64) -> Entry {
    let range = LedgerRange { first: offset, next: offset, checksum: "0".into(), started: true, ..Default::default() };
    Entry::new(&range, "started".into(), 0)
}

impl History {
    /// Each commit is a list of messages: how many holes precede it, and how it ends.
    pub fn new(commits: &[Vec<(i64, End)>]) -> Self {
        let mut history = Self {
            messages: Vec::new(),
            answers: Vec::new(),
            ranges: Vec::new(),
            low: 0,
            high: 0,
            committed: None,
            ledger_expired: i64::MIN,
            from_beginning: true,
            settled: true,
            expired: false,
            expired_topics: Expired::default(),
            next_own: HashMap::new(),
        };
        commits.iter().for_each(|commit| history.commit(commit));
        history.committed = Some(history.high);
        history
    }

    /// Before all this there were so many messages, and the group has left them out; it says so where `told`.
    pub fn started_behind(&self, left_out: i64, told: bool) -> Self {
        let mut history = self.clone();
        for range in &mut history.ranges {
            (range.first, range.next) = (range.first + left_out, range.next + left_out);
            range.filtered.iter_mut().for_each(|(from, to)| (*from, *to) = (*from + left_out, *to + left_out));
        }
        history.answers.iter_mut().for_each(|answer| answer.source.2 += left_out);
        history.messages = (0..left_out).chain(self.messages.iter().map(|offset| offset + left_out)).collect();
        history.high += left_out;
        history.committed = self.committed.map(|committed| committed + left_out);
        history.checksums();
        if told {
            history.ranges.insert(0, start_at(history.ranges[0].first));
        }
        history
    }

    /// Sums the positions of each range's messages anew.
    fn checksums(&mut self) {
        for range in &mut self.ranges {
            let own = self.messages.iter().filter(|offset| (range.first..range.next).contains(*offset));
            range.checksum = Some(own.fold(0, |sum: u64, offset| sum.wrapping_add(position_hash(PARTITION, *offset))));
        }
    }

    fn commit(&mut self, commit: &[(i64, End)]) {
        let number = self.ranges.len();
        let mut range = Entry {
            first: self.high,
            next: self.high,
            messages: Counts::default(),
            rows: Counts::default(),
            filtered: Vec::new(),
            checksum: Some(0),
            instance: format!("instance-{number}").into(),
            timestamp: 1000 * number as i64,
            started: false,
        };
        for (holes, end) in commit {
            self.message(self.high + holes, *end, &mut range);
        }
        // Here stands the marker of the producer's transaction.
        self.high += 1;
        range.next = self.high;
        self.ranges.push(range);
        // Answers have markers, too.
        self.next_own.values_mut().for_each(|next| *next += 1);
    }

    fn message(&mut self, offset: i64, end: End, range: &mut Entry) {
        self.messages.push(offset);
        self.high = offset + 1;
        range.messages.input += 1;
        range.checksum = range.checksum.map(|sum| sum.wrapping_add(position_hash(PARTITION, offset)));
        match end {
            End::Result => range.messages.results += 1,
            End::Dead => range.messages.dead += 1,
            End::Filtered => {
                range.messages.filtered += 1;
                push_offset(&mut range.filtered, offset);
            }
            End::Partial => {
                range.messages.results += 1;
                range.messages.partial += 1;
            }
        }
        match end {
            End::Result => self.answer(Answer::Result, offset),
            End::Dead => self.answer(Answer::Dead, offset),
            End::Partial => [Answer::Result, Answer::Partial].into_iter().for_each(|kind| self.answer(kind, offset)),
            End::Filtered => {}
        }
    }

    fn answer(&mut self, kind: Answer, source: i64) {
        let own = self.next_own.entry(kind == Answer::Result).or_default();
        *own += 1;
        self.answers.push(Given { kind, own: *own - 1, source: (TOPIC, PARTITION, source) });
    }

    /// Index of some answer that fits.
    pub fn pick_answer(&self, pick: Index, fits: impl Fn(&Given) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.answers.len()).filter(|at| fits(&self.answers[*at])).collect();
        (!fitting.is_empty()).then(|| fitting[pick.index(fitting.len())])
    }

    /// Adds an answer like the one at `at`, changed; the source's offset.
    pub fn repeat(&mut self, at: usize, change: impl FnOnce(&mut Given)) -> i64 {
        let mut again = self.answers[at].clone();
        change(&mut again);
        let source = again.source.2;
        self.answer(again.kind, source);
        source
    }

    /// Retention leaves the last `kept` answers, so that results and dead letters have gone by time.
    pub fn expire_results(&mut self, kept: usize) {
        let gone: Vec<Given> = self.answers.drain(..self.answers.len() - kept).collect();
        let is_gone = |result: bool| gone.iter().any(|answer| (answer.kind == Answer::Result) == result);
        self.expired_topics = Expired { results: is_gone(true), dead: is_gone(false) };
        self.expired = gone.iter().any(|answer| answer.kind != Answer::Partial);
    }

    /// Retention deletes the messages below `low`.
    pub fn expire_input(&mut self, low: i64) {
        self.low = low;
        self.from_beginning = false;
        self.messages.retain(|offset| *offset >= low);
    }

    pub fn chain(&self, findings: &mut Findings) -> Chain {
        let scope = Scope {
            at: TopicPartition::new(TOPIC, PARTITION),
            low: self.low,
            high: self.high,
            committed: self.committed,
            ledger_expired: self.ledger_expired,
            from_beginning: self.from_beginning,
        };
        chain::check(&scope, &self.sorted(), findings)
    }

    fn sorted(&self) -> Vec<Entry> {
        let mut ranges = self.ranges.clone();
        ranges.sort_by_key(|range| (range.first, range.next));
        ranges
    }

    pub fn quick(&self) -> Findings {
        let mut findings = Findings::default();
        self.chain(&mut findings);
        findings
    }

    pub fn deep(&self) -> (Findings, Verdict, Chain) {
        self.deep_with(self.expired_topics)
    }

    pub fn deep_with(&self, expired: Expired) -> (Findings, Verdict, Chain) {
        let mut findings = Findings::default();
        let chain = self.chain(&mut findings);
        let at = TopicPartition::new(TOPIC, PARTITION);
        let base = self.low.max(chain.start.unwrap_or(0));
        let mut recount = Recount::new(at, base, chain.end.min(self.high));
        self.messages.iter().for_each(|offset| recount.message(*offset, false));
        recount.filtered(&self.sorted(), &mut findings);
        for answer in &self.answers {
            self.give(answer, &mut recount, &mut findings);
        }
        let verdict = recount.conclude(&self.sorted(), expired, &mut findings);
        (findings, verdict, chain)
    }

    fn give(&self, answer: &Given, recount: &mut Recount, findings: &mut Findings) {
        let topic = if answer.kind == Answer::Result { RESULTS } else { DEAD };
        let spot = Spot { at: TopicPartition::new(topic, PARTITION), offset: answer.own, settled: self.settled };
        let (topic, partition, offset) = answer.source;
        let source = (offset >= 0).then_some(Source { topic, partition, offset });
        recount.answer(answer.kind, &spot, source, findings);
    }
}
