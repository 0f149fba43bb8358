//! What the states of a partition's messages say, compared with the ledger.

use lunapark_schemas::ledger::{Counts, position_hash};

use super::chain::Entry;
use super::recount::{Answers, DEAD, FILTERED, MESSAGE, PARTIAL, RESULT, Recount, ends, lonely};
use super::report::{FindingKind, Findings};

/// Which output topics have lost records to retention.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expired {
    /// Results are gone.
    pub results: bool,
    /// Dead letters are gone.
    pub dead: bool,
}

/// Figures of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages without an end.
    pub lost: u64,
    /// Ends beyond the first.
    pub duplicated: u64,
    /// Messages that cannot be checked.
    pub unprovable: u64,
}

impl Recount {
    /// Compares messages and ledger; `entries` sorted by first offset.
    pub fn conclude(&self, entries: &[Entry], expired: Expired, findings: &mut Findings) -> Verdict {
        let horizon = Horizon {
            results: horizon(expired.results, &self.results, self.end()),
            dead: horizon(expired.dead, &self.dead, self.end()),
        };
        let accounts = entries.iter().map(|entry| Account { entry, found: self.recount(entry), doubtful: 0 }).collect();
        let verdict = Verdict { duplicated: self.duplicated, ..Verdict::default() };
        let mut judge = Judge { recount: self, accounts, horizon, verdict, findings };
        judge.messages();
        judge.accounts();
        judge.verdict
    }

    fn recount(&self, entry: &Entry) -> Counted {
        let mut counted = Counted::default();
        for offset in entry.first.max(self.base)..entry.next.min(self.end()) {
            let state = self.state[(offset - self.base) as usize];
            if state & MESSAGE != 0 {
                counted.add(state);
                counted.checksum = counted.checksum.wrapping_add(position_hash(self.at.partition, offset));
            }
        }
        counted
    }
}

/// A ledger range beside what the records show of it.
struct Account<'a> {
    entry: &'a Entry,
    found: Counted,
    /// Messages whose answers may have been deleted.
    doubtful: u64,
}

struct Judge<'a> {
    recount: &'a Recount,
    accounts: Vec<Account<'a>>,
    horizon: Horizon,
    verdict: Verdict,
    findings: &'a mut Findings,
}

impl Judge<'_> {
    fn messages(&mut self) {
        for (index, state) in self.recount.state.iter().enumerate() {
            if state & MESSAGE != 0 && (ends(*state) != 1 || lonely(*state)) {
                self.oddity(self.recount.base + index as i64, *state);
            }
        }
    }

    /// A message that did not end exactly once.
    fn oddity(&mut self, offset: i64, state: u8) {
        let span = (offset, offset + 1);
        let at = &self.recount.at;
        if ends(state) > 1 {
            self.verdict.duplicated += 1;
            self.findings.add(FindingKind::Conflict, at, span, || self.recount.ways(offset, state));
            return;
        }
        let account = owner(&self.accounts, offset).map(|index| &mut self.accounts[index]);
        if self.horizon.may_have_expired(offset, state, account.as_deref()) {
            self.verdict.unprovable += 1;
            account.into_iter().for_each(|account| account.doubtful += 1);
            return;
        }
        self.verdict.lost += 1;
        self.findings.add(FindingKind::Missing, at, span, || missing(state).into());
    }

    fn accounts(&mut self) {
        for Account { entry, found, doubtful } in std::mem::take(&mut self.accounts) {
            if entry.first < self.recount.base {
                self.verdict.unprovable += entry.messages.input.saturating_sub(found.counts.input);
                continue;
            }
            if doubtful == 0 {
                self.figures(entry, &found.counts);
            }
            self.checksum(entry, found.checksum);
        }
    }

    /// Names every figure of the range that the records contradict.
    fn figures(&mut self, entry: &Entry, found: &Counts) {
        let ledger = &entry.messages;
        // Without the dead letters of that time, a partial result looks like any other.
        let partial = (entry.first >= self.horizon.dead).then_some(("partial", ledger.partial, found.partial));
        let figures = [
            ("messages", ledger.input, found.input),
            ("results", ledger.results, found.results),
            ("filtered", ledger.filtered, found.filtered),
            ("dead letters", ledger.dead, found.dead),
        ];
        let wrong = figures.into_iter().chain(partial).filter(|(_, ledger, records)| ledger != records);
        for (name, ledger, records) in wrong {
            self.findings.add(FindingKind::Count, &self.recount.at, (entry.first, entry.next), || {
                format!("the ledger of {} says {ledger} {name}, the records show {records}", entry.instance)
            });
        }
    }

    fn checksum(&mut self, entry: &Entry, found: u64) {
        if entry.checksum != Some(found) {
            self.findings.add(FindingKind::Checksum, &self.recount.at, (entry.first, entry.next), || {
                let ledger = entry.checksum.map_or("no number".into(), |sum| format!("{sum:016x}"));
                format!("the ledger's checksum is {ledger}, that of the messages {found:016x}")
            });
        }
    }
}

impl Recount {
    fn ways(&self, offset: i64, state: u8) -> String {
        let place = |answers: &Answers| answers.runs.find(offset).map_or("?".into(), |own| own.to_string());
        let mut ways = Vec::new();
        if state & RESULT != 0 {
            ways.push(format!("a result (at offset {})", place(&self.results)));
        }
        if state & DEAD != 0 {
            ways.push(format!("a dead letter (at offset {})", place(&self.dead)));
        }
        if state & FILTERED != 0 {
            ways.push("filtered in the ledger".into());
        }
        format!("ended more than once: {}", ways.join(", "))
    }
}

/// Counts of one range, from the records.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    counts: Counts,
    checksum: u64,
}

impl Counted {
    fn add(&mut self, state: u8) {
        let has = |bits: u8| u64::from(state & bits != 0);
        self.counts.input += 1;
        self.counts.results += has(RESULT);
        self.counts.filtered += has(FILTERED);
        self.counts.dead += u64::from(state & DEAD != 0 && state & PARTIAL == 0);
        self.counts.partial += has(PARTIAL);
    }
}

/// Source offsets below which answers may have been deleted: answers keep the order of their sources, so what answers
/// a message past the first surviving answer's is still there.
#[derive(Clone, Copy)]
struct Horizon {
    results: i64,
    dead: i64,
}

impl Horizon {
    fn may_have_expired(&self, offset: i64, state: u8, account: Option<&Account<'_>>) -> bool {
        let short = |of: fn(&Counts) -> u64| {
            account.is_none_or(|account| of(&account.found.counts) < of(&account.entry.messages))
        };
        let result = offset < self.results && short(|counts| counts.results);
        result || (offset < self.dead && state & PARTIAL == 0 && short(|counts| counts.dead))
    }
}

fn horizon(expired: bool, survivors: &Answers, end: i64) -> i64 {
    if expired { survivors.oldest.unwrap_or(end) } else { i64::MIN }
}

fn missing(state: u8) -> &'static str {
    match state & PARTIAL {
        0 => "no result, no dead letter, not filtered",
        _ => "a dead letter holds some of its rows, but the result of the others is missing",
    }
}

fn owner(accounts: &[Account<'_>], offset: i64) -> Option<usize> {
    let index = accounts.partition_point(|account| account.entry.first <= offset).checked_sub(1)?;
    (offset < accounts[index].entry.next).then_some(index)
}
