//! One stream thread's part: takes cuts over with a partition, makes new ones at transaction boundaries, and takes them
//! back where the transaction is aborted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lunapark_schemas::cuts::{Canary, CutRecord, Role};
use lunapark_schemas::promotion::PromotionKind;
use lunapark_schemas::{Position, TopicPartition};
use lunapark_score::CutTable;
use lunapark_topics::Topic;

use super::board::{Switchboard, Wanted};
use super::held::{Held, HeldCut};
use super::takeover::{Taken, Takeovers};
use crate::health::Health;

/// The cuts of the partitions that a stream thread owns.
pub struct Switcher {
    board: Arc<Switchboard>,
    /// What the thread's codec looks at. No other thread's: one that lost a partition may still think it is its own.
    table: Arc<CutTable>,
    takeovers: Takeovers,
    /// Effective cuts of each partition, those of the open transaction included.
    held: HashMap<i32, Held>,
    /// What the open transaction has changed: the cuts before it.
    open: HashMap<i32, Held>,
    /// The open transaction holds cuts of partitions that need not have moved.
    switched: bool,
    /// Shadows that do not score although their cuts say so, by number of the promotion, and why: they are to be ended.
    failed: BTreeMap<i32, (u64, String)>,
    /// Some of them are not ended yet.
    failed_anew: bool,
    /// The changes of the board up to which every held partition has its cuts.
    done: u64,
}

impl Switcher {
    /// Nothing is owned yet.
    pub fn new(board: Arc<Switchboard>, table: Arc<CutTable>, health: Arc<Health>, member: &str) -> Self {
        let takeovers = Takeovers::new(board.clone(), health, member.to_owned());
        let (held, open, failed) = (HashMap::new(), HashMap::new(), BTreeMap::new());
        Self { board, table, takeovers, held, open, switched: false, failed, failed_anew: false, done: 0 }
    }

    /// Where cuts go.
    pub fn topic(&self) -> &Topic<CutRecord> {
        &self.board.premises.cuts
    }

    /// Begins to take partitions over: their cuts are read, and the models loaded that may score from these offsets on.
    /// They must be paused until [`arrived`](Self::arrived) gives them.
    pub fn assigned(&mut self, starts: &[Position]) {
        self.takeovers.ask(starts);
    }

    /// Whether partitions are still being taken over.
    pub fn waits(&self) -> bool {
        self.takeovers.waits()
    }

    /// The partitions that can be scored from now on.
    pub fn arrived(&mut self) -> Vec<Position> {
        self.takeovers.arrived().into_iter().map(|taken| self.take(taken)).collect()
    }

    fn take(&mut self, Taken { start, held, shadow_failed }: Taken) -> Position {
        if let (Some(reason), Some(shadow)) = (shadow_failed, held.shadowed()) {
            self.failed.insert(start.partition, (shadow.cut.promotion, reason));
            self.failed_anew = self.board.cuts();
        }
        self.hold(start.partition, held);
        self.done = 0;
        start
    }

    fn hold(&mut self, partition: i32, held: Held) {
        self.table.set(partition, held.table());
        self.held.insert(partition, held);
    }

