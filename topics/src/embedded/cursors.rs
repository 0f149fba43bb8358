//! Reading places of several partitions, drained in turn so that a full one does not starve the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lunapark_schemas::messages::At;
use lunapark_schemas::{Messages, Position, TopicPartition};

use super::access::{Access, Fetched, Want};
use super::batch::Batch;
use crate::error::LogError;
use crate::log::Limit;

/// Asked for at once, over all partitions; a run is at most about 1 MiB unless one record is larger.
const FETCH_BYTES: usize = 2 << 20;

/// The places.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    list: Vec<Cursor>,
    turn: usize,
}

#[derive(Debug)]
struct Cursor {
    at: TopicPartition,
    topic: u32,
    next: i64,
    ready: VecDeque<Arc<Batch>>,
    /// Place in the first ready run; 0 is before its first record.
    place: usize,
    /// Kept where it is, but not read.
    paused: bool,
}

impl Cursors {
    /// Begins to read a partition, or moves to another place in it.
    pub fn set(&mut self, topic: u32, at: TopicPartition, next: i64) {
        self.list.retain(|cursor| cursor.at != at);
        self.list.push(Cursor { at, topic, next, ready: VecDeque::new(), place: 0, paused: false });
    }

    /// Moves within a partition that is read already; others are left alone.
    pub fn seek(&mut self, at: &TopicPartition, next: i64) {
        for cursor in self.list.iter_mut().filter(|cursor| cursor.at == *at) {
            (cursor.next, cursor.place) = (next, 0);
            cursor.ready.clear();
        }
    }

    /// Stops or goes on reading these partitions. What was fetched and not handed out is fetched again.
    pub fn pause(&mut self, partitions: &[TopicPartition], paused: bool) {
        for cursor in self.list.iter_mut().filter(|cursor| partitions.contains(&cursor.at)) {
            (cursor.paused, cursor.place) = (paused, 0);
            cursor.ready.clear();
        }
    }

    /// Ends reading these partitions.
    pub fn drop_all(&mut self, partitions: &[TopicPartition]) {
        self.list.retain(|cursor| !partitions.contains(&cursor.at));
    }

    /// The next offset of a partition that is read.
    pub fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.list.iter().find(|cursor| cursor.at == *at).map(|cursor| cursor.next)
    }

    /// Where partitions go on that have nothing at hand.
    pub fn hungry(&self) -> impl Iterator<Item = Position> {
        self.list.iter().filter(|cursor| cursor.is_hungry()).map(|cursor| cursor.at.at(cursor.next))
    }

    /// Appends what there is, waiting at most `wait` where nothing is at hand.
    pub fn poll(
        &mut self,
        access: &dyn Access,
        into: &mut Messages,
        limit: Limit,
        wait: Duration,
    ) -> Result<usize, LogError> {
        self.fill(access, wait)?;
        self.drain(into, limit)
    }

    /// Fetches for every partition that has nothing at hand.
    fn fill(&mut self, access: &dyn Access, wait: Duration) -> Result<(), LogError> {
        let hungry: Vec<_> = (0..self.list.len()).filter(|at| self.list[*at].is_hungry()).collect();
        if hungry.is_empty() && !self.list.is_empty() {
            return Ok(());
        }
        let at_hand = self.list.iter().any(|cursor| !cursor.ready.is_empty());
        let wait = if !at_hand { wait } else { Duration::ZERO };
        let wants: Vec<_> = hungry.iter().map(|at| self.list[*at].want()).collect();
        for fetched in access.fetch(&wants, FETCH_BYTES, wait)? {
            if let Some(at) = hungry.get(fetched.want) {
                self.list[*at].take(fetched);
            }
        }
        Ok(())
    }

    /// Hands out what is at hand, an equal share to each partition, beginning with another one each time.
    fn drain(&mut self, into: &mut Messages, limit: Limit) -> Result<usize, LogError> {
        let (count, bytes) = (self.list.len(), into.bytes());
        let mut left = Limit { messages: limit.messages, bytes: limit.bytes };
        let before = into.len();
        self.turn = self.turn.wrapping_add(1);
        let mut order: Vec<_> = (0..count).map(|at| (at + self.turn) % count).collect();
        loop {
            order.retain(|at| !self.list[*at].ready.is_empty());
            if order.is_empty() || left.messages == 0 || left.bytes == 0 {
                return Ok(into.len() - before);
            }
            let share = left.messages.div_ceil(order.len());
            for at in &order {
                self.list[*at].drain(into, Limit { messages: share.min(left.messages), bytes: left.bytes })?;
                left.messages = limit.messages.saturating_sub(into.len() - before);
                left.bytes = limit.bytes.saturating_sub(into.bytes() - bytes);
                if left.messages == 0 || left.bytes == 0 {
                    break;
                }
            }
        }
    }
}

impl Cursor {
    fn is_hungry(&self) -> bool {
        self.ready.is_empty() && !self.paused
    }

    fn want(&self) -> Want {
        Want { topic: self.topic, partition: self.at.partition.max(0) as u32, offset: self.next }
    }

    fn take(&mut self, fetched: Fetched) {
        if let Some(skip_to) = fetched.skip_to {
            self.next = self.next.max(skip_to);
        }
        self.ready.extend(fetched.batches);
        self.place = 0;
    }

    fn drain(&mut self, into: &mut Messages, limit: Limit) -> Result<(), LogError> {
        let (messages, bytes) = (into.len() + limit.messages, into.bytes().saturating_add(limit.bytes));
        while let Some(batch) = self.ready.front() {
            let mut place = if self.place == 0 { batch.run.start() } else { self.place };
            while let Some((entry, after)) =
                batch.run.entry_at(place).map_err(|e| e.stored(self.at.clone(), batch.base))?
            {
                let offset = batch.base + i64::from(entry.delta);
                if offset >= self.next {
                    if into.len() >= messages || into.bytes() >= bytes {
                        self.place = place;
                        return Ok(());
                    }
                    let at =
                        At { topic: &self.at.topic, partition: self.at.partition, offset, timestamp: entry.timestamp };
                    into.push_encoded(at, entry.key, entry.value, entry.headers);
                    self.next = offset + 1;
                }
                place = after;
            }
            self.next = self.next.max(batch.last() + 1);
            self.ready.pop_front();
            self.place = 0;
        }
        Ok(())
    }
}
