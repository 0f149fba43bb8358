//! Searches against plain loops over all documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunapark_index::{
    Document, Filter, Hit, IndexError, Metric, Mode, Question, Reader, Search, Snapshot, Unit, Writer,
};

use crate::made::{DIMENSION, Dice, batch, delete, document, documents, memory, put, settings};

/// A collection of 300 documents after changes, in many segments.
fn some() -> Arc<Snapshot> {
    let (store, mut dice) = (memory(), Dice(31));
    let mut writer = Writer::open(Arc::clone(&store), "c", &settings(), "one").unwrap();
    let mut offset = 0;
    for _ in 0..12 {
        let start = offset;
        let mut changes = Vec::new();
        for _ in 0..40 {
            let id = format!("d{}", dice.below(300));
            let gone = dice.below(10) == 0;
            changes.push(if gone { delete(offset, &id) } else { put(offset, document(&mut dice, &id)) });
            offset += 1;
        }
        writer.apply(&batch(start..offset, changes)).unwrap();
    }
    Reader::open(store, "c", 1 << 30).unwrap().snapshot()
}

fn score(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let product = pairs().map(|(a, b)| a * b).sum::<f64>();
    let length = |x: &[f32]| x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    match metric {
        Metric::InnerProduct => product,
        Metric::Cosine => product / (length(a) * length(b)),
        Metric::L2 => -pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
    }
}

/// The best child of each parent or document, best first: document, parent, child, score.
fn naive(
    all: &[Document],
    metric: Metric,
    unit: Unit,
    question: &[f32],
    counts: impl Fn(&Document) -> bool,
) -> Vec<(String, usize, usize, f64)> {
    let mut best: BTreeMap<(String, usize), (String, usize, usize, f64)> = BTreeMap::new();
    for document in all.iter().filter(|document| counts(document)) {
        for (p, parent) in document.parents.iter().enumerate() {
            for (c, child) in parent.children.iter().enumerate() {
                let key = (document.id.clone(), if unit == Unit::Parent { p } else { 0 });
                let found = (document.id.clone(), p, c, score(metric, &child.vector, question));
                let kept = best.entry(key).or_insert_with(|| found.clone());
                if found.3 > kept.3 {
                    *kept = found;
                }
            }
        }
    }
    let mut all: Vec<_> = best.into_values().collect();
    all.sort_by(|a, b| b.3.total_cmp(&a.3).then_with(|| a.0.cmp(&b.0)));
    all
}

fn place(hit: &Hit) -> (&str, usize, usize) {
    (&hit.document, hit.parent.number, hit.child.as_ref().unwrap().number)
}

#[test]
fn the_scan_finds_what_a_loop_over_all_finds() {
    let (snapshot, mut dice) = (some(), Dice(32));
    let all = documents(&snapshot);
    for metric in [Metric::InnerProduct, Metric::Cosine, Metric::L2] {
        for unit in [Unit::Parent, Unit::Document] {
            for (k, count, threads) in [(1, 1, 1), (10, 9, 2), (200, 2, 3), (10_000, 1, 1)] {
                let questions: Vec<_> =
                    (0..count).map(|_| Question { text: String::new(), vector: dice.vector() }).collect();
                let search = Search { k, mode: Mode::Dense, unit, metric: Some(metric), threads, ..Search::default() };
                let answers = snapshot.search(&search, &questions).unwrap();
                for (question, hits) in questions.iter().zip(&answers) {
                    let expected = naive(&all, metric, unit, &question.vector, |_| true);
                    assert_eq!(hits.len(), expected.len().min(k));
                    for (hit, expected) in hits.iter().zip(&expected) {
                        assert_eq!(place(hit), (expected.0.as_str(), expected.1, expected.2));
                        let shown = if metric == Metric::L2 { -expected.3 } else { expected.3 };
                        assert!((hit.score - shown).abs() < 1e-9 && hit.dense.unwrap().score == hit.score);
                    }
                }
            }
        }
    }
}

