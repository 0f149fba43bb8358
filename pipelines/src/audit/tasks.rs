//! Whether each training task has exactly one status that ends it: read from the statuses themselves, whichever depth
//! the audit has.

use std::collections::HashMap;

use lunapark_schemas::training::TrainingStatus;
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::LogError;

use super::Audit;
use super::report::{FindingKind, Findings};
use super::scan::Scan;
use super::source::Source;

impl Audit<'_> {
    /// Each task has exactly one end, and one that was left out as a repetition has one too.
    pub(super) fn tasks(&mut self, unfinished: bool) -> Result<(), LogError> {
        for number in 0..self.result_ends.len() as i32 {
            let at = TopicPartition::new(self.request.results.clone(), number);
            let watermarks = self.log.watermarks(&at)?;
            let mut tasks = Tasks::new(at.clone(), self.begun.get(number as usize).copied().unwrap_or_default());
            Scan::open(self.log, &at, watermarks.low)?.until(watermarks.high, |message| {
                tasks.status(message, &mut self.findings);
                Ok::<(), LogError>(())
            })?;
            self.report.duplicated += tasks.duplicated;
            if !unfinished {
                self.report.lost += tasks.conclude(&mut self.findings);
            }
            // Of statuses that retention has deleted nothing can be said.
            if watermarks.low == 0 {
                self.repetitions(number, &tasks)?;
            }
        }
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

    /// Searches without an end, though all their trials have one; how many.
    pub fn conclude(&self, findings: &mut Findings) -> u64 {
        let old = self.begun.iter().filter(|(_, offset)| **offset < self.young);
        let open = old.filter(|(task, _)| !self.ended.contains_key(*task));
        open.map(|(task, offset)| {
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
