//! Documents in, passages out: on a store in memory, with a small encoder of the fixtures.

use std::path::Path;

use futures::executor::block_on;
use lunapark_documents::{ExtractError, Pages};
use lunapark_embed::{EncoderOptions, Folder};
use lunapark_index::{Bm25, Chunking, Metric, Reason, Settings};
use lunapark_operator::Codec;
use lunapark_schemas::Messages;
use lunapark_schemas::search::{SearchMode, SearchRequest, SearchUnit, Texts};
use lunapark_stores::ArtifactStore;

use super::*;
use crate::content::SourceError;
use crate::reindex::{Progress, Reindexer};
use crate::search::{SearchError, Searcher};

/// What is no page is encrypted.
struct PagesAsText;

impl PdfReader for PagesAsText {
    fn read(&self, bytes: &[u8], _: &Limits) -> Result<Pages, ExtractError> {
        let text = std::str::from_utf8(bytes).unwrap().strip_prefix("%PDF-pages ").ok_or(ExtractError::Encrypted)?;
        Ok(Pages { title: None, pages: text.split('|').map(str::to_owned).collect() })
    }
}

struct Away;

impl Sources for Away {
    fn read(&self, uri: &str, _: usize) -> Result<Vec<u8>, SourceError> {
        match uri {
            "s3://papers/away" => Err(SourceError::Away("the store is down".into())),
            _ => Err(SourceError::Refused(format!("`{uri}` is not allowed"))),
        }
    }
}

struct Place {
    ingestor: Ingestor,
    codec: IngestCodec,
    next: i64,
    folder: tempfile::TempDir,
}

const CHUNKS: ChunkOptions = ChunkOptions { child_tokens: 16, child_overlap: 4, parent_tokens: 32 };

impl Place {
    fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap(), "bert", CHUNKS)
    }

    /// On this folder, with an encoder of the fixtures.
    fn with(folder: tempfile::TempDir, fixture: &str, chunks: ChunkOptions) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../embed/tests/fixtures");
        let options = EncoderOptions { threads: 1, ..EncoderOptions::default() };
        let encoder = Arc::new(Encoder::load(&Folder::new(fixtures.join(fixture)), &options).unwrap());
        let store = ArtifactStore::open(folder.path().to_str().unwrap(), &Default::default()).unwrap();
        let settings = Settings {
            model: fixture.into(),
            model_digest: encoder.digest().to_owned(),
            dimension: encoder.dimension() as u32,
            precision: "f32".into(),
            chunking: Chunking {
                child_tokens: chunks.child_tokens as u32,
                child_overlap: chunks.child_overlap as u32,
                parent_tokens: chunks.parent_tokens as u32,
            },
            metric: Metric::InnerProduct,
            bm25: Bm25::default(),
            passage_rule: crate::PASSAGE_RULE,
        };
        let collections = Arc::new(Collections::new(Arc::new(store), settings, "test", 64 << 20));
        let ingestor = Ingestor {
            encoder,
            collections,
            sources: Box::new(Away),
            pdf: Box::new(PagesAsText),
            limits: Limits { max_bytes: 10_000, ..Limits::default() },
            chunks,
            part_bytes: 10_000,
        };
        let codec = IngestCodec::new(ingestor.collections.encoder_tag());
        Self { ingestor, codec, next: 0, folder }
    }

    /// Messages at the next offsets of partition 0.
    fn messages(&mut self, values: &[&str]) -> Messages {
        let mut messages = Messages::new();
        for value in values {
            let at = lunapark_schemas::messages::At {
                topic: "documents.ingest",
                partition: 0,
                offset: self.next,
                timestamp: 0,
            };
            messages.push(at, None, Some(value.as_bytes()), std::iter::empty());
            self.next += 1;
        }
        messages
    }

    fn process(&self, messages: &Messages) -> Result<Vec<Outcome<Json<IndexedRecord>>>, OperatorError> {
        let indices: Vec<usize> = (0..messages.len()).collect();
        let decoded = self.codec.decode(messages, &indices);
        assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        block_on(self.ingestor.process(&decoded.batches[0]))
    }

    fn search(&self, mode: SearchMode, text: &str) -> Result<Vec<String>, SearchError> {
        let searcher = Searcher {
            encoder: Some(self.ingestor.encoder.clone()),
            collections: self.ingestor.collections.clone(),
            threads: 1,
            answer_bytes: usize::MAX,
        };
        let request = SearchRequest {
            id: None,
            collection: "papers".into(),
            query: Some(Texts::One(text.into())),
            search_input: None,
            k: 10,
            mode,
            unit: SearchUnit::Document,
            filter: None,
            as_of: None,
            recall: None,
        };
        let reply = searcher.answer(&request)?;
        Ok(reply.answers[0].results.iter().map(|hit| hit.document.clone()).collect())
    }
}

