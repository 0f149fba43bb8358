//! The audit: proves from the topics alone that every message of a pipeline ended exactly once, or names those that
//! did not.
//!
//! ```text
//! input topic ──► messages ─┐
//! result topic ─► answers ──┼─► recount ─► findings ─► report     (deep)
//! dead letters ─► answers ──┤      ▲
//! ledger ───────► ranges ───┴─► chain ───► findings ─► report     (quick)
//! ```
//!
//! [`chain`] and [`recount`] are pure; what reads the log is here and in [`scan`], [`ledger`].

pub mod chain;
pub mod ledger;
pub mod models;
pub mod recount;
pub mod report;
mod request;
pub mod runs;
pub mod scan;
pub mod source;
pub mod tasks;
#[cfg(test)]
mod tests;
pub mod verdict;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lunapark_schemas::headers::{MODEL, SOURCE};
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::{Log, LogError, LogErrorKind};

use chain::{Chain, Entry, Scope};
use ledger::Ledger;
use models::CutBook;
use recount::{Answer, Recount, Spot};
use report::{AuditReport, FindingKind, Findings};
pub use request::{AuditRequest, Second};
use scan::{Scan, Span, work};
use source::Source;
use tasks::Open;
use verdict::{Expired, Verdict};

/// How long a commit may take to become visible everywhere once it is visible somewhere.
const SETTLE: Duration = Duration::from_secs(3);
/// Progress is told every so many records.
const PROGRESS_STEP: u64 = 10_000;

/// Audits a pipeline, running or not.
pub fn audit(log: &dyn Log, request: &AuditRequest) -> Result<AuditReport, LogError> {
    audit_with(log, request, &mut |_| {})
}

/// As [`audit`]; `progress` hears how many records have been read by the deep audit so far.
pub fn audit_with(
    log: &dyn Log,
    request: &AuditRequest,
    progress: &mut dyn FnMut(u64),
) -> Result<AuditReport, LogError> {
    let Some(second) = second(log, request)? else {
        return Audit::open(log, request, progress)?.run(request.interim.then(Open::default));
    };
    // What had begun before the second topic is looked at, and has nothing left there, must have ended by the time that
    // its end is looked for.
    let begun = ends(log, &request.results)?;
    let open = Open::read(log, &second)?;
    let second = Audit::open(log, &second, progress)?.run(None)?;
    let first = Audit { begun, ..Audit::open(log, request, progress)? };
    Ok(first.run(request.interim.then_some(open))?.and(second))
}

/// The audit of the second input topic, where there is one.
fn second(log: &dyn Log, request: &AuditRequest) -> Result<Option<AuditRequest>, LogError> {
    let Some(Second { group, topic, dead }) = request.second.clone() else { return Ok(None) };
    match log.topic(&topic) {
        Ok(_) => {
            let AuditRequest { group: first, topic: of_first, dead: dead_first, .. } = request.clone();
            let second = Some(Second { group: first, topic: of_first, dead: dead_first });
            Ok(Some(AuditRequest { pipeline: group.clone(), group, topic, dead, second, ..request.clone() }))
        }
        Err(error) if error.kind == LogErrorKind::TopicMissing => Ok(None),
        Err(error) => Err(error),
    }
}

struct Audit<'a> {
    log: &'a dyn Log,
    request: &'a AuditRequest,
    progress: &'a mut dyn FnMut(u64),
    read: u64,
    inputs: Vec<TopicPartition>,
    /// Where the group stood when the audit began, and when the ledger had been read.
    committed: Vec<Option<i64>>,
    committed_later: Vec<Option<i64>>,
    /// From then on, everything that was committed with those offsets is visible.
    settled: Instant,
    /// Ends of the result and dead-letter partitions before the group's offsets were looked up.
    result_ends: Vec<i64>,
    dead_ends: Vec<i64>,
    ledger: Ledger,
    /// Offsets that were left out, by input partition: `[from, to]`.
    filtered: HashMap<i32, Vec<(i64, i64)>>,
    /// What the group has left to do.
    pending: Vec<Span>,
    /// Ends of the result partitions before the second input topic was looked at.
    begun: Vec<i64>,
    /// What is said of tasks that cannot be audited yet.
    under_way: Option<String>,
    cuts: CutBook,
    findings: Findings,
    report: AuditReport,
}

