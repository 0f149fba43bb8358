//! The thread that owns a device, and how others hand it work.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use arrow_array::ArrayRef;
use lunapark_schemas::rows::f32_values;

use super::shapes::{Probe, Shapes};

/// Batches that may wait. Each waiting thread has one, so that more threads than this wait at the door.
const QUEUE: usize = 64;
const GONE: &str = "the thread that owns the device has ended";

/// What the owner drives. It stays on the owner's thread, with everything that it made.
pub(super) trait Worker: 'static {
    /// A network before it is on the device.
    type Plan: Send + 'static;
    /// The same on the device.
    type Network;

    /// Puts a network on the device.
    fn place(&mut self, plan: Self::Plan) -> Result<Self::Network, String>;

    /// The answers of `count` rows, row-major; `rows` holds exactly so many.
    fn run(&mut self, network: &Self::Network, rows: &[f32], count: usize) -> Result<Vec<f32>, String>;
}

/// Numbers of a row and of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub inputs: usize,
    pub answers: usize,
    /// The widest layer, which decides how many rows fit on the device at once.
    pub widest: usize,
}

pub(super) enum Message<P> {
    Place { id: u64, plan: P, widths: Widths, rows: Vec<f32>, reply: SyncSender<Result<Probe, String>> },
    Score(Job),
    Remove { id: u64 },
}

/// A batch of one thread, and where its answers go.
pub(super) struct Job {
    pub network: u64,
    pub column: ArrayRef,
    pub rows: usize,
    pub reply: SyncSender<Result<Vec<f32>, String>>,
}

impl Job {
    fn values(&self) -> &[f32] {
        f32_values(&*self.column).unwrap_or_default()
    }
}

/// The door to a device. The thread behind it ends when the last one is dropped.
pub(super) struct Owner<P> {
    messages: SyncSender<Message<P>>,
    next: AtomicU64,
}

impl<P: Send + 'static> Owner<P> {
    /// Starts the thread; what it drives is opened there.
    pub(super) fn start<W: Worker<Plan = P>>(
        name: &str,
        open: impl FnOnce() -> Result<W, String> + Send + 'static,
    ) -> Result<Arc<Self>, String> {
        let (messages, inbox) = sync_channel(QUEUE);
        let (opened, is_open) = sync_channel(1);
        let work = move || match guarded(open) {
            Ok(worker) => {
                // Whoever asked is waiting for it.
                let _ = opened.send(Ok(()));
                Served::over(worker).serve(&inbox);
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        let thread = thread::Builder::new().name(format!("device-{name}")).spawn(work);
        thread.map_err(|error| format!("no thread could be started: {error}"))?;
        is_open.recv().map_err(|_| GONE.to_owned())??;
        Ok(Self::behind(messages))
    }

    /// The door to whoever reads these messages.
    pub(super) fn behind(messages: SyncSender<Message<P>>) -> Arc<Self> {
        Arc::new(Self { messages, next: AtomicU64::new(0) })
    }

    /// Puts a network on the device and tries it there on `rows`.
    pub(super) fn place(self: &Arc<Self>, plan: P, widths: Widths, rows: Vec<f32>) -> Result<(Seat<P>, Probe), String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = sync_channel(1);
        self.send(Message::Place { id, plan, widths, rows, reply })?;
        let probe = answer.recv().map_err(|_| GONE.to_owned())??;
        Ok((Seat { owner: self.clone(), id }, probe))
    }

    fn send(&self, message: Message<P>) -> Result<(), String> {
        self.messages.send(message).map_err(|_| GONE.to_owned())
    }
}

/// A network on the device, for as long as this lives.
pub(super) struct Seat<P: Send + 'static> {
    owner: Arc<Owner<P>>,
    id: u64,
}

impl<P: Send + 'static> Seat<P> {
    /// The answers of a column of rows, when the device has come to them.
    pub(super) fn score(&self, column: ArrayRef, rows: usize) -> Result<Vec<f32>, String> {
        let (reply, answer) = sync_channel(1);
        self.owner.send(Message::Score(Job { network: self.id, column, rows, reply }))?;
        answer.recv().map_err(|_| GONE.to_owned())?
    }
}

impl<P: Send + 'static> Drop for Seat<P> {
    fn drop(&mut self) {
        // Without its thread the network is gone already.
        let _ = self.owner.send(Message::Remove { id: self.id });
    }
}

/// Runs foreign code; a panic in it is an error like any other.
fn guarded<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let told = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", told.unwrap_or("without a word")))
    })
}

struct Placed<N> {
    network: N,
    widths: Widths,
    shapes: Shapes,
}

