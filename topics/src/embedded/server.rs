//! The owner's socket: a thread per connection, each answering one request after the other.

use std::collections::HashMap;
use std::io::BufReader;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::access::{Access, Fetched};
use super::batch::{Entry, Run};
use super::change::{Fence, Lot};
use super::core::Core;
use super::outbox::{check_key, check_size};
use super::owner::spawn;
use super::socket::{SOCKET, connect, listen};
use super::sync::{lock, read};
use super::wire::{Answer, Ask, Found, PROTOCOL, pieces, receive, send};
use crate::error::{LogError, LogErrorKind};
use crate::log::Created;

/// Connections at once; each has a thread.
const MAX_CONNECTIONS: usize = 256;
/// Longest wait of one fetch; a client asks again, so that the thread of a client that died ends soon.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Most that one fetch answers with, unless a single record is larger.
const MAX_FETCH_BYTES: usize = 8 << 20;
/// Bodies may hold more than the records: the headers of their runs.
const BODY_SLACK_BYTES: u64 = 64 << 20;

/// So that a process without free file handles does not spin.
const AFTER_REFUSAL: Duration = Duration::from_millis(10);

type Connections = Arc<Mutex<HashMap<u64, (UnixStream, Option<JoinHandle<()>>)>>>;

/// The listening socket and its connections; dropping it ends both.
#[derive(Debug)]
pub(crate) struct Server {
    dir: PathBuf,
    listening: UnixStream,
    accepting: Option<JoinHandle<()>>,
    connections: Connections,
}

