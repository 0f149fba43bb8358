//! The writing thread: the only one that changes the file. Changes that wait together share one sync.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;

use super::books::{Books, Committed};
use super::change::{Change, Reply, Request};
use super::core::Core;
use super::sync::write;
use super::tables::{Effect, Staged, commit};
use super::topics::{TopicState, Topics};
use crate::error::LogError;

/// Changes that share a sync; more would only lengthen the wait of the first.
const MAX_TOGETHER: usize = 256;

/// The thread's state.
pub(crate) struct Writing {
    core: Arc<Core>,
    books: Books,
    /// A write failed: the file must be opened again before the next one.
    broken: bool,
}

impl Writing {
    /// With the books just read from the file.
    pub fn new(core: Arc<Core>, books: Books) -> Self {
        Self { core, books, broken: false }
    }

    /// Works until told to stop, or nobody is left who could ask.
    pub fn run(mut self, requests: &Receiver<Request>) {
        let _end = End { core: self.core.clone(), requests };
        while let Ok(first) = requests.recv() {
            let (group, alone) = gather(first, requests);
            self.write(group);
            if let Some(request) = alone {
                let stop = matches!(request.change, Change::Stop);
                let done = if stop { Ok(()) } else { self.core.store.shrink() };
                let _ = request.reply.send(done.map(|()| Reply::Done));
                if stop {
                    return;
                }
            }
        }
    }

    fn write(&mut self, group: Vec<Request>) {
        if group.is_empty() {
            return;
        }
        let (mut changes, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|r| (r.change, r.reply)).unzip();
        let outcomes = self.apply(&mut changes);
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // Nobody waits any more: the caller gave up, the change stands.
            let _ = reply.send(outcome);
        }
    }

    fn apply(&mut self, changes: &mut [Change]) -> Vec<Result<Reply, LogError>> {
        let done = self.recover().and_then(|()| {
            let books = &mut self.books;
            self.core.store.with(|db| commit(db, books, changes))
        });
        match done {
            Ok((staged, moved)) => self.publish(staged, &moved),
            Err(error) => {
                self.broken = true;
                tracing::error!(%error, "a write to the embedded log failed");
                vec![Err(error); changes.len()]
            }
        }
    }

    /// Opens the file again after a failed write, and reads from it what is true.
    fn recover(&mut self) -> Result<(), LogError> {
        if !self.broken {
            return Ok(());
        }
        self.core.store.reopen()?;
        let (books, committed) = Books::load(&self.core.store)?;
        let _publishing = write(&self.core.publishing);
        *write(&self.core.topics) = topics_of(&books);
        *write(&self.core.committed) = committed;
        (self.books, self.broken) = (books, false);
        tracing::info!("the embedded log was opened again after a failed write");
        Ok(())
    }

    fn publish(&self, staged: Vec<Staged>, moved: &HashSet<(u32, u32)>) -> Vec<Result<Reply, LogError>> {
        let publishing = write(&self.core.publishing);
        let mut topics = write(&self.core.topics);
        let mut committed = write(&self.core.committed);
        let replies = staged.into_iter().map(|outcome| {
            outcome.map(|(reply, effect)| {
                self.show(effect, &mut topics, &mut committed);
                reply
            })
        });
        let replies = replies.collect();
        for (topic, partition) in moved {
            if let (Some(state), Some(ends)) = (topics.by_id.get(topic), self.books.ends.get(&(*topic, *partition))) {
                state.partitions[*partition as usize].publish(*ends);
            }
        }
        drop((topics, committed, publishing));
        self.core.signal.raise();
        replies
    }

    fn show(&self, effect: Effect, topics: &mut Topics, committed: &mut Committed) {
        match effect {
            Effect::Appended { batches, group, offsets } => {
                for (topic, partition, batch) in batches {
                    if let Some(state) = topics.by_id.get(&topic) {
                        self.core.tail.push(state, partition, batch);
                    }
                }
                if !offsets.is_empty() {
                    let of_group = committed.entry(group).or_default();
                    of_group.extend(offsets.iter().map(|next| ((next.topic, next.partition), next.offset)));
                }
            }
            Effect::Created(stored) => topics.insert(Arc::new(TopicState::new(stored, |_| Default::default()))),
            Effect::Deleted(id) => {
                topics.remove(id);
                committed.values_mut().for_each(|of_group| of_group.retain(|(topic, _), _| *topic != id));
                committed.retain(|_, of_group| !of_group.is_empty());
            }
            Effect::Rewritten(topic, partition) => {
                if let Some(state) = topics.by_id.get(&topic) {
                    state.partitions[partition as usize].forget_tail();
                }
            }
            Effect::Nothing => {}
        }
    }
}

/// The end of the writing thread, however it comes: who still waits, or asks later, is told.
struct End<'a> {
    core: Arc<Core>,
    requests: &'a Receiver<Request>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.core.ended.store(true, Ordering::SeqCst);
        // A request that is dropped tells who waits for it; left in the channel it would lie there as long as the core.
        while self.requests.try_recv().is_ok() {}
    }
}

/// The topics that the books tell of, with empty memories.
pub(crate) fn topics_of(books: &Books) -> Topics {
    let mut topics = Topics::default();
    for stored in books.topics.values() {
        let ends = |partition| books.ends.get(&(stored.id, partition)).copied().unwrap_or_default();
        topics.insert(Arc::new(TopicState::new(stored.clone(), ends)));
    }
    topics
}

/// Everything that waits already, up to a change that must stand alone.
fn gather(first: Request, requests: &Receiver<Request>) -> (Vec<Request>, Option<Request>) {
    let mut group = Vec::new();
    let mut next = Some(first);
    while let Some(request) = next {
        if matches!(request.change, Change::Shrink | Change::Stop) {
            return (group, Some(request));
        }
        group.push(request);
        next = if group.len() < MAX_TOGETHER { requests.try_recv().ok() } else { None };
    }
    (group, None)
}