impl<'a> Audit<'a> {
    /// Audits the messages; and where it is given what is still open, the tasks.
    fn run(mut self, open: Option<Open>) -> Result<AuditReport, LogError> {
        self.gather()?;
        for partition in 0..self.inputs.len() {
            self.partition(partition)?;
        }
        let pending = work(self.log, &self.pending)?;
        (self.report.pending, self.report.pending_exact) = (pending.messages, pending.exact);
        self.strays()?;
        if let Some(open) = open {
            self.tasks(open)?;
        }
        Ok(self.finish())
    }

    fn open(log: &'a dyn Log, request: &'a AuditRequest, progress: &'a mut dyn FnMut(u64)) -> Result<Self, LogError> {
        let AuditRequest { pipeline, topic, results, dead, ledgers, .. } = request;
        let inputs = partitions(log, topic)?;
        // The order matters while the pipeline runs: what is below these ends now was committed with offsets that
        // the next line sees.
        let (result_ends, dead_ends) = (ends(log, results)?, ends(log, dead)?);
        let committed = log.committed(&request.group, &inputs)?;
        // After the offsets: every cut of what they cover is known.
        let cuts = match &request.cuts {
            Some(cuts) if request.deep => {
                let numbers: Vec<i32> = inputs.iter().map(|at| at.partition).collect();
                CutBook::read(log, cuts, pipeline, topic, &numbers)?
            }
            _ => CutBook::default(),
        };
        let boundaries =
            inputs.iter().zip(&committed).filter_map(|(at, next)| Some((at.partition, (*next)?))).collect();
        Ok(Self {
            log,
            request,
            progress,
            read: 0,
            committed_later: committed.clone(),
            committed,
            settled: Instant::now() + SETTLE,
            inputs,
            result_ends,
            dead_ends,
            ledger: Ledger::open(log, ledgers, pipeline, topic.clone(), dead.clone())?.ending_ranges_at(boundaries),
            filtered: HashMap::new(),
            pending: Vec::new(),
            begun: Vec::new(),
            under_way: None,
            cuts,
            findings: Findings::naming(request.named_per_kind),
            report: AuditReport {
                pipeline: pipeline.clone(),
                topic: topic.to_string(),
                deep: request.deep,
                pending_exact: true,
                ..Default::default()
            },
        })
    }

    /// Reads the ledger up to where the group stood, waiting a little for commits that are on their way.
    fn gather(&mut self) -> Result<(), LogError> {
        loop {
            self.ledger.catch_up(self.log, &mut self.findings)?;
            if self.caught_up() || Instant::now() > self.settled {
                break;
            }
            scan::pause();
        }
        self.committed_later = self.log.committed(&self.request.group, &self.inputs)?;
        Ok(())
    }

    fn caught_up(&self) -> bool {
        self.inputs.iter().zip(&self.committed).all(|(at, committed)| {
            committed.is_none_or(|committed| self.ledger.end(at.partition).is_some_and(|end| committed <= end))
        })
    }

    fn partition(&mut self, index: usize) -> Result<(), LogError> {
        let at = self.inputs[index].clone();
        let entries = self.entries(index);
        let watermarks = self.log.watermarks(&at)?;
        let scope = Scope {
            at,
            low: watermarks.low,
            high: watermarks.high,
            committed: self.committed[index],
            ledger_expired: self.ledger.expired_until(),
            from_beginning: self.request.from_beginning,
        };
        let chain = chain::check(&scope, &entries, &mut self.findings);
        if self.request.interim {
            let spans = entries.iter().flat_map(|entry| entry.filtered.iter().copied()).collect();
            self.filtered.insert(scope.at.partition, spans);
        }
        entries.iter().for_each(|entry| self.add(entry));
        self.pending.push((scope.at.clone(), chain.end.max(scope.low), scope.high));
        let verdict = match self.request.deep {
            true => self.recount(&scope, &chain, &entries)?,
            false => self.estimate(&scope, &chain)?,
        };
        self.report.lost += verdict.lost;
        self.report.duplicated += verdict.duplicated;
        self.report.unprovable += verdict.unprovable + self.expired(&scope, &chain)?;
        Ok(())
    }

