//! Seats: how many jobs of a project run at once, over all instances.
//!
//! Who wants to run a job says so on `control`, whose order is the same for all, and listens until it hears itself: the first
//! so many that hold a seat may run. One that is too late gives its seat back and asks again when one is free. A seat of
//! which nothing is heard for a while is free.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lunapark_schemas::control::{ControlRecord, Seat};
use lunapark_topics::{Log, LogError, Topic, Writer};

use crate::clock;

/// A holder says so this often,
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// and has lost its seat where it has not for so long: five words missed, and clocks that differ by a few seconds.
const LAPSE_MILLIS: i64 = 30_000;
/// A word of which nothing is heard for so long is said again.
const UNHEARD: Duration = Duration::from_secs(10);
/// A word that is not acknowledged by then is said again later.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of all seats, and this instance's voice.
pub(super) struct Seats {
    limit: usize,
    pipeline: String,
    instance: String,
    log: Arc<dyn Log>,
    topic: Topic<ControlRecord>,
    known: Mutex<Known>,
    writer: Mutex<Option<Box<dyn Writer>>>,
}

#[derive(Default)]
struct Known {
    /// Holders of each project, by job.
    projects: HashMap<String, BTreeMap<String, Holder>>,
    /// When this instance last said something of a job.
    said: HashMap<String, Instant>,
}

#[derive(Clone, Debug)]
struct Holder {
    instance: String,
    /// Offset of the word that took the seat.
    order: i64,
    sent_at: i64,
}

/// Who runs jobs.
#[derive(Clone, Debug, Default)]
pub struct Bench {
    /// Jobs of one project at once; 0 is any number.
    pub limit: usize,
    /// Consumer group of the pipeline.
    pub pipeline: String,
    /// Stable instance name.
    pub instance: String,
}

/// What has to be said.
#[derive(Debug, PartialEq, Eq)]
enum Say {
    Nothing,
    Take,
    Leave,
}

impl Seats {
    pub(super) fn new(bench: &Bench, log: Arc<dyn Log>, topic: Topic<ControlRecord>) -> Self {
        let Bench { limit, pipeline, instance } = bench.clone();
        Self { limit, pipeline, instance, log, topic, known: Mutex::default(), writer: Mutex::default() }
    }

    /// Whether a job of this project may run now. Asks for a seat where one seems free: the answer comes later.
    pub(super) fn admits(&self, project: &str, job: &str) -> Result<bool, LogError> {
        if self.limit == 0 {
            return Ok(true);
        }
        let (admitted, say) = self.known().admits(project, job, &self.instance, self.limit, clock::now_millis());
        match say {
            Say::Nothing => {}
            Say::Take => self.say(project, job, true)?,
            Say::Leave => self.leave(project, job),
        }
        Ok(admitted)
    }

    /// Says that the job still runs, where that is due.
    pub(super) fn renew(&self, project: &str, job: &str) {
        let due = |said: &Instant| said.elapsed() >= RENEW_EVERY;
        if self.limit > 0
            && self.known().said.get(job).is_none_or(due)
            && let Err(error) = self.say(project, job, true)
        {
            tracing::warn!(project, job, %error, "the seat is not renewed");
        }
    }

    /// The job no longer runs here. Where that cannot be said, the seat lapses.
    pub(super) fn leave(&self, project: &str, job: &str) {
        if self.limit > 0
            && let Err(error) = self.say(project, job, false)
        {
            tracing::warn!(project, job, %error, "the seat lapses");
        }
        // It may ask again as soon as a seat is free.
        self.known().said.remove(job);
    }

    /// A word on `control`.
    pub(super) fn hear(&self, offset: i64, seat: Seat) {
        if seat.pipeline == self.pipeline {
            self.known().hear(offset, seat, clock::now_millis());
        }
    }

