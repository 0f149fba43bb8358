//! The owner's log: what its threads share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use lunapark_schemas::TopicPartition;

use super::access::{Access, Fetched, Want};
use super::batch::Batch;
use super::books::Committed;
use super::change::{Append, Change, Fence, Lot, Reply, Request, Ticket, closed};
use super::groups::Groups;
use super::options::EmbeddedOptions;
use super::outbox::no_partition;
use super::store::{INDEX, Store, disk};
use super::sync::{Signal, deadline, lock, read};
use super::topics::{Ends, StoredTopic, Tail, TopicState, Topics, missing};
use crate::catalog::TopicSpec;
use crate::error::{LogError, LogErrorKind};
use crate::log::{Created, TopicInfo, Watermarks};

/// Least that one partition is asked for when several are read at once.
const SHARE_BYTES: usize = 64 << 10;

/// The shared state.
#[derive(Debug)]
pub(crate) struct Core {
    pub options: EmbeddedOptions,
    pub store: Store,
    pub topics: RwLock<Topics>,
    pub committed: RwLock<Committed>,
    pub tail: Tail,
    /// Held exclusively while a transaction becomes visible, so that a reader of several topics sees all or nothing.
    pub publishing: RwLock<()>,
    /// Raised by every commit and every change of a group.
    pub signal: Signal,
    pub groups: Mutex<Groups>,
    pub closing: AtomicBool,
    /// The writing thread answers nothing any more.
    pub ended: AtomicBool,
    pub requests: Sender<Request>,
}

impl Core {
    /// Hands a change to the writing thread.
    pub fn ask(&self, change: Change) -> Result<Ticket, LogError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.requests.send(Request { change, reply }).map_err(|_| closed())?;
        // The writing thread says that it has ended, and throws away what waits, in this order: either it sees what was
        // sent here, or its end is seen here.
        match self.ended.load(Ordering::SeqCst) {
            false => Ok(Ticket::Waiting(answer)),
            true => answer.try_recv().map(Ticket::Done).map_err(|_| closed()),
        }
    }

    /// The state of a topic.
    pub fn state(&self, topic: &str) -> Result<Arc<TopicState>, LogError> {
        read(&self.topics).by_name.get(topic).cloned().ok_or_else(|| missing(topic))
    }

    /// The state of a topic and a partition number that it has.
    pub fn place(&self, at: &TopicPartition) -> Result<(Arc<TopicState>, u32), LogError> {
        let state = self.state(&at.topic)?;
        let partition = u32::try_from(at.partition).ok().filter(|partition| *partition < state.stored.partitions);
        let partition = partition.ok_or_else(|| no_partition(&state.stored, at.partition))?;
        Ok((state, partition))
    }

    /// Creates a topic.
    pub fn create_topic(&self, spec: &TopicSpec) -> Result<Created, LogError> {
        match self.ask(Change::Create(StoredTopic::of(spec)?))?.wait()? {
            Reply::Created(created) => Ok(created),
            _ => Ok(Created::New),
        }
    }

    /// Deletes a topic; its records go a little later.
    pub fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        self.ask(Change::Delete(topic.into()))?.wait().map(drop)
    }

    /// All topics.
    pub fn infos(&self) -> Vec<TopicInfo> {
        read(&self.topics).by_name.values().map(|state| state.stored.info(Some(state.bytes()))).collect()
    }

    /// One topic.
    pub fn info(&self, topic: &str) -> Result<TopicInfo, LogError> {
        self.state(topic).map(|state| state.stored.info(Some(state.bytes())))
    }

    /// Ends of a partition.
    pub fn watermarks(&self, at: &TopicPartition) -> Result<Watermarks, LogError> {
        let (state, partition) = self.place(at)?;
        let ends = state.partitions[partition as usize].ends();
        Ok(Watermarks { low: ends.low, high: ends.end })
    }

    /// First offset at or after a time.
    pub fn offset_for_time(&self, at: &TopicPartition, millis: i64) -> Result<i64, LogError> {
        let (state, partition) = self.place(at)?;
        let (id, ends) = (state.stored.id, state.partitions[partition as usize].ends());
        let Some(base) = self.first_run_with(id, partition, millis, ends)? else { return Ok(ends.end) };
        for batch in self.store.batches((id, partition), base, base + 1, 1)? {
            let mut place = batch.run.start();
            while let Some((entry, next)) = batch.run.entry_at(place).map_err(|e| e.stored(at.clone(), base))? {
                if entry.timestamp >= millis {
                    return Ok(batch.base + i64::from(entry.delta));
                }
                place = next;
            }
        }
        Ok(ends.end)
    }

    /// Base of the first run whose newest record is at or after this time.
    fn first_run_with(&self, id: u32, partition: u32, millis: i64, ends: Ends) -> Result<Option<i64>, LogError> {
        self.store.read(|txn| {
            let index = txn.open_table(INDEX).map_err(disk)?;
            for row in index.range((id, partition, 0)..(id, partition, ends.end as u64)).map_err(disk)? {
                let (key, value) = row.map_err(disk)?;
                if value.value().1 >= millis {
                    return Ok(Some(key.value().2 as i64));
                }
            }
            Ok(None)
        })
    }

    /// Groups that have committed or have members.
    pub fn group_names(&self) -> Vec<String> {
        let mut names: Vec<String> = read(&self.committed).keys().map(|name| name.to_string()).collect();
        names.extend(lock(&self.groups).names().map(|name| name.to_string()));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Next offsets of a group.
    pub fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let ids: Vec<_> = partitions
            .iter()
            .map(|at| self.place(at).map(|(state, p)| (state.stored.id, p)))
            .collect::<Result<_, _>>()?;
        let committed = read(&self.committed);
        let of_group = committed.get(group);
        Ok(ids.iter().map(|at| of_group.and_then(|offsets| offsets.get(at)).copied()).collect())
    }

    /// Looks once: what can be read at these places.
    pub fn look(&self, wants: &[Want], max_bytes: usize) -> Result<Vec<Fetched>, LogError> {
        let share = (max_bytes / wants.len().max(1)).max(SHARE_BYTES);
        let mut found = Vec::new();
        for (index, (state, ends)) in self.ends_of(wants)?.into_iter().enumerate() {
            found.extend(self.look_at(index, wants[index], &state, ends, share)?);
        }
        Ok(found)
    }

    /// The ends of all places at one moment between two transactions.
    fn ends_of(&self, wants: &[Want]) -> Result<Vec<(Arc<TopicState>, Ends)>, LogError> {
        let _publishing = read(&self.publishing);
        let topics = read(&self.topics);
        wants
            .iter()
            .map(|want| {
                let state = topics.by_id.get(&want.topic).ok_or_else(gone)?;
                let partition = state.partitions.get(want.partition as usize).ok_or_else(gone)?;
                Ok((state.clone(), partition.ends()))
            })
            .collect()
    }

    fn look_at(
        &self,
        index: usize,
        want: Want,
        state: &TopicState,
        ends: Ends,
        max_bytes: usize,
    ) -> Result<Option<Fetched>, LogError> {
        let offset = want.offset.max(ends.low);
        if offset > ends.end {
            return Err(out_of_range(state, want, ends));
        }
        if offset == ends.end {
            return Ok((offset > want.offset).then(|| Fetched {
                want: index,
                batches: Vec::new(),
                skip_to: Some(offset),
            }));
        }
        let batches = self.read_runs(state, want.partition, offset, ends.end, max_bytes)?;
        let skip_to = batches.is_empty().then_some(ends.end);
        Ok(Some(Fetched { want: index, batches, skip_to }))
    }

    fn read_runs(
        &self,
        state: &TopicState,
        partition: u32,
        offset: i64,
        end: i64,
        max_bytes: usize,
    ) -> Result<Vec<Arc<Batch>>, LogError> {
        match state.partitions[partition as usize].recent(offset, end, max_bytes) {
            Some(batches) => Ok(batches),
            None => self.store.batches((state.stored.id, partition), offset, end, max_bytes),
        }
    }
}

