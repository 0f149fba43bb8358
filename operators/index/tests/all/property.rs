//! After many random changes, with replays, dead and risen writers, lost answers, compactions and sweeps, a collection
//! is the one that is built from the final documents alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lunapark_index::{
    Action, Applied, Batch, Change, Compaction, Document, Hit, IndexError, Mode, Question, Reader, Search, Source,
    Sweep, Writer, compact, sweep, verify,
};
use lunapark_stores::ArtifactStore;

use crate::faulty::{Fault, Faulty};
use crate::made::{Dice, document, documents, memory, settings};

const PARTITIONS: usize = 3;
/// Less than the sections of a large collection here.
const BUDGET: u64 = 20_000;

/// A topic with records of this collection and of others.
struct Topic {
    partitions: Vec<Vec<Option<Action>>>,
    answers: BTreeMap<Source, Applied>,
    /// What was applied without an error.
    committed: Vec<usize>,
}

impl Topic {
    fn made(dice: &mut Dice) -> Self {
        let mut partitions = vec![Vec::new(); PARTITIONS];
        for _ in 0..100 + dice.below(100) {
            let number = dice.below(25);
            let id = format!("d{number:02}");
            let action = match dice.below(10) {
                0 | 1 => None,
                2 | 3 => Some(Action::Delete(id)),
                _ => Some(Action::Put(document(dice, &id))),
            };
            partitions[number % PARTITIONS].push(action);
        }
        Self { partitions, answers: BTreeMap::new(), committed: vec![0; PARTITIONS] }
    }

    /// The final documents.
    fn last(&self) -> BTreeMap<String, Document> {
        let mut last = BTreeMap::new();
        for action in self.partitions.iter().flatten().flatten() {
            match action {
                Action::Put(document) => drop(last.insert(document.id.clone(), document.clone())),
                Action::Delete(id) => drop(last.remove(id)),
            }
        }
        last
    }

    /// What is read of one or more partitions, from the committed offset or from an earlier one.
    fn batch(&self, dice: &mut Dice) -> Batch {
        let mut batch = Batch::default();
        for (partition, records) in self.partitions.iter().enumerate() {
            if dice.below(3) == 0 {
                continue;
            }
            let back = if dice.below(3) == 0 { dice.below(20) } else { 0 };
            let first = self.committed[partition].saturating_sub(back);
            let next = (first + dice.below(15)).min(records.len());
            let change = |offset: usize| {
                let source = Source { partition: partition as i32, offset: offset as i64 };
                Some(Change { source, action: records[offset].clone()? })
            };
            batch.changes.extend((first..next).filter_map(change));
            batch.read.insert(partition as i32, first as i64..next as i64);
        }
        batch
    }

    /// Notes what a batch was answered: the same as ever.
    fn commit(&mut self, batch: &Batch, answers: Vec<Applied>) {
        assert_eq!(answers.len(), batch.changes.len());
        for (change, answer) in batch.changes.iter().zip(answers) {
            assert_eq!(self.answers.entry(change.source).or_insert_with(|| answer.clone()), &answer);
        }
        for (&partition, read) in &batch.read {
            let committed = &mut self.committed[partition as usize];
            *committed = (*committed).max(read.end as usize);
        }
    }

    fn is_done(&self) -> bool {
        self.committed.iter().zip(&self.partitions).all(|(committed, records)| *committed == records.len())
    }
}

fn open(store: &Arc<ArtifactStore>, number: usize) -> Writer {
    let writer = Writer::open(Arc::clone(store), "c", &settings(), &format!("w{number}")).unwrap();
    writer.with_patience(Duration::ZERO)
}

fn upkeep(store: &Arc<ArtifactStore>, dice: &mut Dice) {
    let compaction = match dice.below(3) {
        0 => Compaction { lists_from: 10, ..Compaction::whole() },
        1 => Compaction { max_bytes: 60_000, lists_from: 1, threads: 2, ..Compaction::default() },
        _ => Compaction::default(),
    };
    match compact(store, "c", &compaction, "compactor") {
        Ok(_) => {}
        Err(error) => assert!(error.passes(), "{error}"),
    }
    if dice.below(2) == 0 {
        sweep(store, "c", &Sweep { keep: Duration::ZERO, spare: Duration::ZERO }).unwrap();
    }
}

fn hits(store: &Arc<ArtifactStore>, questions: &[Question]) -> Vec<Vec<Hit>> {
    let snapshot = Reader::open(Arc::clone(store), "c", 1 << 30).unwrap().snapshot();
    let mut all = Vec::new();
    for mode in [Mode::Dense, Mode::Words, Mode::Hybrid] {
        all.extend(snapshot.search(&Search { mode, k: 30, ..Search::default() }, questions).unwrap());
    }
    all.iter_mut().flatten().for_each(|hit| hit.version = 0);
    all
}

#[test]
fn a_collection_is_what_its_final_documents_make_of_it() {
    let seeds = if std::env::var_os("LUNAPARK_TEST_LONG").is_some() { 2000 } else { 40 };
    for seed in 0..seeds {
        let mut dice = Dice(1000 + seed);
        let mut topic = Topic::made(&mut dice);
        let faulty = Faulty::new(false);
        let store = faulty.open();
        let mut writers = [open(&store, 0), open(&store, 1)];
        let reader = Reader::open(Arc::clone(&store), "c", BUDGET).unwrap();
        while !topic.is_done() {
            let batch = topic.batch(&mut dice);
            let faults =
                [Fault::None, Fault::Before, Fault::After, Fault::Own, Fault::AfterAndBlind, Fault::BeforeAndBlind];
            if dice.below(2) == 0 {
                faulty.plan(&[faults[dice.below(6)], faults[dice.below(6)]]);
            }
            let who = dice.below(2);
            match writers[who].apply(&batch) {
                Ok(answers) => topic.commit(&batch, answers),
                Err(error) => assert!(error.passes(), "{seed}: {error}"),
            }
            faulty.forget();
            match dice.below(8) {
                0 => writers[who] = open(&store, who),
                1 => upkeep(&store, &mut dice),
                2 => drop(reader.refresh().unwrap()),
                _ => {}
            }
        }
        same_as_built_from(&topic.last(), &store, &reader, &mut dice);
    }
}

fn same_as_built_from(last: &BTreeMap<String, Document>, store: &Arc<ArtifactStore>, reader: &Reader, dice: &mut Dice) {
    let expected: Vec<Document> = last.values().cloned().collect();
    assert_eq!(documents(&reader.refresh().unwrap()), expected, "a reader that went along");
    assert!(reader.cached_bytes() <= BUDGET);
    let fresh = Reader::open(Arc::clone(store), "c", 0).unwrap().snapshot();
    assert_eq!(documents(&fresh), expected);
    assert_eq!(fresh.counts().documents, expected.len() as u64);
    let alone = memory();
    let mut writer = open(&alone, 0);
    let put = |(offset, document): (usize, &Document)| crate::made::put(offset as i64, document.clone());
    let changes: Vec<Change> = expected.iter().enumerate().map(put).collect();
    writer.apply(&crate::made::batch(0..changes.len() as i64, changes)).unwrap();
    let question = |dice: &mut Dice| Question { text: crate::made::sentence(dice, 6), vector: dice.vector() };
    let questions: Vec<_> = (0..3).map(|_| question(dice)).collect();
    assert_eq!(hits(store, &questions), hits(&alone, &questions));
    let verified = verify(store, "c").unwrap();
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    assert!(matches!(verify(store, "other"), Err(IndexError::NoCollection(_))));
}
