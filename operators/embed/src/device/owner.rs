//! The thread that owns a device, and how others hand it texts.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Groups that may wait; a thread that embeds has two at most, and waits at the door where there are more.
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

    /// The vectors of texts, which come as their tokens, one after the other.
    fn run(&mut self, network: &Self::Network, texts: &[&[u32]]) -> Result<Vec<f32>, String>;
}

#[derive(Debug)]
pub(super) enum Message<P> {
    /// A network that takes so many tokens at once.
    Place {
        id: u64,
        plan: P,
        budget: usize,
        reply: SyncSender<Result<(), String>>,
    },
    Embed(Job),
    Remove {
        id: u64,
    },
}

/// Texts of one thread, and where their vectors go.
#[derive(Debug)]
pub(super) struct Job {
    pub network: u64,
    pub texts: Vec<Vec<u32>>,
    pub reply: SyncSender<Answer>,
}

/// The vectors of a job's texts, or what was wrong.
pub(super) type Answer = Result<Vec<f32>, String>;

impl Job {
    fn tokens(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }
}

/// The door to a device. The thread behind it ends when the last one is dropped.
#[derive(Debug)]
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
        let thread = thread::Builder::new().name(format!("embed-{name}")).spawn(work);
        thread.map_err(|error| format!("no thread could be started: {error}"))?;
        is_open.recv().map_err(|_| GONE.to_owned())??;
        Ok(Self::behind(messages))
    }

    /// The door to whoever reads these messages.
    pub(super) fn behind(messages: SyncSender<Message<P>>) -> Arc<Self> {
        Arc::new(Self { messages, next: AtomicU64::new(0) })
    }

    /// Puts a network on the device, which takes so many tokens at once.
    pub(super) fn place(self: &Arc<Self>, plan: P, budget: usize) -> Result<Seat<P>, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = sync_channel(1);
        self.send(Message::Place { id, plan, budget, reply })?;
        answer.recv().map_err(|_| GONE.to_owned())??;
        Ok(Seat { owner: self.clone(), id })
    }

    fn send(&self, message: Message<P>) -> Result<(), String> {
        self.messages.send(message).map_err(|_| GONE.to_owned())
    }
}

/// A network on the device, for as long as this lives.
#[derive(Debug)]
pub(super) struct Seat<P: Send + 'static> {
    owner: Arc<Owner<P>>,
    id: u64,
}

/// Vectors that are being made.
#[derive(Debug)]
pub(super) struct Pending(Receiver<Answer>);

impl Pending {
    /// The vectors, when the device has come to them.
    pub(super) fn wait(self) -> Answer {
        self.0.recv().map_err(|_| GONE.to_owned())?
    }
}

impl<P: Send + 'static> Seat<P> {
    /// Hands texts over.
    pub(super) fn send(&self, texts: Vec<Vec<u32>>) -> Result<Pending, String> {
        let (reply, answer) = sync_channel(1);
        self.owner.send(Message::Embed(Job { network: self.id, texts, reply }))?;
        Ok(Pending(answer))
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
    budget: usize,
}

/// The owner's side.
pub(super) struct Served<W: Worker> {
    worker: W,
    networks: HashMap<u64, Placed<W::Network>>,
}

impl<W: Worker> Served<W> {
    pub(super) fn over(worker: W) -> Self {
        Self { worker, networks: HashMap::new() }
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
            Message::Place { id, plan, budget, reply } => {
                let _ = reply.send(guarded(|| self.place(id, plan, budget)));
            }
            Message::Remove { id } => drop(self.networks.remove(&id)),
            Message::Embed(job) => {
                let budget = self.networks.get(&job.network).map_or(0, |placed| placed.budget);
                let jobs = joined(job, waiting, budget);
                answer(&jobs, guarded(|| self.embed(&jobs)));
            }
        }
    }

    fn place(&mut self, id: u64, plan: W::Plan, budget: usize) -> Result<(), String> {
        let network = self.worker.place(plan)?;
        self.networks.insert(id, Placed { network, budget });
        Ok(())
    }

    /// The vectors of all jobs, one after the other.
    fn embed(&mut self, jobs: &[Job]) -> Answer {
        let placed = jobs.first().and_then(|job| self.networks.get(&job.network));
        let Some(placed) = placed else { return Err("the network is not on the device".to_owned()) };
        let texts: Vec<&[u32]> = jobs.iter().flat_map(|job| &job.texts).map(Vec::as_slice).collect();
        let vectors = self.worker.run(&placed.network, &texts)?;
        match vectors.len().is_multiple_of(texts.len().max(1)) {
            true => Ok(vectors),
            false => Err(format!("{} texts were answered by {} numbers", texts.len(), vectors.len())),
        }
    }
}

/// The job and all that wait for the same network, in their order, while they fit into the budget of tokens.
fn joined<P>(first: Job, waiting: &mut VecDeque<Message<P>>, budget: usize) -> Vec<Job> {
    let (network, mut tokens) = (first.network, first.tokens());
    let (mut jobs, mut others) = (vec![first], VecDeque::with_capacity(waiting.len()));
    for message in waiting.drain(..) {
        match message {
            Message::Embed(job) if job.network == network && tokens + job.tokens() <= budget => {
                tokens += job.tokens();
                jobs.push(job);
            }
            other => others.push_back(other),
        }
    }
    *waiting = others;
    jobs
}

/// Gives each job its part; a fault concerns all of them.
fn answer(jobs: &[Job], vectors: Answer) {
    let texts: usize = jobs.iter().map(|job| job.texts.len()).sum();
    match vectors {
        Ok(mut vectors) => {
            let width = vectors.len() / texts.max(1);
            for job in jobs.iter().rev() {
                let own = vectors.split_off(vectors.len() - job.texts.len() * width);
                let _ = job.reply.send(Ok(own));
            }
        }
        Err(error) => jobs.iter().for_each(|job| drop(job.reply.send(Err(error.clone())))),
    }
}
