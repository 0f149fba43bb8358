//! Taking partitions over: their cuts are read and their models loaded beside the stream thread, which polls on.
//!
//! A partition is paused until all of that is there. One whose models cannot be loaded stays paused and is tried again;
//! the others of the thread go on, and readiness tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lunapark_schemas::{Position, TopicPartition};

use super::board::{Switchboard, Versions};
use super::held::Held;
use super::history::Tracks;
use crate::health::Health;

/// First pause before a partition is tried again; doubled up to [`LONGEST`]: a store that is back is noticed within that.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(20);
/// A takeover that lasts so long is told of: as a rule it is over within milliseconds.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// How long the end of a stream thread waits for what it has begun: reading cuts ends at once, a slow store may not.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);

/// A partition that can be scored.
pub(super) struct Taken {
    /// Where it starts.
    pub(super) start: Position,
    /// Its cuts.
    pub(super) held: Held,
}

/// The partitions that one stream thread is taking over.
pub(super) struct Takeovers {
    board: Arc<Switchboard>,
    health: Arc<Health>,
    member: String,
    waiting: BTreeMap<i32, Waiting>,
    tries: Vec<Try>,
    /// Number of the last try: what an earlier one finds of a partition that came back meanwhile is out of date.
    last: u64,
}

struct Waiting {
    start: Position,
    /// Versions that events are known to name.
    named: Versions,
    /// What was held of the partition before it waited: its models stay loaded.
    _held: Held,
    since: Instant,
    told: bool,
    number: u64,
    pause: Duration,
    /// When it is tried again; none while a try is under way.
    again: Option<Instant>,
}

/// What one partition is tried with.
type Asked = (Position, Versions);

/// What a try sends: its number, the partition, and what was found.
type Answer = (u64, i32, Result<Taken, String>);

struct Try {
    answers: Receiver<Answer>,
    given_up: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Takeovers {
    pub(super) fn new(board: Arc<Switchboard>, health: Arc<Health>, member: String) -> Self {
        Self { board, health, member, waiting: BTreeMap::new(), tries: Vec::new(), last: 0 }
    }

    /// Begins to take partitions over.
    pub(super) fn ask(&mut self, starts: &[Position]) {
        starts.iter().for_each(|start| self.put(start.clone(), Versions::new(), Held::default()));
        self.try_due();
    }

    /// Takes a partition over once more: its events name these versions.
    pub(super) fn ask_again(&mut self, start: Position, named: Versions, held: Held) {
        self.put(start, named, held);
        self.try_due();
    }

    fn put(&mut self, start: Position, named: Versions, held: Held) {
        let (since, partition) = (Instant::now(), start.partition);
        let waiting = Waiting {
            start,
            named,
            _held: held,
            since,
            told: false,
            number: 0,
            pause: FIRST,
            again: Some(Instant::now()),
        };
        self.waiting.insert(partition, waiting);
    }

    /// Whether a partition waits.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How long the last one has waited.
    pub(super) fn waited(&self) -> Option<Duration> {
        self.waiting.values().map(|waiting| waiting.since.elapsed()).min()
    }

    /// Partitions that are not ours any more.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            if self.waiting.remove(&at.partition).is_some() {
                self.health.goes_on(&self.member, at);
            }
        }
    }

    /// The partitions that have become ready.
    pub(super) fn arrived(&mut self) -> Vec<Taken> {
        // A try that had ended before its answers were taken has no more of them.
        let mut answers: Vec<Answer> = Vec::new();
        self.tries.retain(|each| {
            let ended = each.thread.is_finished();
            answers.extend(each.answers.try_iter());
            !ended
        });
        let taken = answers.into_iter().filter_map(|answer| self.settle(answer)).collect();
        self.try_due();
        self.tell();
        taken
    }

    /// Readiness tells of those that take long, not only of those that have failed.
    fn tell(&mut self) {
        for waiting in self.waiting.values_mut().filter(|waiting| !waiting.told && waiting.since.elapsed() > TOLD_AFTER)
        {
            waiting.told = true;
            let what = "it is being taken over: its cuts are read and its models loaded";
            self.health.waits(&self.member, &waiting.start.topic_partition(), what);
        }
    }

    fn settle(&mut self, (number, partition, found): Answer) -> Option<Taken> {
        let waiting = self.waiting.get_mut(&partition).filter(|waiting| waiting.number == number)?;
        let at = waiting.start.topic_partition();
        match found {
            Ok(taken) => {
                self.waiting.remove(&partition);
                self.health.goes_on(&self.member, &at);
                Some(taken)
            }
            Err(error) => {
                let pause = waiting.pause;
                waiting.told = true;
                let what = "the partition is paused until its cuts can be read and its models loaded";
                tracing::error!(partition = %at, error, ?pause, "{what}");
                self.health.waits(&self.member, &at, &error);
                (waiting.again, waiting.pause) = (Some(Instant::now() + pause), (pause * 2).min(LONGEST));
                None
            }
        }
    }

    /// Tries all whose time has come.
    fn try_due(&mut self) {
        let now = Instant::now();
        let due = |waiting: &&mut Waiting| waiting.again.is_some_and(|again| again <= now);
        let number = self.last + 1;
        let starts: Vec<Asked> = self
            .waiting
            .values_mut()
            .filter(due)
            .map(|waiting| {
                (waiting.number, waiting.again) = (number, None);
                (waiting.start.clone(), waiting.named.clone())
            })
            .collect();
        if !starts.is_empty() {
            self.last = number;
            self.begin(number, starts);
        }
    }

    fn begin(&mut self, number: u64, starts: Vec<Asked>) {
        let partitions: Vec<i32> = starts.iter().map(|(start, _)| start.partition).collect();
        // Each partition is answered once: nothing ever waits.
        let (sender, answers) = sync_channel(starts.len());
        let given_up = Arc::new(AtomicBool::new(false));
        let (board, stop) = (self.board.clone(), given_up.clone());
        let work = move || take_all(&board, number, starts, &sender, &stop);
        match std::thread::Builder::new().name("takeover".into()).spawn(work) {
            Ok(thread) => self.tries.push(Try { answers, given_up, thread }),
            Err(error) => {
                let failed = |partition: &i32| (number, *partition, Err(format!("no thread: {error}")));
                partitions.iter().map(failed).for_each(|answer| drop(self.settle(answer)));
            }
        }
    }
}

