//! A collection that is given other settings while it changes is the one that is made with them from its final documents;
//! one whose rebuild dies is as it was.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

use lunapark_index::{
    Action, Change, Child, Chunking, Compaction, Document, IndexError, Manifest, Mode, Parent, Question, Reader,
    Reason, Remake, Search, Settings, Sweep, Writer, compact, rebuild, sweep, verify,
};
use lunapark_stores::{ArtifactStore, S3Options};

use crate::faulty::{Fault, Faulty};
use crate::made::{Dice, batch, delete, document, documents, memory, put, sentence, settings};

const OTHER_DIMENSION: usize = 7;

fn other() -> Settings {
    let chunking = Chunking { child_tokens: 64, child_overlap: 8, parent_tokens: 100 };
    Settings { model_digest: "b7e1".into(), dimension: OTHER_DIMENSION as u32, chunking, ..settings() }
}

/// The same document cut into one parent, with a vector that depends on its text alone.
fn remade(document: &Document) -> Document {
    assert!(document.parents.iter().flat_map(|parent| &parent.children).all(|child| child.vector.is_empty()));
    let text: String = document.parents.iter().map(|parent| parent.text.as_str()).collect();
    let mut dice = Dice(text.bytes().map(u64::from).sum());
    let vector = (0..OTHER_DIMENSION).map(|_| dice.number()).collect();
    let span = 0..text.len() as u64;
    let marks = document.parents.iter().flat_map(|parent| parent.marks.clone()).collect();
    let children = vec![Child { span: span.clone(), page: None, vector }];
    let parent = Parent { span, text, heading: "all".into(), page: Some(1), marks, children };
    Document { parents: vec![parent], ..document.clone() }
}

fn without_vectors(document: &Document) -> Document {
    let mut document = document.clone();
    document.parents.iter_mut().flat_map(|parent| &mut parent.children).for_each(|child| child.vector.clear());
    document
}

/// Makes documents anew, and does something else each time.
struct Meanwhile<F> {
    calls: usize,
    announced: Vec<u64>,
    heartbeat: Duration,
    act: F,
}

impl<F: FnMut(usize) -> Result<(), IndexError>> Meanwhile<F> {
    fn new(act: F) -> Self {
        Self { calls: 0, announced: Vec::new(), heartbeat: Duration::from_secs(3600), act }
    }
}

impl<F: FnMut(usize) -> Result<(), IndexError>> Remake for Meanwhile<F> {
    type Error = IndexError;

    fn begins(&mut self, documents: u64) {
        self.announced.push(documents);
    }

    fn make(&mut self, documents: Vec<Document>) -> Result<Vec<Document>, IndexError> {
        self.calls += 1;
        (self.act)(self.calls)?;
        Ok(documents.iter().map(remade).collect())
    }

    fn heartbeat(&self) -> Duration {
        self.heartbeat
    }
}

fn writer(store: &Arc<ArtifactStore>, settings: &Settings) -> Result<Writer, IndexError> {
    Writer::open(Arc::clone(store), "c", settings, "live")
}

fn open(store: &Arc<ArtifactStore>) -> Reader {
    Reader::open(Arc::clone(store), "c", 1 << 20).unwrap()
}

/// Some changes of partition 0 from an offset on.
fn some(dice: &mut Dice, from: i64) -> Vec<Change> {
    let change = |offset: i64| {
        let id = format!("d{:02}", dice.below(12));
        if dice.below(4) == 0 { delete(offset, &id) } else { put(offset, document(dice, &id)) }
    };
    (from..from + 5).map(change).collect()
}

fn apply(writer: &mut Writer, changes: &[Change]) {
    let from = changes[0].source.offset;
    writer.apply(&batch(from..from + changes.len() as i64, changes.to_vec())).unwrap();
}

/// What a collection with the other settings is that was made from these changes alone.
fn made_anew(changes: &[Change]) -> Arc<ArtifactStore> {
    let store = memory();
    apply(&mut writer(&store, &other()).unwrap(), &anew(changes));
    store
}

/// The same changes with documents of the other settings.
fn anew(changes: &[Change]) -> Vec<Change> {
    let anew = |change: &Change| match &change.action {
        Action::Put(document) => Change { action: Action::Put(remade(&without_vectors(document))), ..change.clone() },
        Action::Delete(_) => change.clone(),
    };
    changes.iter().map(anew).collect()
}

