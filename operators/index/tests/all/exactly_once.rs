//! Answers that are lost, in all ways in which a store can lose them; batches that come again, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use lunapark_index::{Answers, Beside, Compaction, IndexError, Reader, Settings, Source, Writer, compact, probe};

use crate::faulty::{Fault, Faulty};
use crate::made::{Dice, batch, document, documents, memory, put, settings};

#[test]
fn a_put_whose_answer_was_lost_is_found_out() {
    for fault in [Fault::Before, Fault::After, Fault::Own, Fault::AfterAndBlind, Fault::BeforeAndBlind] {
        let mut dice = Dice(5);
        let faulty = Faulty::new(false);
        let mut writer = Writer::open(faulty.open(), "c", &settings(), "one").unwrap();
        faulty.plan(&[fault]);
        let wanted = document(&mut dice, "a");
        writer.apply(&batch(0..1, vec![put(0, wanted.clone())])).unwrap();
        let snapshot = Reader::open(faulty.open(), "c", 0).unwrap().snapshot();
        assert_eq!((snapshot.version(), documents(&snapshot)), (1, vec![wanted]), "{fault:?}");
    }
}

#[test]
fn a_batch_that_failed_is_in_once_when_it_is_applied_again() {
    for fault in [Fault::AfterAndBlind, Fault::BeforeAndBlind] {
        let mut dice = Dice(6);
        let faulty = Faulty::new(false);
        let writer = Writer::open(faulty.open(), "c", &settings(), "one").unwrap();
        let mut writer = writer.with_patience(Duration::ZERO);
        faulty.plan(&[fault]);
        let wanted = document(&mut dice, "a");
        let batch = batch(0..1, vec![put(0, wanted.clone())]);
        let error = writer.apply(&batch).unwrap_err();
        assert!(error.passes(), "{error}");
        writer.apply(&batch).unwrap();
        let snapshot = Reader::open(faulty.open(), "c", 0).unwrap().snapshot();
        assert_eq!((snapshot.version(), documents(&snapshot)), (1, vec![wanted]), "{fault:?}");
    }
}

#[test]
fn another_writers_manifest_is_gone_on_from_also_behind_a_lost_answer() {
    let mut dice = Dice(7);
    let faulty = Faulty::new(false);
    let open = |name| Writer::open(faulty.open(), "c", &settings(), name).unwrap();
    let (mut one, mut two) = (open("one"), open("two"));
    let [a, b] = ["a", "b"].map(|id| document(&mut dice, id));
    one.apply(&batch(0..1, vec![put(0, a.clone())])).unwrap();
    let mut of_two = put(0, b.clone());
    of_two.source.partition = 1;
    faulty.plan(&[Fault::After]);
    two.apply(&lunapark_index::Batch { changes: vec![of_two], read: [(1, 0..1)].into() }).unwrap();
    let snapshot = Reader::open(faulty.open(), "c", 0).unwrap().snapshot();
    assert_eq!((snapshot.version(), documents(&snapshot)), (2, vec![a, b]));
    assert_eq!(snapshot.manifest().writer.instance, "two");
}

#[test]
fn a_store_that_overwrites_is_refused() {
    let error = probe(&Faulty::new(true).open()).unwrap_err();
    assert!(matches!(error, IndexError::NotAtomic(_)), "{error}");
    probe(&Faulty::new(false).open()).unwrap();
}

fn said(offsets: &[i64]) -> Answers {
    let mut answers = Answers::default();
    offsets.iter().for_each(|&offset| answers.keep(Source { partition: 0, offset }, format!("answer {offset}").into()));
    answers
}

#[test]
fn what_was_answered_is_known_to_whoever_reads_it_again() {
    let (store, mut dice) = (memory(), Dice(8));
    let open = |name| Writer::open(Arc::clone(&store), "c", &settings(), name).unwrap();
    let (mut one, mut zombie) = (open("one"), open("zombie"));
    let beside = |offsets: &[i64]| Beside { answers: said(offsets), ..Beside::default() };
    let first = batch(0..3, vec![put(0, document(&mut dice, "a"))]);
    assert!(one.apply_beside(&first, &beside(&[0, 1])).unwrap().is_empty());
    // Only refused ones: a version without a segment.
    one.apply_beside(&batch(3..5, Vec::new()), &beside(&[4])).unwrap();
    assert_eq!((one.manifest().number, one.manifest().segments.len(), one.manifest().next_of(0)), (2, 1, 5));
    // A merge keeps them, and who comes late changes nothing and is told what stands.
    one.apply(&batch(5..6, vec![put(5, document(&mut dice, "b"))])).unwrap();
    let merged = compact(&store, "c", &Compaction::whole(), "compactor").unwrap().unwrap();
    let mut late = said(&[0, 1, 2, 4]);
    late.keep(Source { partition: 0, offset: 1 }, "another answer".into());
    let late = Beside { answers: late, ..Beside::default() };
    let before = zombie.apply_beside(&batch(0..5, first.changes.clone()), &late).unwrap();
    assert_eq!((before, zombie.manifest()), ([(0, 6)].into(), &merged));
    assert_eq!(zombie.manifest().answers, said(&[0, 1, 4]));
    // What the log is known to have is forgotten.
    let settled = Beside { settled: [(0, 4)].into(), ..beside(&[6]) };
    one.apply_beside(&batch(5..7, vec![put(6, document(&mut dice, "b"))]), &settled).unwrap();
    assert_eq!(Writer::find(Arc::clone(&store), "c", "x").unwrap().unwrap().manifest().answers, said(&[4, 6]));
    assert!(Writer::find(store, "d", "x").unwrap().is_none());
}

#[test]
fn offsets_of_another_topic_are_refused_and_an_unknown_one_is_taken_on() {
    let (store, mut dice) = (memory(), Dice(9));
    let open = |topic: Option<&str>| {
        Writer::open(Arc::clone(&store), "c", &settings(), "one").unwrap().of_topic(topic.map(str::to_owned))
    };
    let mut next = 0;
    let mut apply = |topic| {
        let batch = batch(next..next + 1, vec![put(next, document(&mut dice, "a"))]);
        let applied = open(topic).apply(&batch);
        next += i64::from(applied.is_ok());
        applied.map(drop)
    };
    apply(None).unwrap();
    apply(Some("first")).unwrap();
    apply(None).unwrap();
    let error = apply(Some("second")).unwrap_err();
    assert!(matches!(error, IndexError::OtherTopic { .. }) && error.to_string().contains("drop c --yes"), "{error}");
    apply(Some("first")).unwrap();
}

#[test]
fn a_batch_that_was_cut_for_other_sizes_is_made_anew() {
    let (store, mut dice) = (memory(), Dice(10));
    let mut writer = Writer::open(Arc::clone(&store), "c", &settings(), "one").unwrap();
    let mut made_with = settings();
    made_with.chunking.child_tokens += 1;
    let batch = batch(0..1, vec![put(0, document(&mut dice, "a"))]);
    let error = writer.apply_beside(&batch, &Beside { made_with: Some(made_with), ..Beside::default() }).unwrap_err();
    assert!(error.passes(), "{error}");
    writer.apply_beside(&batch, &Beside { made_with: Some(settings()), ..Beside::default() }).unwrap();
    let made_with = Some(Settings { model_digest: "other".into(), ..settings() });
    let error = writer.apply_beside(&batch, &Beside { made_with, ..Beside::default() }).unwrap_err();
    assert!(matches!(error, IndexError::OtherSettings { .. }), "{error}");
}
