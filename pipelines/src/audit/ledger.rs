//! Reads the ledger: the ranges of one pipeline and topic, and what was redriven.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lunapark_schemas::ledger::{LedgerRange, LedgerRecord, Redrive};
use lunapark_schemas::{Message, Position, TopicPartition};
use lunapark_topics::{Log, LogError, LogErrorKind};

use super::chain::Entry;
use super::report::{FindingKind, Findings};
use super::scan::{self, Scan};

/// More ranges than this (about 50 MB) are merged with their forerunner where they chain, so that a year of 50 ms
/// commits can be audited in bounded memory; findings then name the merged range.
const MERGE_ABOVE: usize = 250_000;

/// The ledger of one pipeline and one input topic, as far as it has been read.
pub struct Ledger {
    pipeline: String,
    topic: Arc<str>,
    dead_topic: Arc<str>,
    scans: Vec<LedgerScan>,
    instances: HashMap<String, Arc<str>>,
    boundaries: HashMap<i32, i64>,
    total: usize,
    /// Ranges by input partition, in the order read.
    pub entries: HashMap<i32, Vec<Entry>>,
    /// Dead letters that went back.
    pub redriven: BTreeSet<(i32, i64)>,
    /// Number of ranges read.
    pub ranges: u64,
}

struct LedgerScan {
    at: TopicPartition,
    scan: Scan,
    expired: bool,
    first_timestamp: Option<i64>,
}

impl Ledger {
    /// Opens the ledger topics for reading from their first records; of several, one may be missing.
    pub fn open(
        log: &dyn Log,
        ledgers: &[Arc<str>],
        pipeline: &str,
        topic: Arc<str>,
        dead_topic: Arc<str>,
    ) -> Result<Self, LogError> {
        let mut scans = Vec::new();
        for ledger in ledgers {
            match log.topic(ledger) {
                Ok(found) => (0..found.partitions).try_for_each(|partition| {
                    scans.push(LedgerScan::open(log, TopicPartition::new(ledger.clone(), partition))?);
                    Ok::<(), LogError>(())
                })?,
                Err(error) if error.kind == LogErrorKind::TopicMissing && ledgers.len() > 1 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            pipeline: pipeline.to_owned(),
            topic,
            dead_topic,
            scans,
            instances: HashMap::new(),
            boundaries: HashMap::new(),
            total: 0,
            entries: HashMap::new(),
            redriven: BTreeSet::new(),
            ranges: 0,
        })
    }

    /// Never merges ranges across these offsets (by partition): where the group stood when the audit began.
    pub fn ending_ranges_at(self, boundaries: HashMap<i32, i64>) -> Self {
        Self { boundaries, ..self }
    }

    /// Reads what has come since the last call.
    pub fn catch_up(&mut self, log: &dyn Log, findings: &mut Findings) -> Result<(), LogError> {
        let mut scans = std::mem::take(&mut self.scans);
        for each in &mut scans {
            let end = log.watermarks(&each.at)?.high;
            let LedgerScan { scan, first_timestamp, .. } = each;
            scan.until(end, |message| {
                first_timestamp.get_or_insert(message.timestamp);
                self.take(message, findings);
                Ok::<(), LogError>(())
            })?;
        }
        self.scans = scans;
        Ok(())
    }

    /// Where the ranges of a partition end; `None` where there are none.
    pub fn end(&self, partition: i32) -> Option<i64> {
        self.entries.get(&partition)?.iter().map(|entry| entry.next).max()
    }

    /// Ledger records written up to this time may be gone.
    pub fn expired_until(&self) -> i64 {
        let gone = self.scans.iter().filter(|each| each.expired);
        gone.map(|each| each.first_timestamp.unwrap_or(i64::MAX)).max().unwrap_or(i64::MIN)
    }

    fn take(&mut self, message: &Message<'_>, findings: &mut Findings) {
        // A null value is a fence that a redrive left (see `dlq redrive`), no account.
        let Some(value) = message.value else { return };
        match serde_json::from_slice(value) {
            Ok(LedgerRecord::Range(range)) => self.range(&range, message, findings),
            Ok(LedgerRecord::Redrive(redrive)) => self.redrive(&redrive),
            Err(error) => bad(message, findings, || format!("this is no ledger record: {error}")),
        }
    }