    /// The ranges of a partition in order, less those that were committed since the audit began.
    fn entries(&mut self, index: usize) -> Vec<Entry> {
        let mut entries = self.ledger.entries.remove(&self.inputs[index].partition).unwrap_or_default();
        let (began, later) = (self.committed[index], self.committed_later[index]);
        // Had the group committed nothing when the audit began, it has started since.
        let young = began.is_none() && later.is_some();
        let (began, later) = (began.unwrap_or(i64::MIN), later.unwrap_or(i64::MIN));
        let kept = |entry: &Entry| entry.first < began || entry.next > later || entry.first == entry.next;
        entries.retain(|entry| if entry.started { !young } else { kept(entry) });
        entries.sort_by_key(|entry| (entry.first, entry.next));
        entries
    }

    fn add(&mut self, entry: &Entry) {
        self.report.messages.add(&entry.messages);
        self.report.rows.add(&entry.rows);
    }

    /// Quick: as many messages are lost or doubled as stand in gaps and overlaps.
    fn estimate(&self, scope: &Scope, chain: &Chain) -> Result<Verdict, LogError> {
        let lost = self.messages(scope, &chain.gaps)?;
        let duplicated = self.messages(scope, &chain.overlaps)?;
        Ok(Verdict { lost, duplicated, unprovable: 0 })
    }

    fn messages(&self, scope: &Scope, spans: &[(i64, i64)]) -> Result<u64, LogError> {
        let there = |(first, next): &(i64, i64)| (scope.at.clone(), (*first).max(scope.low), (*next).min(scope.high));
        Ok(work(self.log, &spans.iter().map(there).collect::<Vec<_>>())?.messages)
    }

    fn expired(&self, scope: &Scope, chain: &Chain) -> Result<u64, LogError> {
        let gone = chain.expired.iter().map(|(first, next)| (*next.min(&scope.low) - first).max(0) as u64);
        Ok(gone.sum::<u64>() + self.messages(scope, &chain.expired)?)
    }

    /// Deep: reads the messages of the partition and everything that answers them.
    fn recount(&mut self, scope: &Scope, chain: &Chain, entries: &[Entry]) -> Result<Verdict, LogError> {
        let end = chain.end.min(scope.high);
        let mut input = Scan::open(self.log, &scope.at, scope.low.max(chain.start.unwrap_or(0)))?;
        let mut recount = Recount::new(scope.at.clone(), input.position(), end);
        input.until(end, |message| {
            recount.message(message.offset, message.headers.get(MODEL).is_some());
            self.tick();
            Ok::<(), LogError>(())
        })?;
        recount.filtered(entries, &mut self.findings);
        let (results, dead) = self.answers(scope.at.partition, &mut recount)?;
        Ok(recount.conclude(entries, Expired { results, dead }, &mut self.findings))
    }

    /// Reads results and dead letters until each message has its own, or nothing more can be on its way; whether
    /// retention has deleted some of either.
    fn answers(&mut self, partition: i32, recount: &mut Recount) -> Result<(bool, bool), LogError> {
        let mut results = Answers::open(self.log, &self.request.results, partition, &self.result_ends)?;
        let mut dead = Answers::open(self.log, &self.request.dead, partition, &self.dead_ends)?;
        loop {
            self.take(&mut results, recount, |_| Answer::Result)?;
            self.take(&mut dead, recount, dead_answer)?;
            if recount.complete() || Instant::now() > self.settled {
                return Ok((expired(&results), expired(&dead)));
            }
            scan::pause();
        }
    }

