//! The quick proof, from the ledger alone: the ranges of a partition chain without gap and overlap, their counts add
//! up, and they end where the group stands.

use std::sync::Arc;

use lunapark_schemas::TopicPartition;
use lunapark_schemas::ledger::{Counts, LedgerRange};

use super::report::{FindingKind, Findings};

/// A ledger range, without what the audit does not need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First offset.
    pub first: i64,
    /// Next offset after the range.
    pub next: i64,
    /// Messages.
    pub messages: Counts,
    /// Rows.
    pub rows: Counts,
    /// Offsets of filtered messages, inclusive ranges.
    pub filtered: Vec<(i64, i64)>,
    /// Sum of the position hashes; `None` where the ledger's text is no number.
    pub checksum: Option<u64>,
    /// Who committed it.
    pub instance: Arc<str>,
    /// When it was written, milliseconds since 1970.
    pub timestamp: i64,
    /// True where it says that the group started at its first offset.
    pub started: bool,
}

impl Entry {
    /// The entry of a range; `instance` is passed in so that all entries of one share its name.
    pub fn new(range: &LedgerRange, instance: Arc<str>, timestamp: i64) -> Self {
        Self {
            first: range.first,
            next: range.next,
            messages: range.messages,
            rows: range.rows,
            filtered: range.filtered.clone(),
            checksum: u64::from_str_radix(range.checksum.trim_start_matches("0x"), 16).ok(),
            instance,
            timestamp,
            started: range.started,
        }
    }

    /// Takes `after` into this range where it chains and both are sound; whether it did. Sums and checksums add up, so
    /// that nothing is lost but the boundary.
    pub fn merge(&mut self, after: &Entry) -> bool {
        let sound = self.next == after.first && self.balanced() && after.balanced();
        let (true, Some(sum), Some(more)) = (sound, self.checksum, after.checksum) else { return false };
        self.next = after.next;
        self.messages.add(&after.messages);
        self.rows.add(&after.rows);
        self.filtered.extend_from_slice(&after.filtered);
        self.checksum = Some(sum.wrapping_add(more));
        self.instance = after.instance.clone();
        self.timestamp = after.timestamp;
        true
    }

    /// True where the counts say one end for each message.
    pub fn balanced(&self) -> bool {
        let Counts { input, results, filtered, dead, partial } = self.messages;
        let ends = u128::from(results) + u128::from(filtered) + u128::from(dead);
        let offsets: i128 = self.filtered.iter().map(|(from, to)| i128::from(*to) - i128::from(*from) + 1).sum();
        let width = i128::from(self.next) - i128::from(self.first);
        u128::from(input) == ends
            && partial <= results
            && i128::from(input) <= width
            && offsets == i128::from(filtered)
            && self.filtered.iter().all(|(from, to)| self.first <= *from && from <= to && *to < self.next)
    }
}

/// What is known of one input partition besides its ranges.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The partition.
    pub at: TopicPartition,
    /// First offset still there.
    pub low: i64,
    /// Where its records end.
    pub high: i64,
    /// The next offset that the group will read.
    pub committed: Option<i64>,
    /// Ledger records written up to then may have been deleted by retention; `i64::MIN` where none was.
    pub ledger_expired: i64,
    /// Whether the account must begin at offset 0, even where retention deleted those records before it began, or the
    /// group left them out.
    pub from_beginning: bool,
}

/// What the chain of a partition shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the group started, if that was not at the first record: what is before is not of the account.
    pub start: Option<i64>,
    /// Where the account ends.
    pub end: i64,
    /// Offsets without account.
    pub gaps: Vec<(i64, i64)>,
    /// Offsets accounted for twice.
    pub overlaps: Vec<(i64, i64)>,
    /// Offsets whose account retention may have deleted.
    pub expired: Vec<(i64, i64)>,
}

/// Checks the ranges of one partition, sorted by first and next offset.
pub fn check(scope: &Scope, entries: &[Entry], findings: &mut Findings) -> Chain {
    let mut walk = Walk { scope, findings, chain: Chain::default(), last: None };
    entries.iter().for_each(|entry| walk.step(entry));
    walk.finish();
    walk.chain
}

struct Walk<'a> {
    scope: &'a Scope,
    findings: &'a mut Findings,
    chain: Chain,
    last: Option<&'a Entry>,
}

