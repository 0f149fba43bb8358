//! What events turned out to be: the topic of labels by event key, in bounded memory.

use std::collections::HashMap;

use lunapark_schemas::labels::{Class, LabelRecord, Truth};
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::{Log, LogError};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::audit::scan::Scan;

/// Labels that are held at once: some 150 MiB of them.
pub const MOST_LABELS: usize = 1 << 21;

/// Names of classes that are held at once: more than any training takes.
const MOST_WORDS: usize = 1 << 10;
/// Up to here a double that is whole is a whole number, to the last digit.
const WHOLE: f64 = (1_u64 << 53) as f64;

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
    kind: Kind,
    /// The label, or the number of its word.
    number: f64,
    weight: f64,
    timestamp: i64,
    partition: i32,
}

/// What an entry's number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    TakenBack,
    Number,
    Word,
}

/// The labels of a topic; of more than there is room for, those of a share of the keys.
#[derive(Clone, Debug)]
pub struct LabelBook {
    entries: HashMap<KeyHash, Entry>,
    sieve: Sieve,
    most: usize,
    /// The words among the labels; `None` where 0 and 1 alone are labels.
    words: Option<Vec<String>>,
    /// Records without a key, or that are no label.
    pub broken: u64,
    /// The first of them, with what is wrong.
    pub first_broken: Option<String>,
}

impl LabelBook {
    /// An empty book for so many labels of two classes, which are 0 and 1.
    pub fn new(most: usize) -> Self {
        let (entries, sieve) = Default::default();
        Self { entries, sieve, most: most.max(1), words: None, broken: 0, first_broken: None }
    }

    /// An empty book for so many labels of any kind, to train on.
    pub fn of_any(most: usize) -> Self {
        Self { words: Some(Vec::new()), ..Self::new(most) }
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
            (Some(key), None) => Ok((key, (Kind::TakenBack, 0.0), 0.0)),
            (Some(key), Some(value)) => self.read_value(value).map(|(label, weight)| (key, label, weight)),
        };
        match record {
            Ok((key, (kind, number), weight)) => {
                let (timestamp, partition) = (message.timestamp, message.partition);
                self.put(KeyHash::of(key), Entry { kind, number, weight, timestamp, partition });
            }
            Err(what) => {
                self.broken += 1;
                self.first_broken.get_or_insert_with(|| format!("{}: {what}", message.position()));
            }
        }
    }

    /// Label and weight, where the label is of a kind that this book takes.
    fn read_value(&mut self, value: &[u8]) -> Result<((Kind, f64), f64), String> {
        let record = LabelRecord::from_json(value)?;
        let Some(words) = &mut self.words else {
            let class = Class::try_from(&record.label)?;
            return Ok(((Kind::Number, f64::from(u8::from(class == Class::Signal))), record.weight()));
        };
        let label = match &record.label {
            Truth::Number(number) => (Kind::Number, number.as_f64().ok_or("`label` is no number that can be held")?),
            Truth::Word(word) => (Kind::Word, place(words, word)? as f64),
        };
        Ok((label, record.weight()))
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

    /// Class and weight of an event, where its label is 0 or 1.
    pub fn get(&self, key: KeyHash) -> Option<(Class, f64)> {
        let Entry { kind, number, weight, .. } = *self.entries.get(&key)?;
        match kind {
            Kind::Number if number == 0.0 => Some((Class::Background, weight)),
            Kind::Number if number == 1.0 => Some((Class::Signal, weight)),
            _ => None,
        }
    }

    /// Label and weight of an event, the label as its record has it.
    pub fn value(&self, key: KeyHash) -> Option<(Value, f64)> {
        let Entry { kind, number, weight, .. } = *self.entries.get(&key)?;
        let value = match kind {
            Kind::TakenBack => return None,
            Kind::Number if number.fract() == 0.0 && number.abs() < WHOLE => Value::from(number as i64),
            Kind::Number => Value::from(number),
            Kind::Word => Value::from(self.words.as_ref()?.get(number as usize)?.as_str()),
        };
        Some((value, weight))
    }

    /// The share of all keys whose labels are held: 1 where there was room for all.
    pub fn share(&self) -> f64 {
        self.sieve.share()
    }
}

/// The number of a word among those known, of which it becomes one.
fn place(words: &mut Vec<String>, word: &str) -> Result<usize, String> {
    match words.iter().position(|known| known == word) {
        Some(known) => Ok(known),
        None if words.len() >= MOST_WORDS => Err(format!("the labels have more than {MOST_WORDS} different words")),
        None => {
            words.push(word.to_owned());
            Ok(words.len() - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::Messages;
    use lunapark_schemas::messages::At;

    use super::*;

    fn book(most: usize, records: &[(i32, i64, &str, Option<&str>)]) -> LabelBook {
        filled(LabelBook::new(most), records)
    }

    fn filled(mut book: LabelBook, records: &[(i32, i64, &str, Option<&str>)]) -> LabelBook {
        let mut messages = Messages::new();
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
    fn a_book_to_train_on_takes_numbers_and_words() {
        let labels = ["1", "-2.5", "\"top\"", "\"qcd\"", "\"top\"", "1e300", "true"];
        let records: Vec<_> =
            labels.iter().map(|label| (*label, format!("{{\"label\":{label},\"weight\":3}}"))).collect();
        let records: Vec<_> = records.iter().map(|(key, value)| (0, 0, *key, Some(value.as_str()))).collect();
        let any = filled(LabelBook::of_any(100), &records);
        for label in &labels[..6] {
            let value: Value = serde_json::from_str(label).unwrap();
            assert_eq!(any.value(KeyHash::of(label.as_bytes())), Some((value, 3.0)), "{label}");
        }
        assert_eq!((any.value(KeyHash::of(b"true")), any.broken), (None, 1));
        // What compares models has two classes.
        let two = filled(LabelBook::new(100), &records);
        assert_eq!((two.get(KeyHash::of(b"1")), two.broken), (Some((Class::Signal, 3.0)), 6));
        assert!(two.first_broken.unwrap().contains("-2.5 is no label; write 0 or 1"));
    }

    #[test]
    fn words_without_end_are_no_classes() {
        let words: Vec<_> = (0..=MOST_WORDS).map(|word| format!("{{\"label\":\"w{word}\"}}")).collect();
        let records: Vec<_> = words.iter().map(|word| (0, 0, word.as_str(), Some(word.as_str()))).collect();
        let any = filled(LabelBook::of_any(1 << 12), &records);
        assert_eq!(any.broken, 1);
        assert!(any.first_broken.unwrap().contains("more than 1024 different words"));
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
