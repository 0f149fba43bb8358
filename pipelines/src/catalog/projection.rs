//! MongoDB's copy of the catalog and of job history: kept equal to the topics by whoever runs, rebuilt by
//! `lunapark catalog rebuild`.

mod tasks;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lunapark_schemas::catalog::CatalogRecord;
use lunapark_schemas::training::TrainingStatus;
use lunapark_schemas::{Messages, TopicPartition};
use lunapark_stores::catalog::CatalogError;
use lunapark_stores::catalog::mongo::MongoCatalog;
use lunapark_topics::{Limit, Log, LogError, LogErrorKind, Topic};

use super::{PARTITION, last_records, read_record};
use crate::audit::scan::Scan;
use crate::config::Config;
use crate::stop::Stop;

/// A record is an upsert: no more than so many are at hand at a time.
const LIMIT: Limit = Limit { messages: 1000, bytes: 4 << 20 };
/// A stop is seen within this.
const WAIT: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why the copy does not follow.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// MongoDB.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The topic.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What is copied, and where to.
#[derive(Clone)]
pub struct Projection {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The catalog's topic.
    pub topic: Topic<CatalogRecord>,
    /// The topic of job history.
    pub statuses: Topic<TrainingStatus>,
    /// Address of MongoDB.
    pub uri: String,
    /// Put before the names of its collections.
    pub prefix: String,
    /// Name of the instance that follows, under which it leaves word how far it is.
    pub instance: String,
}

/// What is followed, each on a thread of its own: trouble with one topic does not hold up the other.
#[derive(Clone, Copy, Debug)]
enum Part {
    Catalog,
    Tasks,
}

/// What a rebuilt copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Versions and numbers.
    pub entries: usize,
    /// Tasks.
    pub tasks: usize,
}

impl Projection {
    /// That of a configuration, where it names a MongoDB.
    pub fn of(config: &Config, log: Arc<dyn Log>, topics: &lunapark_topics::Catalog) -> Option<Self> {
        let (topic, statuses) = (topics.models.clone(), topics.training_status.clone());
        let (prefix, instance) = (topics.prefix().to_owned(), config.instance.clone());
        Some(Self { log, topic, statuses, uri: config.mongodb.clone()?, prefix, instance })
    }

    /// Waits for a follower to end after a stop, so long at most.
    pub fn wait(follower: &JoinHandle<()>, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !follower.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Follows the topics on threads of their own until a stop. MongoDB out of reach stops nothing else: what it lacks is
    /// written once it is back.
    pub fn spawn(self, stop: Stop) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("projection".into()).spawn(move || {
            std::thread::scope(|scope| {
                scope.spawn(|| self.run(Part::Tasks, &stop));
                self.run(Part::Catalog, &stop);
            });
        })
    }

    fn run(&self, part: Part, stop: &Stop) {
        let mut pause = FIRST_PAUSE;
        while !stop.requested() {
            let mut reached = false;
            let followed = match part {
                Part::Catalog => self.follow(stop, &mut reached),
                Part::Tasks => self.follow_tasks(stop, &mut reached),
            };
            let Err(error) = followed else { return };
            let missing = is_missing(&error);
            pause = if reached || missing { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            if !missing {
                tracing::warn!(?part, %error, again_in = ?pause, "MongoDB's copy does not follow; all else goes on");
            }
            stop.wait(pause);
        }
    }

    /// Each start reads the topic from its first record: it is compacted.
    fn follow(&self, stop: &Stop, reached: &mut bool) -> Result<(), ProjectionError> {
        let at = TopicPartition::new(self.topic.name().clone(), PARTITION);
        // Asked for anew: what a client remembers of a topic that was missing may be old.
        self.log.topic(self.topic.name())?;
        let from = self.log.watermarks(&at)?.low;
        // Each attempt of the driver has its own time-out; this loop is the patience.
        let mongo = MongoCatalog::open(&self.uri, &self.prefix)?.with_patience(Duration::ZERO);
        mongo.prepare()?;
        tracing::info!(topic = %self.topic.name(), "MongoDB's copy of the catalog follows");
        let mut reader = self.log.reader(&[at.at(from)])?;
        let mut batch = Messages::new();
        while !stop.requested() {
            *reached = true;
            batch.clear();
            reader.poll(&mut batch, LIMIT, WAIT)?;
            for message in batch.iter() {
                if let Some(record) = read_record(&message)? {
                    mongo.project(&record, message.offset)?;
                }
            }
        }
        Ok(())
    }

    /// Makes the copy anew while others may be writing: what the topics say and nothing else.
    pub fn rebuild(&self) -> Result<Rebuilt, ProjectionError> {
        let mongo = MongoCatalog::open(&self.uri, &self.prefix)?;
        Ok(Rebuilt { entries: self.rebuild_catalog(&mongo)?, tasks: self.rebuild_tasks(&mongo)? })
    }

    fn rebuild_catalog(&self, mongo: &MongoCatalog) -> Result<usize, ProjectionError> {
        let (records, end) = last_records(&*self.log, self.topic.name())?;
        mongo.rebuild(&records)?;
        if end > 0 {
            self.catch_up(mongo, end)?;
        }
        Ok(records.len())
    }

    /// A follower may have written records beyond `end` before their documents were taken for strays.
    fn catch_up(&self, mongo: &MongoCatalog, end: i64) -> Result<(), ProjectionError> {
        let at = TopicPartition::new(self.topic.name().clone(), PARTITION);
        let high = self.log.watermarks(&at)?.high;
        Scan::open(&*self.log, &at, end)?.until(high, |message| {
            if let Some(record) = read_record(message)? {
                mongo.project(&record, message.offset)?;
            }
            Ok(())
        })
    }
}

/// No topic yet is nothing to copy.
fn is_missing(error: &ProjectionError) -> bool {
    matches!(error, ProjectionError::Log(error) if error.kind == LogErrorKind::TopicMissing)
}
