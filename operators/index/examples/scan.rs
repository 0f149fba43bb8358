//! How fast the scan is: 100,000 vectors of 384 numbers, one question at a time and 100 together.
//!
//! ```text
//! scan [ROWS] [THREADS] [FOLDER]     with FOLDER: the vectors and questions are written there as raw f32, for others
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a measurement for a terminal")]

use std::sync::Arc;
use std::time::Instant;

use lunapark_index::{
    Action, Batch, Bm25, Change, Child, Chunking, Document, Metric, Mode, Parent, Question, Reader, Search, Settings,
    Source, Writer,
};
use lunapark_stores::{ArtifactStore, S3Options};

const DIMENSION: usize = 384;
const QUESTIONS: usize = 100;
const BATCH: usize = 20_000;

struct Dice(u64);

impl Dice {
    /// Between -1 and 1.
    fn number(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f32 / (1_u64 << 30) as f32 - 1.0
    }

    /// A vector of length 1 about one of 1,000 centres, as embeddings of texts lie.
    fn vector(&mut self, centres: &[Vec<f32>]) -> Vec<f32> {
        let centre = &centres[((self.number() + 1.0) / 2.0 * centres.len() as f32) as usize % centres.len()];
        let vector: Vec<f32> = centre.iter().map(|x| x + self.number()).collect();
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.into_iter().map(|x| x / length).collect()
    }
}

fn settings() -> Settings {
    Settings {
        model: "none".into(),
        model_digest: "none".into(),
        dimension: DIMENSION as u32,
        precision: "f32".into(),
        chunking: Chunking { child_tokens: 256, child_overlap: 32, parent_tokens: 500 },
        metric: Metric::InnerProduct,
        bm25: Bm25::default(),
    }
}

fn write(folder: &str, name: &str, vectors: &[Vec<f32>]) {
    let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(format!("{folder}/{name}.f32"), bytes).unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number =
        |at: usize, default| arguments.get(at).map_or(default, |text: &String| text.parse().expect("a number"));
    let (rows, threads) = (number(1, 100_000), number(2, 1));
    let mut dice = Dice(1);
    let centres: Vec<Vec<f32>> = (0..1000).map(|_| (0..DIMENSION).map(|_| dice.number()).collect()).collect();
    let vectors: Vec<Vec<f32>> = (0..rows).map(|_| dice.vector(&centres)).collect();
    let asked: Vec<Vec<f32>> = (0..QUESTIONS).map(|_| dice.vector(&centres)).collect();
    if let Some(folder) = arguments.get(3) {
        write(folder, "rows", &vectors);
        write(folder, "questions", &asked);
    }
    let folder = std::env::temp_dir().join(format!("lunapark-scan-{}", std::process::id()));
    let store = Arc::new(ArtifactStore::open(folder.to_str().unwrap(), &S3Options::default()).unwrap());
    build(&store, vectors);
    let opened = Instant::now();
    let snapshot = Reader::open(Arc::clone(&store), "scan", 8 << 30).unwrap().snapshot();
    let questions: Vec<Question> = asked.into_iter().map(|vector| Question { text: String::new(), vector }).collect();
    let search = Search { mode: Mode::Dense, threads, ..Search::default() };
    snapshot.search(&search, &questions[..1]).unwrap();
    println!("{rows} rows, {threads} threads: opened and first answer {:.2} s", opened.elapsed().as_secs_f64());
    for round in 0..3 {
        let began = Instant::now();
        questions.iter().for_each(|question| drop(snapshot.search(&search, std::slice::from_ref(question)).unwrap()));
        let alone = QUESTIONS as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        let found = snapshot.search(&search, &questions).unwrap();
        let together = QUESTIONS as f64 / began.elapsed().as_secs_f64();
        println!("round {round}: one at a time {alone:.0}/s, {QUESTIONS} together {together:.0}/s");
        if let (Some(folder), 0) = (arguments.get(3), round) {
            let line = |hits: &Vec<lunapark_index::Hit>| {
                hits.iter().map(|hit| hit.document.as_str()).collect::<Vec<_>>().join(" ")
            };
            std::fs::write(format!("{folder}/found.txt"), found.iter().map(line).collect::<Vec<_>>().join("\n"))
                .unwrap();
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn build(store: &Arc<ArtifactStore>, vectors: Vec<Vec<f32>>) {
    let mut writer = Writer::open(Arc::clone(store), "scan", &settings(), "one").unwrap();
    let mut offset = 0;
    let mut vectors = vectors.into_iter().peekable();
    while vectors.peek().is_some() {
        let first = offset;
        let change = |vector| {
            let child = Child { span: 0..1, page: None, vector };
            let parent = Parent { span: 0..1, text: "x".into(), children: vec![child], ..Parent::default() };
            let document = Document { id: offset.to_string(), parents: vec![parent], ..Document::default() };
            offset += 1;
            Change { source: Source { partition: 0, offset: offset - 1 }, action: Action::Put(document) }
        };
        let changes: Vec<Change> = vectors.by_ref().take(BATCH).map(change).collect();
        writer.apply(&Batch { changes, read: [(0, first..offset)].into() }).unwrap();
    }
}
