//! BM25 against rank_bm25 with Lucene's weights, and against its formula after changes.

use std::collections::BTreeSet;

use lunapark_index::{Change, Document, Mode, Parent, Question, Reader, Search, Snapshot, Unit, Writer};

use crate::made::{Dice, batch, delete, memory, put, sentence, settings};

#[derive(serde::Deserialize)]
struct Fixture {
    passages: Vec<String>,
    questions: Vec<String>,
    scores: Vec<Vec<f64>>,
}

fn passage(id: &str, text: &str) -> Document {
    let parent = Parent { span: 0..text.len() as u64, text: text.into(), ..Parent::default() };
    Document { id: id.into(), parents: vec![parent], ..Document::default() }
}

fn by_words(snapshot: &Snapshot, k: usize, text: &str) -> Vec<(String, f64)> {
    let search = Search { k, mode: Mode::Words, unit: Unit::Document, ..Search::default() };
    let question = Question { text: text.into(), vector: vec![] };
    let hits = snapshot.search(&search, &[question]).unwrap().remove(0);
    hits.into_iter().map(|hit| (hit.document, hit.score)).collect()
}

#[test]
fn scores_are_those_of_rank_bm25_with_lucenes_weights() {
    let fixture: Fixture = serde_json::from_str(include_str!("../../fixtures/bm25.json")).unwrap();
    let store = memory();
    let mut writer = Writer::open(store.clone(), "c", &settings(), "one").unwrap();
    // In several segments, with some passages that are replaced and one that is deleted again.
    let passages = || fixture.passages.iter().enumerate();
    let first: Vec<Change> =
        passages().map(|(n, _)| put(n as i64, passage(&format!("{n:03}"), "an old text"))).collect();
    let count = first.len() as i64;
    writer.apply(&batch(0..count, first)).unwrap();
    for (n, text) in passages() {
        let offset = count + n as i64;
        writer.apply(&batch(offset..offset + 1, vec![put(offset, passage(&format!("{n:03}"), text))])).unwrap();
    }
    let end = 2 * count;
    writer.apply(&batch(end..end + 2, vec![put(end, passage("gone", "wing")), delete(end + 1, "gone")])).unwrap();
    let snapshot = Reader::open(store, "c", 1 << 30).unwrap().snapshot();
    let has = |text: &str, word: &str| text.split(' ').any(|other| other == word);
    let in_most = |word: &str| 2 * passages().filter(|(_, text)| has(text, word)).count() > fixture.passages.len();
    let mut common = 0;
    for (question, scores) in fixture.questions.iter().zip(&fixture.scores) {
        let found = by_words(&snapshot, 1000, question);
        for (document, score) in &found {
            let expected = scores[document.parse::<usize>().unwrap()];
            assert!((score - expected).abs() < 1e-9, "{question}, {document}: {score} is not {expected}");
            assert!(*score > 0.0, "{question}, {document}");
        }
        common += question.split(' ').filter(|word| in_most(word)).count();
        let ids: BTreeSet<_> = found.iter().map(|(document, _)| document.parse::<usize>().unwrap()).collect();
        assert!((0..scores.len()).all(|n| ids.contains(&n) || scores[n] == 0.0), "{question}");
        assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    }
    assert!(common > 0, "the fixture asks for words that are in more than half of the passages");
}

/// The formula once more, over lists of words.
fn naive(passages: &[(String, Vec<&str>)], question: &[&str]) -> Vec<(String, f64)> {
    let n = passages.len() as f64;
    let mean = passages.iter().map(|(_, words)| words.len()).sum::<usize>() as f64 / n;
    let idf = |word: &str| {
        let with = passages.iter().filter(|(_, words)| words.contains(&word)).count() as f64;
        (1.0 + (n - with + 0.5) / (with + 0.5)).ln()
    };
    let vocabulary: BTreeSet<&str> = passages.iter().flat_map(|(_, words)| words.iter().copied()).collect();
    let score = |words: &[&str]| -> f64 {
        let of = |word: &&&str| {
            let f = words.iter().filter(|found| *found == *word).count() as f64;
            idf(word) * f * 2.5 / (f + 1.5 * (0.25 + 0.75 * words.len() as f64 / mean))
        };
        question.iter().filter(|word| vocabulary.contains(**word)).map(|word| of(&word)).sum()
    };
    let has = |words: &[&str]| question.iter().any(|word| words.contains(word));
    let mut all: Vec<_> =
        passages.iter().filter(|(_, words)| has(words)).map(|(id, words)| (id.clone(), score(words))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all
}

#[test]
fn scores_are_those_of_the_formula() {
    let mut dice = Dice(21);
    for _ in 0..10 {
        let texts: Vec<_> = (0..30).map(|n| (format!("{n:02}"), sentence(&mut dice, 40))).collect();
        let store = memory();
        let mut writer = Writer::open(store.clone(), "c", &settings(), "one").unwrap();
        for (at, chunk) in texts.chunks(11).enumerate() {
            let offset = |n: usize| (at * 11 + n) as i64;
            let changes = chunk.iter().enumerate().map(|(n, (id, text))| put(offset(n), passage(id, text))).collect();
            writer.apply(&batch(offset(0)..offset(chunk.len()), changes)).unwrap();
        }
        let snapshot = Reader::open(store, "c", 0).unwrap().snapshot();
        let passages: Vec<_> = texts.iter().map(|(id, text)| (id.clone(), text.split(' ').collect())).collect();
        let question = sentence(&mut dice, 6);
        let expected = naive(&passages, &question.split(' ').collect::<Vec<_>>());
        let found = by_words(&snapshot, 100, &question);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found.1 - expected.1).abs() < 1e-9, "{question}: {found:?} {expected:?}");
        }
    }
}

#[test]
fn parts_of_clauses_without_spaces_are_found() {
    let store = memory();
    let mut writer = Writer::open(store.clone(), "c", &settings(), "one").unwrap();
    let texts = [
        ("japanese", "平板の上を流れる境界層の遷移について述べる。"),
        ("chinese", "本文研究超声速边界层转捩。"),
        ("thai", "ชั้นขอบเขตของปีกเครื่องบิน"),
        ("english", "Transition of a boundary layer."),
    ];
    let changes = (0..).zip(texts).map(|(offset, (id, text))| put(offset, passage(id, text))).collect();
    writer.apply(&batch(0..4, changes)).unwrap();
    let snapshot = Reader::open(store, "c", 1 << 20).unwrap().snapshot();
    for (question, id) in
        [("境界層 遷移", "japanese"), ("边界层转捩", "chinese"), ("ขอบเขต", "thai"), ("layer", "english")]
    {
        let found = by_words(&snapshot, 10, question);
        assert_eq!(found.first().map(|(id, _)| id.as_str()), Some(id), "{question}: {found:?}");
    }
}
