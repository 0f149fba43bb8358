//! The catalog as a value: what records say, and what may be decided on it. No I/O.

use std::collections::BTreeMap;

use lunapark_schemas::catalog::{CatalogRecord, ModelVersion, Reservation, Stage};

use super::{CatalogError, Registered, newest, search_text, search_words};

/// A catalog, read to some point of its history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    versions: BTreeMap<(String, u32), ModelVersion>,
    reservations: BTreeMap<(String, String), u32>,
}

/// What is to be written, if anything, and the answer once that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<T> {
    /// What the caller is told.
    pub answer: T,
    /// What must be written first; `None` where the answer is a fact already.
    pub write: Option<CatalogRecord>,
}

impl State {
    /// Takes in the next record of the history.
    pub fn apply(&mut self, record: CatalogRecord) {
        match record {
            CatalogRecord::Version(version) => {
                self.versions.insert((version.name.clone(), version.version), *version);
            }
            CatalogRecord::Reservation(Reservation { name, version, task_id }) => {
                self.reservations.insert((name, task_id), version);
            }
            // Which model scores is no matter of what models there are.
            CatalogRecord::Promotion(_) => {}
        }
    }

    /// Every version, by name and number.
    pub fn versions(&self) -> impl Iterator<Item = &ModelVersion> {
        self.versions.values()
    }

    /// Every number that belongs to a task.
    pub fn reservations(&self) -> impl Iterator<Item = Reservation> {
        self.reservations.iter().map(|((name, task_id), version)| Reservation {
            name: name.clone(),
            version: *version,
            task_id: task_id.clone(),
        })
    }

    /// One version, or without a number the newest that is not retired.
    pub fn get(&self, name: &str, version: Option<u32>) -> Option<ModelVersion> {
        match version {
            Some(number) => self.versions.get(&(name.to_owned(), number)).cloned(),
            None => newest(self.versions().filter(|version| version.name == name).cloned()),
        }
    }

    /// Versions whose text holds all the words.
    pub fn search(&self, text: &str) -> Vec<ModelVersion> {
        let words = search_words(text);
        let fits = |version: &&ModelVersion| {
            let text = search_text(version);
            words.iter().all(|word| text.contains(word))
        };
        self.versions().filter(fits).cloned().collect()
    }

    /// The number of a task: behind all that are known here, and behind `taken`, which others have.
    pub fn reserve(&self, name: &str, task_id: &str, taken: u32) -> Result<Decision<u32>, CatalogError> {
        Reservation::check(name, task_id)?;
        if let Some(version) = self.reservations.get(&(name.to_owned(), task_id.to_owned())) {
            return Ok(Decision { answer: *version, write: None });
        }
        let version = self.highest(name).max(taken).saturating_add(1);
        let reservation = Reservation { name: name.to_owned(), version, task_id: task_id.to_owned() };
        Ok(Decision { answer: version, write: Some(CatalogRecord::Reservation(reservation)) })
    }

    fn highest(&self, name: &str) -> u32 {
        let registered = self.versions.keys().filter(|(known, _)| known == name).map(|(_, version)| *version);
        let reserved = self.reservations.iter().filter(|((known, _), _)| known == name).map(|(_, version)| *version);
        registered.chain(reserved).max().unwrap_or(0)
    }

    /// Adds a version under the number that its task has.
    pub fn register(&self, entry: &ModelVersion) -> Result<Decision<Registered>, CatalogError> {
        entry.check()?;
        let reference = entry.reference();
        if self.reservations.get(&(entry.name.clone(), entry.task_id.clone())) != Some(&entry.version) {
            return Err(CatalogError::NotReserved { reference, task_id: entry.task_id.clone() });
        }
        match self.versions.get(&(entry.name.clone(), entry.version)) {
            None => {
                let write = Some(CatalogRecord::Version(Box::new(entry.clone())));
                Ok(Decision { answer: Registered::New, write })
            }
            Some(found) if found.digest == entry.digest => Ok(Decision { answer: Registered::Existed, write: None }),
            Some(found) => Err(CatalogError::Taken { reference, digest: found.digest.clone() }),
        }
    }

    /// Moves a version on. `decision` tells this change from another one to the same stage.
    pub fn set_stage(
        &self,
        name: &str,
        version: u32,
        (from, to): (Stage, Stage),
        decision: &str,
    ) -> Result<Decision<ModelVersion>, CatalogError> {
        let reference = || format!("{name}/{version}");
        let found = self.get(name, Some(version)).ok_or_else(|| CatalogError::Missing(reference()))?;
        if found.decision == decision {
            return Ok(Decision { answer: found, write: None });
        }
        if found.stage != from {
            return Err(CatalogError::Conflict { reference: reference(), expected: from, found: found.stage });
        }
        let changed = ModelVersion { stage: to, decision: decision.to_owned(), ..found };
        Ok(Decision { write: Some(CatalogRecord::Version(Box::new(changed.clone()))), answer: changed })
    }
}