fn put(id: &str, content: &str) -> String {
    put_in("papers", id, content)
}

fn put_in(collection: &str, id: &str, content: &str) -> String {
    serde_json::json!({ "id": id, "collection": collection, "content": content }).to_string()
}

/// A document whose content is somewhere else.
fn page(id: &str) -> String {
    serde_json::json!({ "id": id, "collection": "papers", "uri": "s3://papers/page" }).to_string()
}

/// The one page that there is.
struct Page(Result<&'static str, &'static str>);

impl Sources for Page {
    fn read(&self, _: &str, _: usize) -> Result<Vec<u8>, SourceError> {
        self.0.map(|text| text.as_bytes().to_vec()).map_err(|why| SourceError::Refused(why.into()))
    }
}

/// The service is killed, and starts again when the page is another one.
fn started_again(place: Place, page: Result<&'static str, &'static str>) -> Place {
    let Place { folder, next, .. } = place;
    let mut place = Place::with(folder, "bert", CHUNKS);
    (place.next, place.ingestor.sources) = (next, Box::new(Page(page)));
    place
}

fn reason(outcome: &Outcome<Json<IndexedRecord>>) -> &str {
    let Outcome::Reject(rejection) = outcome else { panic!("{outcome:?}") };
    &rejection.message
}

fn digest(outcome: &Outcome<Json<IndexedRecord>>) -> &str {
    let Outcome::Emit(Json(record)) = outcome else { panic!("{outcome:?}") };
    &record.digest
}

fn gone(id: &str) -> String {
    serde_json::json!({ "id": id, "collection": "papers", "deleted": true }).to_string()
}

#[test]
fn documents_are_found_replaced_and_taken_out() {
    let mut place = Place::new();
    let long = "A boundary layer grows along the plate. ".repeat(20);
    let messages = place.messages(&[&put("a", &long), &put("b", "Flutter of a wing.")]);
    let outcomes = place.process(&messages).unwrap();
    let Outcome::Emit(Json(first)) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(first.parents > 1 && first.children >= first.parents && first.truncated == 0, "{first:?}");
    assert_eq!(place.search(SearchMode::Words, "flutter").unwrap(), ["b"]);
    assert_eq!(place.search(SearchMode::Dense, "flutter").unwrap().len(), 2);

    let messages = place.messages(&[&put("a", "Heat of a blunt body."), &gone("b"), &gone("never")]);
    assert_eq!(place.process(&messages).unwrap().len(), 3);
    assert!(place.search(SearchMode::Words, "flutter").unwrap().is_empty());
    assert!(place.search(SearchMode::Words, "boundary").unwrap().is_empty());
    assert_eq!(place.search(SearchMode::Hybrid, "blunt body").unwrap(), ["a"]);
}

