//! One stream thread's hands on the log.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::{Messages, Position, Record, TopicPartition};

use super::access::Access;
use super::change::{Append, Change, Fence, Next};
use super::cursors::Cursors;
use super::groups::{Event, Seat};
use super::outbox::{Outbox, SEND_BYTES};
use super::owner::Owner;
use super::producers::UnderWay;
use super::sync::{deadline, lock};
use crate::error::{LogError, LogErrorKind};
use crate::log::{Delivery, Limit, Polled, Start, Stream, StreamSpec};

/// A member of a group with a producer.
pub(crate) struct LogStream {
    owner: Arc<Owner>,
    spec: StreamSpec,
    seat: Seat,
    fence: Fence,
    cursors: Cursors,
    outbox: Outbox,
    under_way: UnderWay,
    refused: Vec<(i32, i64)>,
    /// Where the group starts with what is still to come; taken by the caller, who commits it.
    started: Vec<Position>,
    limits: HashMap<Arc<str>, usize>,
    closed: bool,
}

impl LogStream {
    /// Fences an older stream of the same name, then takes its place in the group.
    pub fn open(owner: Arc<Owner>, spec: &StreamSpec) -> Result<Self, LogError> {
        let core = owner.core();
        let mut partitions = BTreeSet::new();
        for topic in &spec.topics {
            let count = core.state(topic)?.stored.partitions;
            partitions.extend((0..count as i32).map(|number| TopicPartition::new(topic.clone(), number)));
        }
        let limit = |topic: &Arc<str>| Ok((topic.clone(), core.state(topic)?.stored.max_message_bytes));
        let limits = spec.outputs.iter().map(limit).collect::<Result<_, LogError>>()?;
        // First the fence: a commit of the old stream that is still under way is then either durable, and seen when
        // the committed offsets are read, or refused.
        let fence = core.open_id(&spec.member)?;
        let (group, member) = (spec.group.as_str().into(), spec.member.as_str().into());
        let seat = lock(&core.groups).join(&group, &member, partitions, core.options.session_timeout);
        core.signal.raise();
        let outbox = Outbox::new(core.clone());
        Ok(Self {
            owner,
            spec: spec.clone(),
            seat,
            fence,
            cursors: Cursors::default(),
            outbox,
            under_way: UnderWay::new(),
            refused: Vec::new(),
            started: Vec::new(),
            limits,
            closed: false,
        })
    }