fn same(store: &Arc<ArtifactStore>, expected: &Arc<ArtifactStore>, dice: &mut Dice) {
    let (found, expected) = (open(store).snapshot(), open(expected).snapshot());
    assert_eq!(documents(&found), documents(&expected));
    assert_eq!((found.settings(), found.counts().documents), (&other(), expected.counts().documents));
    let vector = (0..OTHER_DIMENSION).map(|_| dice.number()).collect();
    let question = [Question { text: sentence(dice, 5), vector }];
    for mode in [Mode::Dense, Mode::Words, Mode::Hybrid] {
        let hits = |snapshot: &lunapark_index::Snapshot| {
            let mut hits = snapshot.search(&Search { mode, k: 30, ..Search::default() }, &question).unwrap();
            hits.iter_mut().flatten().for_each(|hit| hit.version = 0);
            hits
        };
        assert_eq!(hits(&found), hits(&expected), "{mode:?}");
    }
    assert!(verify(store, "c").unwrap().problems.is_empty());
}

#[test]
fn a_collection_that_changes_meanwhile_is_what_the_new_settings_make_of_its_final_documents() {
    let mut rounds_in_all = 0;
    for seed in 0..30 {
        let mut dice = Dice(70 + seed);
        let faulty = Faulty::new(false);
        let store = faulty.open();
        let mut live = writer(&store, &settings()).unwrap();
        let mut all = some(&mut dice, 0);
        apply(&mut live, &all);
        let rounds = dice.below(4);
        let mut remake = Meanwhile::new(|call| {
            if call <= rounds {
                let more = some(&mut dice, all.len() as i64);
                apply(&mut live, &more);
                all.extend(more);
            }
            if dice.below(2) == 0 {
                compact(&store, "c", &Compaction::whole(), "compactor")?;
                sweep(&store, "c", &Sweep { keep: Duration::ZERO, ..Sweep::default() })?;
            }
            faulty.plan(&[[Fault::None, Fault::Before, Fault::After, Fault::Own][dice.below(4)]]);
            Ok(())
        });
        let manifest: Manifest = rebuild(&store, "c", &other(), "reindexer", &mut remake).unwrap().unwrap();
        rounds_in_all += remake.announced.len();
        faulty.forget();
        assert_eq!((manifest.reason, manifest.next_of(0)), (Reason::Reindexed, all.len() as i64));
        same(&store, &made_anew(&all), &mut dice);
        assert!(store.list_named("collections/c/drafts").unwrap().is_empty());

        // Who has the old encoder is refused, and told what to do; who has the new one goes on.
        let error = live.apply(&batch(90..91, vec![put(90, document(&mut dice, "late"))])).unwrap_err();
        assert!(error.to_string().contains("lunapark collections reindex c"), "{error}");
        assert!(matches!(writer(&store, &settings()), Err(IndexError::OtherSettings { .. })));
        let late = remade(&without_vectors(&document(&mut dice, "late")));
        apply(&mut writer(&store, &other()).unwrap(), &[put(all.len() as i64, late.clone())]);
        assert!(documents(&open(&store).snapshot()).contains(&late));
        assert!(rebuild(&store, "c", &other(), "reindexer", &mut Meanwhile::new(|_| Ok(()))).unwrap().is_none());
    }
    assert!(rounds_in_all > 60, "hardly anything changed meanwhile: {rounds_in_all} rounds");
}

/// Without a word to it the writer would always be first: it puts a version whenever a document is made anew.
#[test]
fn a_writer_that_never_rests_lets_a_rebuild_go_first() {
    let (store, mut dice) = (memory(), Dice(80));
    let mut live = writer(&store, &settings()).unwrap();
    let mut all = some(&mut dice, 0);
    apply(&mut live, &all);
    let (asked, asks) = sync_channel::<()>(0);
    let writing = std::thread::spawn(move || {
        while asks.recv().is_ok() {
            let more = some(&mut dice, all.len() as i64);
            let put = live.apply(&batch(all.len() as i64..all.len() as i64 + more.len() as i64, more.clone()));
            if put.is_err() {
                break;
            }
            all.extend(more);
        }
        (all, dice)
    });
    let rounds = std::cell::Cell::new(0);
    let number = |store: &Arc<ArtifactStore>| open(store).snapshot().manifest().number;
    let mut remake = Meanwhile::new(|_| {
        rounds.set(rounds.get() + 1);
        let before = number(&store);
        let held = || open(&store).snapshot().manifest().reason == Reason::Held;
        if !held() {
            asked.send(()).unwrap();
            while number(&store) == before {
                std::thread::yield_now();
            }
        } else {
            // It waits with the next batch in its hands.
            let _ = asked.try_send(());
        }
        Ok(())
    });
    let manifest = rebuild(&store, "c", &other(), "reindexer", &mut remake).unwrap().unwrap();
    assert_eq!(manifest.reason, Reason::Reindexed);
    assert!(rounds.get() >= 8, "{}", rounds.get());
    drop(remake);
    drop(asked);
    let (all, mut dice) = writing.join().unwrap();
    assert_eq!(manifest.next_of(0), all.len() as i64);
    same(&store, &made_anew(&all), &mut dice);
}

