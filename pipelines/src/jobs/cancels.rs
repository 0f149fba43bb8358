//! Cancels: heard on `control` by every instance, from the first record still there, so that none is missed by an
//! instance that was not up when it was given.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lunapark_schemas::control::ControlRecord;
use lunapark_schemas::{Message, Messages, Position, TopicPartition};
use lunapark_topics::{Catalog, Limit, Log, LogError, LogErrorKind, Reader};

use super::seats::Seats;
use crate::audit::scan::Scan;
use crate::stop::Stop;

/// A stop is seen after at most this.
const WAIT: Duration = Duration::from_millis(100);
/// Pause before the topic is read again after an error.
const AFTER_ERROR: Duration = Duration::from_secs(1);
const LIMIT: Limit = Limit { messages: 1000, bytes: 1 << 20 };

/// Tasks that are to end as cancelled.
pub struct Cancels {
    tasks: Mutex<HashSet<String>>,
    /// The same ear hears of seats.
    seats: Arc<Seats>,
}

impl Cancels {
    /// Reads what is on the topic, then goes on listening on a thread of its own until a stop is asked for.
    pub(super) fn listen(
        log: &Arc<dyn Log>,
        catalog: &Catalog,
        seats: Arc<Seats>,
        stop: &Stop,
    ) -> Result<Arc<Self>, LogError> {
        let cancels = Arc::new(Self { tasks: Mutex::default(), seats });
        let at = TopicPartition::new(catalog.control.name().clone(), 0);
        let mut scan = Scan::open(&**log, &at, 0)?;
        scan.until(log.watermarks(&at)?.high, |message| {
            cancels.hear(message);
            Ok::<(), LogError>(())
        })?;
        let (next, log, heard, stop) = (at.at(scan.position()), log.clone(), cancels.clone(), stop.clone());
        let listen = move || heard.follow(&*log, next, &stop);
        let spawned = std::thread::Builder::new().name("control".into()).spawn(listen);
        spawned.map_err(|e| LogError::new(LogErrorKind::Internal, format!("no thread to hear cancels: {e}")))?;
        Ok(cancels)
    }

    /// Whether this task is to end.
    pub fn contains(&self, task_id: &str) -> bool {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).contains(task_id)
    }

    fn hear(&self, message: &Message<'_>) {
        match message.value.and_then(ControlRecord::read) {
            Some(ControlRecord::Cancel { task_id }) => {
                tracing::info!(task_id, "cancel heard");
                self.tasks.lock().unwrap_or_else(PoisonError::into_inner).insert(task_id);
            }
            Some(ControlRecord::Seat(seat)) => self.seats.hear(message.offset, seat),
            _ => {}
        }
    }

    /// Listens; after an error it opens a new reader where the last one was.
    fn follow(&self, log: &dyn Log, mut next: Position, stop: &Stop) {
        while !stop.requested() {
            let ended = log
                .reader(std::slice::from_ref(&next))
                .and_then(|mut reader| self.read_on(&mut *reader, &mut next, stop));
            if let Err(error) = ended {
                tracing::warn!(%error, "control is read again");
                stop.wait(AFTER_ERROR);
            }
        }
    }

    fn read_on(&self, reader: &mut dyn Reader, next: &mut Position, stop: &Stop) -> Result<(), LogError> {
        let mut messages = Messages::new();
        while !stop.requested() {
            messages.clear();
            reader.poll(&mut messages, LIMIT, WAIT)?;
            for message in messages.iter() {
                self.hear(&message);
                next.offset = message.offset + 1;
            }
        }
        Ok(())
    }
}
