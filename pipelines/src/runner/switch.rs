//! Switching models at a transaction boundary: the cut is part of the transaction that begins at it.

use std::time::{Duration, Instant};

use lunapark_operator::{Codec, Operator};
use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::{Position, TopicPartition};

use super::batch::Work;
use super::{RunError, Runner};
use crate::swap::Switcher;

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

    /// Whether partitions are still to come.
    pub(super) fn taking_over(&self) -> bool {
        self.switcher.as_ref().is_some_and(Switcher::waits)
    }

    /// Partitions are not ours any more.
    pub(super) fn give_up(&mut self, partitions: &[TopicPartition]) {
        self.account.forget(partitions);
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
        tracing::error!(member = %self.settings.member, reason, "the shadow failed and is ended; results are not touched");
        self.metrics.shadow_failed();
        self.ahead.iter_mut().for_each(Work::forget_shadow);
        let Some(switcher) = &mut self.switcher else { return Ok(()) };
        let ends = switcher.end_shadows(&self.account.ends(), reason);
        self.write_cuts(&ends)
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
        let again = |work: Work<O::Out>| work.again(self.codec, &self.too_large);
        self.ahead = std::mem::take(&mut self.ahead).into_iter().map(again).collect();
    }

    /// What is committed: the next offset of each partition that moved. With cuts of all: a commit without offsets
    /// would let a member that lost its partitions write cuts for them.
    pub(super) fn next(&self) -> Vec<Position> {
        if self.switched() { self.account.ends() } else { self.account.next() }
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
