//! Switching models at a transaction boundary: the cut is part of the transaction that begins at it.

use std::time::Instant;

use lunapark_operator::{Codec, Operator};
use lunapark_schemas::{Position, TopicPartition};

use super::batch::Work;
use super::{RunError, Runner};
use crate::swap::Switcher;

impl<C: Codec<O::Out>, O: Operator> Runner<'_, C, O> {
    /// The same runner, switching models.
    pub fn switching(mut self, switcher: Option<Switcher>) -> Self {
        self.switcher = switcher;
        self
    }

    /// Partitions are ours from now on: their cuts are known before their first message is read. What is open ends
    /// first: the cuts may have to be waited for longer than the log lets a transaction stay open.
    pub(super) fn take_over(&mut self, starts: &[Position]) -> Result<(), RunError> {
        if self.switcher.is_some() {
            self.commit_or_abort()?;
        }
        self.account.assign(starts);
        self.switcher.as_mut().map_or(Ok(()), |switcher| switcher.assigned(starts))
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
        for cut in &cuts {
            let record = switcher.topic().encode(cut)?;
            self.stream.produce(&record.record(Some(cut.partition)), None)?;
        }
        if !cuts.is_empty() {
            self.opened.get_or_insert_with(Instant::now);
            self.decode_ahead_again();
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
