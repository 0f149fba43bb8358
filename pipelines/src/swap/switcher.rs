//! One stream thread's part: takes cuts over with a partition, makes new ones at transaction boundaries, and takes them
//! back where the transaction is aborted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lunapark_operator::VersionName;
use lunapark_schemas::cuts::{Canary, CutRecord, FORMAT, Role};
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
    /// The changes of the board up to which every held partition has its cuts.
    done: u64,
}

/// A shadow that scores: of which promotion, and which version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shadowing {
    /// Number of the promotion.
    pub promotion: u64,
    /// Model name.
    pub model: String,
    /// Model version.
    pub version: String,
}

impl Shadowing {
    fn of(cut: &CutRecord) -> Option<Self> {
        let (model, version) = (cut.model.clone(), cut.version.clone());
        cut.share.map(|_| Self { promotion: cut.promotion, model, version })
    }
}

impl Switcher {
    /// Nothing is owned yet.
    pub fn new(board: Arc<Switchboard>, table: Arc<CutTable>, health: Arc<Health>, member: &str) -> Self {
        let takeovers = Takeovers::new(board.clone(), health, member.to_owned());
        let (held, open) = (HashMap::new(), HashMap::new());
        Self { board, table, takeovers, held, open, switched: false, done: 0 }
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

    /// Takes partitions over once more because events in them name versions that are not loaded; what was committed of
    /// them ends at these offsets. They must be paused until [`arrived`](Self::arrived) gives them.
    pub fn wait_for(&mut self, starts: &[Position], versions: &[(i32, VersionName)]) {
        for start in starts {
            let held = self.held.remove(&start.partition).unwrap_or_default();
            self.table.set(start.partition, Default::default());
            let named = versions.iter().filter(|(partition, _)| *partition == start.partition);
            let named = held.versions().into_iter().chain(named.map(|(_, version)| version.clone())).collect();
            tracing::info!(partition = %start.topic_partition(), ?named, "events name versions that are not loaded");
            self.takeovers.ask_again(start.clone(), named, held);
        }
    }

    /// Whether partitions are still being taken over.
    pub fn waits(&self) -> bool {
        self.takeovers.waits()
    }

    /// Since when, for the last of them.
    pub fn waited(&self) -> Option<Duration> {
        self.takeovers.waited()
    }

    /// The partitions that can be scored from now on.
    pub fn arrived(&mut self) -> Vec<Position> {
        self.takeovers.arrived().into_iter().map(|taken| self.take(taken)).collect()
    }

    fn take(&mut self, Taken { start, held }: Taken) -> Position {
        self.hold(start.partition, held);
        self.done = 0;
        start
    }

    fn hold(&mut self, partition: i32, held: Held) {
        self.held.insert(partition, held);
        let mut table = self.held[&partition].table();
        if !self.board.cuts() && self.failing(partition).is_some() {
            // Its end cannot be recorded here, but it scores no more.
            table.shadow.clear();
        }
        self.table.set(partition, table);
    }

    /// Partitions that are not ours any more.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.takeovers.forget(partitions);
        for at in partitions.iter().filter(|at| at.topic == *self.board.source()) {
            self.held.remove(&at.partition);
            self.open.remove(&at.partition);
            self.table.set(at.partition, Default::default());
        }
    }

    /// Whether a switch is asked for that this thread has not looked at.
    pub fn due(&self) -> bool {
        self.done != self.board.changes() && !self.switched
    }

    /// Whether the open transaction holds cuts of partitions that need not have moved.
    pub fn is_open(&self) -> bool {
        self.switched
    }

    /// Makes the cuts that are asked for, at a transaction boundary: `next` are the next offsets of all partitions. The
    /// cuts hold at once in this process, and are to be written into the transaction that begins now.
    pub fn cut(&mut self, next: &[Position]) -> Vec<CutRecord> {
        // First the number: what is wanted later is looked at again.
        self.done = self.board.changes();
        let wants = self.board.wants();
        let (mut cuts, source) = (Vec::new(), self.board.source().clone());
        for at in next.iter().filter(|at| at.topic == source) {
            let made = [&wants.live, &wants.shadow].map(|wanted| self.wanted_cut(at, wanted.as_ref()?));
            let ended = self.failing(at.partition).and_then(|reason| self.end_of_shadow(at, &reason));
            // An end comes before a new beginning: the later promotion wins.
            let [live, shadow] = made;
            for made in [live, shadow.or(ended)].into_iter().flatten() {
                cuts.push(self.make(made));
            }
        }
        self.switched |= !cuts.is_empty();
        cuts
    }

    /// The shadows of this thread's partitions have failed. Noted for the whole process, so that neither an abort nor a
    /// restart of the thread begins them again; those of which that is news.
    pub fn fail_shadows(&mut self, reason: &str) -> Vec<Shadowing> {
        let mut shadows: Vec<_> = self.held.values().filter_map(|held| Shadowing::of(&held.shadowed()?.cut)).collect();
        shadows.sort();
        shadows.dedup();
        shadows.retain(|shadow| self.board.shadow_failed(shadow.promotion, reason));
        if !self.board.cuts() {
            let partitions: Vec<i32> = self.held.keys().copied().collect();
            partitions.into_iter().for_each(|partition| self.hold(partition, self.held[&partition].clone()));
        }
        shadows
    }

    /// The shadow that scores with this model.
    pub fn shadowing(&self, model: usize) -> Option<Shadowing> {
        let scores = |held: &&HeldCut| held.model.as_ref().is_some_and(|kept| kept.index == model);
        // One that ends within the open transaction has scored in it, too.
        let all = self.held.values().flat_map(|held| held.shadow.iter().rev());
        all.filter(scores).find_map(|held| Shadowing::of(&held.cut))
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
            format: FORMAT,
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
        if let Some(reason) = self.board.failure(promotion.id) {
            // A shadow that failed in another partition is not begun here, and the cut says so.
            return Some(HeldCut::bare(CutRecord { share: None, reason: Some(reason), ..whole.cut }));
        }
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

    /// Why the shadow of a partition does not score.
    fn failing(&self, partition: i32) -> Option<String> {
        self.board.failure(self.shadow_number(partition)?)
    }

    fn shadow_number(&self, partition: i32) -> Option<u64> {
        Some(self.held.get(&partition)?.shadowed()?.cut.promotion)
    }

    /// The transaction is committed: its cuts stay.
    pub fn committed(&mut self) {
        self.open.clear();
        self.switched = false;
    }

    /// The transaction is aborted: nothing was switched.
    pub fn aborted(&mut self) {
        if std::mem::take(&mut self.switched) {
            self.done = 0;
        }
        for (partition, before) in std::mem::take(&mut self.open) {
            self.hold(partition, before);
        }
    }
}