    /// Marks this member alive for the length of `call`.
    fn alive<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T, LogError>) -> Result<T, LogError> {
        lock(&self.owner.core().groups).enter(&self.seat)?;
        let done = call(self);
        lock(&self.owner.core().groups).exit(&self.seat);
        done
    }

    fn poll_until(&mut self, into: &mut Messages, limit: Limit, until: Instant) -> Result<Polled, LogError> {
        let core = self.owner.core().clone();
        loop {
            let seen = core.signal.current();
            if let Some(event) = self.event()? {
                return self.meet(event);
            }
            self.none_expired()?;
            let count = self.cursors.poll(&*core, into, limit, Duration::ZERO)?;
            let now = Instant::now();
            if count > 0 || now >= until {
                return Ok(Polled::Messages(count));
            }
            let expiry = lock(&core.groups).next_expiry(&self.seat);
            // A millisecond later, because expiry is strict.
            let look_again = expiry.map_or(until, |expiry| until.min(expiry.max(now) + Duration::from_millis(1)));
            core.signal.wait(seen, look_again);
        }
    }

    /// Refuses to go on past messages that retention has deleted unread: the stream is opened again, says so, and the
    /// ledger shows the gap.
    fn none_expired(&self) -> Result<(), LogError> {
        for position in self.cursors.hungry() {
            let at = position.topic_partition();
            let low = self.owner.core().watermarks(&at)?.low;
            if position.offset < low {
                let message = format!("offsets {} to {} expired before they were read", position.offset, low - 1);
                return Err(LogError::new(LogErrorKind::OffsetOutOfRange, message).at(at));
            }
        }
        Ok(())
    }

    fn event(&mut self) -> Result<Option<Event>, LogError> {
        let core = self.owner.core();
        let (event, expelled) = lock(&core.groups).poll(&self.seat)?;
        if expelled {
            core.signal.raise();
        }
        Ok(event)
    }

    fn meet(&mut self, event: Event) -> Result<Polled, LogError> {
        match event {
            Event::Assigned(partitions) => self.begin(&partitions).map(Polled::Assigned),
            Event::Revoked(partitions) => {
                self.cursors.drop_all(&partitions);
                Ok(Polled::Revoked(partitions))
            }
            Event::Lost(partitions) => {
                self.cursors.drop_all(&partitions);
                Ok(Polled::Lost(partitions))
            }
        }
    }

    /// Begins to read what was assigned, where the group stands.
    fn begin(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Position>, LogError> {
        let core = self.owner.core();
        let committed = core.committed(&self.spec.group, partitions)?;
        let mut positions = Vec::with_capacity(partitions.len());
        self.started.clear();
        for (at, committed) in partitions.iter().zip(committed) {
            let ends = core.watermarks(at)?;
            let start = match self.spec.start {
                Start::Earliest => ends.low,
                Start::Latest => ends.high,
            };
            let position = at.at(committed.unwrap_or(start).max(ends.low));
            if let Some(committed) = committed.filter(|committed| *committed < ends.low) {
                tracing::error!(partition = %at, committed, low = ends.low, "messages expired before they were read");
            }
            if committed.is_none() && self.spec.start == Start::Latest {
                self.started.push(position.clone());
            }
            self.cursors.set(core.state(&at.topic)?.stored.id, at.clone(), position.offset);
            positions.push(position);
        }
        Ok(positions)
    }

    fn offsets(&self, next: &[Position]) -> Result<Vec<Next>, LogError> {
        let one = |position: &Position| {
            let (state, partition) = self.owner.core().place(&position.topic_partition())?;
            Ok(Next { topic: state.stored.id, partition, offset: position.offset })
        };
        next.iter().map(one).collect()
    }

    /// At least once: hands over what waits, without waiting for the disk.
    fn send(&mut self) -> Result<(), LogError> {
        if !self.outbox.is_empty() {
            let ticket = self.owner.core().append(self.outbox.take(), Some(self.fence.clone()))?;
            self.under_way.add(ticket);
        }
        self.under_way.check()
    }

    fn commit_now(&mut self, next: &[Position]) -> Result<(), LogError> {
        let core = self.owner.core().clone();
        let partitions: Vec<_> = next.iter().map(Position::topic_partition).collect();
        lock(&core.groups).may_commit(&self.seat, partitions.iter())?;
        self.under_way.settle(None)?;
        let offsets = self.offsets(next)?;
        let (lots, fence) = (self.outbox.take(), Some(self.fence.clone()));
        core.ask(Change::Append(Append { lots, fence, group: self.seat.group().clone(), offsets }))?.wait().map(drop)
    }
}

impl Stream for LogStream {
    fn poll(&mut self, into: &mut Messages, limit: Limit, wait: Duration) -> Result<Polled, LogError> {
        self.alive(|stream| {
            if stream.spec.delivery == Delivery::AtLeastOnce {
                stream.send()?;
            }
            stream.poll_until(into, limit, deadline(wait))
        })
    }

    fn started(&mut self) -> Vec<Position> {
        std::mem::take(&mut self.started)
    }

    fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.cursors.drop_all(partitions);
        let core = self.owner.core();
        lock(&core.groups).release(&self.seat, partitions)?;
        core.signal.raise();
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.cursors.pause(partitions, true);
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.cursors.pause(partitions, false);
        Ok(())
    }

    fn produce(&mut self, record: &Record<'_>, source: Option<(i32, i64)>) -> Result<(), LogError> {
        if let Err(error) = self.outbox.push(record) {
            if error.kind == LogErrorKind::TooLarge {
                self.refused.extend(source);
            }
            return Err(error);
        }
        if self.spec.delivery == Delivery::AtLeastOnce && self.outbox.bytes() >= SEND_BYTES {
            self.send()?;
        }
        Ok(())
    }

    fn commit(&mut self, next: &[Position]) -> Result<(), LogError> {
        self.alive(|stream| stream.commit_now(next))
    }

    fn abort(&mut self, rewind: &[Position]) -> Result<(), LogError> {
        self.outbox.clear();
        for position in rewind {
            self.cursors.seek(&position.topic_partition(), position.offset);
        }
        Ok(())
    }

    fn refused(&mut self) -> Vec<(i32, i64)> {
        std::mem::take(&mut self.refused)
    }

    fn max_message_bytes(&self, topic: &str) -> Option<usize> {
        self.limits.get(topic).copied()
    }

    fn close(&mut self) -> Result<(), LogError> {
        if !std::mem::replace(&mut self.closed, true) {
            let core = self.owner.core();
            lock(&core.groups).leave(&self.seat);
            core.signal.raise();
        }
        Ok(())
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        // Closing only leaves the group, which cannot fail.
        let _ = self.close();
    }
}
