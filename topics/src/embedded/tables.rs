//! One write transaction of the file: stages changes one after the other, all of which then share one sync.

use std::collections::HashSet;
use std::sync::Arc;

use redb::{Database, ReadableTable, Table, WriteTransaction};

use super::batch::Batch;
use super::books::Books;
use super::change::{Append, Change, Fence, Lot, Next, Reply};
use super::store::{BATCHES, DOOMED, ENDS, EPOCHS, INDEX, META, NEXT_TOPIC, OFFSETS, TOPICS, disk};
use super::topics::{StoredTopic, missing};
use crate::error::{LogError, LogErrorKind};
use crate::log::Created;

/// A `Trim` removes at most so many runs or bytes, so that commits never wait long behind it.
const TRIM_RUNS: usize = 256;
const TRIM_BYTES: u64 = 32 << 20;

/// What becomes visible once the transaction is durable.
#[derive(Debug)]
pub(crate) enum Effect {
    /// These runs are new, and these offsets committed.
    Appended { batches: Vec<(u32, u32, Arc<Batch>)>, group: Arc<str>, offsets: Vec<Next> },
    /// This topic is new.
    Created(StoredTopic),
    /// This topic is gone.
    Deleted(u32),
    /// Runs of this partition were replaced.
    Rewritten(u32, u32),
    /// Nothing that readers see.
    Nothing,
}

/// A change that was staged, or refused without a trace.
pub(crate) type Staged = Result<(Reply, Effect), LogError>;

/// The outcome of each change, and the partitions (topic id and number) whose ends moved.
pub(crate) type Outcome = (Vec<Staged>, HashSet<(u32, u32)>);

/// Stages `changes` and makes them durable. An error means that none of it happened, and that `books` are no longer
/// true.
pub(crate) fn commit(db: &Database, books: &mut Books, changes: &mut [Change]) -> Result<Outcome, LogError> {
    let mut txn = db.begin_write().map_err(disk)?;
    // Costs a second sync per commit and buys an opening after kill -9 that does not read the whole file.
    txn.set_quick_repair(true);
    let (staged, moved) = {
        let mut tables = Tables::open(&txn, books)?;
        let staged: Vec<Staged> =
            changes.iter_mut().map(|change| tables.stage(change)).collect::<Result<_, LogError>>()?;
        tables.save_ends()?;
        (staged, tables.moved)
    };
    match staged.iter().any(Result::is_ok) {
        true => txn.commit().map_err(disk)?,
        false => txn.abort().map_err(disk)?,
    }
    Ok((staged, moved))
}

type Key = (u32, u32, u64);
/// Base and bytes of runs, and the base of the first run after them.
type Expired = (Vec<(u64, u64)>, Option<u64>);

struct Tables<'t> {
    batches: Table<'t, Key, &'static [u8]>,
    index: Table<'t, Key, (u64, i64, u64)>,
    ends: Table<'t, (u32, u32), (u64, u64, u64)>,
    offsets: Table<'t, (&'static str, u32, u32), u64>,
    epochs: Table<'t, &'static str, u64>,
    topics: Table<'t, &'static str, &'static [u8]>,
    doomed: Table<'t, u32, u32>,
    meta: Table<'t, &'static str, u64>,
    books: &'t mut Books,
    moved: HashSet<(u32, u32)>,
}

impl<'t> Tables<'t> {
    fn open(txn: &'t WriteTransaction, books: &'t mut Books) -> Result<Self, LogError> {
        Ok(Self {
            batches: txn.open_table(BATCHES).map_err(disk)?,
            index: txn.open_table(INDEX).map_err(disk)?,
            ends: txn.open_table(ENDS).map_err(disk)?,
            offsets: txn.open_table(OFFSETS).map_err(disk)?,
            epochs: txn.open_table(EPOCHS).map_err(disk)?,
            topics: txn.open_table(TOPICS).map_err(disk)?,
            doomed: txn.open_table(DOOMED).map_err(disk)?,
            meta: txn.open_table(META).map_err(disk)?,
            books,
            moved: HashSet::new(),
        })
    }

