//! One stream thread's part: takes cuts over with a partition, makes new ones at transaction boundaries, and takes them
//! back where the transaction is aborted.

use std::collections::HashMap;
use std::sync::Arc;

use lunapark_schemas::cuts::{CutRecord, effective};
use lunapark_schemas::promotion::Promotion;
use lunapark_schemas::{Position, TopicPartition};
use lunapark_score::{Cut, CutTable};
use lunapark_topics::Topic;

use super::board::Switchboard;
use crate::runner::RunError;

/// The cuts of the partitions that a stream thread owns.
pub struct Switcher {
    board: Arc<Switchboard>,
    /// What the thread's codec looks at. No other thread's: one that lost a partition may still think it is its own.
    table: Arc<CutTable>,
    /// Effective cuts of each partition, those of the open transaction included.
    held: HashMap<i32, Vec<CutRecord>>,
    /// What the open transaction has changed: the cuts before it.
    open: HashMap<i32, Vec<CutRecord>>,
    /// The promotion up to which every held partition has its cut.
    done: u64,
}

impl Switcher {
    /// Nothing is owned yet.
    pub fn new(board: Arc<Switchboard>, table: Arc<CutTable>) -> Self {
        Self { board, table, held: HashMap::new(), open: HashMap::new(), done: 0 }
    }

    /// Where cuts go.
    pub fn topic(&self) -> &Topic<CutRecord> {
        &self.board.cuts
    }

    /// Takes partitions over: reads their cuts and loads the models that may score from these offsets on.
    pub fn assigned(&mut self, starts: &[Position]) -> Result<(), RunError> {
        let ours: Vec<_> = starts.iter().filter(|start| start.topic == self.board.source).collect();
        let partitions: Vec<i32> = ours.iter().map(|start| start.partition).collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let mut history = self.board.history(&partitions)?;
        for start in ours {
            let cuts = history.remove(&start.partition).unwrap_or_default();
            self.load(start, &cuts)?;
            self.hold(start.partition, cuts);
        }
        self.done = 0;
        Ok(())
    }

    /// Of each name the cut that governs the start, and every later one: what lies before is not scored again.
    fn load(&self, start: &Position, cuts: &[CutRecord]) -> Result<(), RunError> {
        let mut names: Vec<&str> = Vec::new();
        for cut in cuts.iter().rev() {
            if cut.next_offset > start.offset || !names.contains(&cut.model.as_str()) {
                self.board.load_cut(cut)?;
            }
            if cut.next_offset <= start.offset {
                names.push(&cut.model);
            }
        }
        Ok(())
    }

    fn hold(&mut self, partition: i32, cuts: Vec<CutRecord>) {
        let models = &self.board.models;
        let cut =
            |cut: &CutRecord| models.find(&cut.model, &cut.version).map(|model| Cut { from: cut.next_offset, model });
        self.table.set(partition, cuts.iter().filter_map(cut).collect());
        self.held.insert(partition, cuts);
    }

    /// Partitions that are not ours any more.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        for at in partitions.iter().filter(|at| at.topic == self.board.source) {
            self.held.remove(&at.partition);
            self.open.remove(&at.partition);
        }
    }

    /// Whether a switch is asked for that this thread has not looked at.
    pub fn due(&self) -> bool {
        self.board.wanted_id() > self.done && !self.is_open()
    }

    /// Whether the open transaction holds a cut.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Makes the cuts that are asked for, at a transaction boundary: `next` are the next offsets of all partitions. The
    /// cuts hold at once in this process, and are to be written into the transaction that begins now.
    pub fn cut(&mut self, next: &[Position]) -> Vec<CutRecord> {
        let Some(promotion) = self.board.wanted() else { return Vec::new() };
        self.done = promotion.id;
        let source = self.board.source.clone();
        next.iter().filter(|at| at.topic == source).filter_map(|at| self.cut_one(at, &promotion)).collect()
    }

    fn cut_one(&mut self, next: &Position, promotion: &Promotion) -> Option<CutRecord> {
        let cuts = self.held.get(&next.partition)?.clone();
        if cuts.iter().any(|cut| cut.promotion >= promotion.id) {
            return None;
        }
        let planned = promotion.planned(next.partition).unwrap_or(0);
        let cut = CutRecord {
            pipeline: self.board.pipeline.clone(),
            topic: next.topic.to_string(),
            partition: next.partition,
            next_offset: planned.max(next.offset),
            model: promotion.model.clone(),
            version: promotion.version.clone(),
            digest: promotion.digest.clone(),
            artifact: promotion.artifact.clone(),
            promotion: promotion.id,
        };
        tracing::info!(
            model = cut.model,
            version = cut.version,
            partition = cut.partition,
            next_offset = cut.next_offset,
            "cut"
        );
        let after = effective(cuts.iter().cloned().chain([cut.clone()]).collect());
        self.open.insert(next.partition, cuts);
        self.hold(next.partition, after);
        Some(cut)
    }

    /// The transaction is committed: its cuts stay.
    pub fn committed(&mut self) {
        self.open.clear();
    }

    /// The transaction is aborted: nothing was switched.
    pub fn aborted(&mut self) {
        if self.is_open() {
            self.done = 0;
        }
        for (partition, before) in std::mem::take(&mut self.open) {
            self.hold(partition, before);
        }
    }
}
