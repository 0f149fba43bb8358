//! What records were answered, as long as they may be read again.
//!
//! A batch is in the collection before its answers are in the log. What a crash lets come in between is read again, and by
//! then a file may be gone, a page changed, a reader slower: made anew, the answer could be another one than what the
//! collection holds. So the answers travel with the manifest that has the batch, until the log is known to have them.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Source;

/// A longer answer is not kept: four times a title, a digest and the counts.
const MAX_ANSWER_BYTES: usize = 2 << 10;
/// Answers of one manifest, at most: sixteen batches of the default size, so that a manifest stays small beside the
/// segments. A read-ahead has eight batches.
const MAX_ANSWERS: usize = 4096;

/// Answers by where their records were read. What is in them is the writer's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Answers(BTreeMap<i32, BTreeMap<i64, Value>>);

impl Answers {
    /// The answer to a record, where it is kept.
    pub fn of(&self, source: Source) -> Option<&Value> {
        self.0.get(&source.partition)?.get(&source.offset)
    }

    /// Keeps an answer; one that is too long is not kept.
    pub fn keep(&mut self, source: Source, answer: Value) {
        if answer.to_string().len() <= MAX_ANSWER_BYTES {
            self.0.entry(source.partition).or_default().insert(source.offset, answer);
        }
    }

    /// Those of these records.
    pub fn only(&self, sources: &[Source]) -> Self {
        let mut some = Self::default();
        for source in sources {
            if let Some(answer) = self.of(*source) {
                some.0.entry(source.partition).or_default().insert(source.offset, answer.clone());
            }
        }
        some
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of what was read now and not before the next offset of its partition.
    pub(crate) fn new_in(&self, read: &BTreeMap<i32, Range<i64>>, next: impl Fn(i32) -> i64) -> Self {
        let new = |(partition, read): (&i32, &Range<i64>)| {
            let from = next(*partition).max(read.start).min(read.end);
            let new = self.0.get(partition)?.range(from..read.end);
            let new: BTreeMap<i64, Value> = new.map(|(at, answer)| (*at, answer.clone())).collect();
            (!new.is_empty()).then_some((*partition, new))
        };
        Self(read.iter().filter_map(new).collect())
    }

    /// Adds new ones, and forgets those before the offsets that are settled; the oldest where there are too many.
    pub(crate) fn go_on(&mut self, new: Self, settled: &BTreeMap<i32, i64>) {
        for (partition, answers) in new.0 {
            self.0.entry(partition).or_default().extend(answers);
        }
        for (partition, answers) in &mut self.0 {
            *answers = answers.split_off(settled.get(partition).unwrap_or(&i64::MIN));
        }
        while self.count() > MAX_ANSWERS {
            if let Some(most) = self.0.values_mut().max_by_key(|answers| answers.len()) {
                most.pop_first();
            }
        }
        self.0.retain(|_, answers| !answers.is_empty());
    }

    fn count(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// What is said here lies before what has been read, and is no longer than it may be.
    pub(crate) fn fit(&self, next: &BTreeMap<i32, i64>) -> bool {
        let before = |(partition, answers): (&i32, &BTreeMap<i64, Value>)| {
            answers.keys().all(|at| (0..next.get(partition).copied().unwrap_or(0)).contains(at))
        };
        self.count() <= MAX_ANSWERS && self.0.iter().all(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Source {
        Source { partition: 0, offset }
    }

    #[test]
    fn answers_are_kept_until_they_are_settled_and_never_too_many() {
        let mut answers = Answers::default();
        let batch = |from: i64, to: i64| {
            let mut new = Answers::default();
            (from..to).for_each(|offset| new.keep(at(offset), offset.into()));
            new
        };
        answers.go_on(batch(0, 10), &BTreeMap::new());
        assert_eq!((answers.of(at(9)), answers.of(at(10))), (Some(&9.into()), None));
        answers.go_on(batch(10, 12), &[(0, 8), (1, 100)].into());
        assert_eq!((answers.count(), answers.of(at(7)), answers.of(at(8))), (4, None, Some(&8.into())));
        assert_eq!(answers.new_in(&[(0, 0..12)].into(), |_| 11), batch(11, 12));
        assert_eq!(answers.new_in(&[(0, 9..11), (1, 0..9)].into(), |_| 0), batch(9, 11));
        answers.go_on(batch(12, 6000), &BTreeMap::new());
        assert_eq!((answers.count(), answers.of(at(5999))), (MAX_ANSWERS, Some(&5999.into())));
        assert!(answers.fit(&[(0, 6000)].into()) && !answers.fit(&[(0, 5999)].into()));
        answers.go_on(Answers::default(), &[(0, 6000)].into());
        assert!(answers.is_empty());
        answers.keep(at(0), "x".repeat(MAX_ANSWER_BYTES).into());
        assert!(answers.is_empty(), "too long");
    }
}
