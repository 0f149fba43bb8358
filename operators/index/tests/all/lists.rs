//! Vectors in lists: what is found against an exact search, and what never may be found.

use std::collections::BTreeSet;
use std::sync::Arc;

use lunapark_index::{
    Change, Child, Compaction, Document, Filter, Hit, Metric, Mode, Parent, Question, Reader, Recall, Search, Settings,
    Snapshot, Unit, Writer, compact, verify,
};
use lunapark_stores::ArtifactStore;

use crate::made::{Dice, batch, delete, memory, put, settings};

const NUMBERS: usize = 100;
const DOCUMENTS: usize = 6000;
const CENTRES: usize = 40;
/// The recall of a number of lists is measured on a sample, and here on another one: so much they may differ.
const NOISE: f64 = 0.01;

/// Vectors around some centres, as those of texts lie around topics.
struct Cloud {
    centres: Vec<Vec<f32>>,
    /// Every vector is brought to length 1, as those of most encoders are.
    level: bool,
}

impl Cloud {
    fn new(dice: &mut Dice, level: bool) -> Self {
        Self { centres: (0..CENTRES).map(|_| (0..NUMBERS).map(|_| dice.number()).collect()).collect(), level }
    }

    fn vector(&self, dice: &mut Dice) -> Vec<f32> {
        // Much noise in a few directions, little in the others.
        let centre = &self.centres[dice.below(CENTRES)];
        let noise = |at: usize, dice: &mut Dice| if at < 8 { 2.0 * dice.number() } else { 0.1 * dice.number() };
        let vector: Vec<f32> = centre.iter().enumerate().map(|(at, x)| x + noise(at, dice)).collect();
        let length = if self.level { vector.iter().map(|x| x * x).sum::<f32>().sqrt() } else { 1.0 };
        vector.iter().map(|x| x / length).collect()
    }
}

fn document(id: usize, vector: Vec<f32>) -> Document {
    let text = format!("{id} {}", "wing flow ".repeat(30));
    let span = 0..text.len() as u64;
    let children = vec![Child { span: span.clone(), page: None, vector }];
    let parents = vec![Parent { span, text, children, ..Parent::default() }];
    let serde_json::Value::Object(metadata) = serde_json::json!({ "third": id % 3, "rare": id % 100 }) else {
        panic!("an object")
    };
    Document { id: format!("{id:05}"), metadata, parents, ..Document::default() }
}

fn made_with(metric: Metric) -> (Arc<ArtifactStore>, Cloud, Dice, Writer) {
    made_of(metric, false)
}

fn made_of(metric: Metric, level: bool) -> (Arc<ArtifactStore>, Cloud, Dice, Writer) {
    let (store, mut dice) = (memory(), Dice(31));
    let cloud = Cloud::new(&mut dice, level);
    let settings = Settings { metric, dimension: NUMBERS as u32, ..settings() };
    let mut writer = Writer::open(store.clone(), "c", &settings, "one").unwrap();
    for start in (0..DOCUMENTS).step_by(2000) {
        let changes: Vec<Change> =
            (start..start + 2000).map(|id| put(id as i64, document(id, cloud.vector(&mut dice)))).collect();
        writer.apply(&batch(start as i64..start as i64 + 2000, changes)).unwrap();
    }
    (store, cloud, dice, writer)
}

fn into_lists(store: &Arc<ArtifactStore>) -> Arc<Snapshot> {
    let whole = Compaction { lists_from: 1000, ..Compaction::whole() };
    compact(store, "c", &whole, "one").unwrap().unwrap();
    Reader::open(store.clone(), "c", 1 << 30).unwrap().snapshot()
}

fn questions(cloud: &Cloud, dice: &mut Dice, count: usize) -> Vec<Question> {
    (0..count).map(|_| Question { text: String::new(), vector: cloud.vector(dice) }).collect()
}

fn found(snapshot: &Snapshot, questions: &[Question], recall: Recall, filter: Option<&str>) -> Vec<Vec<Hit>> {
    let filter = filter.map(|text| Filter::parse(text).unwrap());
    let search = Search { mode: Mode::Dense, unit: Unit::Document, recall, filter, threads: 2, ..Search::default() };
    snapshot.search(&search, questions).unwrap()
}

/// Which part of the exact answers is among the others.
fn recall(exact: &[Vec<Hit>], others: &[Vec<Hit>]) -> f64 {
    let same = |(exact, others): (&Vec<Hit>, &Vec<Hit>)| {
        let ids: BTreeSet<&str> = others.iter().map(|hit| hit.document.as_str()).collect();
        exact.iter().filter(|hit| ids.contains(hit.document.as_str())).count() as f64 / exact.len() as f64
    };
    exact.iter().zip(others).map(same).sum::<f64>() / exact.len() as f64
}