    fn redrive(&mut self, redrive: &Redrive) {
        if *redrive.topic == *self.dead_topic {
            self.redriven.insert((redrive.partition, redrive.offset));
        }
    }

    fn range(&mut self, range: &LedgerRange, message: &Message<'_>, findings: &mut Findings) {
        if range.pipeline != self.pipeline || *range.topic != *self.topic {
            return;
        }
        let LedgerRange { first, next, partition, started, .. } = *range;
        // A start accounts for nothing yet.
        self.ranges += u64::from(!started);
        if first < 0 || next < first || partition < 0 || (started && first < next) {
            let text = || format!("a ledger range of partition {partition} from {first} to {next} makes no sense");
            return bad(message, findings, text);
        }
        let instance = self.instances.entry(range.instance.clone()).or_insert_with(|| range.instance.as_str().into());
        let entry = Entry::new(range, instance.clone(), message.timestamp);
        let entries = self.entries.entry(partition).or_default();
        let merges = self.total >= MERGE_ABOVE && self.boundaries.get(&partition) != Some(&first);
        if merges && entries.last_mut().is_some_and(|last| last.merge(&entry)) {
            return;
        }
        self.total += 1;
        entries.push(entry);
    }
}

impl LedgerScan {
    fn open(log: &dyn Log, at: TopicPartition) -> Result<Self, LogError> {
        let low = log.watermarks(&at)?.low;
        Ok(Self { scan: Scan::open(log, &at, low)?, expired: low > 0, first_timestamp: None, at })
    }
}

fn bad(message: &Message<'_>, findings: &mut Findings, text: impl FnOnce() -> String) {
    findings.add(FindingKind::BadLedger, &message.topic_partition(), (message.offset, message.offset + 1), text);
}

/// Names of pipelines, and of topics of each, are listed up to so many: whoever can write the ledger may make any number up.
const MAX_NAMES: usize = 100;

/// The pipelines that have accounts in these ledgers, each with the topics that it has read; one ledger may be missing.
pub fn pipelines(log: &dyn Log, ledgers: &[Arc<str>]) -> Result<BTreeMap<String, BTreeSet<String>>, LogError> {
    let mut names = BTreeMap::<String, BTreeSet<String>>::new();
    for ledger in ledgers {
        let partitions = match log.topic(ledger) {
            Ok(found) => found.partitions,
            Err(error) if error.kind == LogErrorKind::TopicMissing => continue,
            Err(error) => return Err(error),
        };
        for partition in 0..partitions {
            let at = TopicPartition::new(ledger.clone(), partition);
            let end = log.watermarks(&at)?.high;
            Scan::open(log, &at, 0)?.until(end, |message| {
                let record = message.value.and_then(|value| serde_json::from_slice(value).ok());
                if let Some(LedgerRecord::Range(range)) = record {
                    note(&mut names, range);
                }
                Ok::<(), LogError>(())
            })?;
        }
    }
    Ok(names)
}

fn note(names: &mut BTreeMap<String, BTreeSet<String>>, range: LedgerRange) {
    if names.len() < MAX_NAMES || names.contains_key(&range.pipeline) {
        let topics = names.entry(range.pipeline).or_default();
        if topics.len() < MAX_NAMES {
            topics.insert(range.topic);
        }
    }
}

/// The dead letters of every topic that the ledger says were redriven.
pub fn redriven(log: &dyn Log, ledger: &str) -> Result<BTreeSet<Position>, LogError> {
    let mut positions = BTreeSet::new();
    scan::whole(log, ledger, |message| {
        positions.extend(redrive_of(message));
        Ok::<(), LogError>(())
    })?;
    Ok(positions)
}

/// As [`redriven`]; nothing was ever redriven where there is no account at all.
pub fn redriven_so_far(log: &dyn Log, ledger: &str) -> Result<BTreeSet<Position>, LogError> {
    match log.topic(ledger) {
        Err(error) if error.kind == LogErrorKind::TopicMissing => Ok(BTreeSet::new()),
        _ => redriven(log, ledger),
    }
}

/// The dead letter whose redrive this ledger record tells of.
pub fn redrive_of(message: &Message<'_>) -> Option<Position> {
    match serde_json::from_slice(message.value?) {
        Ok(LedgerRecord::Redrive(Redrive { topic, partition, offset, .. })) => {
            Some(Position { topic: topic.into(), partition, offset })
        }
        _ => None,
    }
}