impl Server {
    /// Serves the socket of this folder.
    pub fn start(dir: &Path, core: &Arc<Core>) -> Result<Self, LogError> {
        let cannot = |error: std::io::Error| {
            let message = format!("the socket {} cannot be opened: {error}", dir.join(SOCKET).display());
            LogError::new(LogErrorKind::Unreachable, message)
        };
        let listener = listen(dir).map_err(cannot)?;
        // A second handle, to end the waiting of the first.
        let listening = UnixStream::from(OwnedFd::from(listener.try_clone().map_err(cannot)?));
        let connections = Connections::default();
        let (core, of_thread) = (core.clone(), connections.clone());
        let accepting = spawn("log-accept", move || accept(&listener, &core, &of_thread))?;
        Ok(Self { dir: dir.to_owned(), listening, accepting: Some(accepting), connections })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either wakes the accepting thread, which then sees that the log is closing: the first where the socket is
        // still in its folder, the second on Linux.
        let _ = (connect(&self.dir), self.listening.shutdown(Shutdown::Both));
        self.accepting.take().into_iter().for_each(join);
        let connections = std::mem::take(&mut *lock(&self.connections));
        for (connection, thread) in connections.into_values() {
            // It may have ended by itself.
            let _ = connection.shutdown(Shutdown::Both);
            thread.into_iter().for_each(join);
        }
        if let Err(error) = std::fs::remove_file(self.dir.join(SOCKET)) {
            tracing::warn!(%error, "the owner's socket could not be removed");
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the embedded log's socket panicked");
    }
}

#[expect(clippy::disallowed_methods, reason = "paces a loop that fails for lack of file handles or threads")]
fn accept(listener: &UnixListener, core: &Arc<Core>, connections: &Connections) {
    for (number, connection) in (0u64..).zip(listener.incoming()) {
        if core.closing.load(Ordering::Relaxed) {
            return;
        }
        let started = connection.map_err(|error| error.to_string()).and_then(|connection| {
            let (core, all) = (core.clone(), connections.clone());
            start(number, connection, core, &all).map_err(|error| error.to_string())
        });
        if let Err(error) = started {
            tracing::warn!(error, "a connection to the embedded log was refused");
            std::thread::sleep(AFTER_REFUSAL);
        }
    }
}

/// Starts the thread of a connection; beyond the bound the connection is closed at once.
fn start(number: u64, connection: UnixStream, core: Arc<Core>, connections: &Connections) -> Result<(), LogError> {
    let mut all = lock(connections);
    if all.len() >= MAX_CONNECTIONS {
        let message = format!("{MAX_CONNECTIONS} connections are open already");
        return Err(LogError::new(LogErrorKind::Internal, message));
    }
    let keep = connection.try_clone().map_err(|e| LogError::new(LogErrorKind::Internal, e.to_string()))?;
    let of_thread = connections.clone();
    let thread = spawn("log-serve", move || {
        serve(&core, connection);
        drop(lock(&of_thread).remove(&number));
    })?;
    all.insert(number, (keep, Some(thread)));
    Ok(())
}

fn serve(core: &Core, connection: UnixStream) {
    let max_body = core.options.max_transaction_bytes as u64 + BODY_SLACK_BYTES;
    let Ok(mut to) = connection.try_clone() else { return };
    let mut from = BufReader::new(connection);
    loop {
        let (ask, body) = match receive::<Ask>(&mut from, max_body) {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a connection to the embedded log ended");
                return;
            }
        };
        let sent = match answer(core, ask, &body) {
            Ok(Reply { head, fetched }) => send(&mut to, &head, bodies(&fetched)),
            Err(error) => send(&mut to, &Answer::from(error), std::iter::empty()),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// An answer and the runs that go with it.
struct Reply {
    head: Answer,
    fetched: Vec<Fetched>,
}

impl From<Answer> for Reply {
    fn from(head: Answer) -> Self {
        Self { head, fetched: Vec::new() }
    }
}

fn bodies(fetched: &[Fetched]) -> impl Iterator<Item = &[u8]> + Clone {
    fetched.iter().flat_map(|fetched| &fetched.batches).map(|batch| batch.run.bytes())
}

fn answer(core: &Core, ask: Ask, body: &[u8]) -> Result<Reply, LogError> {
    let answer = match ask {
        Ask::Hello { protocol: PROTOCOL } => {
            Answer::Hello { max_transaction_bytes: core.options.max_transaction_bytes }
        }
        Ask::Hello { protocol } => return Err(other_version(protocol)),
        Ask::Create(topic) => Answer::Created { new: core.create_topic(&topic.spec())? == Created::New },
        Ask::Delete(topic) => core.delete_topic(&topic).map(|()| Answer::Done)?,
        Ask::Infos => {
            let topics = read(&core.topics);
            Answer::Infos(topics.by_name.values().map(|state| (state.stored.clone(), state.bytes())).collect())
        }
        Ask::Info(topic) => core.state(&topic).map(|state| Answer::Info(state.stored.clone(), state.bytes()))?,
        Ask::Watermarks(at) => core.watermarks(&at).map(|w| Answer::Watermarks { low: w.low, high: w.high })?,
        Ask::OffsetForTime(at, millis) => core.offset_for_time(&at, millis).map(Answer::Offset)?,
        Ask::Groups => Answer::Names(core.group_names()),
        Ask::Committed(group, partitions) => core.committed(&group, &partitions).map(Answer::Offsets)?,
        Ask::OpenId(id) => core.open_id(&id).map(|fence| Answer::Epoch(fence.epoch))?,
        Ask::Append { lots, fence } => append(core, &lots, fence, body)?,
        Ask::Fetch { wants, max_bytes, wait_ms } => {
            let wait = Duration::from_millis(wait_ms).min(MAX_WAIT);
            let fetched = core.fetch(&wants, max_bytes.min(MAX_FETCH_BYTES), wait)?;
            return Ok(Reply { head: Answer::Fetched(fetched.iter().map(found).collect()), fetched });
        }
    };
    Ok(answer.into())
}

fn found(fetched: &Fetched) -> Found {
    let runs = fetched.batches.iter().map(|batch| (batch.base, batch.run.bytes().len())).collect();
    Found { want: fetched.want, runs, skip_to: fetched.skip_to }
}

/// What comes over the socket is read record by record before it is stored: the file holds nothing unchecked.
fn append(
    core: &Core,
    lots: &[(u32, u32, usize)],
    fence: Option<(String, u64)>,
    body: &[u8],
) -> Result<Answer, LogError> {
    let runs = pieces(body, lots.iter().map(|lot| lot.2))?;
    let mut checked = Vec::with_capacity(lots.len());
    for ((topic, partition, _), bytes) in lots.iter().zip(runs) {
        let run = Run::parse(bytes)?;
        check(core, *topic, *partition, &run)?;
        checked.push(Lot { topic: *topic, partition: *partition, run });
    }
    let fence = fence.map(|(id, epoch)| Fence { id: id.into(), epoch });
    core.append(checked, fence)?.wait().map(|_| Answer::Done)
}

fn check(core: &Core, topic: u32, partition: u32, run: &Run) -> Result<(), LogError> {
    let state = read(&core.topics).by_id.get(&topic).cloned();
    let message = "the topic was deleted meanwhile; look it up again";
    let state = state.ok_or_else(|| LogError::new(LogErrorKind::TopicMissing, message))?;
    run.check(|entry: Entry<'_>| {
        check_size(&state.stored, partition, entry.wire_size())?;
        check_key(&state.stored, entry.key.is_some())
    })?;
    match run.is_dense() {
        true => Ok(()),
        false => Err(LogError::new(LogErrorKind::Corrupt, "a new run of records must not have holes")),
    }
}

fn other_version(protocol: u32) -> LogError {
    let message = format!(
        "the owner of the embedded log speaks version {PROTOCOL}, this program version {protocol}: use the same program"
    );
    LogError::new(LogErrorKind::Invalid, message)
}
