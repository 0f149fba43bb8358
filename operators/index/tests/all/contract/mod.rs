//! What a collection promises on any store that can put if absent.

use std::sync::Arc;
use std::time::Duration;

use lunapark_index::{
    Compaction, IndexError, Reader, Settings, Source, Sweep, Writer, collection_names, compact, drop_collection,
    exists, list, probe, sweep, verify,
};
use lunapark_stores::ArtifactStore;

use crate::made::{Dice, batch, delete, document, documents, outcomes, put, settings};

const BUDGET: u64 = 1 << 30;

/// All of it, in collections of names of its own.
pub fn suite(store: &Arc<ArtifactStore>) {
    probe(store).unwrap();
    changes_become_versions(store);
    what_is_made_anew_is_another(store);
    replays_change_nothing(store);
    refused(store);
    compaction_and_sweep(store);
    racing_writers(store);
    let all = ["anew", "many", "merged", "refusing", "replayed", "versions"];
    assert_eq!(list(store).unwrap(), all);
    let (mut late, mut dice) = (writer(store, "many"), Dice(9));
    let reader = Reader::open(Arc::clone(store), "many", BUDGET).unwrap();
    for name in all {
        let verified = verify(store, name).unwrap();
        assert!(verified.problems.is_empty(), "{name}: {:?}", verified.problems);
        let counts = verified.counts.unwrap();
        let dropped = drop_collection(store, name).unwrap();
        assert!(dropped.versions > 0 && dropped.segments >= counts.segments, "{name}: {dropped:?}, {counts:?}");
        assert!(!exists(store, name).unwrap());
        assert!(matches!(drop_collection(store, name), Err(IndexError::NoCollection(_))), "{name} is gone already");
    }
    assert!(list(store).unwrap().is_empty());
    assert!(collection_names(store).unwrap().is_empty(), "no folder stays");
    let error = late.apply(&batch(90..91, vec![put(90, document(&mut dice, "a"))])).unwrap_err();
    assert!(matches!(error, IndexError::NoCollection(_)), "a writer does not bring back what was dropped: {error}");
    assert!(matches!(reader.refresh(), Err(IndexError::NoCollection(_))));
    assert!(list(store).unwrap().is_empty());
    assert!(matches!(Reader::open(Arc::clone(store), "many", BUDGET), Err(IndexError::NoCollection(_))));
}

fn writer(store: &Arc<ArtifactStore>, name: &str) -> Writer {
    Writer::open(Arc::clone(store), name, &settings(), "one").unwrap()
}

fn what_is_made_anew_is_another(store: &Arc<ArtifactStore>) {
    let mut dice = Dice(9);
    let (a, b) = (document(&mut dice, "a"), document(&mut dice, "b"));
    let mut late = writer(store, "anew");
    late.apply(&batch(0..1, vec![put(0, a.clone())])).unwrap();
    let reader = Reader::open(Arc::clone(store), "anew", BUDGET).unwrap();
    assert_eq!(documents(&reader.refresh().unwrap()), std::slice::from_ref(&a));
    drop_collection(store, "anew").unwrap();
    writer(store, "anew").apply(&batch(0..1, vec![put(0, b.clone())])).unwrap();
    let again = reader.refresh().unwrap();
    assert_eq!((again.version(), documents(&again)), (1, vec![b.clone()]), "of the number that it had");
    assert!(Arc::ptr_eq(&again, &reader.refresh().unwrap()), "nothing is new");
    late.apply(&batch(1..2, vec![put(1, a.clone())])).unwrap();
    assert_eq!(documents(&reader.refresh().unwrap()), [a, b], "an older writer goes on with what is there");
    drop_collection(store, "anew").unwrap();
    writer(store, "anew");
    let empty = reader.refresh().unwrap();
    assert_eq!((empty.version(), documents(&empty)), (0, vec![]), "of a lower number");
}

