//! Questions to collections, answered from the newest version that is there.

mod notes;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use lunapark_embed::{Encoder, Role};
use lunapark_index::{Filter, Hit as Passage, IndexError, Metric, Mode, Question, Recall, Search, Snapshot, Unit};
use lunapark_operator::{Batch, Operator, OperatorError};
use lunapark_schemas::search::{
    Answer, DistanceReply, Hit, NearPassage, SearchAnswer, SearchMode, SearchOutput, SearchReply, SearchRequest,
    SearchUnit,
};
use lunapark_schemas::{ErrorClass, Outcome, Rejection};

pub use notes::among;
pub use rows::SearchRows;
use rows::requests_of;

use crate::codec::{Json, JsonCodec};
use crate::collections::Collections;
use crate::{Older, later, unembedded};

/// Hits that are looked up at a time: the texts of all that a request may ask for would be half a gigabyte.
const HITS_AT_ONCE: usize = 4096;

/// The codec of this operator.
pub type SearchCodec = JsonCodec<SearchRows>;

/// What answers questions.
pub struct Searcher {
    /// The text encoder; without one it answers by words alone.
    pub encoder: Option<Arc<Encoder>>,
    /// Where documents are.
    pub collections: Arc<Collections>,
    /// Threads of one scan.
    pub threads: usize,
    /// A request whose answer has more bytes is refused.
    pub answer_bytes: usize,
}

/// The questions of a request, read by the encoder.
#[derive(Default)]
struct Embedded {
    /// One of each; empty where words alone are asked for.
    vectors: Vec<Vec<f32>>,
    /// Which ones are not read to their end.
    notes: Vec<String>,
}

/// A question, read by the encoder.
#[derive(Clone, Default)]
struct Embedding {
    vector: Vec<f32>,
    /// Its tokens, where the encoder does not read all of them.
    cut: Option<usize>,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The request cannot be answered as it is.
    #[error("{0}")]
    Refused(Rejection),
    /// The store does not answer now.
    #[error("{0}")]
    Away(String),
}

impl From<IndexError> for SearchError {
    fn from(error: IndexError) -> Self {
        let class = match &error {
            _ if error.passes() => return SearchError::Away(error.to_string()),
            IndexError::NoCollection(_) | IndexError::Name(_) => ErrorClass::UnknownCollection,
            IndexError::Corrupt { .. } => ErrorClass::Operator,
            _ => ErrorClass::Value,
        };
        SearchError::Refused(Rejection::new(class, error.to_string()))
    }
}

impl Operator for Searcher {
    type Out = Json<SearchAnswer>;

    fn name(&self) -> &'static str {
        "search"
    }

    fn advice_on_size(&self) -> &'static str {
        SMALLER
    }

    async fn process(&self, batch: &Batch) -> Result<Vec<Outcome<Json<SearchAnswer>>>, OperatorError> {
        let requests = requests_of(batch).map_err(OperatorError::fatal)?;
        let embedded = self.embed(&requests)?;
        let mut snapshots = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(requests.len());
        for (request, embedded) in requests.into_iter().zip(embedded) {
            outcomes.push(match self.in_its_form(&mut snapshots, &request, embedded) {
                Ok(answer) => Outcome::Emit(Json(answer)),
                Err(SearchError::Refused(rejection)) => Outcome::Reject(rejection),
                Err(SearchError::Away(message)) => return Err(later(message)),
            });
        }
        Ok(outcomes)
    }
}

impl Searcher {
    /// Answers one request; where it wants distances, the scores are these.
    pub fn answer(&self, request: &SearchRequest) -> Result<SearchReply, SearchError> {
        let embedded = self.embed(std::slice::from_ref(request));
        let embedded = embedded.map_err(|error| SearchError::Away(error.to_string()))?;
        let embedded = embedded.into_iter().next().unwrap_or_default();
        let snapshot = self.snapshot(&mut BTreeMap::new(), request)?;
        self.answer_from(&snapshot, request, embedded)
    }

    /// The vectors of each request's questions; none where words alone are asked for.
    fn embed(&self, requests: &[SearchRequest]) -> Result<Vec<Embedded>, OperatorError> {
        let asked = |request: &&SearchRequest| request.decided_by() != SearchMode::Words;
        let texts: Vec<&str> =
            requests.iter().filter(asked).flat_map(|request| request.queries()).map(String::as_str).collect();
        let mut rows = self.vectors(&texts)?.into_iter();
        let of = |request: &SearchRequest| match request.decided_by() {
            SearchMode::Words => Embedded { vectors: vec![Vec::new(); request.queries().len()], notes: Vec::new() },
            mode => self.told(mode, request.queries().iter().zip(rows.by_ref())),
        };
        Ok(requests.iter().map(of).collect())
    }

