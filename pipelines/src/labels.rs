//! What events turned out to be: the topic of labels by event key, in bounded memory.

use std::collections::HashMap;

use lunapark_schemas::labels::{Class, LabelRecord};
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::{Log, LogError};
use sha2::{Digest, Sha256};

use crate::audit::scan::Scan;

/// Labels that are held at once: some 150 MiB of them.
pub const MOST_LABELS: usize = 1 << 21;

/// What a key is known by: 16 bytes, whatever its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(u128);

impl KeyHash {
    /// Half of the key's SHA-256: whoever writes keys cannot make two of them alike.
    pub fn of(key: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(key).into();
        Self(digest[..16].iter().fold(0, |hash, byte| (hash << 8) | u128::from(*byte)))
    }
}

/// Lets through one in two to the power of its level, always the same ones: what a finer sieve keeps, a coarser kept, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sieve {
    level: u32,
}

impl Sieve {
    /// Whether something with this hash stays.
    pub fn keeps(self, hash: u64) -> bool {
        hash.trailing_zeros() >= self.level
    }

    /// Halves what it lets through.
    pub fn finer(&mut self) {
        self.level = (self.level + 1).min(u64::BITS);
    }

    /// The share that it lets through.
    pub fn share(self) -> f64 {
        0.5_f64.powi(self.level as i32)
    }
}

/// A label, or that it was taken back, and which record said so.
#[derive(Clone, Copy, Debug)]
struct Entry {
    class: Option<Class>,
    weight: f64,
    timestamp: i64,
    partition: i32,
}

/// The labels of a topic; of more than there is room for, those of a share of the keys.
#[derive(Clone, Debug)]
pub struct LabelBook {
    entries: HashMap<KeyHash, Entry>,
    sieve: Sieve,
    most: usize,
    /// Records without a key, or that are no label.
    pub broken: u64,
    /// The first of them, with what is wrong.
    pub first_broken: Option<String>,
}

impl LabelBook {
    /// An empty book for so many labels.
    pub fn new(most: usize) -> Self {
        let (entries, sieve) = Default::default();
        Self { entries, sieve, most: most.max(1), broken: 0, first_broken: None }
    }

    /// Reads a partition of the topic from one offset to another.
    pub fn read(&mut self, log: &dyn Log, at: &TopicPartition, from: i64, to: i64) -> Result<(), LogError> {
        if from >= to {
            return Ok(());
        }
        Scan::open(log, at, from)?.until(to, |message| {
            self.take(message);
            Ok(())
        })
    }

    /// Takes a record; what is no label is counted.
    pub fn take(&mut self, message: &Message<'_>) {
        let record = match (message.key, message.value) {
            (None, _) => Err("it has no key; the key is the event's".to_owned()),
            (Some(key), None) => Ok((key, None, 0.0)),
            (Some(key), Some(value)) => {
                LabelRecord::from_json(value).map(|record| (key, Some(record.label), record.weight()))
            }
        };
        match record {
            Ok((key, class, weight)) => {
                let (timestamp, partition) = (message.timestamp, message.partition);
                self.put(KeyHash::of(key), Entry { class, weight, timestamp, partition });
            }
            Err(what) => {
                self.broken += 1;
                self.first_broken.get_or_insert_with(|| format!("{}: {what}", message.position()));
            }
        }
    }

    /// The later record holds: by its place within a partition, by its time between two.
    fn put(&mut self, key: KeyHash, entry: Entry) {
        if !self.sieve.keeps(key.0 as u64) {
            return;
        }
        let later = |old: &Entry| old.partition == entry.partition || old.timestamp <= entry.timestamp;
        if self.entries.get(&key).is_none_or(later) {
            self.entries.insert(key, entry);
        }
        while self.entries.len() > self.most {
            self.sieve.finer();
            let sieve = self.sieve;
            self.entries.retain(|key, _| sieve.keeps(key.0 as u64));
        }
    }

    /// Label and weight of an event.
    pub fn get(&self, key: KeyHash) -> Option<(Class, f64)> {
        let entry = self.entries.get(&key)?;
        entry.class.map(|class| (class, entry.weight))
    }

    /// The share of all keys whose labels are held: 1 where there was room for all.
    pub fn share(&self) -> f64 {
        self.sieve.share()
    }
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::Messages;
    use lunapark_schemas::messages::At;

    use super::*;

    fn book(most: usize, records: &[(i32, i64, &str, Option<&str>)]) -> LabelBook {
        let (mut book, mut messages) = (LabelBook::new(most), Messages::new());
        for (offset, (partition, timestamp, key, value)) in records.iter().enumerate() {
            let at = At { topic: "labels", partition: *partition, offset: offset as i64, timestamp: *timestamp };
            messages.push(at, Some(key.as_bytes()), value.map(str::as_bytes), std::iter::empty());
        }
        messages.iter().for_each(|message| book.take(&message));
        book
    }

    #[test]
    fn the_latest_label_wins_and_a_tombstone_takes_it_back() {
        let (one, none) = (Some("{\"label\":1}"), Some("{\"label\":0,\"weight\":-2}"));
        let book = book(
            100,
            &[
                // Within a partition the place decides, whatever the clock says.
                (0, 9, "a", one),
                (0, 5, "a", none),
                // Between two partitions the time does.
                (0, 9, "b", one),
                (1, 8, "b", none),
                (1, 10, "c", one),
                (1, 10, "c", None),
                (0, 1, "d", Some("{\"label\":7}")),
            ],
        );
        let get = |key: &str| book.get(KeyHash::of(key.as_bytes()));
        assert_eq!((get("a"), get("b")), (Some((Class::Background, -2.0)), Some((Class::Signal, 1.0))));
        assert_eq!((get("c"), get("d"), get("e")), (None, None, None));
        assert_eq!((book.broken, book.share()), (1, 1.0));
        assert!(book.first_broken.unwrap().starts_with("labels/0/6: 7 is no label"));
    }

    #[test]
    fn more_labels_than_there_is_room_for_are_a_sample_by_key() {
        let keys: Vec<String> = (0..1000).map(|number| format!("event-{number}")).collect();
        let all: Vec<_> = keys.iter().map(|key| (0, 0, key.as_str(), Some("{\"label\":1}"))).collect();
        let (few, many) = (book(100, &all), book(1000, &all));
        let held = |book: &LabelBook| keys.iter().filter(|key| book.get(KeyHash::of(key.as_bytes())).is_some()).count();
        assert_eq!((held(&many), many.share()), (1000, 1.0));
        assert!(held(&few) <= 100 && held(&few) > 20 && few.share() < 0.2, "{} of {}", held(&few), few.share());
        // In whatever order they come, the same ones stay.
        let mut turned = all.clone();
        turned.reverse();
        let again = book(100, &turned);
        assert!(keys.iter().all(|key| {
            let key = KeyHash::of(key.as_bytes());
            few.get(key) == again.get(key)
        }));
    }
}