fn changes_become_versions(store: &Arc<ArtifactStore>) {
    let mut dice = Dice(1);
    let mut writer = writer(store, "versions");
    let reader = Reader::open(Arc::clone(store), "versions", BUDGET).unwrap();
    assert_eq!((reader.snapshot().version(), documents(&reader.snapshot())), (0, vec![]));
    let (a, b, later) = (document(&mut dice, "a"), document(&mut dice, "b"), document(&mut dice, "a"));
    let applied = writer.apply(&batch(10..20, vec![put(11, a.clone()), put(15, b.clone())])).unwrap();
    assert_eq!(outcomes(&applied), ["indexed", "indexed"]);
    let first = reader.refresh().unwrap();
    assert_eq!((first.version(), documents(&first)), (1, vec![a.clone(), b.clone()]));
    assert!(first.covers(Source { partition: 0, offset: 19 }) && !first.covers(Source { partition: 0, offset: 20 }));
    assert!(Arc::ptr_eq(&first, &reader.refresh().unwrap()), "nothing is new");
    let applied = writer.apply(&batch(20..23, vec![put(20, later.clone()), delete(21, "b"), delete(22, "c")])).unwrap();
    assert_eq!(outcomes(&applied), ["indexed", "deleted", "deleted"]);
    let second = reader.refresh().unwrap();
    assert_eq!(documents(&second), std::slice::from_ref(&later));
    assert_eq!(second.document("a").unwrap(), Some(later));
    assert_eq!(second.document("b").unwrap(), None);
    assert_eq!(documents(&first), [a.clone(), b.clone()], "a snapshot does not change");
    assert_eq!(documents(&reader.at(1).unwrap()), [a, b]);
    assert!(matches!(reader.at(7), Err(IndexError::NoVersion { version: 7, newest: 2, .. })));
    assert_eq!(reader.versions().unwrap(), [0, 1, 2]);
}

fn replays_change_nothing(store: &Arc<ArtifactStore>) {
    let mut dice = Dice(2);
    let mut first = writer(store, "replayed");
    let mut zombie = writer(store, "replayed");
    let [a, b, c] = ["a", "b", "c"].map(|id| document(&mut dice, id));
    let whole = batch(0..3, vec![put(0, a.clone()), put(1, b.clone()), delete(2, "a")]);
    let half = batch(0..2, vec![put(0, a), put(1, b.clone())]);
    let answers = first.apply(&half).unwrap();
    assert_eq!(first.apply(&half).unwrap(), answers);
    assert_eq!(zombie.apply(&half).unwrap(), answers);
    assert_eq!(first.manifest().number, 1);
    let all = zombie.apply(&whole).unwrap();
    assert_eq!(all[..2], answers);
    assert_eq!(zombie.manifest().number, 2);
    first.apply(&batch(3..9, vec![put(4, c.clone())])).unwrap();
    assert_eq!(zombie.apply(&whole).unwrap(), all);
    let reader = Reader::open(Arc::clone(store), "replayed", BUDGET).unwrap();
    assert_eq!((reader.snapshot().version(), documents(&reader.snapshot())), (3, vec![b, c]));
}

fn refused(store: &Arc<ArtifactStore>) {
    let mut dice = Dice(3);
    let mut writer = writer(store, "refusing");
    let sound = document(&mut dice, "a");
    let mut bad = vec![sound.clone(); 5];
    bad[0].parents[0].children[0].vector.pop();
    bad[1].parents[0].children[0].vector[0] = f32::NAN;
    bad[2].parents[0].span.end += 1;
    bad[3].parents[0].children[0].span.end = u64::MAX;
    bad[4].id.clear();
    for document in bad {
        let error = writer.apply(&batch(0..1, vec![put(0, document)])).unwrap_err();
        assert!(matches!(error, IndexError::Refused { .. }), "{error}");
    }
    for (read, offsets) in [(0..1, [0, 1]), (0..9, [5, 4]), (0..9, [4, 4]), (3..9, [2, 4])] {
        let changes = offsets.map(|offset| put(offset, sound.clone())).to_vec();
        assert!(matches!(writer.apply(&batch(read, changes)), Err(IndexError::Refused { .. })));
    }
    assert_eq!(writer.manifest().number, 0);
    for (field, other) in [
        ("digest", Settings { model_digest: "other".into(), ..settings() }),
        ("dimension", Settings { dimension: 21, ..settings() }),
    ] {
        let error = Writer::open(Arc::clone(store), "refusing", &other, "one").err().unwrap();
        assert!(matches!(error, IndexError::OtherSettings { .. }) && error.to_string().contains(field), "{error}");
    }
    for name in ["", "..", "a/b", "../up"] {
        assert!(matches!(Reader::open(Arc::clone(store), name, 0), Err(IndexError::Name(_))));
    }
}

