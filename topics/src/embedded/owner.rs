//! The one process that has the file open: its lock, its threads, and their end.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::{Builder, JoinHandle};

use super::books::Books;
use super::change::Change;
use super::core::Core;
use super::maintenance::Maintenance;
use super::options::EmbeddedOptions;
use super::server::Server;
use super::store::Store;
use super::sync::Signal;
use super::topics::Tail;
use super::writing::{Writing, topics_of};
use crate::error::{LogError, LogErrorKind};

const LOCK: &str = "lunapark.pid";
/// Changes that may wait for the writing thread; producers block beyond.
const MAX_WAITING: usize = 1024;

/// The owner; dropping the last handle ends its threads and gives the folder free.
#[derive(Debug)]
pub(crate) struct Owner {
    dir: PathBuf,
    threads: Vec<JoinHandle<()>>,
    server: Option<Server>,
    maintenance: Maintenance,
    core: Arc<Core>,
    /// Released last, when the file is closed.
    _lock: File,
}

impl Owner {
    /// Takes the folder and opens its log.
    pub fn open(dir: &Path, options: &EmbeddedOptions) -> Result<Arc<Self>, LogError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| cannot_open(dir, &error))?;
        let lock = take(dir)?;
        let store = Store::open(dir, options)?;
        let (books, committed) = Books::load(&store)?;
        let (requests, waiting) = crossbeam_channel::bounded(MAX_WAITING);
        let core = Arc::new(Core {
            options: options.clone(),
            store,
            topics: RwLock::new(topics_of(&books)),
            committed: RwLock::new(committed),
            tail: Tail::new(options.tail_bytes),
            publishing: RwLock::new(()),
            signal: Signal::default(),
            groups: Mutex::default(),
            closing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            requests,
        });
        let writing = Writing::new(core.clone(), books);
        let mut threads = vec![spawn("log-write", move || writing.run(&waiting))?];
        let maintenance = Maintenance::new();
        threads.push(maintenance.start(core.clone())?);
        let server = Server::start(dir, &core);
        // From here on Drop ends the threads, also where the socket cannot be opened.
        let mut owner = Self { dir: dir.to_owned(), threads, server: None, maintenance, core, _lock: lock };
        owner.server = Some(server?);
        Ok(Arc::new(owner))
    }

    /// The shared state.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Maintenance, for a round out of turn.
    pub fn maintenance(&self) -> &Maintenance {
        &self.maintenance
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.closing.store(true, Ordering::Relaxed);
        self.core.signal.raise();
        drop(self.server.take());
        self.maintenance.stop();
        let stopped = self.core.ask(Change::Stop).and_then(|ticket| ticket.wait().map(drop));
        if let Err(error) = stopped {
            tracing::warn!(%error, "the writing thread had ended before");
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the embedded log panicked");
            }
        }
        self.core.store.close();
    }
}

/// Starts a named thread.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        LogError::new(LogErrorKind::Internal, format!("no thread can be started for the embedded log: {error}"))
    })
}

/// Takes the lock of this folder, which the system releases whichever way the process ends.
fn take(dir: &Path) -> Result<File, LogError> {
    let cannot = |error: std::io::Error| cannot_open(dir, &error);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(LOCK));
    let mut file = open.map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(owned(dir, &mut file)),
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)).map(drop)).map_err(cannot)?;
    writeln!(file, "{}", std::process::id()).map_err(cannot)?;
    Ok(file)
}

fn owned(dir: &Path, file: &mut File) -> LogError {
    let mut pid = String::new();
    // A pid is at most ten digits; who has just taken the lock may not have written it yet.
    let read = file.take(16).read_to_string(&mut pid);
    let pid = match (read, pid.trim()) {
        (Ok(_), pid) if !pid.is_empty() => pid,
        _ => "unknown, it is just starting",
    };
    let message = format!(
        "the embedded log {} is owned by another process (pid {pid}): stop it, or use its commands through the socket; \
         for several instances set kafka.bootstrap",
        dir.display()
    );
    LogError::new(LogErrorKind::Owned, message)
}

fn cannot_open(dir: &Path, error: &std::io::Error) -> LogError {
    let message = format!("the data folder {} cannot be used: {error}; check its path and permissions", dir.display());
    LogError::new(LogErrorKind::Unreachable, message)
}