#[test]
fn a_title_that_the_text_does_not_have_is_found_by_words_and_by_meaning() {
    let titled = |id: &str, title: &str, content: &str| {
        let record = serde_json::json!({ "id": id, "collection": "papers", "title": title, "content": content });
        record.to_string()
    };
    const LONG: &str = "A boundary layer of a plate in a flow of air at the speed of sound";
    let mut place = Place::new();
    let long = "Of a plate. ".repeat(20);
    let messages = place.messages(&[
        &titled("a", "Wings", &long),
        &titled("b", "", &long),
        &titled("c", "Noise of jets", "Noise of jets. Of a plate."),
        &titled("d", LONG, "Of a plate."),
    ]);
    let answers = place.process(&messages).unwrap();
    assert_eq!(place.search(SearchMode::Words, "wings").unwrap(), ["a"]);
    assert_eq!(place.search(SearchMode::Words, "boundary").unwrap(), ["d"]);
    let all = documents(&place);
    // The words of the title before each child, as its vectors tell.
    let before = |id: &str, title: &str| {
        let document = all.iter().find(|document| document.id == id).unwrap();
        let child = |parent: &lunapark_index::Parent, child: &lunapark_index::Child| {
            let at = |place: u64| (place - parent.span.start) as usize;
            (parent.text[at(child.span.start)..at(child.span.end)].to_owned(), child.vector.clone())
        };
        let children = document.parents.iter().flat_map(|parent| parent.children.iter().map(|c| child(parent, c)));
        let words: Vec<&str> = title.split(' ').collect();
        let embed = |text: &str| place.ingestor.encoder.embed(&[text], Role::Passage).unwrap().row(0).to_vec();
        let with = |count: usize, text: &str| match count {
            0 => text.to_owned(),
            _ => format!("{}\n{text}", words[..count].join(" ")),
        };
        let count = |(text, vector): (String, Vec<f32>)| {
            (0..=words.len()).find(|count| embed(&with(*count, &text)) == vector).unwrap()
        };
        children.map(count).collect::<Vec<_>>()
    };
    assert!(before("a", "Wings").iter().all(|words| *words == 1));
    assert!(before("b", "").len() < before("a", "Wings").len(), "the title takes its part of each child");
    assert!(before("c", "Noise of jets").iter().all(|words| *words == 0), "the text has its title itself");
    let long = before("d", LONG);
    assert!(long.iter().all(|words| (1..5).contains(words)), "a quarter of a child, in whole words: {long:?}");
    for answer in answers {
        assert!(matches!(answer, Outcome::Emit(Json(record)) if record.truncated == 0));
    }
}

#[test]
fn a_text_that_speaks_of_pdf_is_a_text() {
    let mut place = Place::new();
    let texts = [put("a", "Files begin with %PDF-1.7, as readers know."), put("b.pdf", "PK\u{3}\u{4} is ZIP.")];
    let messages = place.messages(&texts.each_ref().map(String::as_str));
    assert!(place.process(&messages).unwrap().iter().all(|answer| matches!(answer, Outcome::Emit(_))));
    assert_eq!(place.search(SearchMode::Words, "readers").unwrap(), ["a"]);
}

#[test]
fn a_batch_that_comes_again_changes_nothing_and_is_answered_alike() {
    let mut place = Place::new();
    let first = place.messages(&[&put("a", "One."), &put("b", "Two.")]);
    let answers = place.process(&first).unwrap();
    let second = place.messages(&[&put("a", "Three.")]);
    place.process(&second).unwrap();
    assert_eq!(place.process(&first).unwrap(), answers);
    assert!(place.search(SearchMode::Words, "one").unwrap().is_empty(), "an old version came back");
    assert_eq!(place.search(SearchMode::Words, "three").unwrap(), ["a"]);
}

#[test]
fn what_was_refused_is_refused_again_though_it_reads_well_by_then() {
    let mut place = started_again(Place::new(), Err("it takes too long"));
    let batches = [place.messages(&[&put("a", "One."), &page("p")]), place.messages(&[&page("q")])];
    let all = batches.each_ref().map(|messages| place.process(messages).unwrap());
    assert_eq!((reason(&all[0][1]), reason(&all[1][0])), ("it takes too long", "it takes too long"));
    let place = started_again(place, Ok("Flutter of a wing."));
    assert_eq!(batches.each_ref().map(|messages| place.process(messages).unwrap()), all);
    assert!(place.search(SearchMode::Words, "flutter").unwrap().is_empty());
    assert_eq!(documents(&place).len(), 1);
}

