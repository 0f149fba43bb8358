//! The writing thread's own account of the log: what is in the file, including what is not yet visible.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use redb::ReadTransaction;

use super::batch::Damaged;
use super::store::{DOOMED, ENDS, EPOCHS, META, NEXT_TOPIC, OFFSETS, Store, TOPICS, disk};
use super::topics::{Ends, StoredTopic};
use crate::error::{LogError, LogErrorKind};

/// Next offsets: by group, then by topic id and partition.
pub(crate) type Committed = BTreeMap<Arc<str>, BTreeMap<(u32, u32), i64>>;

/// Everything small of the file.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub topics: BTreeMap<Arc<str>, StoredTopic>,
    pub ends: HashMap<(u32, u32), Ends>,
    pub epochs: HashMap<Arc<str>, u64>,
    pub next_topic: u32,
}

impl Books {
    /// Reads them from the file, with the offsets that groups committed.
    pub fn load(store: &Store) -> Result<(Self, Committed), LogError> {
        store.read(|txn| {
            let books =
                Self { topics: topics(txn)?, ends: ends(txn)?, epochs: epochs(txn)?, next_topic: next_topic(txn)? };
            Ok((books, committed(txn)?))
        })
    }
}

/// Deleted topics whose records are still there: id and partitions.
pub(crate) fn doomed(store: &Store) -> Result<Vec<(u32, u32)>, LogError> {
    store.read(|txn| {
        let table = txn.open_table(DOOMED).map_err(disk)?;
        let rows = table.range::<u32>(..).map_err(disk)?;
        rows.map(|row| row.map(|(id, partitions)| (id.value(), partitions.value())).map_err(disk)).collect()
    })
}

fn topics(txn: &ReadTransaction) -> Result<BTreeMap<Arc<str>, StoredTopic>, LogError> {
    let table = txn.open_table(TOPICS).map_err(disk)?;
    let mut topics = BTreeMap::new();
    for row in table.range::<&str>(..).map_err(disk)? {
        let (name, bytes) = row.map_err(disk)?;
        let stored: StoredTopic = serde_json::from_slice(bytes.value()).map_err(|error| {
            let message = format!("topic `{}` does not read back: {error}", name.value());
            LogError::new(LogErrorKind::Corrupt, message)
        })?;
        topics.insert(stored.name.clone(), stored);
    }
    Ok(topics)
}

fn ends(txn: &ReadTransaction) -> Result<HashMap<(u32, u32), Ends>, LogError> {
    let table = txn.open_table(ENDS).map_err(disk)?;
    let rows = table.range::<(u32, u32)>(..).map_err(disk)?;
    rows.map(|row| {
        let (key, value) = row.map_err(disk)?;
        let (low, end, bytes) = value.value();
        Ok((key.value(), Ends { low: low as i64, end: end as i64, bytes }))
    })
    .collect()
}

fn epochs(txn: &ReadTransaction) -> Result<HashMap<Arc<str>, u64>, LogError> {
    let table = txn.open_table(EPOCHS).map_err(disk)?;
    let rows = table.range::<&str>(..).map_err(disk)?;
    rows.map(|row| row.map(|(id, epoch)| (Arc::from(id.value()), epoch.value())).map_err(disk)).collect()
}

fn committed(txn: &ReadTransaction) -> Result<Committed, LogError> {
    let table = txn.open_table(OFFSETS).map_err(disk)?;
    let mut committed = Committed::new();
    for row in table.range::<(&str, u32, u32)>(..).map_err(disk)? {
        let (key, next) = row.map_err(disk)?;
        let (group, topic, partition) = key.value();
        committed.entry(group.into()).or_default().insert((topic, partition), next.value() as i64);
    }
    Ok(committed)
}

fn next_topic(txn: &ReadTransaction) -> Result<u32, LogError> {
    let table = txn.open_table(META).map_err(disk)?;
    let next = table.get(NEXT_TOPIC).map_err(disk)?.map_or(1, |value| value.value());
    u32::try_from(next).map_err(|_| Damaged::from_text("the next topic id is too large").into())
}
