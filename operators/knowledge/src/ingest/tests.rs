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
        };
        let collections = Arc::new(Collections::new(Arc::new(store), settings, "test", 64 << 20));
        let ingestor = Ingestor {
            encoder,
            collections,
            sources: Box::new(Away),
            pdf: Box::new(PagesAsText),
            limits: Limits { max_bytes: 10_000, ..Limits::default() },
            chunks,
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
            encoder: self.ingestor.encoder.clone(),
            collections: self.ingestor.collections.clone(),
            threads: 1,
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
    serde_json::json!({ "id": id, "collection": "papers", "content": content }).to_string()
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
