//! Which tasks have ended, and which messages are answered: read from the topic of statuses when a partition is taken over, kept up to date since.
//!
//! A request whose task has ended is not trained again. Requests of one task have one key, so one partition, and only
//! the owner of a partition ends its tasks: what the book says of a partition that is ours is the whole truth. A message
//! may be answered before the offset passes it: then it is read again, and not worked on again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lunapark_schemas::headers::SOURCE;
use lunapark_schemas::training::TrainingStatus;
use lunapark_schemas::{Message, Position, TopicPartition};
use lunapark_topics::{Log, LogError};

use crate::audit::scan::Scan;
use crate::labels::KeyHash;

/// The tasks that have ended, by partition.
pub(crate) struct Book {
    topic: Arc<str>,
    pages: Mutex<HashMap<i32, Page>>,
}

/// What was read of one partition. Statuses are kept for ever, so names and positions are known by 16 bytes each.
#[derive(Default)]
struct Page {
    /// Where to read on.
    next: i64,
    /// Tasks that have ended, and whether nothing more follows: a search is answered long before.
    ended: HashMap<KeyHash, bool>,
    /// Positions of the messages that are answered.
    answered: HashSet<KeyHash>,
}

impl Book {
    pub(crate) fn new(topic: Arc<str>) -> Self {
        Self { topic, pages: Mutex::default() }
    }

    /// Reads a partition to its end, from where this process read it last; the number of records read. Open transactions
    /// are waited for: the markers of the last owner's may reach the group's offsets before they come here.
    pub(crate) fn read(&self, log: &dyn Log, partition: i32) -> Result<u64, LogError> {
        let at = TopicPartition::new(self.topic.clone(), partition);
        let end = log.ends(std::slice::from_ref(&at))?.first().copied().unwrap_or_default();
        let known = self.pages().get(&partition).map_or(0, |page| page.next);
        // A topic that ends before what was read of it is another one of that name.
        let mut news = Page { next: if known <= end { known } else { 0 }, ..Page::default() };
        let mut records = 0;
        if news.next < end {
            let mut scan = Scan::open(log, &at, news.next)?;
            scan.until(end, |message| {
                records += 1;
                news.take(message);
                Ok::<(), LogError>(())
            })?;
            news.next = scan.position();
        }
        self.merge(partition, news, known > end);
        Ok(records)
    }

    /// Another thread of this process may have noted something of this partition meanwhile: it stays.
    fn merge(&self, partition: i32, news: Page, anew: bool) {
        let mut pages = self.pages();
        let page = pages.entry(partition).or_default();
        if anew {
            *page = Page::default();
        }
        page.next = news.next;
        news.ended.into_iter().for_each(|(task, finished)| page.end(task, finished));
        page.answered.extend(news.answered);
    }

    /// A message of this partition is answered, and that is committed; where `terminal`, nothing more follows for its task.
    pub(crate) fn note(&self, message: &Position, task_id: &str, terminal: bool) {
        let mut pages = self.pages();
        let page = pages.entry(message.partition).or_default();
        page.end(hash(task_id), terminal);
        page.answered.insert(hash(&message.to_string()));
    }

    /// Whether this message is answered.
    pub(crate) fn answered(&self, message: &Position) -> bool {
        self.pages().get(&message.partition).is_some_and(|page| page.answered.contains(&hash(&message.to_string())))
    }

    /// Whether a task of this partition has ended.
    pub(crate) fn ended(&self, partition: i32, task_id: &str) -> bool {
        self.pages().get(&partition).is_some_and(|page| page.ended.contains_key(&hash(task_id)))
    }

    /// Whether a task of this partition has a terminal status: a search that goes on has none.
    pub(crate) fn finished(&self, partition: i32, task_id: &str) -> bool {
        self.pages().get(&partition).is_some_and(|page| page.ended.get(&hash(task_id)) == Some(&true))
    }

    fn pages(&self) -> MutexGuard<'_, HashMap<i32, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    /// A search that has been answered goes on by itself: its request is not to be answered again.
    fn take(&mut self, message: &Message<'_>) {
        let Some(Ok(status)) = message.value.map(serde_json::from_slice::<TrainingStatus>) else { return };
        let source = message.headers.get_str(SOURCE);
        self.answered.extend(source.map(hash));
        let terminal = status.task_status.terminal();
        if terminal || source.is_some() {
            self.end(hash(&status.task_id), terminal);
        }
    }

    /// A task that is finished stays so.
    fn end(&mut self, task: KeyHash, finished: bool) {
        *self.ended.entry(task).or_default() |= finished;
    }
}

fn hash(name: &str) -> KeyHash {
    KeyHash::of(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_answered_before_it_is_finished_and_stays_finished() {
        let (book, request) = (Book::new("training.status".into()), TopicPartition::new("training.requests", 3).at(7));
        let known = |task: &str| (book.ended(3, task), book.finished(3, task));
        assert_eq!((known("search"), book.answered(&request)), ((false, false), false));
        book.note(&request, "search", false);
        assert_eq!((known("search"), book.answered(&request)), ((true, false), true));
        book.note(&TopicPartition::new("training.trials", 3).at(1), "search", true);
        book.note(&TopicPartition::new("training.trials", 3).at(2), "search", false);
        assert_eq!((known("search"), known("searc"), book.ended(2, "search")), ((true, true), (false, false), false));
        assert!(!book.answered(&TopicPartition::new("training.trials", 3).at(7)));
    }
}
