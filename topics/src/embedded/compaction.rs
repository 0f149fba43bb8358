//! Compaction: of each key the newest record stays; a tombstone stays until everybody had time to see it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lunapark_schemas::TopicPartition;

use super::batch::{Batch, Entry, RunBuilder};
use super::change::Change;
use super::clock::now_millis;
use super::core::Core;
use super::topics::TopicState;
use crate::error::LogError;

/// Bytes read from the file at once.
const READ_BYTES: usize = 8 << 20;

/// Compacts every partition of a topic that has grown by half since the last time; `all` ignores how much.
///
/// The newest offset of each key is held in memory meanwhile.
pub(crate) fn compact(core: &Core, topic: &TopicState, all: bool) -> Result<(), LogError> {
    for partition in 0..topic.stored.partitions {
        let state = &topic.partitions[partition as usize];
        let (ends, done) = (state.ends(), state.compacted_to.load(Ordering::Relaxed));
        if all || ends.end - done > (done - ends.low).max(0) / 2 {
            rewrite(core, topic, partition)?;
            state.compacted_to.store(ends.end, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn rewrite(core: &Core, topic: &TopicState, partition: u32) -> Result<(), LogError> {
    let old = runs(core, topic, partition)?;
    let at = TopicPartition::new(topic.stored.name.clone(), partition as i32);
    let mut newest: HashMap<&[u8], i64> = HashMap::new();
    let mut records = 0;
    each(&old, &at, |offset, entry| {
        records += 1;
        newest.insert(entry.key.unwrap_or_default(), offset);
    })?;
    let oldest_tombstone = now_millis().saturating_sub(core.options.tombstone_grace.as_millis() as i64);
    let mut kept = Rewritten::default();
    each(&old, &at, |offset, entry| {
        let seen_by_all = entry.value.is_none() && entry.timestamp < oldest_tombstone;
        if newest.get(entry.key.unwrap_or_default()) == Some(&offset) && !seen_by_all {
            kept.push(offset, entry);
        }
    })?;
    if kept.records == records {
        return Ok(());
    }
    let remove = old.iter().map(|batch| batch.base as u64).collect();
    let insert = kept.finish();
    core.ask(Change::Rewrite { topic: topic.stored.id, partition, remove, insert })?.wait().map(drop)
}

/// Everything that is visible now.
fn runs(core: &Core, topic: &TopicState, partition: u32) -> Result<Vec<Arc<Batch>>, LogError> {
    let ends = topic.partitions[partition as usize].ends();
    let (mut all, mut from) = (Vec::<Arc<Batch>>::new(), ends.low);
    loop {
        let more = core.store.batches((topic.stored.id, partition), from, ends.end, READ_BYTES)?;
        let Some(last) = more.last() else { return Ok(all) };
        from = last.last() + 1;
        all.extend(more);
    }
}

fn each<'b>(runs: &'b [Arc<Batch>], at: &TopicPartition, mut look: impl FnMut(i64, Entry<'b>)) -> Result<(), LogError> {
    for batch in runs {
        let mut place = batch.run.start();
        while let Some((entry, next)) = batch.run.entry_at(place).map_err(|e| e.stored(at.clone(), batch.base))? {
            look(batch.base + i64::from(entry.delta), entry);
            place = next;
        }
    }
    Ok(())
}

/// The records that stay, in runs of their own.
#[derive(Default)]
struct Rewritten {
    done: Vec<Batch>,
    base: i64,
    open: RunBuilder,
    records: usize,
}

impl Rewritten {
    fn push(&mut self, offset: i64, entry: Entry<'_>) {
        let delta = u32::try_from(offset - self.base);
        if self.open.is_empty() || self.open.is_full_for(&entry) || delta.is_err() {
            self.close();
            self.base = offset;
        }
        // Above, the base was moved where the distance did not fit.
        let delta = u32::try_from(offset - self.base).unwrap_or(u32::MAX);
        self.open.push(&Entry { delta, ..entry });
        self.records += 1;
    }

    fn close(&mut self) {
        let base = self.base;
        self.done.extend(self.open.take().map(|run| Batch { base, run }));
    }

    fn finish(mut self) -> Vec<Batch> {
        self.close();
        self.done
    }
}
