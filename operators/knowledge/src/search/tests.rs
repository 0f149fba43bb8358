//! Questions to small collections, with a small encoder of the fixtures, which reads 48 tokens.

use std::path::Path;

use futures::executor::block_on;
use lunapark_embed::{EncoderOptions, Folder, PrecisionChoice};
use lunapark_index::{Action, Bm25, Change, Child, Chunking, Document, Parent, Settings, Source, Writer};
use lunapark_operator::Codec;
use lunapark_schemas::Messages;
use lunapark_schemas::messages::At;
use lunapark_stores::ArtifactStore;
use serde_json::{Value, json};

use super::*;
use crate::PASSAGE_RULE;

const LONG: &str = "heat transfer on a blunt body at hypersonic speed ";

struct Place {
    searcher: Searcher,
    _folder: tempfile::TempDir,
}

impl Place {
    /// With collections of so many documents each.
    fn new(collections: &[(&str, usize)]) -> Self {
        Self::made_with(collections, |settings| settings)
    }

    fn made_with(collections: &[(&str, usize)], change_settings: impl Fn(Settings) -> Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../embed/tests/fixtures/bert");
        let options = EncoderOptions { threads: 1, precision: PrecisionChoice::F32, ..EncoderOptions::default() };
        let encoder = Arc::new(Encoder::load(&Folder::new(fixtures), &options).unwrap());
        let store = Arc::new(ArtifactStore::open(folder.path().to_str().unwrap(), &Default::default()).unwrap());
        let settings = settings(&encoder);
        for (name, documents) in collections {
            let changes = (0..*documents).map(|number| change(&encoder, number)).collect();
            let batch = lunapark_index::Batch { changes, read: [(0, 0..*documents as i64)].into() };
            let settings = change_settings(settings.clone());
            Writer::open(store.clone(), name, &settings, "me").unwrap().apply(&batch).unwrap();
        }
        let collections = Arc::new(Collections::new(store, settings, "me", 64 << 20));
        let searcher = Searcher { encoder: Some(encoder), collections, threads: 1, answer_bytes: usize::MAX };
        Self { searcher, _folder: folder }
    }

    fn answer(&self, request: &Value) -> Result<SearchReply, SearchError> {
        self.searcher.answer(&SearchRequest::from_json(request.to_string().as_bytes()).unwrap())
    }

    /// By way of a batch.
    fn outcomes(&self, requests: &[Value]) -> Vec<Outcome<Json<SearchAnswer>>> {
        let mut messages = Messages::new();
        for (offset, request) in (0..).zip(requests) {
            let at = At { topic: "search.requests", partition: 0, offset, timestamp: 0 };
            messages.push(at, None, Some(request.to_string().as_bytes()), std::iter::empty());
        }
        let codec = SearchCodec::new("bert".into());
        let decoded = codec.decode(&messages, &(0..requests.len()).collect::<Vec<_>>());
        block_on(self.searcher.process(&decoded.batches[0])).unwrap()
    }
}

fn settings(encoder: &Encoder) -> Settings {
    Settings {
        model: "bert".into(),
        model_digest: encoder.digest().to_owned(),
        dimension: encoder.dimension() as u32,
        precision: "f32".into(),
        chunking: Chunking { child_tokens: 256, child_overlap: 32, parent_tokens: 500 },
        metric: Metric::InnerProduct,
        bm25: Bm25::default(),
        passage_rule: PASSAGE_RULE,
    }
}

fn change(encoder: &Encoder, number: usize) -> Change {
    let text = format!("The boundary layer of wing {number}.");
    let vector = encoder.embed(&[&text], Role::Passage).unwrap().row(0).to_vec();
    let span = 0..text.len() as u64;
    let children = vec![Child { span: span.clone(), page: None, vector }];
    let parents = vec![Parent { span, text, children, ..Parent::default() }];
    let document = Document { id: number.to_string(), parents, ..Document::default() };
    Change { source: Source { partition: 0, offset: number as i64 }, action: Action::Put(document) }
}

#[test]
fn a_question_that_the_encoder_does_not_read_to_its_end_is_told() {
    let place = Place::new(&[("papers", 3)]);
    let long = LONG.repeat(12);
    let tokens = place.searcher.encoder.as_ref().unwrap().tokenizer().count(&long, Role::Query).unwrap();
    let notes = |mode: &str, query: Value| {
        let request = json!({ "collection": "papers", "query": query, "mode": mode, "filter": "yaer = 1" });
        let mut notes = place.answer(&request).unwrap().notes;
        assert!(notes.pop().is_some_and(|note| note.contains("`yaer`")), "what is odd about the filter is told, too");
        notes
    };
    for (mode, rest) in [("hybrid", "counts by its words alone"), ("dense", "does not count")] {
        let [note] = &notes(mode, json!(["blunt body", &long]))[..] else { panic!("one of both is long") };
        let said = format!("has {tokens} tokens, of which the text encoder reads the first 48: the rest {rest}");
        assert!(note.starts_with("the question `heat transfer on a blunt body") && note.ends_with(&said), "{note}");
        assert!(note.len() < 200, "{note}");
    }
    assert_eq!(notes("words", json!(long)), [""; 0]);
    let theirs = json!({ "collection": "papers", "search_input": { "input_text": long } });
    let [Outcome::Emit(Json(SearchAnswer::Near(reply)))] = &place.outcomes(&[theirs])[..] else { panic!("an answer") };
    assert!(reply.notes.len() == 1 && reply.notes[0].ends_with("does not count"), "{:?}", reply.notes);
}