    fn told<'a>(&self, mode: SearchMode, rows: impl Iterator<Item = (&'a String, Embedding)>) -> Embedded {
        let most = self.encoder.as_ref().map_or(0, |encoder| encoder.max_tokens());
        let mut all = Embedded::default();
        for (question, Embedding { vector, cut }) in rows {
            all.notes.extend(cut.map(|tokens| notes::cut(question, tokens, most, mode)));
            all.vectors.push(vector);
        }
        all
    }

    fn vectors(&self, texts: &[&str]) -> Result<Vec<Embedding>, OperatorError> {
        // Who asks by meaning is refused by the encoder's digest, or its lack.
        let Some(encoder) = &self.encoder else { return Ok(vec![Embedding::default(); texts.len()]) };
        let embedded = encoder.embed(texts, Role::Query);
        let embedded = embedded.map_err(|error| unembedded(&error))?;
        let count = |text: &&str| encoder.tokenizer().count(text, Role::Query);
        let embedding = |(row, text): (usize, &&str)| {
            let cut = embedded.truncated[row].then(|| count(text)).transpose();
            let cut = cut.map_err(|error| OperatorError::fatal(error.to_string()))?;
            Ok(Embedding { vector: embedded.row(row).to_vec(), cut })
        };
        texts.iter().enumerate().map(embedding).collect()
    }

    /// Answers a request as it was asked.
    fn in_its_form(
        &self,
        snapshots: &mut BTreeMap<String, Arc<Snapshot>>,
        request: &SearchRequest,
        embedded: Embedded,
    ) -> Result<SearchAnswer, SearchError> {
        let snapshot = self.snapshot(snapshots, request)?;
        let reply = self.answer_from(&snapshot, request, embedded)?;
        match request.wants_distances() {
            true => Ok(SearchAnswer::Near(near(&snapshot, reply)?)),
            false => Ok(SearchAnswer::Ranked(reply)),
        }
    }

    /// One batch asks one version of each collection.
    fn snapshot(
        &self,
        snapshots: &mut BTreeMap<String, Arc<Snapshot>>,
        request: &SearchRequest,
    ) -> Result<Arc<Snapshot>, SearchError> {
        Ok(match (request.as_of, snapshots.get(&request.collection)) {
            (Some(version), _) => self.collections.reader(&request.collection)?.at(version)?,
            (None, Some(snapshot)) => snapshot.clone(),
            (None, None) => {
                let newest = self.collections.newest(&request.collection)?;
                snapshots.insert(request.collection.clone(), newest.clone());
                newest
            }
        })
    }

    fn answer_from(
        &self,
        snapshot: &Snapshot,
        request: &SearchRequest,
        Embedded { vectors, mut notes }: Embedded,
    ) -> Result<SearchReply, SearchError> {
        self.check_encoder(request, snapshot)?;
        let questions = request.queries().iter().zip(vectors);
        let questions: Vec<_> = questions.map(|(text, vector)| Question { text: text.clone(), vector }).collect();
        let search = self.search_of(request)?;
        let answers = self.answers(snapshot, &search, &questions)?;
        if let Some(filter) = &search.filter {
            notes.extend(notes::notes(snapshot, filter)?);
        }
        // An older version that is asked for by its number stays what it is.
        let older = request.as_of.is_none().then(|| Older::of(snapshot.manifest()).to(request.decided_by()));
        notes.extend(older.and_then(|older| older.told(&request.collection)));
        Ok(SearchReply {
            id: request.id.clone(),
            collection: request.collection.clone(),
            version: snapshot.version(),
            notes,
            answers,
        })
    }

    /// What is found for each question; some of them are looked up at a time, and none any more where the answer is larger
    /// than it may be.
    fn answers(
        &self,
        snapshot: &Snapshot,
        search: &Search,
        questions: &[Question],
    ) -> Result<Vec<Answer>, SearchError> {
        let (mut answers, mut bytes) = (Vec::with_capacity(questions.len()), 0);
        // Which documents count is settled once for all slices.
        let prepared = snapshot.prepare(search)?;
        for some in questions.chunks((HITS_AT_ONCE / search.k.max(1)).max(1)) {
            for (question, found) in some.iter().zip(prepared.ask(some)?) {
                let results = found.into_iter().map(|found| hit(snapshot, found)).collect::<Result<_, _>>()?;
                let answer = Answer { query: question.text.clone(), results };
                bytes += least_bytes(&answer);
                answers.push(answer);
            }
            if bytes > self.answer_bytes {
                return Err(self.too_large(bytes, [answers.len(), questions.len()], search.k));
            }
        }
        Ok(answers)
    }

    fn too_large(&self, bytes: usize, [answered, asked]: [usize; 2], k: usize) -> SearchError {
        let what = format!(
            "its answer has {bytes} bytes and more with {answered} of {asked} questions, each with `k` {k}, and the topic of \
             the results takes {}; {SMALLER}",
            self.answer_bytes
        );
        SearchError::Refused(Rejection::new(ErrorClass::ResultTooLarge, what))
    }

    fn search_of(&self, request: &SearchRequest) -> Result<Search, IndexError> {
        Ok(Search {
            k: request.k,
            mode: match request.decided_by() {
                SearchMode::Hybrid => Mode::Hybrid,
                SearchMode::Dense => Mode::Dense,
                SearchMode::Words => Mode::Words,
            },
            unit: match request.unit {
                SearchUnit::Passage => Unit::Parent,
                SearchUnit::Document => Unit::Document,
            },
            filter: request.filter.as_deref().map(Filter::parse).transpose()?,
            metric: request.wants_distances().then_some(Metric::L2),
            recall: match request.recall {
                None => Recall::Auto,
                Some(recall) if recall >= 1.0 => Recall::Exact,
                Some(recall) => Recall::AtLeast(recall),
            },
            threads: self.threads,
            ..Search::default()
        })
    }

    /// Vectors of two models have nothing to say to each other.
    fn check_encoder(&self, request: &SearchRequest, snapshot: &Snapshot) -> Result<(), SearchError> {
        let settings = snapshot.settings();
        let digest = self.encoder.as_ref().map(|encoder| encoder.digest());
        if request.decided_by() == SearchMode::Words || digest == Some(settings.model_digest.as_str()) {
            return Ok(());
        }
        let what = format!(
            "collection `{}` was embedded by {} ({}), this service has {} ({}): ask by words (mode `words`), set \
             documents.encoder to the collection's, or run `lunapark collections reindex {}`",
            request.collection,
            settings.model,
            settings.model_digest,
            self.collections.settings().model,
            digest.unwrap_or("no encoder"),
            request.collection,
        );
        Err(SearchError::Refused(Rejection::new(ErrorClass::Value, what)))
    }
}

