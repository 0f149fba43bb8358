//! The log of another process, through its socket: everything but streams.

use std::collections::VecDeque;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunapark_schemas::{Position, TopicPartition};

use super::access::{Access, Fetched, Want};
use super::batch::{Batch, MAX_RECORD_BYTES, Run};
use super::change::{Fence, Lot, Reply, Ticket};
use super::producers::{LogTransaction, LogWriter};
use super::reader::LogReader;
use super::socket::connect;
use super::sync::lock;
use super::topics::StoredTopic;
use super::wire::{Answer, Ask, Found, PROTOCOL, pieces, receive, send};
use crate::catalog::TopicSpec;
use crate::error::{LogError, LogErrorKind};
use crate::log::{Created, Log, Reader, Stream, StreamSpec, TopicInfo, Transaction, Watermarks, Writer};

/// A fetch brings at most one record more than it asked for.
const MAX_ANSWER_BYTES: u64 = MAX_RECORD_BYTES as u64 + (16 << 20);

/// The owner's log as another process sees it. Each reader and producer has a connection of its own.
#[derive(Debug)]
pub(crate) struct RemoteLog {
    dir: PathBuf,
    connection: Connection,
}

impl RemoteLog {
    /// Connects to the owner of this folder.
    pub fn open(dir: &Path) -> Result<Self, LogError> {
        Ok(Self { dir: dir.to_owned(), connection: Connection::open(dir)? })
    }

    fn another(&self) -> Result<Arc<dyn Access>, LogError> {
        Ok(Arc::new(Connection::open(&self.dir)?))
    }
}

/// One connection; requests take turns.
#[derive(Debug)]
struct Connection {
    ends: Mutex<Ends>,
    max_transaction_bytes: usize,
}

#[derive(Debug)]
struct Ends {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Connection {
    fn open(dir: &Path) -> Result<Self, LogError> {
        let unreachable = |error: std::io::Error| {
            let message =
                format!("nobody serves the embedded log {}: {error}; start `lunapark run` first", dir.display());
            LogError::new(LogErrorKind::Unreachable, message)
        };
        let to = connect(dir).map_err(unreachable)?;
        let from = BufReader::new(to.try_clone().map_err(unreachable)?);
        let mut connection = Self { ends: Mutex::new(Ends { to, from }), max_transaction_bytes: 0 };
        match connection.ask(&Ask::Hello { protocol: PROTOCOL })? {
            Answer::Hello { max_transaction_bytes } => connection.max_transaction_bytes = max_transaction_bytes,
            _ => return Err(unexpected()),
        }
        Ok(connection)
    }

    fn ask(&self, ask: &Ask) -> Result<Answer, LogError> {
        self.exchange(ask, &[]).map(|(answer, _)| answer)
    }

    fn exchange(&self, ask: &Ask, lots: &[Lot]) -> Result<(Answer, Vec<u8>), LogError> {
        let mut ends = lock(&self.ends);
        send(&mut ends.to, ask, lots.iter().map(|lot| lot.run.bytes()))?;
        match receive(&mut ends.from, MAX_ANSWER_BYTES)? {
            (Answer::Failed { kind, at, message }, _) => Err(LogError { kind, at, message }),
            answer => Ok(answer),
        }
    }
}

fn unexpected() -> LogError {
    LogError::new(LogErrorKind::Internal, "the owner of the embedded log gave an answer to another question")
}

impl Access for Connection {
    fn topic(&self, name: &str) -> Result<StoredTopic, LogError> {
        match self.ask(&Ask::Info(name.to_owned()))? {
            Answer::Info(topic, _) => Ok(topic),
            _ => Err(unexpected()),
        }
    }

    fn fetch(&self, wants: &[Want], max_bytes: usize, wait: Duration) -> Result<Vec<Fetched>, LogError> {
        let wait_ms = wait.as_millis().min(u128::from(u64::MAX)) as u64;
        let (Answer::Fetched(found), body) =
            self.exchange(&Ask::Fetch { wants: wants.to_vec(), max_bytes, wait_ms }, &[])?
        else {
            return Err(unexpected());
        };
        let lengths = found.iter().flat_map(|found| found.runs.iter().map(|(_, length)| *length));
        let mut runs = VecDeque::from(pieces(&body, lengths)?);
        found.into_iter().map(|found| fetched(found, &mut runs)).collect()
    }