#[test]
fn a_page_that_changed_is_answered_by_what_the_collection_holds() {
    let mut place = started_again(Place::new(), Ok("Flutter of a wing."));
    // The second one takes the place of the first, whose content nobody can look up afterwards.
    let messages = place.messages(&[&page("p"), &put("q", "One."), &put("p", "Two."), &page("r")]);
    let answers = place.process(&messages).unwrap();
    for later in [Ok("Noise of jets."), Err("it is gone"), Ok("Flutter of a wing.")] {
        place = started_again(place, later);
        assert_eq!(place.process(&messages).unwrap(), answers, "{later:?}");
    }
    assert_eq!(place.search(SearchMode::Words, "flutter").unwrap(), ["r"]);
}

#[test]
fn offsets_that_were_set_back_by_hand_are_answered_by_what_the_collection_holds() {
    let mut place = started_again(Place::new(), Err("it is refused"));
    let refused = place.messages(&[&put("a", "One."), &page("p")]);
    place.process(&refused).unwrap();
    place = started_again(place, Ok("Flutter of a wing."));
    let held = place.messages(&[&page("q"), &put("b", "Two."), &gone("a")]);
    let before = place.process(&held).unwrap();
    let position = Position { topic: "documents.ingest".into(), partition: 0, offset: place.next };
    place.ingestor.committed(&[position]);
    let more = place.messages(&[&put("c", "Three.")]);
    place.process(&more).unwrap();
    let kept = lunapark_index::newest(place.ingestor.collections.store(), "papers").unwrap().answers;
    assert_eq!(kept.of(Source { partition: 0, offset: 2 }), None, "the log has the answer");

    place = started_again(place, Ok("Noise of jets."));
    let again = place.process(&refused).unwrap();
    assert!(reason(&again[1]).contains("is not in collection `papers`"), "{again:?}");
    assert!(matches!(&again[0], Outcome::Emit(_)), "a deletion stands in its place: {again:?}");
    let again = place.process(&held).unwrap();
    assert_eq!((digest(&again[0]), &again[1..]), (digest(&before[0]), &before[1..]));
    place = started_again(place, Err("it is gone"));
    assert_eq!(digest(&place.process(&held).unwrap()[0]), digest(&before[0]));
}

#[test]
fn a_collections_own_sizes_are_used_whatever_new_ones_get() {
    let long = "A boundary layer grows along the plate. ".repeat(20);
    let (mut old, expected) = (Place::new(), Place::new());
    let records = [put("a", &long), put("b", &long)];
    let [first, second] = records.each_ref().map(|record| old.messages(&[record]));
    old.process(&first).unwrap();
    for messages in [&first, &second] {
        expected.process(messages).unwrap();
    }
    let sizes = ChunkOptions { child_tokens: 24, child_overlap: 6, parent_tokens: 60 };
    let Place { folder, .. } = old;
    let mut place = Place::with(folder, "bert", sizes);
    place.process(&second).unwrap();
    assert_eq!(documents(&place), documents(&expected));
    place.next = 2;
    let new = place.messages(&[&put_in("notes", "a", &long)]);
    place.process(&new).unwrap();
    let settings = lunapark_index::newest(place.ingestor.collections.store(), "notes").unwrap().settings;
    assert_eq!(settings.chunking.child_tokens, 24);
}

