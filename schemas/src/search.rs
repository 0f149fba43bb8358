//! Questions to a collection, and their answers.
//!
//! INFN's ML-AAS writes `search_input.input_text`, one text or several, and orders passages by the square of the Euclidean
//! distance, lower is better, as FAISS does. Such a request is answered in its own form ([`DistanceReply`]): the texts come
//! back under `search_output`, each with its passages as `page_content`, `metadata` and `score`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::documents::check_collection;
use crate::event::Event;

/// Questions of one request, at most: each costs a scan.
pub const MAX_QUERIES: usize = 256;
/// Hits of one question, at most.
pub const MAX_HITS: usize = 1000;
/// A question longer than this is no question.
const MAX_QUERY_BYTES: usize = 64 << 10;

/// One or several questions to a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Comes back with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which collection.
    pub collection: String,
    /// The questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Texts>,
    /// The questions as ML-AAS writes them; one of this and `query` is given. They are answered by meaning alone, with
    /// distances, in ML-AAS's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_input: Option<SearchInput>,
    /// Hits of each question.
    #[serde(default = "ten")]
    pub k: usize,
    /// By meaning, by words, or by both; `search_input` is always answered by meaning.
    #[serde(default)]
    pub mode: SearchMode,
    /// What is found once: a passage, or a document by its best passage.
    #[serde(default)]
    pub unit: SearchUnit,
    /// Which documents: `year >= 1960 AND author LIKE 'R. %'`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The collection as it was at this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<u64>,
    /// What part of the ten nearest vectors must be found, more than 0; 1 compares all of them with the question. Without
    /// it small collections are searched in full, and of large ones 0.97 is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
}

fn ten() -> usize {
    10
}

/// ML-AAS's form of questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchInput {
    /// The questions.
    pub input_text: Texts,
}

/// One text, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Texts {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Texts::One(text) => std::slice::from_ref(text),
            Texts::Many(texts) => texts,
        }
    }
}

/// What decides how well a passage fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMode {
    /// Both, by reciprocal rank fusion.
    #[default]
    Hybrid,
    /// The vectors.
    Dense,
    /// The words: BM25.
    Words,
}

/// What is found once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchUnit {
    /// A passage.
    #[default]
    Passage,
    /// A document, by its best passage.
    Document,
}

impl SearchRequest {
    /// Reads and checks a request.
    pub fn from_json(value: &[u8]) -> Result<Self, String> {
        let mut reader = serde_json::Deserializer::from_slice(value);
        let request: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| error.to_string())?;
        reader.end().map_err(|error| error.to_string())?;
        request.check()?;
        Ok(request)
    }

    /// The questions, in whichever form they came.
    pub fn queries(&self) -> &[String] {
        let input = self.search_input.as_ref().map(|input| &input.input_text);
        self.query.as_ref().or(input).map_or(&[], Texts::all)
    }

    /// True where it is ML-AAS's form: the answer has distances.
    pub fn wants_distances(&self) -> bool {
        self.search_input.is_some()
    }

    /// What decides how well a passage fits.
    pub fn decided_by(&self) -> SearchMode {
        if self.wants_distances() { SearchMode::Dense } else { self.mode }
    }

    /// What is wrong with it, and what to do.
    pub fn check(&self) -> Result<(), String> {
        check_collection(&self.collection)?;
        if self.query.is_some() == self.search_input.is_some() {
            return Err("give the question as `query`, or as `search_input.input_text`".to_owned());
        }
        if self.wants_distances() && self.mode == SearchMode::Words {
            return Err("words have no distance: leave `mode` out, or give the question as `query`".to_owned());
        }
        match self.queries().len() {
            1..=MAX_QUERIES => {}
            questions => return Err(format!("{questions} questions; give 1 to {MAX_QUERIES}")),
        }
        if !(1..=MAX_HITS).contains(&self.k) {
            return Err(format!("`k` is {}; give 1 to {MAX_HITS}", self.k));
        }
        if let Some(recall) = self.recall.filter(|recall| !(*recall > 0.0 && *recall <= 1.0)) {
            return Err(format!("`recall` is {recall}; give more than 0 and at most 1, which looks at all vectors"));
        }
        let odd = |text: &&String| text.trim().is_empty() || text.len() > MAX_QUERY_BYTES;
        match self.queries().iter().position(|text| odd(&text)) {
            Some(number) => Err(format!("question {number} is empty or longer than {MAX_QUERY_BYTES} bytes")),
            None => Ok(()),
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchReply {
    /// Id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which collection answered.
    pub collection: String,
    /// The collection's version that answered; `as_of` asks it again.
    pub version: u64,
    /// What is odd about the request, a sentence each: a question that is longer than the text encoder reads; a field of the
    /// filter that no document has, or one that is compared with something else than it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// One answer per question, in their order.
    pub answers: Vec<Answer>,
}

/// What was found for one question, best first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The question.
    pub query: String,
    /// What was found.
    pub results: Vec<Hit>,
}

/// A passage that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hit {
    /// Id of the document.
    pub document: String,
    /// Number of the parent in its document.
    pub parent: u32,
    /// Number of the best child in its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<u32>,
    /// What the hits are ordered by, higher is better.
    pub score: f64,
    /// By meaning: inner product or cosine, higher is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense: Option<f64>,
    /// By words: BM25, higher is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<f64>,
    /// Title of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Heading over the passage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heading: Option<String>,
    /// Page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// The page on which it ends, where that is a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_page: Option<u32>,
    /// Where the document came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Bytes of the child, or of a parent without children, in the document's extracted text: from, and up to.
    pub span: [u64; 2],
    /// The parent's text.
    pub text: String,
}