    /// Partitions that are not ours any more.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.takeovers.forget(partitions);
        for at in partitions.iter().filter(|at| at.topic == *self.board.source()) {
            self.held.remove(&at.partition);
            self.open.remove(&at.partition);
            self.failed.remove(&at.partition);
            self.table.set(at.partition, Default::default());
        }
    }

    /// Whether a switch is asked for that this thread has not looked at.
    pub fn due(&self) -> bool {
        (self.done != self.board.changes() || self.failed_anew) && !self.switched
    }

    /// Whether the open transaction holds cuts of partitions that need not have moved.
    pub fn is_open(&self) -> bool {
        self.switched
    }

    /// Makes the cuts that are asked for, at a transaction boundary: `next` are the next offsets of all partitions. The
    /// cuts hold at once in this process, and are to be written into the transaction that begins now.
    pub fn cut(&mut self, next: &[Position]) -> Vec<CutRecord> {
        // First the number: what is wanted later is looked at again.
        (self.done, self.failed_anew) = (self.board.changes(), false);
        let wants = self.board.wants();
        let (mut cuts, source) = (Vec::new(), self.board.source().clone());
        for at in next.iter().filter(|at| at.topic == source) {
            let made = [&wants.live, &wants.shadow].map(|wanted| self.wanted_cut(at, wanted.as_ref()?));
            let ended = self.failing(at.partition).and_then(|reason| self.end_of_shadow(at, reason));
            // An end comes before a new beginning: the later promotion wins.
            let [live, shadow] = made;
            for made in [live, shadow.or(ended)].into_iter().flatten() {
                cuts.push(self.make(made));
            }
        }
        self.switched |= !cuts.is_empty();
        cuts
    }

    /// Ends the shadows of all partitions from these offsets on: they do not score.
    pub fn end_shadows(&mut self, next: &[Position], reason: &str) -> Vec<CutRecord> {
        let ends: Vec<_> = next.iter().filter_map(|at| self.end_of_shadow(at, reason)).collect();
        self.switched |= !ends.is_empty();
        ends.into_iter().map(|end| self.make(end)).collect()
    }

    /// The cuts that say which configured model scores these partitions, where none says so yet; `first` is the first
    /// offset of each in the open transaction. So the past does not change with the configuration.
    pub fn configured(&mut self, first: &[Position]) -> Vec<CutRecord> {
        let missing: Vec<_> = first.iter().filter_map(|at| self.configured_cut(at)).collect();
        missing.into_iter().map(|cut| self.make(HeldCut::bare(cut))).collect()
    }

    fn configured_cut(&self, at: &Position) -> Option<CutRecord> {
        let held = self.held.get(&at.partition)?;
        let governing = held.governing(at.offset).map(|held| &held.cut);
        if governing.is_some_and(|cut| cut.promotion > 0) {
            return None;
        }
        let due = CutRecord { partition: at.partition, next_offset: at.offset, ..self.board.configured()? };
        let same = |cut: &CutRecord| (&cut.model, &cut.version, &cut.digest) == (&due.model, &due.version, &due.digest);
        (!governing.is_some_and(same)).then_some(due)
    }

    fn make(&mut self, made: HeldCut) -> CutRecord {
        let cut = made.cut.clone();
        tracing::info!(
            model = cut.model,
            version = cut.version,
            partition = cut.partition,
            next_offset = cut.next_offset,
            role = ?cut.role,
            "cut"
        );
        let before = self.held.get(&cut.partition).cloned().unwrap_or_default();
        let mut after = before.clone();
        after.add(made);
        self.open.entry(cut.partition).or_insert(before);
        self.hold(cut.partition, after);
        cut
    }

    fn wanted_cut(&self, at: &Position, wanted: &Wanted) -> Option<HeldCut> {
        let (held, promotion) = (self.held.get(&at.partition)?, &*wanted.promotion);
        let role = if promotion.kind.shadows() { Role::Shadow } else { Role::Live };
        if held.of(role).iter().any(|held| held.cut.promotion >= promotion.id) {
            return None;
        }
        let next_offset = promotion.planned(at.partition).unwrap_or(0).max(at.offset);
        let share = promotion.share.filter(|_| promotion.kind == PromotionKind::Shadow);
        let cut = CutRecord {
            pipeline: self.board.premises.pipeline.clone(),
            topic: at.topic.to_string(),
            partition: at.partition,
            next_offset,
            model: promotion.model.clone(),
            version: promotion.version.clone(),
            digest: promotion.digest.clone(),
            artifact: promotion.artifact.clone(),
            promotion: promotion.id,
            role,
            canary: None,
            share,
            reason: None,
        };
        let whole = HeldCut { cut, model: wanted.kept.clone(), canary: None };
        match promotion.kind {
            PromotionKind::Canary => self.canary_cut(held, whole, wanted),
            _ => Some(whole),
        }
    }

    /// The model that governs there goes on with the rest.
    fn canary_cut(&self, held: &Held, whole: HeldCut, wanted: &Wanted) -> Option<HeldCut> {
        let promoted = whole.cut;
        let base = match held.governing(promoted.next_offset).filter(|base| base.model.is_some()) {
            Some(base) => base.clone(),
            None => {
                let cut = self.board.configured()?;
                let model = self.board.models.keep(&cut.model, &cut.version, &cut.digest);
                HeldCut { cut, model, canary: None }
            }
        };
        let canary = Canary {
            model: promoted.model.clone(),
            version: promoted.version.clone(),
            digest: promoted.digest.clone(),
            artifact: promoted.artifact.clone(),
            share: wanted.promotion.share?,
        };
        let CutRecord { model, version, digest, artifact, .. } = base.cut;
        let cut = CutRecord { model, version, digest, artifact, canary: Some(canary), ..promoted };
        Some(HeldCut { cut, model: base.model, canary: whole.model })
    }

    fn end_of_shadow(&self, at: &Position, reason: &str) -> Option<HeldCut> {
        let shadow = self.held.get(&at.partition)?.shadowed()?.cut.clone();
        let cut = CutRecord { next_offset: at.offset, share: None, reason: Some(reason.to_owned()), ..shadow };
        Some(HeldCut::bare(cut))
    }

    /// Why the shadow of a partition does not score: what is said of an earlier one is not said of it.
    fn failing(&self, partition: i32) -> Option<&str> {
        let (number, reason) = self.failed.get(&partition)?;
        (self.shadow_number(partition) == Some(*number)).then_some(reason)
    }

    fn shadow_number(&self, partition: i32) -> Option<u64> {
        Some(self.held.get(&partition)?.shadowed()?.cut.promotion)
    }

    /// The transaction is committed: its cuts stay.
    pub fn committed(&mut self) {
        self.open.clear();
        self.switched = false;
        let mut failed = std::mem::take(&mut self.failed);
        failed.retain(|partition, (number, _)| self.shadow_number(*partition) == Some(*number));
        self.failed = failed;
    }

    /// The transaction is aborted: nothing was switched.
    pub fn aborted(&mut self) {
        if std::mem::take(&mut self.switched) {
            (self.done, self.failed_anew) = (0, !self.failed.is_empty());
        }
        for (partition, before) in std::mem::take(&mut self.open) {
            self.hold(partition, before);
        }
    }
}