#[test]
fn a_collection_of_another_encoder_keeps_nobody_waiting() {
    let mut old = Place::new();
    let messages = old.messages(&[&put("a", "One.")]);
    old.process(&messages).unwrap();
    let Place { folder, .. } = old;
    let mut place = Place::with(folder, "xlm-roberta", CHUNKS);
    place.next = 1;
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = told.clone();
    let teller =
        move |name: &str, why: Option<&str>| heard.lock().unwrap().push((name.to_owned(), why.map(str::to_owned)));
    place.ingestor.collections.report_to(Box::new(teller));
    let notes = place.messages(&[&put_in("notes", "m", "Zero.")]);
    place.process(&notes).unwrap();
    let both = place.messages(&[&put("b", "Two."), &put_in("notes", "n", "Three.")]);
    let outcomes = place.process(&both).unwrap();
    assert!(reason(&outcomes[0]).contains("lunapark collections reindex papers"), "{outcomes:?}");
    assert!(matches!(&outcomes[1], Outcome::Emit(Json(record)) if record.collection == "notes"), "{outcomes:?}");
    let known = |told: &[(String, Option<String>)]| told.iter().map(|(_, why)| why.is_some()).collect::<Vec<_>>();
    assert_eq!(known(&told.lock().unwrap()), [true]);
    // Of the collections that were there before, one is served: that is no bad deploy.
    assert!(matches!(place.process(&both).unwrap()[0], Outcome::Reject(_)));

    let (encoder, collections) = (place.ingestor.encoder.clone(), place.ingestor.collections.clone());
    collections.look_at_closed();
    assert_eq!(known(&told.lock().unwrap()), [true]);
    Reindexer { encoder, collections, chunks: CHUNKS }.run("papers", |_| ()).unwrap().unwrap();
    place.ingestor.collections.look_at_closed();
    assert_eq!(known(&told.lock().unwrap()), [true, false]);
    let after = place.messages(&[&put("c", "Four.")]);
    assert!(matches!(place.process(&after).unwrap()[0], Outcome::Emit(_)));
    assert_eq!(place.search(SearchMode::Words, "four").unwrap(), ["c"]);
}

#[test]
fn a_batch_of_addresses_is_indexed_in_parts_of_bounded_size() {
    let mut place = started_again(Place::new(), Ok("Flutter of a wing."));
    place.ingestor.part_bytes = 100;
    let records: Vec<String> = (0..20).map(|number| page(&number.to_string())).chain([put("a", "One.")]).collect();
    let messages = place.messages(&records.iter().map(String::as_str).collect::<Vec<_>>());
    let answers = place.process(&messages).unwrap();
    assert!(answers.len() == 21 && answers.iter().all(|answer| matches!(answer, Outcome::Emit(_))), "{answers:?}");
    let manifest = lunapark_index::newest(place.ingestor.collections.store(), "papers").unwrap();
    // Eight at once pass the hundred bytes: eight, eight and the rest.
    assert_eq!((manifest.segments.len(), manifest.next_of(0)), (3, 21));
    assert_eq!(documents(&place).len(), 21);
    place = started_again(place, Err("it is gone"));
    assert_eq!(place.process(&messages).unwrap(), answers);
}

#[test]
fn what_cannot_be_read_is_rejected_alone() {
    let mut place = Place::new();
    let pdf = r#"{"id": "p", "collection": "papers", "content": "%PDF-1.7", "content_type": "application/pdf"}"#;
    let outside = r#"{"id": "o", "collection": "papers", "uri": "file:///etc/passwd"}"#;
    let large = put("l", &"x ".repeat(6000));
    let messages = place.messages(&[pdf, &put("a", "One."), outside, &large, &put("e", "   ")]);
    let outcomes = place.process(&messages).unwrap();
    let reasons: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Reject(rejection) => rejection.message.as_str(),
            _ => "",
        })
        .collect();
    assert!(reasons[0].starts_with("encrypted") && reasons[1].is_empty(), "{reasons:?}");
    assert!(reasons[2].contains("not allowed") && reasons[3].contains("max_document_bytes"), "{reasons:?}");
    assert!(reasons[4].starts_with("empty"), "{reasons:?}");
    assert_eq!(place.search(SearchMode::Words, "one").unwrap(), ["a"]);
}