#[test]
fn an_answer_that_is_too_large_says_how_large_and_what_to_ask() {
    let mut place = Place::new(&[("papers", 60)]);
    let asked = |questions: usize, k: usize| {
        let query: Vec<String> = (0..questions).map(|number| format!("wing {number}")).collect();
        json!({ "collection": "papers", "query": query, "k": k })
    };
    place.searcher.answer_bytes = 4000;
    let outcomes = place.outcomes(&[asked(6, 1000), asked(2, 10), asked(100, 10)]);
    let reason = |at: usize| match &outcomes[at] {
        Outcome::Reject(rejection) => (rejection.class, rejection.message.as_str()),
        _ => panic!("{at} has an answer"),
    };
    for (at, says) in
        [(0, "with 4 of 6 questions, each with `k` 1000"), (2, "with 100 of 100 questions, each with `k` 10")]
    {
        let (class, message) = reason(at);
        assert_eq!(class, ErrorClass::ResultTooLarge);
        assert!(message.contains(says) && message.contains("takes 4000; ask fewer questions"), "{message}");
    }
    assert!(matches!(&outcomes[1], Outcome::Emit(_)), "its neighbours are answered");
}

#[test]
fn questions_that_are_asked_in_slices_are_answered_as_alone() {
    let place = Place::new(&[("papers", 60)]);
    let questions: Vec<String> = (0..11).map(|number| format!("wing {number} boundary")).collect();
    let request = |query: Value| json!({ "collection": "papers", "query": query, "k": 1000 });
    let together = place.answer(&request(json!(questions))).unwrap().answers;
    assert_eq!(together.len(), questions.len());
    for (question, answer) in questions.iter().zip(&together) {
        assert_eq!(place.answer(&request(json!(question))).unwrap().answers, std::slice::from_ref(answer));
    }
}

#[test]
fn a_collection_that_is_gone_is_forgotten() {
    let place = Place::new(&[("papers", 3), ("notes", 3)]);
    let ask = |collection: &str| place.answer(&json!({ "collection": collection, "query": "wing" }));
    let collections = &place.searcher.collections;
    ask("papers").unwrap();
    let one = collections.cached_bytes();
    ask("notes").unwrap();
    assert!(collections.cached_bytes() > one);
    lunapark_index::drop_collection(collections.store(), "notes").unwrap();
    assert!(matches!(ask("notes"), Err(SearchError::Refused(Rejection { class: ErrorClass::UnknownCollection, .. }))));
    assert_eq!(collections.cached_bytes(), one);
}

#[test]
fn another_precision_is_told_once_for_each_collection() {
    let place = Place::new(&[]);
    let collections = &place.searcher.collections;
    let own = collections.settings().clone();
    let other = Settings { precision: "bf16".into(), ..own.clone() };
    assert_eq!(collections.other_precision("papers", &own), None);
    let said = collections.other_precision("papers", &other).unwrap();
    for word in ["`papers` is embedded in bf16", "computes in f32", "documents.precision to \"bf16\"", "reindex papers"]
    {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(collections.other_precision("papers", &other), None, "it was told");
    assert!(collections.other_precision("notes", &other).is_some());
    let another = Settings { model_digest: "another".into(), ..other };
    assert_eq!(collections.other_precision("more", &another), None, "another model is refused anyway");
}

#[test]
fn passages_of_an_older_rule_are_told_to_who_asks_by_meaning() {
    let place = Place::made_with(&[("papers", 3)], |settings| Settings { passage_rule: 1, ..settings });
    let ask = |request: Value| place.answer(&request).unwrap().notes;
    let request = |mode: &str| json!({ "collection": "papers", "query": "wing", "mode": mode });
    for mode in ["hybrid", "dense"] {
        let [note] = &ask(request(mode))[..] else { panic!("one note") };
        assert!(note.contains("an older rule") && note.contains("`lunapark collections reindex papers`"), "{note}");
    }
    assert_eq!(ask(request("words")), [""; 0], "the words are as they are cut now");
    let as_of = json!({ "collection": "papers", "query": "wing", "as_of": 1 });
    assert_eq!(ask(as_of), [""; 0], "no command changes an older version");
    let now = Place::new(&[("papers", 3)]);
    assert_eq!(now.answer(&request("hybrid")).unwrap().notes, [""; 0]);
}