fn gone() -> LogError {
    LogError::new(LogErrorKind::TopicMissing, "the topic was deleted while it was read; look it up again")
}

fn out_of_range(state: &TopicState, want: Want, ends: Ends) -> LogError {
    let message = format!("offset {} lies past the end {}; read from {} on", want.offset, ends.end, ends.low);
    let at = TopicPartition::new(state.stored.name.clone(), want.partition as i32);
    LogError::new(LogErrorKind::OffsetOutOfRange, message).at(at)
}

impl Access for Core {
    fn topic(&self, name: &str) -> Result<StoredTopic, LogError> {
        self.state(name).map(|state| state.stored.clone())
    }

    fn fetch(&self, wants: &[Want], max_bytes: usize, wait: Duration) -> Result<Vec<Fetched>, LogError> {
        let until = deadline(wait);
        loop {
            let seen = self.signal.current();
            let found = self.look(wants, max_bytes)?;
            let anything = found.iter().any(|fetched| !fetched.batches.is_empty());
            if anything || Instant::now() >= until || self.closing.load(Ordering::Relaxed) {
                return Ok(found);
            }
            self.signal.wait(seen, until);
        }
    }

    fn append(&self, lots: Vec<Lot>, fence: Option<Fence>) -> Result<Ticket, LogError> {
        if lots.is_empty() && fence.is_none() {
            return Ok(Ticket::Done(Ok(Reply::Done)));
        }
        self.ask(Change::Append(Append { lots, fence, ..Append::default() }))
    }

    fn open_id(&self, id: &str) -> Result<Fence, LogError> {
        let id: Arc<str> = id.into();
        match self.ask(Change::OpenId(id.clone()))?.wait()? {
            Reply::Epoch(epoch) => Ok(Fence { id, epoch }),
            _ => Err(closed()),
        }
    }

    fn max_transaction_bytes(&self) -> usize {
        self.options.max_transaction_bytes
    }
}