#[test]
fn a_rebuild_whose_draft_was_swept_changes_nothing() {
    let (store, mut dice) = (memory(), Dice(11));
    let mut live = writer(&store, &settings()).unwrap();
    let first = some(&mut dice, 0);
    apply(&mut live, &first);
    let mut remake = Meanwhile::new(|call| {
        match call {
            1 => apply(&mut live, &[put(first.len() as i64, document(&mut dice, "more"))]),
            _ => {
                let drafts = store.list_named("collections/c/drafts").unwrap();
                assert_eq!(drafts.len(), 1);
                store.delete_named(&drafts[0].name).unwrap();
            }
        }
        Ok(())
    });
    let error = rebuild(&store, "c", &other(), "reindexer", &mut remake).unwrap_err();
    assert!(error.to_string().contains("reindex again"), "{error}");
    assert_eq!(open(&store).snapshot().settings(), &settings());
    assert!(store.list_named("collections/c/drafts").unwrap().is_empty());
}

#[test]
fn another_precision_is_another_setting() {
    let (store, mut dice) = (memory(), Dice(12));
    apply(&mut writer(&store, &settings()).unwrap(), &some(&mut dice, 0));
    let other = Settings { precision: "bf16".into(), ..other() };
    assert_ne!(settings().precision, other.precision);
    let rebuilt = |settings| rebuild(&store, "c", settings, "r", &mut Meanwhile::new(|_| Ok(()))).unwrap().is_some();
    assert_eq!([rebuilt(&other), rebuilt(&other)], [true, false]);
    let again = Settings { precision: settings().precision, ..other.clone() };
    assert!(rebuilt(&again), "the same model in another precision");
}

#[test]
fn older_versions_stay_as_they_were() {
    let (store, mut dice) = (memory(), Dice(3));
    let mut live = writer(&store, &settings()).unwrap();
    apply(&mut live, &some(&mut dice, 0));
    let reader = open(&store);
    let before = reader.snapshot();
    rebuild(&store, "c", &other(), "reindexer", &mut Meanwhile::new(|_| Ok(()))).unwrap().unwrap();
    let after = reader.refresh().unwrap();
    assert_eq!((after.version(), after.settings()), (before.version() + 1, &other()));
    let old = reader.at(before.version()).unwrap();
    assert_eq!((old.settings(), documents(&old)), (&settings(), documents(&before)));
    let question = [Question { text: "wing".into(), vector: dice.vector() }];
    assert!(!old.search(&Search::default(), &question).unwrap()[0].is_empty());
}

#[test]
fn a_rebuild_that_dies_has_changed_nothing() {
    let (store, mut dice) = (memory(), Dice(4));
    let mut live = writer(&store, &settings()).unwrap();
    apply(&mut live, &some(&mut dice, 0));
    let more = [put(5, document(&mut dice, "meanwhile"))];
    let mut remake = Meanwhile::new(|call| match call {
        1 => {
            apply(&mut live, &more);
            Ok(())
        }
        _ => Err(IndexError::Name("it dies".into())),
    });
    let error = rebuild(&store, "c", &other(), "reindexer", &mut remake).unwrap_err();
    assert!(matches!(error, IndexError::Name(_)), "{error}");
    let snapshot = open(&store).snapshot();
    assert_eq!((snapshot.version(), snapshot.settings()), (2, &settings()));
    // What it left is named by nothing, and goes.
    let segments = || store.list_named("collections/c/segments").unwrap().len();
    assert_eq!(segments(), 3);
    sweep(&store, "c", &Sweep { keep: Duration::from_secs(3600), spare: Duration::ZERO }).unwrap();
    assert_eq!((segments(), documents(&snapshot).len()), (2, documents(&open(&store).snapshot()).len()));
    apply(&mut live, &[put(6, document(&mut dice, "after"))]);
}

#[test]
fn a_sweep_spares_the_segments_of_a_rebuild_however_old_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(ArtifactStore::open(dir.path().to_str().unwrap(), &S3Options::default()).unwrap());
    let mut dice = Dice(5);
    let mut live = writer(&store, &settings()).unwrap();
    let first = [put(0, document(&mut dice, "a"))];
    apply(&mut live, &first);
    store.put_named("collections/c/segments/loose.segment", b"of a writer that died").unwrap();
    let second = [put(1, document(&mut dice, "b"))];
    let mut remake = Meanwhile::new(|call| {
        if call == 1 {
            apply(&mut live, &second);
            return Ok(());
        }
        for entry in std::fs::read_dir(dir.path().join("collections/c/segments")).unwrap() {
            let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3 * 3600)).unwrap();
        }
        let swept = sweep(&store, "c", &Sweep { keep: Duration::ZERO, ..Sweep::default() })?;
        assert_eq!(swept.segments, 1, "the loose one alone");
        Ok(())
    });
    rebuild(&store, "c", &other(), "reindexer", &mut remake).unwrap().unwrap();
    assert_eq!(remake.calls, 2);
    same(&store, &made_anew(&[first, second].concat()), &mut dice);
}