/// What to do where an answer is too large.
const SMALLER: &str = "ask fewer questions in one request, or for a smaller `k`";

/// Bytes that an answer has at least in either form.
fn least_bytes(answer: &Answer) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let hit = |hit: &Hit| hit.document.len() + hit.text.len() + text(&hit.title) + text(&hit.heading) + text(&hit.uri);
    answer.query.len() + answer.results.iter().map(hit).sum::<usize>()
}

/// The answer in ML-AAS's form.
fn near(snapshot: &Snapshot, reply: SearchReply) -> Result<DistanceReply, IndexError> {
    let passage = |hit: Hit| {
        let about = snapshot.about(&hit.document)?;
        Ok(NearPassage::new(hit, about.map(|about| about.metadata).unwrap_or_default()))
    };
    let output = |answer: Answer| {
        let results = answer.results.into_iter().map(passage).collect::<Result<_, IndexError>>()?;
        Ok(SearchOutput { input_text: answer.query, results })
    };
    let search_output = reply.answers.into_iter().map(output).collect::<Result<_, IndexError>>()?;
    let SearchReply { id, collection, version, notes, .. } = reply;
    Ok(DistanceReply { id, collection, version, notes, search_output })
}

fn hit(snapshot: &Snapshot, found: Passage) -> Result<Hit, IndexError> {
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let place = found.child.as_ref().map_or(&found.parent.span, |child| &child.span);
    let page = found.child.as_ref().and_then(|child| child.page).or(found.parent.page);
    let last_page = match page {
        Some(_) => snapshot.last_page(&found.document, found.parent.number, place.end)?,
        None => None,
    };
    Ok(Hit {
        parent: found.parent.number as u32,
        child: found.child.as_ref().map(|child| child.number as u32),
        score: found.score,
        dense: found.dense.map(|scored| scored.score),
        words: found.words.map(|scored| scored.score),
        title: text(found.title),
        heading: text(found.parent.heading),
        page,
        last_page: last_page.filter(|last| page.is_some_and(|page| *last > page)),
        uri: text(found.uri),
        span: [place.start, place.end],
        text: found.parent.text,
        document: found.document,
    })
}