/// The owner's side.
pub(super) struct Served<W: Worker> {
    worker: W,
    networks: HashMap<u64, Placed<W::Network>>,
    /// Rows on their way to the device.
    staging: Vec<f32>,
}

impl<W: Worker> Served<W> {
    pub(super) fn over(worker: W) -> Self {
        Self { worker, networks: HashMap::new(), staging: Vec::new() }
    }

    /// Answers until nobody can ask any more.
    pub(super) fn serve(&mut self, inbox: &Receiver<Message<W::Plan>>) {
        let mut waiting = VecDeque::new();
        while let Some(message) = waiting.pop_front().or_else(|| inbox.recv().ok()) {
            waiting.extend(inbox.try_iter().take(QUEUE));
            self.act(message, &mut waiting);
        }
    }

    /// Answers go to threads that wait for them; one that does not is no fault of the others.
    fn act(&mut self, message: Message<W::Plan>, waiting: &mut VecDeque<Message<W::Plan>>) {
        match message {
            Message::Place { id, plan, widths, rows, reply } => {
                let _ = reply.send(guarded(|| self.place(id, plan, widths, &rows)));
            }
            Message::Remove { id } => drop(self.networks.remove(&id)),
            Message::Score(job) => {
                let budget = self.networks.get(&job.network).map_or(0, |placed| placed.shapes.largest());
                let jobs = joined(job, waiting, budget);
                answer(&jobs, guarded(|| self.score(&jobs)));
            }
        }
    }

    fn place(&mut self, id: u64, plan: W::Plan, widths: Widths, rows: &[f32]) -> Result<Probe, String> {
        let network = self.worker.place(plan)?;
        let run = |rows: &[f32], count: usize| self.worker.run(&network, rows, count);
        let (shapes, probe) = Shapes::found(widths, rows, run)?;
        self.networks.insert(id, Placed { network, widths, shapes });
        Ok(probe)
    }

    /// The answers of all jobs, one after the other.
    fn score(&mut self, jobs: &[Job]) -> Result<Vec<f32>, String> {
        let Some(placed) = jobs.first().and_then(|job| self.networks.get(&job.network)) else {
            return Err("the network is not on the device".to_owned());
        };
        let Widths { inputs, answers: width, .. } = placed.widths;
        let total: usize = jobs.iter().map(|job| job.rows).sum();
        let mut slices = jobs.iter().map(Job::values).collect::<VecDeque<_>>();
        let mut answers = Vec::with_capacity(total * width);
        for (rows, shape) in placed.shapes.cut(total) {
            fill(&mut self.staging, &mut slices, rows * inputs);
            self.staging.resize(shape * inputs, 0.0);
            let mut more = self.worker.run(&placed.network, &self.staging, shape)?;
            if more.len() != shape * width {
                return Err(format!("{shape} rows were answered by {} numbers", more.len()));
            }
            more.truncate(rows * width);
            answers.append(&mut more);
        }
        Ok(answers)
    }
}

/// The job and all that wait for the same network, in their order, while they fit into the budget of rows.
fn joined<P>(first: Job, waiting: &mut VecDeque<Message<P>>, budget: usize) -> Vec<Job> {
    let (network, mut rows) = (first.network, first.rows);
    let (mut jobs, mut others) = (vec![first], VecDeque::with_capacity(waiting.len()));
    for message in waiting.drain(..) {
        match message {
            Message::Score(job) if job.network == network && rows + job.rows <= budget => {
                rows += job.rows;
                jobs.push(job);
            }
            other => others.push_back(other),
        }
    }
    *waiting = others;
    jobs
}

/// Moves the next `count` values into `staging`.
fn fill(staging: &mut Vec<f32>, slices: &mut VecDeque<&[f32]>, count: usize) {
    staging.clear();
    while let Some(slice) = slices.front_mut().filter(|_| staging.len() < count) {
        let (now, later) = slice.split_at(slice.len().min(count - staging.len()));
        staging.extend_from_slice(now);
        *slice = later;
        if later.is_empty() {
            slices.pop_front();
        }
    }
}

/// Gives each job its part; a fault concerns all of them.
fn answer(jobs: &[Job], answers: Result<Vec<f32>, String>) {
    let total: usize = jobs.iter().map(|job| job.rows).sum();
    match answers {
        Ok(mut answers) => {
            let width = answers.len() / total.max(1);
            for job in jobs.iter().rev() {
                let own = answers.split_off(answers.len() - job.rows * width);
                let _ = job.reply.send(Ok(own));
            }
        }
        Err(error) => jobs.iter().for_each(|job| drop(job.reply.send(Err(error.clone())))),
    }
}
