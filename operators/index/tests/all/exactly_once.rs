//! Answers that are lost, in all ways in which a store can lose them.

use std::time::Duration;

use lunapark_index::{IndexError, Reader, Writer, probe};

use crate::faulty::{Fault, Faulty};
use crate::made::{Dice, batch, document, documents, put, settings};

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
