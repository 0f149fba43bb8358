//! Where a group starts that does not read what is there already: settled by a transaction of its own or the next one,
//! which says so in the ledger, so that an audit does not take what was there for lost.

use lunapark_operator::{Codec, Operator};
use lunapark_schemas::ledger::LedgerRecord;
use lunapark_schemas::{Position, TopicPartition};

use super::{RunError, Runner, account};

impl<C: Codec<O::Out>, O: Operator> Runner<'_, C, O> {
    /// Takes down in which of the partitions just assigned the group starts.
    pub(super) fn note_starts(&mut self) {
        let started = self.stream.started();
        self.forget_starts(&started.iter().map(Position::topic_partition).collect::<Vec<_>>());
        self.starts.extend(started);
    }

    /// They are not ours any more: whoever has them next starts there.
    pub(super) fn forget_starts(&mut self, partitions: &[TopicPartition]) {
        self.starts.retain(|start| !partitions.contains(&start.topic_partition()));
    }

    /// Tells the ledger where the accounts of partitions begin.
    pub(super) fn write_starts(&mut self) -> Result<(), RunError> {
        let (settings, routes) = (self.settings, &self.settings.routes);
        for start in &self.starts {
            let range = account::start(&settings.pipeline, &settings.member, start);
            let entry = routes.ledger.encode(&LedgerRecord::Range(range))?;
            self.stream.produce(&entry.record(Some(routes.ledger_partition)), None)?;
        }
        Ok(())
    }

    /// These offsets, and those of partitions in which the group starts and has not moved yet.
    pub(super) fn with_starts(&self, mut next: Vec<Position>) -> Vec<Position> {
        for start in &self.starts {
            if !next.iter().any(|moved| moved.topic_partition() == start.topic_partition()) {
                next.push(start.clone());
            }
        }
        next
    }
}
