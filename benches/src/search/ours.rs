//! Lunapark's side: a collection, and how many questions a second it answers, with texts, titles and scores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lunapark_index::{
    Action, Batch, Bm25, Change, Child, Chunking, Compaction, Document, Hit, Metric, Mode, Parent, Question, Reader,
    Recall, Search, Settings, Snapshot, Source, Sweep, Unit, Writer, compact, sweep,
};
use lunapark_stores::ArtifactStore;

use super::data::{DIMENSION, Data};

/// Documents of a batch.
const BATCH: usize = 20_000;
const NAME: &str = "duel";
/// Everything that is read stays in memory; the report says so.
const BUDGET: u64 = 8 << 30;

fn settings() -> Settings {
    Settings {
        model: "none".into(),
        model_digest: "none".into(),
        dimension: DIMENSION as u32,
        precision: "f32".into(),
        chunking: Chunking { child_tokens: 256, child_overlap: 32, parent_tokens: 500 },
        metric: Metric::InnerProduct,
        bm25: Bm25::default(),
        passage_rule: 1,
    }
}

/// A passage of few words: it is the vectors that count here.
fn text(number: usize) -> String {
    format!("passage {number} ").repeat(4)
}

fn change(number: usize, vector: Vec<f32>) -> Change {
    let text = text(number);
    let span = 0..text.len() as u64;
    let children = vec![Child { span: span.clone(), page: None, vector }];
    let parents = vec![Parent { span, text, children, ..Parent::default() }];
    let document =
        Document { id: format!("{number:08}"), title: format!("Document {number}"), parents, ..Document::default() };
    Change { source: Source { partition: 0, offset: number as i64 }, action: Action::Put(document) }
}

/// Indexes all rows, one segment in the end; nothing where that was done before.
pub fn build(store: &Arc<ArtifactStore>, data: &Data) -> anyhow::Result<()> {
    if let Ok(reader) = Reader::open(Arc::clone(store), NAME, 0)
        && (reader.snapshot().counts().documents, reader.snapshot().counts().segments) == (data.rows as u64, 1)
    {
        return Ok(());
    }
    let mut writer = Writer::open(Arc::clone(store), NAME, &settings(), "bench")?;
    let mut rows = data.each_row()?.enumerate();
    loop {
        let changes: Vec<Change> = rows.by_ref().take(BATCH).map(|(number, vector)| change(number, vector)).collect();
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else { break };
        let read = first.source.offset..last.source.offset + 1;
        writer.apply(&Batch { changes, read: [(0, read)].into() })?;
    }
    compact(store, NAME, &Compaction::whole(), "bench")?;
    sweep(store, NAME, &Sweep { keep: Duration::ZERO, spare: Duration::ZERO })?;
    Ok(())
}

/// A collection that is open.
pub struct Ours {
    reader: Reader,
    snapshot: Arc<Snapshot>,
    questions: Vec<Question>,
}

impl Ours {
    pub fn open(store: &Arc<ArtifactStore>, data: &Data) -> anyhow::Result<Self> {
        let reader = Reader::open(Arc::clone(store), NAME, BUDGET)?;
        let question = |vector| Question { text: String::new(), vector };
        let questions = data.questions()?.into_iter().map(question).collect();
        Ok(Self { snapshot: reader.snapshot(), reader, questions })
    }

    fn search(recall: Recall, threads: usize) -> Search {
        Search { k: 10, mode: Mode::Dense, unit: Unit::Document, recall, threads, ..Search::default() }
    }

    /// Bytes of vectors in memory.
    pub fn vector_bytes(&self) -> u64 {
        self.reader.cached_vector_bytes()
    }

    /// What is found for the first questions.
    pub fn found(&self, recall: Recall, count: usize) -> anyhow::Result<Vec<Vec<u64>>> {
        let found = self.snapshot.search(&Self::search(recall, 2), &self.questions[..count])?;
        found.iter().map(|hits| hits.iter().map(id).collect()).collect()
    }

    /// Questions a second, so many at a time.
    pub fn rate(&self, recall: Recall, threads: usize, together: usize, seconds: f64) -> anyhow::Result<f64> {
        let search = Self::search(recall, threads);
        let (began, mut done) = (Instant::now(), 0);
        let mut batches = self.questions.chunks(together).cycle();
        while began.elapsed().as_secs_f64() < seconds {
            let batch = batches.next().context("no questions")?;
            self.snapshot.search(&search, batch)?;
            done += batch.len();
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    }
}

fn id(hit: &Hit) -> anyhow::Result<u64> {
    Ok(hit.document.parse()?)
}

/// Seconds from nothing to the first answer, and from there to the tenth.
pub fn cold(open: impl Fn() -> anyhow::Result<Arc<ArtifactStore>>, data: &Data) -> anyhow::Result<(f64, f64)> {
    let began = Instant::now();
    let ours = Ours::open(&open()?, data)?;
    let search = Ours::search(Recall::Auto, 2);
    let mut first = 0.0;
    for (number, question) in ours.questions.iter().take(10).enumerate() {
        let hits = ours.snapshot.search(&search, std::slice::from_ref(question))?;
        anyhow::ensure!(hits[0].len() == 10, "fewer hits than were asked for");
        if number == 0 {
            first = began.elapsed().as_secs_f64();
        }
    }
    Ok((first, began.elapsed().as_secs_f64() - first))
}
