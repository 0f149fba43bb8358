//! What the trials of searches came to so far: read from `training.trials` when a partition is taken over, kept up to date
//! since. All ends of a search are in one partition, so its owner knows all that came before.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lunapark_schemas::training::{TrialEnd, TrialPlace, TrialRecord};
use lunapark_schemas::{Message, Position};
use lunapark_topics::{Log, LogError};

use crate::audit::scan::Scan;

/// The ends of a search's trials, by rung and trial.
pub(super) type Ends = BTreeMap<(u32, u32), (TrialPlace, TrialEnd)>;

/// The searches of each partition.
#[derive(Default)]
pub(super) struct Searches {
    pages: Mutex<HashMap<i32, Page>>,
}

/// What was read of one partition.
#[derive(Clone, Default)]
struct Page {
    /// Where to read on: everything before is taken down.
    next: i64,
    /// By the folder of the search, which no other has.
    searches: HashMap<String, Ends>,
}

impl Searches {
    /// Reads a partition up to where its new owner begins, from where this process read it last.
    pub(super) fn read(&self, log: &dyn Log, start: &Position) -> Result<(), LogError> {
        let behind = |page: &&Page| page.next <= start.offset;
        let mut page = self.pages().get(&start.partition).filter(behind).cloned().unwrap_or_default();
        if page.next < start.offset {
            Scan::open(log, &start.topic_partition(), page.next)?.until(start.offset, |message| {
                if let Some(Ok(TrialRecord::Trained { of, at, end })) = message.value.map(serde_json::from_slice) {
                    page.note(&of.folder, &at, &end);
                }
                Ok::<(), LogError>(())
            })?;
            page.next = start.offset;
        }
        self.pages().insert(start.partition, page);
        Ok(())
    }

    /// A message that was answered before the offset passed it is read again: what it says holds for those behind it.
    pub(super) fn read_again(&self, message: &Message<'_>) {
        if let Some(Ok(TrialRecord::Trained { of, at, end })) = message.value.map(serde_json::from_slice) {
            self.note(&message.position(), &of.folder, &at, &end);
        }
    }

    /// What is known of a search.
    pub(super) fn ends(&self, partition: i32, folder: &str) -> Ends {
        self.pages().get(&partition).and_then(|page| page.searches.get(folder)).cloned().unwrap_or_default()
    }

    /// This end is committed.
    pub(super) fn note(&self, position: &Position, folder: &str, at: &TrialPlace, end: &TrialEnd) {
        self.pages().entry(position.partition).or_default().note(folder, at, end);
    }

    fn pages(&self) -> MutexGuard<'_, HashMap<i32, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    fn note(&mut self, folder: &str, at: &TrialPlace, end: &TrialEnd) {
        let ends = self.searches.entry(folder.to_owned()).or_default();
        ends.insert((at.rung, at.trial), (at.clone(), end.clone()));
    }
}
