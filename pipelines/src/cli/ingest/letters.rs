//! Dead letters of documents: those of earlier runs, so that what was refused is not sent again unchanged, and those of
//! this one, so that nobody takes a refused document for an indexed one.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use lunapark_schemas::documents::{COLLECTION, Ingest, URI};
use lunapark_schemas::headers::{CE_CORRELATIONID, dead};
use lunapark_schemas::{ErrorClass, Message, TopicPartition};
use lunapark_stores::digest_of;
use lunapark_topics::{Log, LogError, LogErrorKind};
use serde::Deserialize;

use super::report::{Refused, Report};
use crate::audit::ledger::redriven_so_far;
use crate::audit::scan::Scan;
use crate::audit::source::Source;
use crate::cli::output::printable;

/// So many of the newest dead letters of a partition are looked at; what older ones refused is sent again, which costs
/// work only.
const KNOWN: i64 = 100_000;

/// The topic of the dead letters, as it was before anything was sent.
pub(super) struct Letters {
    partitions: Vec<TopicPartition>,
    ends: Vec<i64>,
    ledger: Arc<str>,
    /// What the records of this run carry, and their dead letters after them.
    run: String,
    /// Id and digest of what was refused before; read when the first document is about to be sent.
    before: Option<HashMap<String, Before>>,
}

/// What was said of a document.
#[derive(Clone)]
pub(super) struct Before {
    pub reason: String,
    pub dead_letter: String,
}

/// The fields of an ingest record that name it.
#[derive(Deserialize)]
struct Named {
    collection: String,
    #[serde(default)]
    uri: Option<String>,
}

impl Letters {
    /// Notes where the topic ends; one that does not exist has no letters.
    pub(super) fn open(log: &dyn Log, topic: &Arc<str>, ledger: &Arc<str>) -> Result<Self, LogError> {
        let partitions: Vec<_> = match log.topic(topic) {
            Ok(found) => (0..found.partitions).map(|number| TopicPartition::new(topic.clone(), number)).collect(),
            Err(error) if error.kind == LogErrorKind::TopicMissing => Vec::new(),
            Err(error) => return Err(error),
        };
        let half = || RandomState::new().build_hasher().finish();
        Ok(Self {
            ends: log.ends(&partitions)?,
            partitions,
            ledger: ledger.clone(),
            run: format!("ingest-{:016x}{:016x}", half(), half()),
            before: None,
        })
    }

    /// What the records of this run carry.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// What was said when this very value was refused.
    pub(super) fn before(
        &mut self,
        log: &dyn Log,
        collection: &str,
        id: &str,
        value: &[u8],
    ) -> Result<Option<Before>, LogError> {
        let known = match self.before.take() {
            Some(known) => known,
            None => self.read(log, collection)?,
        };
        let found = if known.is_empty() { None } else { known.get(&name(id.as_bytes(), value)).cloned() };
        self.before = Some(known);
        Ok(found)
    }

    fn read(&self, log: &dyn Log, collection: &str) -> Result<HashMap<String, Before>, LogError> {
        let mut known = HashMap::new();
        for (at, end) in self.partitions.iter().zip(&self.ends) {
            Scan::open(log, at, (end - KNOWN).max(0))?.until(*end, |letter| {
                if is_of_the_document(letter) && collection_of(letter).as_deref() == Some(collection) {
                    let (key, value) = (letter.key.unwrap_or_default(), letter.value.unwrap_or_default());
                    let before = Before { reason: reason(letter), dead_letter: letter.position().to_string() };
                    known.insert(name(key, value), before);
                }
                Ok::<(), LogError>(())
            })?;
        }
        if !known.is_empty() {
            let redriven = redriven_so_far(log, &self.ledger)?;
            let redriven: HashSet<String> = redriven.iter().map(ToString::to_string).collect();
            known.retain(|_, before| !redriven.contains(&before.dead_letter));
        }
        Ok(known)
    }

    /// Adds to the report what the service has refused of this run. The service has committed everything by now; its
    /// letters may still stand behind an open transaction of somebody else, which is waited for.
    pub(super) fn since(&self, log: &dyn Log, report: &mut Report) -> Result<(), LogError> {
        let ends = log.ends(&self.partitions)?;
        for ((at, from), end) in self.partitions.iter().zip(&self.ends).zip(ends) {
            Scan::open(log, at, *from)?.until(end, |letter| {
                if letter.headers.get_str(CE_CORRELATIONID) == Some(&self.run) {
                    report.refused_now += 1;
                    report.refused.push(refused(letter));
                }
                Ok::<(), LogError>(())
            })?;
        }
        Ok(())
    }
}

/// True where the whole document is at fault: a collection that cannot be written, or headers of another sender, may
/// be mended without it.
fn is_of_the_document(letter: &Message<'_>) -> bool {
    let cut = letter.headers.get(dead::ORIGINAL_BYTES).is_some();
    !cut && letter.headers.get_str(dead::CLASS) == Some(ErrorClass::Document.as_str())
}

fn name(id: &[u8], value: &[u8]) -> String {
    format!("{}/{}", digest_of(value), String::from_utf8_lossy(id))
}

fn named(letter: &Message<'_>) -> Option<Named> {
    serde_json::from_slice(letter.value?).ok()
}

fn collection_of(letter: &Message<'_>) -> Option<String> {
    let header = letter.headers.get_str(COLLECTION).map(str::to_owned);
    header.or_else(|| named(letter).map(|named| named.collection))
}

/// What is wrong with it, without the place of its record.
fn reason(letter: &Message<'_>) -> String {
    let message = letter.headers.get(dead::MESSAGE).map(printable).unwrap_or_default();
    let source = Source::of_dead_letter(letter.headers).map(|source| format!("{source}: "));
    let reason = source.and_then(|source| message.strip_prefix(&source).map(str::to_owned));
    reason.unwrap_or(message)
}

fn refused(letter: &Message<'_>) -> Refused {
    let id = Ingest::id_of(letter).unwrap_or_default();
    let uri = letter.headers.get_str(URI).map(str::to_owned).or_else(|| named(letter)?.uri);
    let path = uri.map(|uri| uri.strip_prefix("file://").unwrap_or(&uri).to_owned()).unwrap_or_else(|| id.clone());
    Refused {
        path: printable(path.as_bytes()),
        document: printable(id.as_bytes()),
        reason: reason(letter),
        dead_letter: letter.position().to_string(),
        sent: true,
    }
}