    fn take(
        &mut self,
        answers: &mut Option<Answers>,
        recount: &mut Recount,
        kind: impl Fn(&Message<'_>) -> Answer,
    ) -> Result<(), LogError> {
        let Some(Answers { at, scan, settled, .. }) = answers else { return Ok(()) };
        let end = self.log.watermarks(at)?.high;
        let mut spot = Spot { at: at.clone(), offset: 0, settled: true };
        // Work ends in any order: what has ended before the offset could pass it is accounted for when it does.
        let ahead = match self.request.interim {
            true => recount.end()..self.log.watermarks(&recount.at)?.high,
            false => 0..0,
        };
        let (interim, second) = (self.request.interim, self.request.second.as_ref().map(|second| &*second.topic));
        scan.until(end, |message| {
            let kind = kind(message);
            let source = source_of(kind, message);
            let no_answer = interim && kind == Answer::Result && message.headers.get(SOURCE).is_none();
            let early = |source: &Source<'_>| source.topic == &*recount.at.topic && ahead.contains(&source.offset);
            if no_answer
                || source.as_ref().is_some_and(early)
                || source.is_some_and(|source| Some(source.topic) == second)
            {
                return Ok::<(), LogError>(());
            }
            spot.offset = message.offset;
            spot.settled = message.offset < *settled;
            recount.answer(kind, &spot, source, &mut self.findings);
            if let Some(source) = source.filter(|source| kind == Answer::Result && recount.unpinned(source)) {
                self.cuts.check(message, &source, &recount.at, &mut self.findings);
            }
            self.tick();
            Ok::<(), LogError>(())
        })
    }

    /// Output partitions without an input partition of the same number should be empty: what stands there is named.
    fn strays(&mut self) -> Result<(), LogError> {
        let outputs = self.result_ends.len().max(self.dead_ends.len());
        for partition in self.inputs.len()..if self.request.deep { outputs } else { 0 } {
            let at = TopicPartition::new(self.request.topic.clone(), partition as i32);
            self.answers(partition as i32, &mut Recount::new(at, 0, 0))?;
        }
        Ok(())
    }

    fn tick(&mut self) {
        self.read += 1;
        if self.read.is_multiple_of(PROGRESS_STEP) {
            (self.progress)(self.read);
        }
    }

    fn finish(mut self) -> AuditReport {
        self.report.redriven = self.ledger.redriven.len() as u64;
        self.report.ranges = self.ledger.ranges;
        self.unknown_partitions();
        let sound = self.findings.is_empty() && self.report.unprovable == 0;
        self.report.proven = sound && self.report.ranges > 0;
        self.report.empty = sound && self.report.ranges == 0;
        self.report.notes = notes(&self.report);
        self.report.notes.extend(self.under_way.take());
        self.report.faults = self.findings.counts;
        self.report.findings = self.findings.named;
        self.report
    }

    /// Ranges of partitions that the topic does not have.
    fn unknown_partitions(&mut self) {
        for (partition, entries) in std::mem::take(&mut self.ledger.entries) {
            let at = TopicPartition::new(self.request.topic.clone(), partition);
            let span = entries.first().map_or((0, 0), |entry| (entry.first, entry.next));
            self.findings.add(FindingKind::BadLedger, &at, span, || {
                format!("{} ledger ranges are of a partition that the topic does not have", entries.len())
            });
        }
    }
}

/// One output partition while it is read.
struct Answers {
    at: TopicPartition,
    scan: Scan,
    settled: i64,
    expired: bool,
}

impl Answers {
    /// `None` where the topic has no such partition.
    fn open(log: &dyn Log, topic: &str, partition: i32, ends: &[i64]) -> Result<Option<Self>, LogError> {
        let Some(settled) = ends.get(partition as usize).copied() else { return Ok(None) };
        let at = TopicPartition::new(topic, partition);
        let low = log.watermarks(&at)?.low;
        Ok(Some(Self { scan: Scan::open(log, &at, low)?, at, settled, expired: low > 0 }))
    }
}

fn expired(answers: &Option<Answers>) -> bool {
    answers.as_ref().is_some_and(|answers| answers.expired)
}

fn dead_answer(message: &Message<'_>) -> Answer {
    match message.headers.get(lunapark_schemas::headers::dead::ROWS) {
        Some(_) => Answer::Partial,
        None => Answer::Dead,
    }
}

fn source_of<'m>(answer: Answer, message: &Message<'m>) -> Option<Source<'m>> {
    match answer {
        Answer::Result => Source::of_result(message.headers),
        Answer::Dead | Answer::Partial => Source::of_dead_letter(message.headers),
    }
}

fn partitions(log: &dyn Log, topic: &str) -> Result<Vec<TopicPartition>, LogError> {
    Ok((0..log.topic(topic)?.partitions).map(|partition| TopicPartition::new(topic, partition)).collect())
}

fn ends(log: &dyn Log, topic: &str) -> Result<Vec<i64>, LogError> {
    partitions(log, topic)?.iter().map(|at| log.watermarks(at).map(|ends| ends.high)).collect()
}

fn notes(report: &AuditReport) -> Vec<String> {
    let mut notes = Vec::new();
    if report.unprovable > 0 {
        notes.push(format!(
            "{} messages are unprovable, which is not lost: retention has deleted records that would prove them{}",
            report.unprovable,
            if report.deep { "; the quick audit needs the ledger only" } else { "" }
        ));
    }
    if report.ranges == 0 {
        notes.push(format!("the ledger accounts for nothing of pipeline {} on {} yet", report.pipeline, report.topic));
    }
    notes
}
