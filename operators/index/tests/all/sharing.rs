//! Readers of several collections share one cache, and what it may hold.

use std::sync::Arc;

use lunapark_index::{Cache, Mode, Question, Reader, Search, Snapshot, Writer, drop_collection};
use lunapark_stores::ArtifactStore;

use super::made::{Dice, batch, document, documents, memory, put, settings};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn collections() -> Arc<ArtifactStore> {
    let (store, dice) = (memory(), &mut Dice(5));
    for name in NAMES {
        let changes = (0..20).map(|offset| put(offset, document(dice, &offset.to_string()))).collect();
        Writer::open(store.clone(), name, &settings(), "me").unwrap().apply(&batch(0..20, changes)).unwrap();
    }
    store
}

fn ask(snapshot: &Snapshot) {
    let question = Question { text: "the wing".into(), vector: Dice(1).vector() };
    let search = Search { mode: Mode::Hybrid, ..Search::default() };
    assert_eq!(snapshot.search(&search, &[question]).unwrap()[0].len(), 10);
}

#[test]
fn all_collections_together_hold_no_more_than_the_budget() {
    let store = collections();
    let alone = Reader::open(store.clone(), "a", u64::MAX).unwrap();
    ask(&alone.snapshot());
    let budget = 2 * alone.cached_bytes();
    let cache = Arc::new(Cache::new(budget));
    let open = |name| Reader::open_sharing(store.clone(), name, cache.clone()).unwrap();
    let readers = NAMES.map(open);
    for _ in 0..3 {
        readers.iter().for_each(|reader| ask(&reader.snapshot()));
        assert!(cache.bytes() <= budget && cache.bytes() > budget / 2, "{} of {budget}", cache.bytes());
    }
}

#[test]
fn what_one_collection_forgets_is_its_own() {
    let store = collections();
    let cache = Arc::new(Cache::new(u64::MAX));
    let open = |name| Reader::open_sharing(store.clone(), name, cache.clone()).unwrap();
    ask(&open("a").snapshot());
    let of_a = cache.bytes();
    let b = open("b");
    ask(&b.snapshot());
    let both = cache.bytes();

    // A new version of one leaves the other's segments where they are.
    let mut writer = Writer::open(store.clone(), "b", &settings(), "me").unwrap();
    writer.apply(&batch(20..21, vec![put(20, document(&mut Dice(6), "new"))])).unwrap();
    assert_eq!(documents(&b.refresh().unwrap()).len(), 21);
    assert!(cache.bytes() >= both, "{} after {both}", cache.bytes());
    drop_collection(&store, "b").unwrap();
    cache.forget("b");
    assert_eq!(cache.bytes(), of_a);
}