#[test]
fn a_filter_comes_before_the_scan() {
    let (snapshot, mut dice) = (some(), Dice(33));
    let all = documents(&snapshot);
    let year = |document: &Document| document.metadata["year"].as_i64().unwrap();
    for bound in [2019, 2010, 2000, 2100] {
        let filter = Filter::parse(&format!("year >= {bound} AND NOT id = 'd1'")).unwrap();
        let search = Search { k: 20, mode: Mode::Dense, filter: Some(filter), ..Search::default() };
        let question = Question { text: String::new(), vector: dice.vector() };
        let hits = snapshot.search(&search, std::slice::from_ref(&question)).unwrap().remove(0);
        let counts = |document: &Document| year(document) >= bound && document.id != "d1";
        let expected = naive(&all, Metric::InnerProduct, Unit::Parent, &question.vector, counts);
        let expected: Vec<_> = expected.iter().take(20).map(|(d, p, c, _)| (d.as_str(), *p, *c)).collect();
        assert_eq!(hits.iter().map(place).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn hybrid_is_the_sum_of_reciprocal_ranks() {
    let (snapshot, mut dice) = (some(), Dice(34));
    for unit in [Unit::Parent, Unit::Document] {
        let question = Question { text: "wing jet buckling".into(), vector: dice.vector() };
        let by = |mode, k| {
            let search = Search { k, mode, unit, ..Search::default() };
            snapshot.search(&search, std::slice::from_ref(&question)).unwrap().remove(0)
        };
        let (dense, words, hybrid) = (by(Mode::Dense, 100), by(Mode::Words, 100), by(Mode::Hybrid, 50));
        let key = |hit: &Hit| (hit.document.clone(), if unit == Unit::Parent { hit.parent.number } else { 0 });
        let mut sums: BTreeMap<_, f64> = BTreeMap::new();
        for list in [&dense, &words] {
            for (rank, hit) in (1..).zip(list) {
                *sums.entry(key(hit)).or_default() += 1.0 / (60.0 + f64::from(rank));
            }
        }
        let mut expected: Vec<_> = sums.values().copied().collect();
        expected.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(hybrid.len(), 50);
        for (hit, expected) in hybrid.iter().zip(expected) {
            assert!((hit.score - expected).abs() < 1e-12 && (sums[&key(hit)] - hit.score).abs() < 1e-12);
            let text = &hit.parent.text;
            let child = hit.child.as_ref().unwrap();
            assert_eq!(text.len() as u64, hit.parent.span.end - hit.parent.span.start);
            assert!(child.span.start >= hit.parent.span.start && child.span.end <= hit.parent.span.end);
            let title = snapshot.about(&hit.document).unwrap().unwrap().title;
            let has = |word: &&str| text.contains(*word) || title.contains(*word);
            assert!(hit.words.is_none() || ["wing", "jet", "buckling"].iter().any(has) || unit == Unit::Document);
        }
    }
}

#[test]
fn equal_scores_are_ordered_by_document_wherever_they_lie() {
    let mut dice = Dice(35);
    let twin = document(&mut dice, "x");
    let question = Question { text: twin.parents[0].text.clone(), vector: dice.vector() };
    let mut ids: Vec<String> = (0..60).map(|n| format!("d{n:02}")).collect();
    let mut answers = Vec::new();
    for order in 0..3 {
        let (store, count) = (memory(), ids.len() as i64);
        let mut writer = Writer::open(Arc::clone(&store), "c", &settings(), "one").unwrap();
        for (offset, id) in (0..count).zip(&ids) {
            let change = put(offset, Document { id: id.clone(), ..twin.clone() });
            writer.apply(&batch(offset..offset + 1, vec![change])).unwrap();
        }
        let snapshot = Reader::open(store, "c", 1 << 30).unwrap().snapshot();
        for mode in [Mode::Dense, Mode::Words, Mode::Hybrid] {
            let search = Search { k: 7, mode, unit: Unit::Document, ..Search::default() };
            let hits = snapshot.search(&search, std::slice::from_ref(&question)).unwrap().remove(0);
            answers.push(hits.into_iter().map(|hit| hit.document).collect::<Vec<_>>());
        }
        if order == 0 { ids.reverse() } else { ids.rotate_left(23) }
    }
    let first: Vec<String> = (0..7).map(|n| format!("d{n:02}")).collect();
    assert!(answers.iter().all(|found| *found == first), "{answers:?}");
}

#[test]
fn what_cannot_be_asked_is_refused_and_an_empty_collection_has_no_hits() {
    let snapshot = some();
    for vector in [vec![], vec![0.0; DIMENSION + 1], vec![f32::NAN; DIMENSION]] {
        let question = Question { text: "x".into(), vector };
        let error = snapshot.search(&Search::default(), &[question]).unwrap_err();
        assert!(matches!(error, IndexError::Refused { .. }), "{error}");
    }
    let store = memory();
    Writer::open(Arc::clone(&store), "c", &settings(), "one").unwrap();
    let empty = Reader::open(store, "c", 0).unwrap().snapshot();
    let question = Question { text: "wing".into(), vector: vec![1.0; DIMENSION] };
    assert_eq!(empty.search(&Search::default(), &[question]).unwrap(), [vec![]]);
    assert_eq!(snapshot.search(&Search::default(), &[]).unwrap(), Vec::<Vec<Hit>>::new());
}

#[test]
fn a_search_that_is_asked_in_slices_answers_as_at_once() {
    let (snapshot, mut dice) = (some(), Dice(37));
    let texts = ["wing jet", "shock layer", "mass of the boson", "drag", "étude"];
    let questions: Vec<_> =
        texts.map(|text| Question { text: text.into(), vector: dice.vector() }).into_iter().collect();
    for mode in [Mode::Dense, Mode::Words, Mode::Hybrid] {
        for filter in [None, Some(Filter::parse("year >= 2010").unwrap())] {
            let search = Search { mode, filter, k: 7, ..Search::default() };
            let prepared = snapshot.prepare(&search).unwrap();
            let slices: Vec<_> = questions.chunks(2).flat_map(|slice| prepared.ask(slice).unwrap()).collect();
            assert_eq!(slices, snapshot.search(&search, &questions).unwrap());
        }
    }
}