#[test]
fn the_recall_that_is_asked_for_is_reached_and_scores_are_exact() {
    for metric in [Metric::InnerProduct, Metric::Cosine, Metric::L2] {
        let (store, cloud, mut dice, _) = made_with(metric);
        let before = Reader::open(store.clone(), "c", 1 << 30).unwrap().snapshot();
        let snapshot = into_lists(&store);
        let questions = questions(&cloud, &mut dice, 1000);
        let exact = found(&snapshot, &questions, Recall::Exact, None);
        let mut plain = found(&before, &questions, Recall::Exact, None);
        plain.iter_mut().flatten().for_each(|hit| hit.version = snapshot.version());
        assert_eq!(exact, plain, "{metric:?}: lists change nothing of an exact search");
        assert_eq!(found(&snapshot, &questions, Recall::AtLeast(1.0), None), exact);
        assert_eq!(found(&snapshot, &questions, Recall::Auto, None), exact, "there are few vectors");
        let mut last = 0.0;
        for target in [0.8, 0.9, 0.97] {
            let some = found(&snapshot, &questions, Recall::AtLeast(target), None);
            let reached = recall(&exact, &some);
            assert!(reached + NOISE >= target && reached >= last, "{metric:?}: {reached}, {target} was asked for");
            last = reached;
            for (exact, some) in exact.iter().zip(&some) {
                let scored = |hits: &[Hit], id: &str| hits.iter().find(|hit| hit.document == id).map(|hit| hit.score);
                assert!(exact.iter().all(|hit| { scored(some, &hit.document).is_none_or(|score| score == hit.score) }));
            }
            for (question, together) in questions.iter().zip(&some).take(50) {
                let alone = found(&snapshot, std::slice::from_ref(question), Recall::AtLeast(target), None);
                assert_eq!(&alone[0], together, "alone or together");
            }
        }
        let half = recall(&exact, &found(&snapshot, &questions, Recall::AtLeast(0.5), None));
        assert!(half < 0.99, "{metric:?}: {half} of what is asked for by half");
        assert!(verify(&store, "c").unwrap().problems.is_empty());
    }
}

#[test]
fn vectors_of_one_length_are_looked_up_in_lists_by_every_metric() {
    let by = |snapshot: &Snapshot, questions: &[Question], metric, recall| {
        let metric = Some(metric);
        let search =
            Search { mode: Mode::Dense, unit: Unit::Document, recall, metric, threads: 2, ..Search::default() };
        snapshot.search(&search, questions).unwrap()
    };
    for level in [true, false] {
        let (store, cloud, mut dice, _) = made_of(Metric::InnerProduct, level);
        let snapshot = into_lists(&store);
        let questions = questions(&cloud, &mut dice, 300);
        for metric in [Metric::L2, Metric::Cosine] {
            let exact = by(&snapshot, &questions, metric, Recall::Exact);
            let half = by(&snapshot, &questions, metric, Recall::AtLeast(0.5));
            if !level {
                assert_eq!(half, exact, "{metric:?}: what lists reach by another metric is not known");
                continue;
            }
            let reached = recall(&exact, &half);
            assert!((0.5 - 3.0 * NOISE..0.99).contains(&reached), "{metric:?}: {reached} of what is asked for by half");
            let own = by(&snapshot, &questions, Metric::InnerProduct, Recall::AtLeast(0.5));
            assert!(recall(&own, &half) > 0.999, "{metric:?}: the same lists, and the same order");
            let some = by(&snapshot, &questions, metric, Recall::AtLeast(0.97));
            assert!(recall(&exact, &some) + 3.0 * NOISE >= 0.97);
            let ascending = |hits: &Vec<Hit>| hits.windows(2).all(|pair| pair[0].score <= pair[1].score);
            assert_eq!(some.iter().all(ascending), metric == Metric::L2, "distances ascend");
        }
    }
}

#[test]
fn what_is_hidden_is_never_found_and_what_is_fresh_always() {
    let (store, cloud, mut dice, mut writer) = made_with(Metric::Cosine);
    into_lists(&store);
    let end = DOCUMENTS as i64;
    let questions = questions(&cloud, &mut dice, 100);
    // Every second document is deleted, some are replaced by what is asked for.
    let gone: Vec<Change> = (0..DOCUMENTS / 2).map(|n| delete(end + n as i64, &format!("{:05}", 2 * n))).collect();
    writer.apply(&batch(end..end + DOCUMENTS as i64 / 2, gone)).unwrap();
    let end = end + DOCUMENTS as i64 / 2;
    let asked = questions.iter().enumerate();
    let new = asked.map(|(n, question)| put(end + n as i64, document(2 * n + 1, question.vector.clone()))).collect();
    writer.apply(&batch(end..end + 100, new)).unwrap();
    let snapshot = Reader::open(store, "c", 1 << 30).unwrap().snapshot();
    let exact = found(&snapshot, &questions, Recall::Exact, None);
    let some = found(&snapshot, &questions, Recall::AtLeast(0.9), None);
    for (n, hits) in some.iter().enumerate() {
        assert_eq!((hits.len(), hits[0].document.as_str()), (10, format!("{:05}", 2 * n + 1).as_str()));
        assert!(hits.iter().all(|hit| hit.document.parse::<usize>().unwrap() % 2 == 1));
    }
    let reached = recall(&exact, &some);
    // Of few questions.
    assert!(reached + 3.0 * NOISE >= 0.9, "{reached}");
}

