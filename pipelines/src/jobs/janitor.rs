//! Removes what was saved of requests that have ended, on a thread of its own: a store that is slow to answer keeps no
//! stream thread from polling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lunapark_topics::{LogError, LogErrorKind};

use super::fault::Fault;
use super::shelf::Folder;

/// Folders that wait to be removed, at most: names of some dozens of bytes. What has no room stays in the store, and is
/// found by `lunapark models gc`.
const QUEUE: usize = 4096;
/// A store that does not answer is asked again after this, then after twice as long, and so on.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A stop waits so long for what is being removed; it is far below the drain budget's default.
const AT_STOP: Duration = Duration::from_secs(1);
/// A stop is seen after at most this.
const STEP: Duration = Duration::from_millis(5);

/// The thread that removes; dropped, it ends.
pub(super) struct Janitor {
    folders: Option<SyncSender<Folder>>,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Janitor {
    /// Removes with this function; it may block.
    pub(super) fn start(forget: impl Fn(&Folder) -> Result<(), Fault> + Send + 'static) -> Result<Self, LogError> {
        let (folders, queue) = sync_channel(QUEUE);
        let closing = Arc::new(AtomicBool::new(false));
        let closes = closing.clone();
        let work = move || sweep(&queue, &forget, &closes);
        let spawned = std::thread::Builder::new().name("janitor".into()).spawn(work);
        let thread = spawned
            .map_err(|e| LogError::new(LogErrorKind::Internal, format!("no thread to remove checkpoints: {e}")))?;
        Ok(Self { folders: Some(folders), closing, thread })
    }

    /// Has a folder removed; returns at once.
    pub(super) fn forget(&self, folder: &Folder) {
        let sent = self.folders.as_ref().is_some_and(|folders| folders.try_send(folder.clone()).is_ok());
        if !sent {
            left_behind(folder, "too many wait to be removed");
        }
    }
}

impl Drop for Janitor {
    /// What is still to be removed is, as far as the store answers at once.
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        self.folders = None;
        let deadline = Instant::now() + AT_STOP;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(STEP);
        }
    }
}

fn sweep(queue: &Receiver<Folder>, forget: &impl Fn(&Folder) -> Result<(), Fault>, closing: &AtomicBool) {
    for folder in queue {
        let mut wait = FIRST_WAIT;
        while let Err(fault) = forget(&folder) {
            let passes = matches!(fault, Fault::Away(_)) && !closing.load(Ordering::Acquire);
            if !passes {
                left_behind(&folder, &format!("{fault:?}"));
                break;
            }
            pause(wait, closing);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

fn pause(wait: Duration, closing: &AtomicBool) {
    let end = Instant::now() + wait;
    while Instant::now() < end && !closing.load(Ordering::Acquire) {
        std::thread::park_timeout(STEP.max(wait / 20));
    }
}

fn left_behind(folder: &Folder, why: &str) {
    tracing::warn!(folder = folder.as_str(), why, "checkpoints left behind; `lunapark models gc` removes them");
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::sync_channel;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_store_that_hangs_or_is_away_holds_nobody_up_and_all_is_removed_at_last() {
        let (open, gate) = sync_channel::<()>(0);
        let (tell, told) = sync_channel(8);
        let (gate, away) = (Mutex::new(Some(gate)), AtomicBool::new(true));
        let forget = move |folder: &Folder| {
            if let Some(gate) = gate.lock().unwrap().take() {
                let _ = gate.recv();
            }
            if away.swap(false, Ordering::AcqRel) {
                return Err(Fault::Away("503".into()));
            }
            tell.send(folder.as_str().to_owned()).unwrap();
            Ok(())
        };
        let names = ["a", "b"].map(|digit| digit.repeat(32));
        let janitor = Janitor::start(forget).unwrap();
        // Both calls come back while the first removal hangs.
        names.iter().for_each(|name| janitor.forget(&Folder::named(name).unwrap()));
        assert!(told.try_recv().is_err());
        open.send(()).unwrap();
        assert_eq!([told.recv_timeout(PATIENCE).unwrap(), told.recv_timeout(PATIENCE).unwrap()], names);
    }
}
