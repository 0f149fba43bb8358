//! Search by words: BM25 by Robertson and Walker, with the weights of words that Lucene gives them.
//!
//! The unit is the parent: children overlap, and a passage that is shown is what should be about the question's words.
//! Counts are of what is live in this version, whatever the filter lets through: so a collection that has changed often
//! scores like one that was built from its last documents alone.
//!
//! ```text
//! score = Σ over the question's words  idf · f (k1 + 1) / (f + k1 (1 - b + b · length / mean length))
//! idf   = ln(1 + (N - n + ½) / (n + ½))
//! ```
//!
//! The 1 in the logarithm keeps the weight of a word above zero that is in more than half of all passages: among passages
//! that are nearly alike the one that has more of the question's words is the better one too.

use std::sync::Arc;

use super::best::{Best, Candidate};
use crate::bits::Bits;
use crate::segment::{Parents, Postings, Terms};
use crate::snapshot::Snapshot;
use crate::words::words_of;
use crate::{Bm25, IndexError};

/// Counts of a version.
pub(crate) struct WordStatistics {
    /// For each segment, the parents that are live.
    pub(crate) live: Vec<Arc<Bits>>,
    passages: f64,
    mean_length: f64,
}

impl Snapshot {
    /// The counts of this version, made at the first search.
    pub(crate) fn word_statistics(&self) -> Result<&WordStatistics, IndexError> {
        if let Some(known) = self.statistics.get() {
            return Ok(known);
        }
        let made = WordStatistics::of(self)?;
        Ok(self.statistics.get_or_init(|| made))
    }
}

impl WordStatistics {
    fn of(snapshot: &Snapshot) -> Result<Self, IndexError> {
        let (mut live, mut passages, mut words) = (Vec::new(), 0_u64, 0_u64);
        for (segment, documents) in snapshot.live.iter().enumerate() {
            let parents = snapshot.table::<Parents>(segment)?;
            let counts = parents_of(&parents, documents);
            passages += counts.count() as u64;
            words += counts.iter().map(|row| u64::from(parents.words.value(row))).sum::<u64>();
            live.push(Arc::new(counts));
        }
        let (passages, words) = (passages as f64, words as f64);
        Ok(Self { live, passages, mean_length: words / passages })
    }

    /// What a word that so many passages contain weighs.
    fn idf(&self, containing: f64) -> f64 {
        (1.0 + (self.passages - containing + 0.5) / (containing + 0.5)).ln()
    }
}

/// The parents of these documents.
pub(crate) fn parents_of(parents: &Parents, documents: &Bits) -> Bits {
    owned(parents.document.values(), documents)
}

/// The rows whose owner is among these.
pub(crate) fn owned(owners: &[u32], among: &Bits) -> Bits {
    match among.all() {
        true => Bits::new(owners.len(), true),
        false => Bits::of(owners.len(), |row| among.get(owners[row] as usize)),
    }
}

/// The best `most` parents for a question, best first; those that have none of its words are not among them.
pub(crate) fn search(
    snapshot: &Snapshot,
    wanted: &[Arc<Bits>],
    question: &str,
    most: usize,
) -> Result<Vec<Candidate>, IndexError> {
    let (statistics, bm25) = (snapshot.word_statistics()?, snapshot.settings().bm25);
    let words = weighted(snapshot, statistics, question)?;
    let mut best = Best::new(most);
    for (segment, wanted) in wanted.iter().enumerate() {
        let parents = snapshot.table::<Parents>(segment)?;
        let scores = score_segment(snapshot, segment, &parents, &words, bm25, statistics.mean_length)?;
        for (row, score) in scores.into_iter().enumerate() {
            if let Some(score) = score.filter(|_| wanted.get(row)) {
                best.offer(Candidate { score, segment: segment as u32, row: row as u32 });
            }
        }
    }
    Ok(best.sorted())
}

/// Each word of the question once, with its weight times how often it is asked; words that no passage has are left out.
fn weighted(
    snapshot: &Snapshot,
    statistics: &WordStatistics,
    question: &str,
) -> Result<Vec<(String, f64)>, IndexError> {
    let mut words: Vec<(String, f64)> = Vec::new();
    for word in words_of(question) {
        match words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, times)) => *times += 1.0,
            None => words.push((word, 1.0)),
        }
    }
    for (word, weight) in &mut words {
        let containing = containing(snapshot, statistics, word)?;
        *weight *= statistics.idf(containing);
    }
    Ok(words)
}

/// How many live parents have a word.
fn containing(snapshot: &Snapshot, statistics: &WordStatistics, word: &str) -> Result<f64, IndexError> {
    let mut count = 0;
    for (segment, live) in statistics.live.iter().enumerate() {
        let range = snapshot.table::<Terms>(segment)?.postings_of(word);
        if !range.is_empty() {
            let postings = snapshot.table::<Postings>(segment)?;
            count += postings.parent.values()[range].iter().filter(|&&parent| live.get(parent as usize)).count();
        }
    }
    Ok(count as f64)
}

/// The score of each parent that has one of the words.
fn score_segment(
    snapshot: &Snapshot,
    segment: usize,
    parents: &Parents,
    words: &[(String, f64)],
    Bm25 { k1, b }: Bm25,
    mean_length: f64,
) -> Result<Vec<Option<f64>>, IndexError> {
    let mut scores = vec![None; parents.words.len()];
    let terms = snapshot.table::<Terms>(segment)?;
    for (word, weight) in words {
        let range = terms.postings_of(word);
        if range.is_empty() {
            continue;
        }
        let postings = snapshot.table::<Postings>(segment)?;
        for at in range {
            let (row, f) = (postings.parent.value(at) as usize, f64::from(postings.count.value(at)));
            let length = f64::from(parents.words.value(row)) / mean_length;
            *scores[row].get_or_insert(0.0) += weight * f * (k1 + 1.0) / (f + k1 * (1.0 - b + b * length));
        }
    }
    Ok(scores)
}