    fn say(&self, project: &str, job: &str, taken: bool) -> Result<(), LogError> {
        self.known().said.insert(job.to_owned(), Instant::now());
        let seat = Seat {
            pipeline: self.pipeline.clone(),
            instance: self.instance.clone(),
            project: project.to_owned(),
            job: job.to_owned(),
            taken,
            sent_at: clock::now_millis(),
        };
        let event = self.topic.encode(&ControlRecord::Seat(seat))?;
        let mut kept = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has failed is not used again.
        let mut writer = match kept.take() {
            Some(writer) => writer,
            None => self.log.announcer()?,
        };
        writer.produce(&event.record(Some(0)))?;
        writer.flush(PATIENCE)?;
        *kept = Some(writer);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn hear(&mut self, offset: i64, seat: Seat, now: i64) {
        let holders = self.projects.entry(seat.project).or_default();
        holders.retain(|_, holder| now - holder.sent_at < LAPSE_MILLIS);
        match seat.taken {
            true => {
                let order = holders.get(&seat.job).map_or(offset, |holder| holder.order);
                holders.insert(seat.job, Holder { instance: seat.instance, order, sent_at: seat.sent_at });
            }
            // What an earlier owner of the job says late concerns nobody.
            false if holders.get(&seat.job).is_some_and(|holder| holder.instance == seat.instance) => {
                holders.remove(&seat.job);
            }
            false => {}
        }
    }

    fn admits(&self, project: &str, job: &str, instance: &str, limit: usize, now: i64) -> (bool, Say) {
        let none = BTreeMap::new();
        let holders = self.projects.get(project).unwrap_or(&none);
        let others = |before: i64| {
            let live = |holder: &Holder| now - holder.sent_at < LAPSE_MILLIS && holder.order < before;
            holders.iter().filter(|(other, holder)| *other != job && live(holder)).count()
        };
        let own = holders.get(job).filter(|own| own.instance == instance && now - own.sent_at < LAPSE_MILLIS);
        let admitted = own.is_some_and(|own| others(own.order) < limit);
        let waited = self.said.get(job).is_none_or(|said| said.elapsed() > UNHEARD);
        let say = match own {
            Some(_) if admitted => Say::Nothing,
            Some(_) => Say::Leave,
            None if others(i64::MAX) < limit && waited => Say::Take,
            None => Say::Nothing,
        };
        (admitted, say)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(instance: &str, job: &str, taken: bool, sent_at: i64) -> Seat {
        let [pipeline, instance, project, job] = ["train", instance, "cms", job].map(str::to_owned);
        Seat { pipeline, instance, project, job, taken, sent_at }
    }

    #[test]
    fn the_first_that_asked_have_the_seats() {
        let mut known = Known::default();
        assert_eq!(known.admits("cms", "1", "a", 1, 0), (false, Say::Take));
        // Both asked before either was heard.
        known.hear(10, seat("a", "1", true, 0), 0);
        known.hear(11, seat("b", "2", true, 0), 0);
        assert_eq!(known.admits("cms", "1", "a", 1, 0), (true, Say::Nothing));
        assert_eq!(known.admits("cms", "2", "b", 1, 0), (false, Say::Leave));
        known.hear(12, seat("b", "2", false, 0), 0);
        assert_eq!(known.admits("cms", "2", "b", 1, 0), (false, Say::Nothing));
        assert_eq!(known.admits("atlas", "3", "b", 1, 0), (false, Say::Take));
        known.hear(13, seat("a", "1", false, 0), 0);
        assert_eq!(known.admits("cms", "2", "b", 1, 0), (false, Say::Take));
        known.hear(14, seat("b", "2", true, 0), 0);
        assert_eq!(known.admits("cms", "2", "b", 1, 0), (true, Say::Nothing));
        // With two seats both may run.
        known.hear(15, seat("a", "1", true, 0), 0);
        assert!(known.admits("cms", "1", "a", 2, 0).0);
    }

    #[test]
    fn a_seat_of_which_nothing_is_heard_lapses_and_moves_with_its_job() {
        let mut known = Known::default();
        known.hear(1, seat("dead", "1", true, 0), 0);
        assert_eq!(known.admits("cms", "2", "b", 1, LAPSE_MILLIS - 1), (false, Say::Nothing));
        assert_eq!(known.admits("cms", "2", "b", 1, LAPSE_MILLIS), (false, Say::Take));
        // Whoever goes on with the job takes its seat, and keeps its place.
        assert_eq!(known.admits("cms", "1", "c", 1, 100), (false, Say::Take));
        known.hear(2, seat("c", "1", true, 100), 100);
        known.hear(3, seat("dead", "1", false, 100), 100);
        assert!(known.admits("cms", "1", "c", 1, 100).0);
        // One that had lapsed stands behind those that came since.
        let later = 100 + LAPSE_MILLIS;
        known.hear(4, seat("b", "2", true, later), later);
        known.hear(5, seat("c", "1", true, later), later);
        assert!(known.admits("cms", "2", "b", 1, later).0 && !known.admits("cms", "1", "c", 1, later).0);
    }
}