impl Drop for Takeovers {
    /// The log must not outlive the stream thread by more than a moment.
    fn drop(&mut self) {
        for each in &self.tries {
            each.given_up.store(true, Ordering::Release);
        }
        let began = Instant::now();
        while self.tries.iter().any(|each| !each.thread.is_finished()) && began.elapsed() < LEAVES_WITHIN {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let places: Vec<_> = self.waiting.values().map(|waiting| waiting.start.topic_partition()).collect();
        self.forget(&places);
    }
}

fn take_all(board: &Switchboard, number: u64, starts: Vec<Asked>, answers: &SyncSender<Answer>, given_up: &AtomicBool) {
    let partitions: Vec<i32> = starts.iter().map(|(start, _)| start.partition).collect();
    let history = tried(|| board.history(&partitions, given_up));
    let tracks_of = |(start, named): Asked| {
        let tracks = history.as_ref().map_err(Clone::clone).and_then(|tracks| match tracks.get(&start.partition) {
            Some(Ok(tracks)) => Ok(tracks.clone()),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(Tracks::default()),
        });
        (start, named, tracks)
    };
    let mut left: Vec<_> = starts.into_iter().map(tracks_of).collect();
    while !left.is_empty() && !given_up.load(Ordering::Acquire) {
        // What needs no loading does not wait behind what does.
        let quick = |(start, named, tracks): &(Position, Versions, Result<Tracks, String>)| {
            tracks.as_ref().map_or(true, |tracks| board.at_hand(start, tracks, named))
        };
        let (start, named, tracks) = left.swap_remove(left.iter().position(quick).unwrap_or(0));
        let partition = start.partition;
        let found = tracks.and_then(|tracks| tried(|| board.take(start, tracks, &named)));
        // Nobody hears it where the stream thread has ended.
        if answers.send((number, partition, found)).is_err() {
            return;
        }
    }
}

/// What comes of a step, also where it panics: a partition that is never answered would be paused for ever.
fn tried<T, E: std::fmt::Display>(step: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)) {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("reading the cuts or loading a model panicked; see the log".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_panics_is_an_answer() {
        assert_eq!(tried(|| Ok::<_, String>(7)), Ok(7));
        assert_eq!(tried(|| Err::<i32, _>("gone")), Err("gone".into()));
        assert!(tried(|| -> Result<i32, String> { panic!("on purpose") }).is_err_and(|what| what.contains("panicked")));
    }
}
