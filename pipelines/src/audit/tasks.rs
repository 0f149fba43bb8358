//! Whether each training task has exactly one status that ends it: read from the statuses themselves, whichever depth
//! the audit has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lunapark_schemas::training::{TrainingStatus, TrialRecord};
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::{Log, LogError};

use super::report::{FindingKind, Findings, NAMED_PER_KIND};
use super::scan::Scan;
use super::source::Source;
use super::{Audit, AuditRequest};

impl Audit<'_> {
    /// Each task has exactly one end, and one that was left out as a repetition has one too. A search of which a trial is
    /// open may still be without one.
    pub(super) fn tasks(&mut self, mut open: Open) -> Result<(), LogError> {
        let mut all = Vec::new();
        for number in 0..self.result_ends.len() as i32 {
            let at = TopicPartition::new(self.request.results.clone(), number);
            let watermarks = self.log.watermarks(&at)?;
            let mut tasks = Tasks::new(at.clone(), self.begun.get(number as usize).copied().unwrap_or_default());
            Scan::open(self.log, &at, watermarks.low)?.until(watermarks.high, |message| {
                if message.offset < tasks.young {
                    open.answered(message);
                }
                tasks.status(message, &mut self.findings);
                Ok::<(), LogError>(())
            })?;
            self.report.duplicated += tasks.duplicated;
            all.push((tasks, watermarks.low));
        }
        let open = open.searches();
        for (number, (tasks, low)) in (0..).zip(&all) {
            self.report.lost += tasks.conclude(&open, &mut self.findings);
            // Of statuses that retention has deleted nothing can be said.
            if *low == 0 {
                self.repetitions(number, tasks)?;
            }
        }
        self.under_way = under_way(&open, &all.iter().map(|(tasks, _)| tasks).collect::<Vec<_>>());
        Ok(())
    }

    fn repetitions(&mut self, number: i32, tasks: &Tasks) -> Result<(), LogError> {
        let Some(filtered) = self.filtered.get(&number).filter(|spans| !spans.is_empty()) else { return Ok(()) };
        let at = TopicPartition::new(self.request.topic.clone(), number);
        let end = self.log.watermarks(&at)?.high;
        let findings = &mut self.findings;
        let mut lost = 0;
        Scan::open(self.log, &at, 0)?.until(end, |message| {
            let left_out = filtered.iter().any(|(from, to)| (*from..=*to).contains(&message.offset));
            let task = named(message).filter(|task| left_out && !tasks.has_ended(task));
            if let Some(task) = task {
                lost += 1;
                findings.add(FindingKind::Task, &at, (message.offset, message.offset + 1), || {
                    format!("left out as a repetition, but the task `{task}` has no end")
                });
            }
            Ok::<(), LogError>(())
        })?;
        self.report.lost += lost;
        Ok(())
    }
}

/// Which searches may still end: messages of the second input topic that may not be answered yet.
#[derive(Default)]
pub struct Open {
    topic: Arc<str>,
    /// The search, by partition and offset.
    messages: HashMap<(i32, i64), String>,
}

impl Open {
    /// Reads them. A search under way always has a message without an answer, and what answers one writes the next, if
    /// there is any, in the same transaction. So what the group had committed is asked for first, and where the topic
    /// ends afterwards, open transactions included: whichever message was without an answer in between is found.
    pub(super) fn read(log: &dyn Log, request: &AuditRequest) -> Result<Self, LogError> {
        let inputs = super::partitions(log, &request.topic)?;
        let committed = log.committed(&request.group, &inputs)?;
        let mut open = Self { topic: request.topic.clone(), messages: HashMap::new() };
        for ((at, committed), end) in inputs.iter().zip(committed).zip(log.ends(&inputs)?) {
            let from = committed.unwrap_or_default().max(log.watermarks(at)?.low);
            if from >= end {
                continue;
            }
            Scan::open(log, at, from)?.until(end, |message| {
                if let Some(Ok(record)) = message.value.map(serde_json::from_slice::<TrialRecord>) {
                    open.messages.insert((message.partition, message.offset), record.origin().task_id.clone());
                }
                Ok::<(), LogError>(())
            })?;
        }
        Ok(open)
    }

    /// Takes out what this status answers: work ends before offsets pass it.
    fn answered(&mut self, status: &Message<'_>) {
        if let Some(source) = Source::of_result(status.headers).filter(|source| source.topic == &*self.topic) {
            self.messages.remove(&(source.partition, source.offset));
        }
    }

