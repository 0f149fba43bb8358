//! Upkeep by itself: what is due is done, no more, and every version that is kept stays readable.

use std::sync::Arc;
use std::time::Duration;

use lunapark_index::{
    Compaction, Document, IndexError, Reader, Snapshot, Sweep, Upkeep, UpkeepPlan, Writer, compact, drop_collection,
    sweep,
};
use lunapark_stores::ArtifactStore;

use crate::made::{Dice, batch, delete, document, documents, forget_word_rules, memory, put, settings};

const HOUR: Duration = Duration::from_secs(3600);
const BUDGET: u64 = 1 << 30;

fn plan(segments: usize, sweep: Sweep) -> UpkeepPlan {
    UpkeepPlan { segments, compaction: Compaction::whole(), sweep, sweep_every: Duration::ZERO }
}

fn upkeep(store: &Arc<ArtifactStore>, plan: UpkeepPlan) -> Upkeep {
    Upkeep::new(Arc::clone(store), "c", "keeper", plan).unwrap()
}

fn snapshot(store: &Arc<ArtifactStore>) -> Arc<Snapshot> {
    Reader::open(Arc::clone(store), "c", BUDGET).unwrap().snapshot()
}

#[test]
fn segments_are_merged_once_some_have_come() {
    let (store, mut dice) = (memory(), Dice(1));
    let mut upkeep = upkeep(&store, plan(4, Sweep { keep: HOUR, spare: HOUR }));
    assert!(matches!(upkeep.look(&|| false), Err(IndexError::NoCollection(_))), "nobody has made it yet");
    let mut writer = Writer::open(Arc::clone(&store), "c", &settings(), "one").unwrap();
    let mut merges = Vec::new();
    for offset in 0..12 {
        writer.apply(&batch(offset..offset + 1, vec![put(offset, document(&mut dice, &offset.to_string()))])).unwrap();
        merges.push(upkeep.look(&|| false).unwrap().merges);
    }
    // 4 become 1, then 4 more are due.
    assert_eq!(merges, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!((snapshot(&store).counts().segments, snapshot(&store).counts().documents), (1, 12));
    assert_eq!(upkeep.look(&|| false).unwrap(), Default::default(), "nothing is new");
    drop_collection(&store, "c").unwrap();
    assert!(matches!(upkeep.look(&|| false), Err(IndexError::NoCollection(_))));
}

#[test]
fn a_stop_comes_before_the_next_step_and_another_compactor_does_no_harm() {
    let (store, mut dice) = (memory(), Dice(2));
    let mut writer = Writer::open(Arc::clone(&store), "c", &settings(), "one").unwrap();
    for offset in 0..6 {
        writer.apply(&batch(offset..offset + 1, vec![put(offset, document(&mut dice, &offset.to_string()))])).unwrap();
    }
    let (mut one, mut other) = (upkeep(&store, plan(4, Sweep::default())), upkeep(&store, plan(4, Sweep::default())));
    assert_eq!(one.look(&|| true).unwrap(), Default::default());
    let before = documents(&snapshot(&store));
    assert_eq!((one.look(&|| false).unwrap().merges, other.look(&|| false).unwrap().merges), (0, 1));
    assert_eq!((snapshot(&store).counts().segments, documents(&snapshot(&store))), (1, before));
}

/// Changes with compactions between them; the documents of each version.
fn storied(store: &Arc<ArtifactStore>, dice: &mut Dice) -> Vec<Vec<Document>> {
    let mut writer = Writer::open(Arc::clone(store), "c", &settings(), "one").unwrap();
    let mut versions = vec![Vec::new()];
    for offset in 0..60 {
        let id = format!("d{}", dice.below(12));
        let change = if dice.below(5) == 0 { delete(offset, &id) } else { put(offset, document(dice, &id)) };
        writer.apply(&batch(offset..offset + 1, vec![change])).unwrap();
        versions.push(documents(&snapshot(store)));
        let plan = if dice.below(2) == 0 { Compaction::default() } else { Compaction::whole() };
        if dice.below(7) == 0 && compact(store, "c", &plan, "compactor").unwrap().is_some() {
            versions.push(documents(&snapshot(store)));
        }
    }
    versions
}

#[test]
fn no_version_that_is_kept_loses_a_segment() {
    for seed in 0..20 {
        let (store, mut dice) = (memory(), Dice(100 + seed));
        let versions = storied(&store, &mut dice);
        let loose = "collections/c/segments/0000000000000-0.segment";
        store.put_named(loose, b"left behind by a writer that was killed").unwrap();
        let kept = Sweep { keep: HOUR, spare: Duration::ZERO };
        let swept = sweep(&store, "c", &kept).unwrap();
        assert_eq!((swept.versions, swept.segments), (0, 1), "{seed}: only what nobody names goes");
        assert_eq!(store.get_named(loose).unwrap(), None);
        let reader = Reader::open(Arc::clone(&store), "c", BUDGET).unwrap();
        assert_eq!(reader.versions().unwrap().len(), versions.len());
        for (number, expected) in versions.iter().enumerate() {
            assert_eq!(&documents(&reader.at(number as u64).unwrap()), expected, "{seed}: version {number}");
        }
    }
}

#[test]
fn old_versions_go_by_themselves_with_what_only_they_need() {
    let (store, mut dice) = (memory(), Dice(3));
    let versions = storied(&store, &mut dice);
    let now = Sweep { keep: Duration::ZERO, spare: Duration::ZERO };
    let mut upkeep = upkeep(&store, UpkeepPlan { compaction: Compaction::whole(), ..plan(1, now) });
    let done = upkeep.look(&|| false).unwrap();
    assert_eq!(done.merges, 1);
    assert_eq!(done.swept.versions as usize, versions.len(), "all but the merged one");
    assert_eq!(store.list_named("collections/c/segments").unwrap().len(), 1);
    assert_eq!(&documents(&snapshot(&store)), versions.last().unwrap());
    assert_eq!(upkeep.look(&|| false).unwrap(), Default::default());
}

#[test]
fn segments_whose_words_are_of_an_older_rule_are_written_again_be_it_one_alone() {
    for (segments, plan) in [(1, Compaction::default()), (1, Compaction::whole()), (5, Compaction::default())] {
        let (store, mut dice) = (memory(), Dice(4));
        let mut writer = Writer::open(Arc::clone(&store), "c", &settings(), "one").unwrap();
        for offset in 0..segments {
            let change = put(offset, document(&mut dice, &offset.to_string()));
            writer.apply(&batch(offset..offset + 1, vec![change])).unwrap();
        }
        forget_word_rules(&store, "c");
        let before = snapshot(&store);
        assert!(before.manifest().has_older_words());
        assert!(compact(&store, "c", &plan, "compactor").unwrap().is_some(), "{segments} segments");
        let after = snapshot(&store);
        assert!(!after.manifest().has_older_words(), "{segments} segments");
        assert_eq!(documents(&after), documents(&before));
        assert!(compact(&store, "c", &plan, "compactor").unwrap().is_none(), "it is done once");
    }
}