/// The answer to a request in ML-AAS's form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DistanceReply {
    /// Id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which collection answered.
    pub collection: String,
    /// The collection's version that answered; `as_of` asks it again.
    pub version: u64,
    /// What is odd about the request, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// One entry per text of `input_text`, in their order.
    pub search_output: Vec<SearchOutput>,
}

/// What was found for one text, nearest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchOutput {
    /// The text.
    pub input_text: String,
    /// What was found.
    pub results: Vec<NearPassage>,
}

/// A passage with its distance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NearPassage {
    /// The passage.
    pub page_content: String,
    /// What is known of its document, and its place: `document`, `title`, `heading`, `page`, `last_page`, `uri`, `start`
    /// and `end`, which stand in place of the document's own fields of these names.
    pub metadata: Map<String, Value>,
    /// The square of the Euclidean distance of the vectors; lower is better.
    pub score: f64,
}

impl NearPassage {
    /// A hit by distance, of a document with this metadata.
    pub fn new(hit: Hit, mut metadata: Map<String, Value>) -> Self {
        let place = [
            ("document", Some(Value::from(hit.document))),
            ("title", hit.title.map(Value::from)),
            ("heading", hit.heading.map(Value::from)),
            ("page", hit.page.map(Value::from)),
            ("last_page", hit.last_page.map(Value::from)),
            ("uri", hit.uri.map(Value::from)),
            ("start", Some(hit.span[0].into())),
            ("end", Some(hit.span[1].into())),
        ];
        metadata.extend(place.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Self { page_content: hit.text, metadata, score: hit.score }
    }
}

/// An answer in the form of its request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SearchAnswer {
    /// To `query`.
    Ranked(SearchReply),
    /// To `search_input`.
    Near(DistanceReply),
}

impl Event for SearchRequest {
    fn key(&self) -> String {
        self.id.clone().unwrap_or_default()
    }
}

impl Event for SearchReply {
    fn key(&self) -> String {
        self.id.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_in_both_forms() {
        let read = |text: &str| SearchRequest::from_json(text.as_bytes());
        let ours = read(include_str!("../examples/records/search.requests/ok-search.json")).unwrap();
        assert_eq!((ours.queries().len(), ours.k, ours.mode), (1, 5, SearchMode::Hybrid));
        let theirs = read(r#"{"collection": "c", "search_input": {"input_text": ["a", "b"]}}"#).unwrap();
        assert_eq!((theirs.queries(), theirs.k), (&["a".to_owned(), "b".to_owned()][..], 10));
        assert_eq!((theirs.wants_distances(), theirs.decided_by()), (true, SearchMode::Dense));
        let example = read(include_str!("../examples/records/search.requests/ok-ml-aas.json")).unwrap();
        assert_eq!((example.queries().len(), example.decided_by()), (2, SearchMode::Dense));
        for (text, what) in [
            (r#"{"collection": "c", "search_input": {"input_text": "a"}, "mode": "words"}"#, "words have no distance"),
            (r#"{"collection": "c"}"#, "give the question"),
            (r#"{"collection": "c", "query": "a", "search_input": {"input_text": "b"}}"#, "give the question"),
            (r#"{"collection": "c", "query": []}"#, "0 questions"),
            (r#"{"collection": "c", "query": ["a", " "]}"#, "question 1"),
            (r#"{"collection": "c", "query": "a", "k": 0}"#, "`k`"),
            (r#"{"collection": "c", "query": "a", "mode": "magic"}"#, "mode"),
            (r#"{"collection": "c", "query": "a", "recall": 1.5}"#, "`recall`"),
            (r#"{"collection": "C/..", "query": "a"}"#, "`collection`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn a_passage_says_its_place_among_its_metadata() {
        let text = include_str!("../examples/records/search.results/ok-ml-aas.json");
        let example: DistanceReply = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&example).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        let near = &example.search_output[0].results[0];
        let hit = Hit {
            document: "cranfield/184".into(),
            parent: 0,
            child: Some(1),
            score: near.score,
            dense: None,
            words: None,
            title: Some("Scale models for thermo-aeroelastic research".into()),
            heading: None,
            page: None,
            last_page: None,
            uri: None,
            span: [0, 121],
            text: near.page_content.clone(),
        };
        let Value::Object(own) = serde_json::json!({ "year": 1957, "title": "another" }) else { panic!("an object") };
        assert_eq!(NearPassage::new(hit, own), *near);
    }
}