    /// The outer error is the file's, the inner one a refusal.
    fn stage(&mut self, change: &mut Change) -> Result<Staged, LogError> {
        match change {
            Change::Append(append) => self.append(append),
            Change::OpenId(id) => self.open_id(id),
            Change::Create(topic) => self.create(topic),
            Change::Delete(name) => self.delete(name),
            Change::Trim { topic, partition, below } => self.trim((*topic, *partition), *below),
            Change::Forget { topic } => {
                self.doomed.remove(*topic).map_err(disk)?;
                Ok(Ok((Reply::Done, Effect::Nothing)))
            }
            Change::Rewrite { topic, partition, remove, insert } => {
                self.rewrite((*topic, *partition), remove, std::mem::take(insert))
            }
            Change::Shrink | Change::Stop => Ok(Ok((Reply::Done, Effect::Nothing))),
        }
    }

    fn append(&mut self, append: &mut Append) -> Result<Staged, LogError> {
        if let Some(refusal) = self.refusal(append) {
            return Ok(Err(refusal));
        }
        let mut batches = Vec::with_capacity(append.lots.len());
        for lot in std::mem::take(&mut append.lots) {
            let (topic, partition) = (lot.topic, lot.partition);
            batches.push((topic, partition, self.append_lot(lot)?));
        }
        for next in &append.offsets {
            let key = (&*append.group, next.topic, next.partition);
            self.offsets.insert(key, next.offset.max(0) as u64).map_err(disk)?;
        }
        let (group, offsets) = (append.group.clone(), std::mem::take(&mut append.offsets));
        Ok(Ok((Reply::Done, Effect::Appended { batches, group, offsets })))
    }

    fn refusal(&self, append: &Append) -> Option<LogError> {
        let gone = |topic, partition| !self.books.ends.contains_key(&(topic, partition));
        if append.lots.iter().any(|lot| gone(lot.topic, lot.partition))
            || append.offsets.iter().any(|next| gone(next.topic, next.partition))
        {
            let message = "a topic was deleted while records for it, or offsets in it, were waiting; open it again";
            return Some(LogError::new(LogErrorKind::TopicMissing, message));
        }
        append.fence.as_ref().and_then(|fence| self.fenced(fence))
    }

    fn fenced(&self, fence: &Fence) -> Option<LogError> {
        let epoch = self.books.epochs.get(&fence.id).copied().unwrap_or(0);
        (epoch != fence.epoch).then(|| super::groups::fenced(&fence.id))
    }

    fn append_lot(&mut self, lot: Lot) -> Result<Arc<Batch>, LogError> {
        let at = (lot.topic, lot.partition);
        let ends = self.books.ends.entry(at).or_default();
        let batch = Batch { base: ends.end, run: lot.run };
        ends.end = batch.last() + 1;
        ends.bytes += batch.run.bytes().len() as u64;
        self.moved.insert(at);
        self.insert(at, &batch)?;
        Ok(Arc::new(batch))
    }

    fn insert(&mut self, (topic, partition): (u32, u32), batch: &Batch) -> Result<(), LogError> {
        let key = (topic, partition, batch.base as u64);
        self.batches.insert(key, batch.run.bytes()).map_err(disk)?;
        let facts = (batch.last() as u64, batch.run.newest(), batch.run.bytes().len() as u64);
        self.index.insert(key, facts).map_err(disk)?;
        Ok(())
    }

    fn open_id(&mut self, id: &Arc<str>) -> Result<Staged, LogError> {
        let epoch = self.books.epochs.entry(id.clone()).or_default();
        *epoch += 1;
        self.epochs.insert(&**id, *epoch).map_err(disk)?;
        Ok(Ok((Reply::Epoch(*epoch), Effect::Nothing)))
    }

