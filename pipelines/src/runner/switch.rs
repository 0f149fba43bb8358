//! Switching models at a transaction boundary: the cut is part of the transaction that begins at it.

use std::time::{Duration, Instant};

use lunapark_operator::{Codec, Operator, VersionName};
use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::{Position, TopicPartition};

use super::batch::Work;
use super::{RunError, Runner};
use crate::swap::{Shadowing, Switcher};

/// Cuts and models that are at hand come within milliseconds. Kafka's client looks only once a second whether it may
/// fetch what was paused.
const AT_ONCE: Duration = Duration::from_millis(250);

/// What arrives while nothing is read; no longer than [`AT_ONCE`].
fn arrived_at_once(switcher: &mut Switcher) -> Vec<Position> {
    let deadline = Instant::now() + AT_ONCE;
    let mut arrived = switcher.arrived();
    while switcher.waits() && Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(1));
        arrived.extend(switcher.arrived());
    }
    arrived
}

impl<C: Codec<O::Out>, O: Operator> Runner<'_, C, O> {
    /// The same runner, switching models.
    pub fn switching(mut self, switcher: Option<Switcher>) -> Self {
        self.switcher = switcher;
        self
    }

    /// Partitions are ours from now on. Their cuts have to be known before their first message is read: those of which they
    /// are not there at once are paused until they are, and the others go on meanwhile.
    pub(super) fn take_over(&mut self, starts: &[Position]) -> Result<(), RunError> {
        let Some(switcher) = &mut self.switcher else {
            self.account.assign(starts);
            return Ok(());
        };
        switcher.assigned(starts);
        let arrived = arrived_at_once(switcher);
        self.account.assign(&arrived);
        let late = starts.iter().filter(|start| !arrived.contains(start));
        let late: Vec<_> = late.map(Position::topic_partition).collect();
        if late.is_empty() { Ok(()) } else { Ok(self.stream.pause(&late)?) }
    }

    /// Reads on where everything that a partition needs has come.
    pub(super) fn take_arrived(&mut self) -> Result<(), RunError> {
        let Some(switcher) = self.switcher.as_mut().filter(|switcher| switcher.waits()) else { return Ok(()) };
        let arrived = switcher.arrived();
        self.account.assign(&arrived);
        let places: Vec<_> = arrived.iter().map(Position::topic_partition).collect();
        if places.is_empty() { Ok(()) } else { Ok(self.stream.resume(&places)?) }
    }

    /// How long partitions that are still to come have waited.
    pub(super) fn taking_over(&self) -> Option<Duration> {
        self.switcher.as_ref().and_then(Switcher::waited)
    }

    /// Events name versions that are not loaded: their partitions are taken over once more, with these, and the others go
    /// on. What was read and not written is read again.
    pub(super) fn wait_for(&mut self, waiting: &[(i32, VersionName)]) -> Result<(), RunError> {
        self.commit()?;
        let all = self.account.firsts();
        let names = |start: &&Position| waiting.iter().any(|(partition, _)| *partition == start.partition);
        let starts: Vec<_> = all.iter().filter(names).cloned().collect();
        let places: Vec<_> = starts.iter().map(Position::topic_partition).collect();
        let Some(switcher) = self.switcher.as_mut().filter(|_| !starts.is_empty()) else {
            let what = "messages wait for models in partitions that are not assigned".to_owned();
            return Err(RunError::Operator { operator: self.operator.name(), what });
        };
        switcher.wait_for(&starts, waiting);
        self.ahead.clear();
        self.stream.pause(&places)?;
        self.stream.abort(&all)?;
        self.account.forget(&places);
        self.times.clear();
        Ok(())
    }

    /// Partitions are not ours any more.
    pub(super) fn give_up(&mut self, partitions: &[TopicPartition]) {
        self.account.forget(partitions);
        self.forget_starts(partitions);
        if let Some(switcher) = &mut self.switcher {
            switcher.forget(partitions);
        }
    }

    /// Whether the open transaction is to end so that a switch can be made.
    pub(super) fn switch_waits(&self) -> bool {
        self.switcher.as_ref().is_some_and(Switcher::due) && self.account.messages() > 0
    }

    /// Whether the open transaction holds cuts.
    pub(super) fn switched(&self) -> bool {
        self.switcher.as_ref().is_some_and(Switcher::is_open)
    }

    /// Makes the switch that is asked for where no transaction is open, and begins one with its cuts.
    pub(super) fn switch_at_boundary(&mut self) -> Result<(), RunError> {
        let boundary = self.account.messages() == 0;
        let Some(switcher) = self.switcher.as_mut().filter(|switcher| boundary && switcher.due()) else {
            return Ok(());
        };
        let cuts = switcher.cut(&self.account.firsts());
        if !cuts.is_empty() {
            self.write_cuts(&cuts)?;
            self.opened.get_or_insert_with(Instant::now);
            self.decode_ahead_again();
        }
        Ok(())
    }

    /// Which configured model scores, for partitions of which no cut says so yet.
    pub(super) fn cut_to_configured(&mut self) -> Result<(), RunError> {
        let Some(switcher) = &mut self.switcher else { return Ok(()) };
        let cuts = switcher.configured(&self.account.begun());
        self.write_cuts(&cuts)
    }

    /// A shadow that fails ends for all partitions of this thread, before the first event that it did not score.
    pub(super) fn end_shadows(&mut self, reason: &str) -> Result<(), RunError> {
        self.fail_shadows(reason);
        self.ahead.iter_mut().for_each(Work::forget_shadow);
        let Some(switcher) = &mut self.switcher else { return Ok(()) };
        let ends = switcher.end_shadows(&self.account.ends(), reason);
        self.write_cuts(&ends)
    }

    /// The shadow of this thread has failed: it is not begun again, whatever becomes of the open transaction.
    pub(super) fn fail_shadows(&mut self, reason: &str) {
        let failed = self.switcher.as_mut().map(|switcher| switcher.fail_shadows(reason)).unwrap_or_default();
        for shadow in failed {
            let Shadowing { promotion, model, version } = &shadow;
            let member = &self.settings.member;
            let what = "the shadow failed and is ended; results are not touched";
            tracing::error!(%member, promotion, model, version, reason, "{what}");
            self.metrics.shadow_failed(&shadow);
        }
    }

    fn write_cuts(&mut self, cuts: &[CutRecord]) -> Result<(), RunError> {
        let Some(switcher) = &self.switcher else { return Ok(()) };
        for cut in cuts {
            let record = switcher.topic().encode(cut)?;
            self.stream.produce(&record.record(Some(cut.partition)), None)?;
        }
        Ok(())
    }

    /// What was read ahead was decoded for the model before.
    fn decode_ahead_again(&mut self) {
        let ahead = std::mem::take(&mut self.ahead);
        self.ahead = ahead.into_iter().map(|work| work.again(self.codec, self.known())).collect();
    }

    /// What is committed: the next offset of each partition that moved, or in which the group starts. With cuts of all: a commit without offsets
    /// would let a member that lost its partitions write cuts for them.
    pub(super) fn next(&self) -> Vec<Position> {
        self.with_starts(if self.switched() { self.account.ends() } else { self.account.next() })
    }

    pub(super) fn switch_made(&mut self) {
        if let Some(switcher) = &mut self.switcher {
            switcher.committed();
        }
    }

    pub(super) fn switch_undone(&mut self) {
        if let Some(switcher) = &mut self.switcher {
            switcher.aborted();
        }
    }
}
