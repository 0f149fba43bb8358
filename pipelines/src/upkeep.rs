//! Looks after the collections while documents come: merges their segments, removes old versions.
//!
//! ```text
//! every documents.compact_every:  collections of the store ──► those of ours ──► merge, sweep ──► counters
//! ```
//!
//! One instance looks after a collection: the one that holds the partition of `documents.ingest` to which the collection's
//! *name* would belong as a key. So the group that shares out the documents shares out this work as well, and it moves on
//! when an instance dies. For a moment two may do it; whoever is second to put its manifest has worked in vain, no more.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lunapark_index::{IndexError, Upkeep, UpkeepPlan, collection_names};
use lunapark_knowledge::Collections;
use lunapark_stores::ArtifactStore;
use lunapark_topics::partitioner::partition_of;

use crate::metrics::PipelineMetrics;
use crate::runner::Holdings;
use crate::stop::Stop;

/// The longest pause between two looks at a store that has trouble.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Where nothing is merged, collections that could not be written are looked at so often.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A stop waits so long for a merge: far less than the drain budget's default.
const AT_STOP: Duration = Duration::from_secs(1);

/// Looks after the collections of a store, as far as they are this instance's.
pub struct Caretaker {
    /// The store; its patience should be short, since a look is made again anyway.
    pub store: Arc<ArtifactStore>,
    /// Collections that could not be written are looked at again.
    pub collections: Arc<Collections>,
    /// Who merges, for people.
    pub instance: String,
    /// What is due when; none where nothing is merged or swept.
    pub plan: Option<UpkeepPlan>,
    /// Between two looks.
    pub every: Duration,
    /// Partitions of the ingest topic.
    pub partitions: i32,
    /// Those that this instance holds.
    pub holdings: Arc<Holdings>,
    /// Counters.
    pub metrics: Arc<PipelineMetrics>,
}

/// A caretaker on a thread of its own.
pub struct AtWork(JoinHandle<()>);