    fn create(&mut self, wanted: &StoredTopic) -> Result<Staged, LogError> {
        if let Some(found) = self.books.topics.get(&wanted.name) {
            let check = wanted.spec().check_against(&found.info(None));
            return Ok(check.map(|()| (Reply::Created(Created::Existed), Effect::Nothing)));
        }
        let topic = StoredTopic { id: self.books.next_topic, ..wanted.clone() };
        self.books.next_topic += 1;
        self.meta.insert(NEXT_TOPIC, u64::from(self.books.next_topic)).map_err(disk)?;
        let bytes = serde_json::to_vec(&topic).map_err(|e| LogError::new(LogErrorKind::Internal, e.to_string()))?;
        self.topics.insert(&*topic.name, bytes.as_slice()).map_err(disk)?;
        for partition in 0..topic.partitions {
            self.books.ends.insert((topic.id, partition), Default::default());
            self.moved.insert((topic.id, partition));
        }
        self.books.topics.insert(topic.name.clone(), topic.clone());
        Ok(Ok((Reply::Created(Created::New), Effect::Created(topic))))
    }

    fn delete(&mut self, name: &Arc<str>) -> Result<Staged, LogError> {
        let Some(topic) = self.books.topics.remove(name) else { return Ok(Err(missing(name))) };
        self.topics.remove(&**name).map_err(disk)?;
        self.doomed.insert(topic.id, topic.partitions).map_err(disk)?;
        for partition in 0..topic.partitions {
            self.books.ends.remove(&(topic.id, partition));
            self.moved.remove(&(topic.id, partition));
            self.ends.remove((topic.id, partition)).map_err(disk)?;
        }
        self.offsets.retain(|(_, id, _), _| id != topic.id).map_err(disk)?;
        Ok(Ok((Reply::Done, Effect::Deleted(topic.id))))
    }

    fn trim(&mut self, at: (u32, u32), below: i64) -> Result<Staged, LogError> {
        let (old, first_left) = self.expired(at, below)?;
        for (base, _) in &old {
            self.remove(at, *base)?;
        }
        if let Some(ends) = self.books.ends.get_mut(&at)
            && !old.is_empty()
        {
            ends.low = first_left.map_or(ends.end, |base| base as i64);
            ends.bytes = ends.bytes.saturating_sub(old.iter().map(|(_, bytes)| bytes).sum());
            self.moved.insert(at);
        }
        Ok(Ok((Reply::Removed(old.len()), Effect::Nothing)))
    }

    /// The next runs that end below this offset.
    fn expired(&self, (topic, partition): (u32, u32), below: i64) -> Result<Expired, LogError> {
        let (mut old, mut total) = (Vec::new(), 0);
        for row in self.index.range((topic, partition, 0)..=(topic, partition, u64::MAX)).map_err(disk)? {
            let (key, value) = row.map_err(disk)?;
            let ((_, _, base), (last, _, bytes)) = (key.value(), value.value());
            if last as i64 >= below || old.len() == TRIM_RUNS || total >= TRIM_BYTES {
                return Ok((old, Some(base)));
            }
            total += bytes;
            old.push((base, bytes));
        }
        Ok((old, None))
    }

    fn rewrite(&mut self, at: (u32, u32), remove: &[u64], insert: Vec<Batch>) -> Result<Staged, LogError> {
        if !self.books.ends.contains_key(&at) {
            return Ok(Ok((Reply::Removed(0), Effect::Nothing)));
        }
        let mut freed = 0;
        for base in remove {
            freed += self.remove(at, *base)?;
        }
        let mut added = 0;
        for batch in &insert {
            self.insert(at, batch)?;
            added += batch.run.bytes().len() as u64;
        }
        if let Some(ends) = self.books.ends.get_mut(&at) {
            ends.bytes = (ends.bytes + added).saturating_sub(freed);
            self.moved.insert(at);
        }
        Ok(Ok((Reply::Removed(remove.len()), Effect::Rewritten(at.0, at.1))))
    }

    fn remove(&mut self, (topic, partition): (u32, u32), base: u64) -> Result<u64, LogError> {
        self.batches.remove((topic, partition, base)).map_err(disk)?;
        let facts = self.index.remove((topic, partition, base)).map_err(disk)?;
        Ok(facts.map_or(0, |facts| facts.value().2))
    }

    fn save_ends(&mut self) -> Result<(), LogError> {
        for at in &self.moved {
            if let Some(ends) = self.books.ends.get(at) {
                self.ends.insert(*at, (ends.low as u64, ends.end as u64, ends.bytes)).map_err(disk)?;
            }
        }
        Ok(())
    }
}