#[test]
fn filters_hold_and_narrow_ones_are_exact() {
    let (store, cloud, mut dice, _) = made_with(Metric::L2);
    let snapshot = into_lists(&store);
    let questions = questions(&cloud, &mut dice, 100);
    for (filter, target) in
        [("third = 1", 0.9 - 3.0 * NOISE), ("third <> 1", 0.9 - 3.0 * NOISE), ("rare = 7", 1.0), ("id = '00003'", 1.0)]
    {
        let exact = found(&snapshot, &questions, Recall::Exact, Some(filter));
        let some = found(&snapshot, &questions, Recall::AtLeast(0.9), Some(filter));
        let allowed = |hit: &Hit| match filter {
            "third = 1" => hit.document.parse::<usize>().unwrap() % 3 == 1,
            "third <> 1" => hit.document.parse::<usize>().unwrap() % 3 != 1,
            "rare = 7" => hit.document.parse::<usize>().unwrap() % 100 == 7,
            _ => hit.document == "00003",
        };
        assert!(some.iter().flatten().all(allowed));
        let reached = recall(&exact, &some);
        assert!(reached >= target, "{filter}: {reached}");
    }
}

#[test]
fn an_answer_depends_on_neither_company_nor_threads_nor_memory() {
    for metric in [Metric::InnerProduct, Metric::L2] {
        let (store, cloud, mut dice, mut writer) = made_with(metric);
        into_lists(&store);
        let end = DOCUMENTS as i64;
        // A second segment, without lists, that hides some of the first.
        let new =
            (0..500).map(|n| put(end + n as i64, document(DOCUMENTS - 100 + n, cloud.vector(&mut dice)))).collect();
        writer.apply(&batch(end..end + 500, new)).unwrap();
        let questions = questions(&cloud, &mut dice, 200);
        // With no budget every block is read anew.
        let [snapshot, poor] = [1 << 30, 0].map(|budget| Reader::open(store.clone(), "c", budget).unwrap().snapshot());
        for (unit, filter) in [(Unit::Document, None), (Unit::Parent, None), (Unit::Document, Some("third <> 1"))] {
            let search = |snapshot: &Snapshot, questions: &[Question], threads| {
                let (recall, filter) = (Recall::AtLeast(0.9), filter.map(|text| Filter::parse(text).unwrap()));
                let search = Search { mode: Mode::Dense, unit, recall, filter, threads, ..Search::default() };
                snapshot.search(&search, questions).unwrap()
            };
            let together = search(&snapshot, &questions, 1);
            for threads in [2, 5] {
                assert_eq!(search(&snapshot, &questions, threads), together, "{metric:?} {unit:?} {threads} threads");
            }
            for (questions, together) in questions.chunks(3).zip(together.chunks(3)).take(20) {
                assert_eq!(search(&snapshot, questions, 2), together, "{metric:?} {unit:?} in other company");
                assert_eq!(search(&snapshot, &questions[..1], 1), together[..1], "{metric:?} {unit:?} alone");
            }
            assert_eq!(search(&poor, &questions[..20], 2), together[..20], "{metric:?} {unit:?} without memory");
        }
    }
}

#[test]
fn the_same_vectors_get_the_same_lists() {
    let digests: Vec<String> = (0..2)
        .map(|_| {
            let (store, ..) = made_with(Metric::InnerProduct);
            into_lists(&store).manifest().segments[0].sha256.clone()
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_recall_that_is_none_is_refused() {
    let (store, cloud, mut dice, _) = made_with(Metric::Cosine);
    let snapshot = Reader::open(store, "c", 0).unwrap().snapshot();
    let questions = questions(&cloud, &mut dice, 1);
    for recall in [0.0, -1.0, 1.5, f64::NAN] {
        let search = Search { recall: Recall::AtLeast(recall), ..Search::default() };
        let error = snapshot.search(&search, &questions).unwrap_err().to_string();
        assert!(error.contains("recall"), "{error}");
    }
}
