//! Load on the embedded log, through its owner's socket: a batch counts once its flush has said so.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lunapark_topics::{LogError, Writer, embedded};

use super::{Accepted, Plan, Produced};

/// Events between two flushes.
const BATCH: u64 = 100;
/// A flush that takes longer has failed: the owner is gone.
const FLUSH: Duration = Duration::from_secs(20);
/// Between two tries to reach an owner that has just been killed.
const PAUSE: Duration = Duration::from_millis(5);

/// A thread that produces the plan's events at a rate, until it is stopped. Batches that fail are in doubt and never
/// sent again.
pub struct EmbeddedLoad {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Produced>>,
}

impl EmbeddedLoad {
    /// Starts at event 0 and waits for an owner of the folder whenever there is none.
    #[track_caller]
    pub fn start(dir: &Path, topic: &str, partitions: i32, plan: &Plan, per_second: f64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, topic, plan) = (stop.clone(), topic.to_owned(), plan.clone());
        let mut batches =
            Batches { dir: dir.to_owned(), topic, partitions, plan, next: 0, produced: Produced::default() };
        let run = move || {
            let started = Instant::now();
            let due = || (started.elapsed().as_secs_f64() * per_second) as u64;
            while !stopped.load(Ordering::Acquire) {
                // An error says that the owner was killed: the next one is waited for.
                if batches.run(&due, &stopped).is_err() {
                    std::thread::park_timeout(PAUSE);
                }
            }
            batches.produced
        };
        Self { stop, thread: std::thread::Builder::new().name("load".into()).spawn(run).ok() }
    }

    /// Ends it; what was acknowledged.
    #[track_caller]
    pub fn finish(mut self) -> Produced {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("a thread").join().expect("the load ends by itself")
    }
}

impl Drop for EmbeddedLoad {
    /// A test that fails must not leave its load to the others.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

struct Batches {
    dir: PathBuf,
    topic: String,
    partitions: i32,
    plan: Plan,
    next: u64,
    produced: Produced,
}

impl Batches {
    /// Produces what is due over one connection until it breaks.
    fn run(&mut self, due: &dyn Fn() -> u64, stopped: &AtomicBool) -> Result<(), LogError> {
        let log = embedded::connect(&self.dir)?;
        let mut writer = log.writer()?;
        while !stopped.load(Ordering::Acquire) {
            let numbers = self.next..due().clamp(self.next, self.next + BATCH);
            match numbers.is_empty() {
                true => std::thread::park_timeout(PAUSE),
                false => self.send(writer.as_mut(), numbers)?,
            }
        }
        Ok(())
    }

    fn send(&mut self, writer: &mut dyn Writer, numbers: Range<u64>) -> Result<(), LogError> {
        self.next = numbers.end;
        let produce = |number| writer.produce(&self.plan.event(number, self.partitions).record(&self.topic));
        let sent = numbers.clone().try_for_each(produce).and_then(|()| writer.flush(FLUSH));
        match &sent {
            Ok(()) => self.produced.accepted.extend(numbers.map(|number| Accepted { number, at: None })),
            Err(_) => self.produced.in_doubt += numbers.end - numbers.start,
        }
        sent
    }
}