impl AtWork {
    /// Waits a little after a stop was asked for. A merge that takes longer is left where it is, as if this process had been
    /// killed: nothing of it can be seen.
    pub fn leave(&self, deadline: Instant) {
        let until = deadline.min(Instant::now() + AT_STOP);
        while !self.0.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Caretaker {
    /// Looks again and again, beside the stream threads, until a stop is asked for.
    pub fn spawn(self, stop: Stop) -> std::io::Result<AtWork> {
        let work = move || self.run(&stop);
        std::thread::Builder::new().name("caretaker".into()).spawn(work).map(AtWork)
    }

    fn run(&self, stop: &Stop) {
        let (mut all, mut pause) = (HashMap::new(), self.every);
        while !stop.wait(pause) {
            pause = match self.round(&mut all, stop) {
                Ok(()) => self.every,
                Err(error) => {
                    let pause = (pause * 2).clamp(self.every, LONGEST_PAUSE.max(self.every));
                    tracing::warn!(%error, ?pause, "collections are looked after later");
                    self.metrics.upkept("failed", 1);
                    pause
                }
            };
        }
    }

    /// One look at each collection of ours, whatever trouble another has; the last trouble that may pass is told.
    fn round(&self, all: &mut HashMap<String, Upkeep>, stop: &Stop) -> Result<(), IndexError> {
        self.collections.look_at_closed();
        let Some(plan) = self.plan else { return Ok(()) };
        let mut names = collection_names(&self.store)?;
        names.retain(|name| self.is_ours(name));
        all.retain(|name, _| names.contains(name));
        let mut trouble = None;
        for name in names {
            if stop.requested() {
                break;
            }
            match self.look(all, &name, plan, stop) {
                Err(error) if error.passes() => trouble = Some(error),
                Err(IndexError::NoCollection(_)) => drop(all.remove(&name)),
                Err(error) => {
                    tracing::warn!(collection = name, %error, "a collection cannot be looked after");
                    self.metrics.upkept("failed", 1);
                    all.remove(&name);
                }
                Ok(()) => {}
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    fn is_ours(&self, collection: &str) -> bool {
        self.holdings.has(partition_of(collection.as_bytes(), self.partitions))
    }

    fn look(
        &self,
        all: &mut HashMap<String, Upkeep>,
        name: &str,
        plan: UpkeepPlan,
        stop: &Stop,
    ) -> Result<(), IndexError> {
        let upkeep = match all.remove(name) {
            Some(upkeep) => upkeep,
            None => Upkeep::new(self.store.clone(), name, &self.instance, plan)?,
        };
        let done = all.entry(name.to_owned()).or_insert(upkeep).look(&|| stop.requested())?;
        let (merges, swept) = (done.merges, done.swept);
        if merges + swept.versions + swept.segments > 0 {
            let (versions, segments, bytes) = (swept.versions, swept.segments, swept.bytes);
            tracing::info!(collection = name, merges, versions, segments, bytes, "looked after");
        }
        let counts = [("merges", merges), ("versions", swept.versions), ("segments", swept.segments)];
        counts.into_iter().for_each(|(what, count)| self.metrics.upkept(what, count));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lunapark_index::{
        Action, Batch, Bm25, Change, Chunking, Compaction, Document, Metric, Reader, Settings, Source, Sweep, Writer,
    };

    use super::*;

    fn settings() -> Settings {
        Settings {
            model: "m".into(),
            model_digest: "d".into(),
            dimension: 2,
            precision: "f32".into(),
            chunking: Chunking { child_tokens: 32, child_overlap: 8, parent_tokens: 48 },
            metric: Metric::InnerProduct,
            bm25: Bm25::default(),
            passage_rule: 1,
        }
    }

    fn fill(store: &Arc<ArtifactStore>, collection: &str) {
        let mut writer = Writer::open(store.clone(), collection, &settings(), "one").unwrap();
        for offset in 0..5 {
            let document = Document { id: format!("d{offset}"), ..Document::default() };
            let source = Source { partition: 0, offset };
            let changes = vec![Change { source, action: Action::Put(document) }];
            writer.apply(&Batch { changes, read: [(0, offset..offset + 1)].into() }).unwrap();
        }
    }

    #[test]
    fn a_collection_is_looked_after_where_its_partition_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(ArtifactStore::open(folder.path().to_str().unwrap(), &Default::default()).unwrap());
        let names = ["abstracts", "notes", "papers", "reports", "theses"];
        names.iter().for_each(|name| fill(&store, name));
        // What cannot be looked after keeps nobody from the others.
        store.put_named("collections/bad/manifests/00000000000000000000.json", b"nonsense").unwrap();
        let segments = |name: &str| Reader::open(store.clone(), name, 1 << 20).unwrap().snapshot().counts().segments;
        let caretaker = |held: &[i32]| {
            let holdings = Arc::new(Holdings::default());
            holdings.set("documents-i-0", held.iter().copied().collect());
            let plan = UpkeepPlan {
                segments: 3,
                compaction: Compaction::whole(),
                sweep: Sweep::default(),
                sweep_every: Duration::ZERO,
            };
            let collections = Arc::new(Collections::new(store.clone(), settings(), "i", 1 << 20));
            let (store, metrics) = (store.clone(), Arc::new(PipelineMetrics::new("documents", "i").unwrap()));
            let (instance, every) = ("i".to_owned(), Duration::from_millis(1));
            Caretaker { store, collections, instance, plan: Some(plan), every, partitions: 2, holdings, metrics }
        };
        caretaker(&[]).round(&mut HashMap::new(), &Stop::new()).unwrap();
        assert!(names.iter().all(|name| segments(name) == 5));
        caretaker(&[1]).round(&mut HashMap::new(), &Stop::new()).unwrap();
        let (ours, others): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| partition_of(name.as_bytes(), 2) == 1);
        assert!(!ours.is_empty() && !others.is_empty(), "the names are of both partitions: {ours:?} {others:?}");
        assert!(ours.iter().all(|name| segments(name) == 1) && others.iter().all(|name| segments(name) == 5));
        let both = caretaker(&[0, 1]);
        let counted = |what: &str| {
            let counters = both.metrics.record().counters;
            counters.get(&format!("lunapark_upkeep_total{{what=\"{what}\"}}")).map_or(0, |count| *count as usize)
        };
        let stop = Stop::new();
        std::thread::scope(|scope| {
            scope.spawn(|| both.run(&stop));
            let deadline = Instant::now() + Duration::from_secs(60);
            while counted("merges") < others.len() || counted("failed") == 0 {
                assert!(Instant::now() < deadline, "all are merged but the damaged one");
                std::thread::park_timeout(Duration::from_millis(2));
            }
            stop.request();
        });
        assert!(names.iter().all(|name| segments(name) == 1));
    }
}