    fn append(&self, lots: Vec<Lot>, fence: Option<Fence>) -> Result<Ticket, LogError> {
        let heads = lots.iter().map(|lot| (lot.topic, lot.partition, lot.run.bytes().len())).collect();
        let fence = fence.map(|fence| (fence.id.to_string(), fence.epoch));
        let done = self.exchange(&Ask::Append { lots: heads, fence }, &lots);
        Ok(Ticket::Done(done.map(|_| Reply::Done)))
    }

    fn open_id(&self, id: &str) -> Result<Fence, LogError> {
        match self.ask(&Ask::OpenId(id.to_owned()))? {
            Answer::Epoch(epoch) => Ok(Fence { id: id.into(), epoch }),
            _ => Err(unexpected()),
        }
    }

    fn max_transaction_bytes(&self) -> usize {
        self.max_transaction_bytes
    }
}

fn fetched(found: Found, runs: &mut VecDeque<Vec<u8>>) -> Result<Fetched, LogError> {
    let Found { want, runs: heads, skip_to } = found;
    let batches = heads.iter().zip(runs.drain(..heads.len().min(runs.len()))).map(|((base, _), bytes)| {
        let run = Run::parse(bytes)?;
        Ok(Arc::new(Batch { base: *base, run }))
    });
    Ok(Fetched { want, batches: batches.collect::<Result<_, LogError>>()?, skip_to })
}

impl Log for RemoteLog {
    fn describe(&self) -> String {
        format!("embedded log {} (through its owner's socket)", self.dir.display())
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<Created, LogError> {
        match self.connection.ask(&Ask::Create(StoredTopic::of(spec)?))? {
            Answer::Created { new: true } => Ok(Created::New),
            Answer::Created { new: false } => Ok(Created::Existed),
            _ => Err(unexpected()),
        }
    }

    fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        self.connection.ask(&Ask::Delete(topic.to_owned())).map(drop)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        match self.connection.ask(&Ask::Infos)? {
            Answer::Infos(topics) => Ok(topics.iter().map(|(topic, bytes)| topic.info(Some(*bytes))).collect()),
            _ => Err(unexpected()),
        }
    }

    fn topic(&self, topic: &str) -> Result<TopicInfo, LogError> {
        match self.connection.ask(&Ask::Info(topic.to_owned()))? {
            Answer::Info(topic, bytes) => Ok(topic.info(Some(bytes))),
            _ => Err(unexpected()),
        }
    }

    fn identity(&self, topic: &str) -> Result<Option<String>, LogError> {
        Ok(Some(Access::topic(&self.connection, topic)?.identity()))
    }

    fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, LogError> {
        match self.connection.ask(&Ask::Watermarks(partition.clone()))? {
            Answer::Watermarks { low, high } => Ok(Watermarks { low, high }),
            _ => Err(unexpected()),
        }
    }

    fn offset_for_time(&self, partition: &TopicPartition, millis: i64) -> Result<i64, LogError> {
        match self.connection.ask(&Ask::OffsetForTime(partition.clone(), millis))? {
            Answer::Offset(offset) => Ok(offset),
            _ => Err(unexpected()),
        }
    }

    fn groups(&self) -> Result<Vec<String>, LogError> {
        match self.connection.ask(&Ask::Groups)? {
            Answer::Names(names) => Ok(names),
            _ => Err(unexpected()),
        }
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        match self.connection.ask(&Ask::Committed(group.to_owned(), partitions.to_vec()))? {
            Answer::Offsets(offsets) => Ok(offsets),
            _ => Err(unexpected()),
        }
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(LogReader::open(self.another()?, from)?))
    }

    fn writer(&self) -> Result<Box<dyn Writer>, LogError> {
        Ok(Box::new(LogWriter::new(self.another()?)))
    }

    fn transaction(&self, transactional_id: &str) -> Result<Box<dyn Transaction>, LogError> {
        Ok(Box::new(LogTransaction::open(self.another()?, transactional_id)?))
    }

    fn stream(&self, spec: &StreamSpec) -> Result<Box<dyn Stream>, LogError> {
        let message = format!(
            "group `{}` cannot be joined from a second process: one process owns the embedded log {}; set \
             kafka.bootstrap for more instances",
            spec.group,
            self.dir.display()
        );
        Err(LogError::new(LogErrorKind::Invalid, message))
    }
}
