//! What tests index.

use std::ops::Range;
use std::sync::Arc;

use lunapark_index::{
    Action, Applied, Batch, Bm25, Change, Child, Chunking, Document, Mark, Metric, Outcome, Parent, Settings, Snapshot,
    Source,
};
use lunapark_stores::{ArtifactStore, digest_of};
use object_store::memory::InMemory;

pub const DIMENSION: usize = 20;

/// A linear congruential generator by Knuth: chance that is the same in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn number(&mut self) -> f32 {
        self.next() as f32 / (1_u64 << 30) as f32 - 1.0
    }

    pub fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSION).map(|_| self.number()).collect()
    }
}

pub fn memory() -> Arc<ArtifactStore> {
    Arc::new(ArtifactStore::over(Arc::new(InMemory::new()), "memory").unwrap())
}

pub fn settings() -> Settings {
    Settings {
        model: "a-model".into(),
        model_digest: "9f2c".into(),
        dimension: DIMENSION as u32,
        precision: "f32".into(),
        chunking: Chunking { child_tokens: 256, child_overlap: 32, parent_tokens: 500 },
        metric: Metric::InnerProduct,
        bm25: Bm25::default(),
        passage_rule: 1,
    }
}

/// Makes the newest manifest what an older version would have written, which knew no numbers of rules.
pub fn forget_word_rules(store: &ArtifactStore, collection: &str) {
    let listed = store.list_named(&format!("collections/{collection}/manifests")).unwrap();
    let name = listed.into_iter().map(|found| found.name).max().unwrap();
    let text = String::from_utf8(store.get_named(&name).unwrap().unwrap()).unwrap();
    let body = text.split_once("\"manifest\":").unwrap().1.strip_suffix('}').unwrap();
    let older = body.replace(",\"word_rule\":2", "");
    assert_ne!(older, body);
    let digest = digest_of(older.as_bytes());
    store.put_named(&name, format!("{{\"sha256\":\"{digest}\",\"manifest\":{older}}}").as_bytes()).unwrap();
}

const WORDS: [&str; 24] = [
    "wing", "jet", "flow", "shock", "heat", "plate", "mach", "drag", "lift", "the", "of", "body", "layer", "wave",
    "buckling", "shell", "panel", "nozzle", "ratio", "città", "étude", "mass", "higgs", "boson",
];

pub fn sentence(dice: &mut Dice, most: usize) -> String {
    // Common words are common: the product of two numbers is small more often.
    let word = |dice: &mut Dice| WORDS[dice.below(WORDS.len()) * dice.below(WORDS.len()) / WORDS.len()];
    (0..1 + dice.below(most)).map(|_| word(dice)).collect::<Vec<_>>().join(" ")
}

/// A document with up to three parents of up to three children.
pub fn document(dice: &mut Dice, id: &str) -> Document {
    let mut start = 0;
    let parents = (0..1 + dice.below(3)).map(|number| {
        let text = sentence(dice, 30);
        let span = start..start + text.len() as u64;
        start = span.end;
        let children = children(dice, &span, text.split(' ').next().map_or(0, str::len) as u64);
        let heading = format!("part {number}");
        let mark = Mark { start: span.start, heading: Some(heading.clone()), level: 1, page: Some(number as u32) };
        Parent { marks: vec![mark], span, text, heading, page: Some(number as u32), children }
    });
    let parents = parents.collect();
    let serde_json::Value::Object(metadata) = serde_json::json!({
        "year": 2000 + dice.below(20), "tags": [WORDS[dice.below(24)], WORDS[dice.below(24)]],
    }) else {
        panic!("an object")
    };
    let digest = format!("{:x}", dice.next());
    Document { id: id.into(), title: sentence(dice, 5), uri: format!("file:///{id}"), metadata, digest, parents }
}

/// The first word of a text, and the whole of it.
fn children(dice: &mut Dice, span: &Range<u64>, first: u64) -> Vec<Child> {
    let child = |dice: &mut Dice, span| Child { span, page: None, vector: dice.vector() };
    let all = [child(dice, span.start..span.start + first), child(dice, span.clone())];
    all.into_iter().take(1 + dice.below(2)).collect()
}

pub fn put(offset: i64, document: Document) -> Change {
    Change { source: Source { partition: 0, offset }, action: Action::Put(document) }
}

pub fn delete(offset: i64, id: &str) -> Change {
    Change { source: Source { partition: 0, offset }, action: Action::Delete(id.into()) }
}

/// A batch of partition 0.
pub fn batch(read: Range<i64>, changes: Vec<Change>) -> Batch {
    Batch { changes, read: [(0, read)].into() }
}

pub fn documents(snapshot: &Snapshot) -> Vec<Document> {
    let mut all = Vec::new();
    snapshot.each_document(|_, document| all.push(document)).unwrap();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

pub fn outcomes(applied: &[Applied]) -> Vec<&str> {
    let name = |applied: &Applied| match applied.outcome {
        Outcome::Indexed { .. } => "indexed",
        Outcome::Deleted => "deleted",
    };
    applied.iter().map(name).collect()
}