#[test]
fn a_draft_is_not_swept_while_one_segment_is_long_in_the_making() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(ArtifactStore::open(dir.path().to_str().unwrap(), &S3Options::default()).unwrap());
    let files = |kind: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir.path().join("collections/c").join(kind)).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e != "tmp")).collect()
    };
    let old = SystemTime::now() - Duration::from_secs(3 * 3600);
    let mut dice = Dice(14);
    let mut live = writer(&store, &settings()).unwrap();
    let first = [put(0, document(&mut dice, "a"))];
    apply(&mut live, &first);
    let second = [put(1, document(&mut dice, "b"))];
    let act = |call| {
        if call == 1 {
            apply(&mut live, &second);
            return Ok(());
        }
        // Hours pass.
        let age = |file: &PathBuf| std::fs::File::options().write(true).open(file)?.set_modified(old);
        files("segments").iter().chain(&files("drafts")).try_for_each(age).unwrap_or_else(|error: std::io::Error| {
            // The draft was just being written.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        });
        let is_old =
            |file: &PathBuf| std::fs::metadata(file).and_then(|data| data.modified()).is_ok_and(|at| at <= old);
        let deadline = Instant::now() + Duration::from_secs(60);
        while files("drafts").iter().any(is_old) {
            assert!(Instant::now() < deadline, "the draft shows that its rebuild is alive");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        sweep(&store, "c", &Sweep { keep: Duration::ZERO, ..Sweep::default() }).map(drop)
    };
    let mut remake = Meanwhile { heartbeat: Duration::from_millis(1), ..Meanwhile::new(act) };
    rebuild(&store, "c", &other(), "reindexer", &mut remake).unwrap().unwrap();
    assert_eq!(remake.calls, 2);
    same(&store, &made_anew(&[first, second].concat()), &mut dice);
}

#[test]
fn a_rebuild_whose_segments_were_swept_says_so() {
    let (store, mut dice) = (memory(), Dice(7));
    let mut live = writer(&store, &settings()).unwrap();
    apply(&mut live, &[put(0, document(&mut dice, "a"))]);
    let more = [put(1, document(&mut dice, "b"))];
    let mut remake = Meanwhile::new(|call| {
        match call {
            1 => apply(&mut live, &more),
            _ => drop(sweep(&store, "c", &Sweep { keep: Duration::ZERO, spare: Duration::ZERO })?),
        }
        Ok(())
    });
    let error = rebuild(&store, "c", &other(), "reindexer", &mut remake).unwrap_err();
    assert!(error.to_string().contains("reindex again"), "{error}");
    let snapshot = open(&store).snapshot();
    assert_eq!((snapshot.settings(), snapshot.counts().documents), (&settings(), 2));
}

#[test]
fn two_rebuilds_at_once_end_as_one_of_them() {
    let (store, mut dice) = (memory(), Dice(6));
    apply(&mut writer(&store, &settings()).unwrap(), &[put(0, document(&mut dice, "a"))]);
    let another = Settings { model_digest: "third".into(), ..other() };
    let mut first = Meanwhile::new(|call| {
        if call == 1 {
            rebuild(&store, "c", &another, "second", &mut Meanwhile::new(|_| Ok(())))?;
        }
        Ok(())
    });
    let error = rebuild(&store, "c", &other(), "first", &mut first).unwrap_err();
    assert!(error.to_string().contains("other settings meanwhile"), "{error}");
    assert_eq!(open(&store).snapshot().settings(), &another);
}

#[test]
fn passages_of_an_older_rule_are_made_anew() {
    let (store, mut dice) = (memory(), Dice(12));
    let older = Settings { passage_rule: 1, ..other() };
    apply(&mut writer(&store, &older).unwrap(), &anew(&some(&mut dice, 0)));
    let mut remake = Meanwhile::new(|_| Ok(()));
    assert!(rebuild(&store, "c", &older, "me", &mut remake).unwrap().is_none(), "it has them");
    let newer = Settings { passage_rule: 2, ..older };
    let manifest = rebuild(&store, "c", &newer, "me", &mut remake).unwrap().unwrap();
    assert_eq!((manifest.settings.passage_rule, remake.calls), (2, 1));
    assert!(rebuild(&store, "c", &newer, "me", &mut remake).unwrap().is_none());
}