#[test]
fn a_store_that_is_away_holds_the_batch() {
    let mut place = Place::new();
    let away = r#"{"id": "w", "collection": "papers", "uri": "s3://papers/away"}"#;
    let messages = place.messages(&[&put("a", "One."), away]);
    let error = place.process(&messages).unwrap_err();
    assert!(matches!(error.retry, Retry::After(_)), "{error:?}");
    assert!(matches!(place.search(SearchMode::Words, "one"), Err(SearchError::Refused(_))), "half a batch is indexed");
}

/// Documents of every kind, with headings, pages and rows.
fn library() -> Vec<String> {
    let record = |id: &str, kind: &str, content: &str| {
        serde_json::json!({ "id": id, "collection": "papers", "content_type": kind, "content": content, "title": "T" })
            .to_string()
    };
    let flow = "The boundary layer of a wing was measured at several velocity ratios. ".repeat(6);
    let markdown = format!("# Heat\n\n{flow}\n\n## Of a body\n\n{flow}\n\n### At rest\n\nNothing moves.\n");
    let html = format!("<title>W</title><h1>Wings</h1><p>{flow}<h2>Jets</h2><p>{flow}");
    let pdf = format!("%PDF-pages {flow}|Second page. {flow}||Fourth page.");
    let table = serde_json::json!({
        "id": "table", "collection": "papers", "content_type": "text/csv", "page_content_column": "text",
        "content": format!("title,text\nFirst,{flow}\n,Heat transfer on a blunt body.\n"), "metadata": { "year": 1957 },
    });
    vec![
        record("markdown", "text/markdown", &markdown),
        record("html", "text/html", &html),
        record("pdf", "application/pdf", &pdf),
        record("text", "text/plain", "Perché la velocità non è costante?  \n\n"),
        table.to_string(),
    ]
}

fn documents(place: &Place) -> Vec<Document> {
    let reader = place.ingestor.collections.reader("papers").unwrap();
    let mut all = Vec::new();
    reader.refresh().unwrap().each_document(|_, document| all.push(document)).unwrap();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

#[test]
fn a_reindexed_collection_is_what_ingesting_anew_makes_of_its_documents() {
    let library = library();
    let values: Vec<&str> = library.iter().map(String::as_str).collect();
    let mut old = Place::new();
    let messages = old.messages(&values);
    old.process(&messages).unwrap();
    let before = documents(&old);
    let table = before.iter().find(|document| document.id == "table").unwrap();
    assert_eq!((table.parents[0].heading.as_str(), table.metadata["year"].as_i64()), ("First", Some(1957)));
    assert_eq!(table.parents.last().unwrap().heading, "row 2");

    let sizes = ChunkOptions { child_tokens: 24, child_overlap: 6, parent_tokens: 60 };
    let mut anew = Place::with(tempfile::tempdir().unwrap(), "xlm-roberta", sizes);
    let messages = anew.messages(&values);
    anew.process(&messages).unwrap();

    let Place { folder, .. } = old;
    let mut new = Place::with(folder, "xlm-roberta", sizes);
    new.next = 5;
    let later = new.messages(&[&put("later", "Muons leave tracks.")]);
    let refused = new.process(&later).unwrap_err();
    assert!(refused.message.contains("lunapark collections reindex papers"), "{refused}");
    assert!(matches!(refused.retry, Retry::After(_)), "it waits for the reindexing");
    let (encoder, collections) = (new.ingestor.encoder.clone(), new.ingestor.collections.clone());
    let reindexer = Reindexer { encoder, collections, chunks: sizes };
    let mut seen = Vec::new();
    let manifest = reindexer.run("papers", |progress| seen.push(progress)).unwrap().unwrap();
    assert_eq!((manifest.reason, manifest.next_of(0)), (Reason::Reindexed, 5));
    assert_eq!((seen[0].all, *seen.last().unwrap()), (5, Progress { made: 5, all: 5 }));
    assert_eq!(documents(&new), documents(&anew));
    assert_ne!(documents(&new), before);
    assert_eq!(reindexer.run("papers", |_| ()).unwrap(), None, "it has these settings");
    new.process(&later).unwrap();
    assert_eq!(new.search(SearchMode::Words, "muons").unwrap(), ["later"]);
}