impl<'a> Walk<'a> {
    fn step(&mut self, entry: &'a Entry) {
        self.counts(entry);
        // Only the first of a partition says where its account begins: further on it would hide what was passed over.
        if entry.started && self.last.is_none() {
            self.chain.start.get_or_insert(entry.first);
        }
        if entry.first == entry.next {
            return;
        }
        match self.last {
            None => self.begin(entry),
            Some(last) if last.next < entry.first => self.hole((last.next, entry.first), entry.timestamp),
            Some(last) if entry.first < last.next => self.overlap(last, entry),
            Some(_) => {}
        }
        if self.last.is_none_or(|last| last.next < entry.next) {
            self.last = Some(entry);
        }
    }

    fn counts(&mut self, entry: &Entry) {
        if !entry.balanced() {
            let Counts { input, results, filtered, dead, partial } = entry.messages;
            let span = (entry.first, entry.next);
            self.findings.add(FindingKind::Unbalanced, &self.scope.at, span, || {
                format!(
                    "the ledger says {input} in, {results} results ({partial} partial), {filtered} filtered and {dead} \
                     dead letters in {} offsets, which does not add up",
                    span.1 - span.0
                )
            });
        }
    }

    /// Where the first range is due: at the first record still there, or where the group started.
    fn due(&self) -> i64 {
        self.scope.low.max(self.chain.start.unwrap_or(0)).max(0)
    }

    /// The first range begins at the first record that was there. What is gone since may have gone before it began.
    fn begin(&mut self, entry: &Entry) {
        let due = self.due();
        if entry.first > due {
            self.hole((due, entry.first), entry.timestamp);
        }
        let before = due.min(entry.first);
        if self.scope.from_beginning && before > 0 {
            self.chain.expired.insert(0, (0, before));
        }
        self.before_start();
    }

    /// Where a part of the ledger is gone, an account before the start may have gone with it: nobody knows what became of
    /// what is before.
    fn before_start(&mut self) {
        let (low, due) = (self.scope.low.max(0), self.due());
        if low < due && !self.scope.from_beginning && self.scope.ledger_expired != i64::MIN {
            self.chain.expired.insert(0, (low, due));
        }
    }

    /// Offsets without account: a gap, unless the ledger of that time is gone.
    fn hole(&mut self, span: (i64, i64), timestamp: i64) {
        if timestamp <= self.scope.ledger_expired {
            self.chain.expired.push(span);
            return;
        }
        self.chain.gaps.push(span);
        self.findings.add(FindingKind::Gap, &self.scope.at, span, || {
            format!("no ledger range accounts for these {} offsets", span.1 - span.0)
        });
    }

    fn overlap(&mut self, last: &Entry, entry: &Entry) {
        let span = (entry.first, entry.next.min(last.next));
        self.chain.overlaps.push(span);
        self.findings.add(FindingKind::Overlap, &self.scope.at, span, || {
            format!(
                "accounted for twice: [{}, {}) by {} and [{}, {}) by {}",
                last.first, last.next, last.instance, entry.first, entry.next, entry.instance
            )
        });
    }

    fn finish(&mut self) {
        let due = self.due();
        if self.last.is_none() && self.scope.from_beginning && due > 0 {
            self.chain.expired.push((0, due));
        }
        if self.last.is_none() {
            self.before_start();
        }
        self.chain.end = self.last.map_or(due, |last| last.next);
        self.compare_committed();
        if self.chain.end > self.scope.high {
            let span = (self.scope.high, self.chain.end);
            self.findings.add(FindingKind::BadLedger, &self.scope.at, span, || {
                format!("the ledger accounts for offsets past the partition's end, {}", self.scope.high)
            });
        }
    }

    fn compare_committed(&mut self) {
        let end = self.chain.end;
        match (self.scope.committed, self.last) {
            (Some(committed), _) if committed > end => {
                self.hole((end, committed), i64::MAX);
                self.chain.end = committed;
            }
            (Some(committed), Some(_)) if committed < end => self.again((committed, end)),
            (None, Some(last)) => self.again((self.scope.low.min(last.first), end)),
            _ => {}
        }
    }

    fn again(&mut self, span: (i64, i64)) {
        let stands = self.scope.committed.map_or("has committed nothing".into(), |at| format!("stands at {at}"));
        self.findings.add(FindingKind::Overlap, &self.scope.at, span, || {
            format!("the ledger ends at {}, but the group {stands}: it would read these offsets again", span.1)
        });
    }
}