    /// The searches, and how many messages of each are open.
    fn searches(self) -> BTreeMap<String, u64> {
        let mut searches = BTreeMap::new();
        self.messages.into_values().for_each(|search| *searches.entry(search).or_default() += 1);
        searches
    }
}

/// What is pending, in words.
fn under_way(open: &BTreeMap<String, u64>, all: &[&Tasks]) -> Option<String> {
    let ended = |task: &str| all.iter().any(|tasks| tasks.ended.contains_key(task));
    let open: Vec<_> = open.iter().filter(|(task, _)| !ended(task)).collect();
    let names = open.iter().take(NAMED_PER_KIND as usize);
    let names: Vec<_> = names.map(|(task, count)| format!("`{task}` ({count} messages of its trials)")).collect();
    let more = if open.len() > names.len() { ", …" } else { "" };
    let what = format!("searches under way, whose ends are pending: {}{more}", names.join(", "));
    (!open.is_empty()).then_some(what)
}

/// The ends of the tasks of one partition.
pub struct Tasks {
    at: TopicPartition,
    /// Offset of the status that ended a task.
    ended: HashMap<String, i64>,
    /// Offset of the status that says that a search has begun.
    begun: HashMap<String, i64>,
    /// Searches that began from here on may still be under way.
    young: i64,
    /// Ends beyond the first.
    pub duplicated: u64,
}

/// What the audit needs of a status.
struct Word {
    task_id: String,
    terminal: bool,
    search: bool,
}

impl Tasks {
    /// Of the status partition; searches that began at offset `young` or later need not have ended.
    pub fn new(at: TopicPartition, young: i64) -> Self {
        Self { at, young, ended: HashMap::new(), begun: HashMap::new(), duplicated: 0 }
    }

    /// Looks at a status: what ends a task answers its request, and what answers a request ends its task.
    pub fn status(&mut self, message: &Message<'_>, findings: &mut Findings) {
        let source = Source::of_result(message.headers);
        let word = read(message);
        let span = (message.offset, message.offset + 1);
        match (&word, source) {
            (Some(word), Some(_)) if word.terminal => self.ended(word, message.offset, findings),
            (Some(word), None) if word.terminal => {
                findings.add(FindingKind::WrongSource, &self.at, span, || {
                    format!("this status ends the task `{}`, but names no request as its source", word.task_id)
                });
                self.ended(word, message.offset, findings);
            }
            (Some(_), None) => {}
            (Some(word), Some(_)) if word.search => {
                self.begun.entry(word.task_id.clone()).or_insert(message.offset);
            }
            (Some(word), Some(source)) => findings.add(FindingKind::Task, &self.at, span, || {
                format!("the answer to {source} does not end its task `{}`", word.task_id)
            }),
            (None, _) => findings.add(FindingKind::Task, &self.at, span, || "this is no training status".into()),
        }
    }

    fn ended(&mut self, word: &Word, offset: i64, findings: &mut Findings) {
        let Some(first) = self.ended.get(&word.task_id) else {
            self.ended.insert(word.task_id.clone(), offset);
            return;
        };
        self.duplicated += 1;
        findings.add(FindingKind::Task, &self.at, (offset, offset + 1), || {
            format!("the task `{}` ended before, at offset {first}", word.task_id)
        });
    }

    /// Searches without an end that are not among those `open`; how many.
    pub fn conclude(&self, open: &BTreeMap<String, u64>, findings: &mut Findings) -> u64 {
        let old = self.begun.iter().filter(|(_, offset)| **offset < self.young);
        let lost = old.filter(|(task, _)| !self.ended.contains_key(*task) && !open.contains_key(*task));
        lost.map(|(task, offset)| {
            findings.add(FindingKind::Task, &self.at, (*offset, *offset + 1), || {
                format!("the search `{task}` has no end, and no trial is left that could bring it")
            });
        })
        .count() as u64
    }

    /// Whether the task of a request that was left out has ended.
    pub fn has_ended(&self, task_id: &str) -> bool {
        self.ended.contains_key(task_id) || self.begun.contains_key(task_id)
    }
}

fn read(message: &Message<'_>) -> Option<Word> {
    let status: TrainingStatus = serde_json::from_slice(message.value?).ok()?;
    let (terminal, search) = (status.task_status.terminal(), status.search.is_some());
    Some(Word { task_id: status.task_id, terminal, search })
}

/// The task that a request names.
pub fn named(message: &Message<'_>) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        task_id: Option<String>,
    }
    serde_json::from_slice::<Named>(message.value?).ok()?.task_id
}
