//! What an audit found.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use lunapark_schemas::TopicPartition;
use lunapark_schemas::ledger::Counts;
use serde::Serialize;

/// So many findings of each kind are named; of the rest there is a count, so that a report stays readable.
pub const NAMED_PER_KIND: u64 = 20;
/// As [`NAMED_PER_KIND`], for programs: a bound of their memory and ours (some megabytes for each kind).
pub const NAMED_IN_JSON: u64 = 10_000;

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Offsets that no range of the ledger accounts for.
    Gap,
    /// Offsets that two ranges account for, or that the group will read again.
    Overlap,
    /// A range whose counts do not add up.
    Unbalanced,
    /// A ledger record that makes no sense.
    BadLedger,
    /// A message without an end.
    Missing,
    /// A message with two results or two dead letters.
    Duplicate,
    /// A message that ended in two different ways.
    Conflict,
    /// A result or dead letter that names no message of this topic and partition.
    WrongSource,
    /// A result by another model than the cuts say.
    WrongModel,
    /// Counts of a range that differ from the records.
    Count,
    /// A checksum of a range that differs from the records.
    Checksum,
    /// A training task that has not exactly one end.
    Task,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FindingKind::Gap => "gap",
            FindingKind::Overlap => "overlap",
            FindingKind::Unbalanced => "unbalanced",
            FindingKind::BadLedger => "bad-ledger",
            FindingKind::Missing => "missing",
            FindingKind::Duplicate => "duplicate",
            FindingKind::Conflict => "conflict",
            FindingKind::WrongSource => "wrong-source",
            FindingKind::WrongModel => "wrong-model",
            FindingKind::Count => "count",
            FindingKind::Checksum => "checksum",
            FindingKind::Task => "task",
        })
    }
}

/// One fault, with the offsets that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind.
    pub kind: FindingKind,
    /// Topic of the offsets.
    pub topic: Arc<str>,
    /// Partition of the offsets.
    pub partition: i32,
    /// First offset concerned.
    pub first: i64,
    /// Next offset after those concerned.
    pub next: i64,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, topic, partition, first, next, message } = self;
        match next - first {
            1 => write!(f, "{kind} {topic}/{partition}/{first}: {message}"),
            _ => write!(f, "{kind} {topic}/{partition} [{first}, {next}): {message}"),
        }
    }
}

/// Faults as they are found: the first of each kind by name, all of them by number.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Those named.
    pub named: Vec<Finding>,
    /// How many of each kind there are.
    pub counts: BTreeMap<FindingKind, u64>,
    most: u64,
}

impl Default for Findings {
    fn default() -> Self {
        Self::naming(NAMED_PER_KIND)
    }
}

impl Findings {
    /// Of each kind at most so many are named.
    pub fn naming(most: u64) -> Self {
        Self { named: Vec::new(), counts: BTreeMap::new(), most }
    }

    /// Adds a fault; the text is only made where it will be shown.
    pub fn add(&mut self, kind: FindingKind, at: &TopicPartition, span: (i64, i64), message: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= self.most {
            let (topic, partition, (first, next)) = (at.topic.clone(), at.partition, span);
            self.named.push(Finding { kind, topic, partition, first, next, message: message() });
        }
    }

    /// True where nothing was found.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// The proof, or what speaks against it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuditReport {
    /// Pipeline audited.
    pub pipeline: String,
    /// Its input topic.
    pub topic: String,
    /// Whether the records themselves were read, or the ledger only.
    pub deep: bool,
    /// True where every message is accounted for exactly once and nothing is unprovable.
    pub proven: bool,
    /// True where no message has ended yet, so that there is nothing to prove.
    pub empty: bool,
    /// Messages and how they ended, by the ledger.
    #[serde(flatten)]
    pub messages: Counts,
    /// Messages in the topic that the pipeline has not come to yet: not lost.
    pub pending: u64,
    /// Whether `pending` was counted, or is an upper bound.
    pub pending_exact: bool,
    /// Messages passed without an end.
    pub lost: u64,
    /// Ends beyond the first of a message.
    pub duplicated: u64,
    /// Messages (offsets where the ledger itself is gone) that cannot be checked since retention deleted records.
    pub unprovable: u64,
    /// Dead letters that went back to the topic.
    pub redriven: u64,
    /// Rows, by the ledger.
    pub rows: Counts,
    /// Ledger ranges read.
    pub ranges: u64,
    /// Number of faults of each kind.
    pub faults: BTreeMap<FindingKind, u64>,
    /// The first faults of each kind.
    pub findings: Vec<Finding>,
    /// What limits the proof, in words.
    pub notes: Vec<String>,
}

impl AuditReport {
    /// Both together, of one pipeline with two input topics.
    pub fn and(mut self, other: Self) -> Self {
        self.topic = format!("{} and {}", self.topic, other.topic);
        // An input topic of which nothing is said yet takes nothing from the proof of the other one.
        let sound = |report: &Self| report.proven || report.empty;
        self.proven = sound(&self) && sound(&other) && (self.proven || other.proven);
        self.empty &= other.empty;
        self.messages.add(&other.messages);
        self.rows.add(&other.rows);
        self.pending += other.pending;
        self.pending_exact &= other.pending_exact;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.unprovable += other.unprovable;
        self.redriven += other.redriven;
        self.ranges += other.ranges;
        other.faults.into_iter().for_each(|(kind, count)| *self.faults.entry(kind).or_default() += count);
        self.findings.extend(other.findings);
        self.notes.extend(other.notes);
        self
    }

    /// True where something is wrong, as opposed to merely unprovable.
    pub fn faulty(&self) -> bool {
        !self.faults.is_empty()
    }
}
