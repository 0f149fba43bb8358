//! Producing without consuming: outside transactions, and atomically.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::Record;

use super::access::Access;
use super::change::{Fence, Ticket};
use super::outbox::{Outbox, SEND_BYTES};
use super::sync::deadline;
use crate::error::LogError;
use crate::log::{Transaction, Writer};

/// Records may wait so long for company when more are produced.
const LINGER: Duration = Duration::from_millis(5);
/// Sends under way; with the buffer, a producer holds about so many MiB.
const MAX_UNDER_WAY: usize = 8;
/// How long a dropped writer waits for what it still holds.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// Sends that are not confirmed yet; the first failure is kept until somebody asks.
pub(crate) struct UnderWay {
    tickets: VecDeque<Ticket>,
    failed: Option<LogError>,
}

impl UnderWay {
    /// None yet.
    pub fn new() -> Self {
        Self { tickets: VecDeque::new(), failed: None }
    }

    /// One more; waits for the oldest where there are too many.
    pub fn add(&mut self, ticket: Ticket) {
        self.tickets.push_back(ticket);
        while self.tickets.len() > MAX_UNDER_WAY {
            self.settle_oldest(None);
        }
    }

    /// Waits for all; the first failure since the last call.
    pub fn settle(&mut self, until: Option<Instant>) -> Result<(), LogError> {
        while !self.tickets.is_empty() {
            self.settle_oldest(until);
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Looks, without waiting, whether one failed.
    pub fn check(&mut self) -> Result<(), LogError> {
        while let Some(ticket) = self.tickets.pop_front() {
            match ticket.poll() {
                Ok(answer) => self.note(answer.err()),
                Err(waiting) => {
                    self.tickets.push_front(waiting);
                    break;
                }
            }
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    fn settle_oldest(&mut self, until: Option<Instant>) {
        let Some(ticket) = self.tickets.pop_front() else { return };
        let answer = match until {
            Some(until) => ticket.wait_within(until.saturating_duration_since(Instant::now())),
            None => ticket.wait(),
        };
        self.note(answer.err());
    }

    fn note(&mut self, error: Option<LogError>) {
        self.failed = self.failed.take().or(error);
    }
}

/// Produces outside transactions: sends when about 1 MiB waits, when more is produced after a short linger, and on
/// flush.
pub(crate) struct LogWriter {
    access: Arc<dyn Access>,
    outbox: Outbox,
    under_way: UnderWay,
    since: Instant,
}

impl LogWriter {
    /// With nothing to send.
    pub fn new(access: Arc<dyn Access>) -> Self {
        let outbox = Outbox::new(access.clone());
        Self { access, outbox, under_way: UnderWay::new(), since: Instant::now() }
    }

    fn send(&mut self) -> Result<(), LogError> {
        if !self.outbox.is_empty() {
            let ticket = self.access.append(self.outbox.take(), None)?;
            self.under_way.add(ticket);
        }
        Ok(())
    }
}

impl Writer for LogWriter {
    fn produce(&mut self, record: &Record<'_>) -> Result<(), LogError> {
        if self.outbox.is_empty() {
            self.since = Instant::now();
        }
        self.outbox.push(record)?;
        if self.outbox.bytes() >= SEND_BYTES || self.since.elapsed() >= LINGER {
            self.send()?;
        }
        Ok(())
    }

    fn flush(&mut self, within: Duration) -> Result<(), LogError> {
        self.send()?;
        self.under_way.settle(Some(deadline(within)))
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        if let Err(error) = self.flush(LAST_FLUSH) {
            tracing::warn!(%error, "records of a dropped writer may be missing");
        }
    }
}

/// Atomic produce under a transactional id.
pub(crate) struct LogTransaction {
    access: Arc<dyn Access>,
    fence: Fence,
    outbox: Outbox,
}

impl LogTransaction {
    /// Opens the id; whoever held it before is fenced.
    pub fn open(access: Arc<dyn Access>, id: &str) -> Result<Self, LogError> {
        let fence = access.open_id(id)?;
        Ok(Self { outbox: Outbox::new(access.clone()), access, fence })
    }
}

impl Transaction for LogTransaction {
    fn produce(&mut self, record: &Record<'_>) -> Result<(), LogError> {
        self.outbox.push(record)
    }

    fn commit(&mut self) -> Result<(), LogError> {
        let lots = self.outbox.take();
        self.access.append(lots, Some(self.fence.clone()))?.wait().map(drop)
    }

    fn abort(&mut self) -> Result<(), LogError> {
        self.outbox.clear();
        Ok(())
    }
}