fn compaction_and_sweep(store: &Arc<ArtifactStore>) {
    let mut dice = Dice(4);
    let mut writer = writer(store, "merged");
    for round in 0..12 {
        let id = format!("d{}", round % 5);
        let change = if round == 10 { delete(round, &id) } else { put(round, document(&mut dice, &id)) };
        writer.apply(&batch(round..round + 1, vec![change])).unwrap();
    }
    let reader = Reader::open(Arc::clone(store), "merged", BUDGET).unwrap();
    let before = reader.snapshot();
    let compacted = compact(store, "merged", &Compaction::whole(), "one").unwrap().unwrap();
    assert_eq!((compacted.number, compacted.segments.len()), (13, 1));
    assert_eq!((compacted.segments[0].documents, compacted.segments[0].deletions), (4, 0));
    assert_eq!(compact(store, "merged", &Compaction::whole(), "one").unwrap(), None, "nothing is due");
    let after = reader.refresh().unwrap();
    assert_eq!(documents(&after), documents(&before));
    assert_eq!(after.counts().hidden, 0);
    // A writer that has not seen the compaction goes on.
    writer.apply(&batch(12..13, vec![delete(12, "d1")])).unwrap();
    assert_eq!(sweep(store, "merged", &Sweep::default()).unwrap().versions, 0, "all are young");
    let now = Sweep { keep: Duration::ZERO, spare: Duration::ZERO };
    let swept = sweep(store, "merged", &now).unwrap();
    assert_eq!((swept.versions, swept.segments), (14, 12));
    assert_eq!(reader.versions().unwrap(), [14]);
    assert_eq!(documents(&reader.refresh().unwrap()).len(), 3);
    assert!(matches!(reader.at(3), Err(IndexError::NoVersion { .. })));
    // One that was away while its number was swept does not take it again.
    let mut late = self::writer(store, "merged");
    for round in 13..16 {
        writer.apply(&batch(round..round + 1, vec![put(round, document(&mut dice, "e"))])).unwrap();
    }
    sweep(store, "merged", &now).unwrap();
    late.apply(&batch(16..17, vec![put(16, document(&mut dice, "f"))])).unwrap();
    assert_eq!(late.manifest().number, 18);
}

/// Each thread has a partition of its own; all documents are there at the end.
fn racing_writers(store: &Arc<ArtifactStore>) {
    let work = |partition: i32| {
        let mut dice = Dice(50 + partition as u64);
        let mut writer = Writer::open(Arc::clone(store), "many", &settings(), &format!("w{partition}")).unwrap();
        for offset in 0..8 {
            let mut change = put(offset, document(&mut dice, &format!("{partition}-{}", offset % 5)));
            change.source.partition = partition;
            let batch = lunapark_index::Batch { changes: vec![change], read: [(partition, offset..offset + 1)].into() };
            writer.apply(&batch).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for partition in 0..3 {
            scope.spawn(move || work(partition));
        }
        scope.spawn(|| {
            for _ in 0..4 {
                match compact(store, "many", &Compaction::default(), "compactor") {
                    Ok(_) | Err(IndexError::NoCollection(_) | IndexError::Contended { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    });
    let snapshot = Reader::open(Arc::clone(store), "many", BUDGET).unwrap().snapshot();
    let ids: Vec<String> = documents(&snapshot).into_iter().map(|document| document.id).collect();
    let expected: Vec<String> = (0..3).flat_map(|p| (0..5).map(move |d| format!("{p}-{d}"))).collect();
    assert_eq!(ids, expected);
    assert_eq!(snapshot.manifest().next, [(0, 8), (1, 8), (2, 8)].into());
}
