//! The maintenance thread: retention, compaction, and disk space given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::books::doomed;
use super::change::{Change, Reply};
use super::clock::now_millis;
use super::compaction::compact;
use super::core::Core;
use super::owner::spawn;
use super::store::{INDEX, disk};
use super::sync::{Signal, deadline, read};
use super::topics::TopicState;
use crate::error::LogError;

/// Smaller files are not worth the wait.
const SHRINK_FROM_BYTES: u64 = 64 << 20;
/// Moving more live data than this would hold up commits and reads of the file for more than about a second; a file
/// with more in use is shortened by redb itself, step by step, as its end becomes free.
const SHRINK_MAX_LIVE_BYTES: u64 = 512 << 20;
/// Records looked at for retention per partition and round.
const MAX_INDEX_ROWS: usize = 100_000;

/// Handle of the thread.
#[derive(Clone, Debug)]
pub(crate) struct Maintenance {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    wake: Signal,
    /// Length of the file after the last shortening that left it so long.
    shrunk_to: AtomicU64,
}

impl Maintenance {
    /// Not yet running.
    pub fn new() -> Self {
        Self { state: Arc::new(State::default()) }
    }

    /// Starts the thread.
    pub fn start(&self, core: Arc<Core>) -> Result<JoinHandle<()>, LogError> {
        let own = self.clone();
        spawn("log-maintain", move || own.run(&core))
    }

    /// Tells the thread to end.
    pub fn stop(&self) {
        self.state.stop.store(true, Ordering::Relaxed);
        self.state.wake.raise();
    }

    fn run(&self, core: &Core) {
        let seen = self.state.wake.current();
        while !self.state.stop.load(Ordering::Relaxed) {
            if let Err(error) = self.round(core, false) {
                tracing::warn!(%error, "maintenance of the embedded log failed and will be tried again");
            }
            self.state.wake.wait(seen, deadline(core.options.maintenance_period));
        }
    }

    /// One round; `all` compacts even where little has changed.
    pub fn round(&self, core: &Core, all: bool) -> Result<(), LogError> {
        self.remove_deleted(core)?;
        let topics: Vec<_> = read(&core.topics).by_name.values().cloned().collect();
        for topic in topics {
            match topic.stored.compact {
                true => compact(core, &topic, all)?,
                false => self.retain(core, &topic)?,
            }
        }
        self.shrink(core)
    }

    fn remove_deleted(&self, core: &Core) -> Result<(), LogError> {
        for (topic, partitions) in doomed(&core.store)? {
            for partition in 0..partitions {
                self.trim(core, topic, partition, i64::MAX)?;
            }
            if !self.stopping() {
                core.ask(Change::Forget { topic })?.wait()?;
            }
        }
        Ok(())
    }

    fn retain(&self, core: &Core, topic: &TopicState) -> Result<(), LogError> {
        let Some(kept) = topic.stored.retention_ms else { return Ok(()) };
        let oldest = now_millis().saturating_sub(kept.min(i64::MAX as u64) as i64);
        for partition in 0..topic.stored.partitions {
            if let Some(below) = first_kept(core, topic.stored.id, partition, oldest)? {
                self.trim(core, topic.stored.id, partition, below)?;
            }
        }
        Ok(())
    }

    /// Removes what ends below, a bounded piece at a time so that commits come through between.
    fn trim(&self, core: &Core, topic: u32, partition: u32, below: i64) -> Result<(), LogError> {
        while !self.stopping() {
            if core.ask(Change::Trim { topic, partition, below })?.wait()? == Reply::Removed(0) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.state.stop.load(Ordering::Relaxed)
    }

    /// Shortens the file where most of it is free. Estimated, because counting pages would read all of them: a run
    /// takes at most twice its bytes, and rows around it little.
    fn shrink(&self, core: &Core) -> Result<(), LogError> {
        let live: u64 = read(&core.topics).by_name.values().map(|topic| topic.bytes()).sum();
        let (file, last) = (core.store.file_len(), self.state.shrunk_to.load(Ordering::Relaxed));
        let mostly_free = file >= SHRINK_FROM_BYTES && file / 3 > live;
        if mostly_free && live <= SHRINK_MAX_LIVE_BYTES && file / 3 * 2 > last && !self.stopping() {
            core.ask(Change::Shrink)?.wait()?;
            self.state.shrunk_to.store(core.store.file_len(), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Where the first run begins that has a record at or after `oldest`; `None` where nothing is older.
fn first_kept(core: &Core, topic: u32, partition: u32, oldest: i64) -> Result<Option<i64>, LogError> {
    core.store.read(|txn| {
        let index = txn.open_table(INDEX).map_err(disk)?;
        let mut below = None;
        for row in index.range((topic, partition, 0)..=(topic, partition, u64::MAX)).map_err(disk)?.take(MAX_INDEX_ROWS)
        {
            let (_, value) = row.map_err(disk)?;
            let (last, newest, _) = value.value();
            if newest >= oldest {
                break;
            }
            below = Some(last as i64 + 1);
        }
        Ok(below)
    })
}
