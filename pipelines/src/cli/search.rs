//! `lunapark search`: questions to a collection, from the terminal.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use lunapark_index::{find_words, list, question_words};
use lunapark_knowledge::search::{SearchError, Searcher};
use lunapark_schemas::search::{Hit, MAX_QUERIES, SearchMode, SearchReply, SearchRequest, SearchUnit, Texts};
use lunapark_schemas::{ErrorClass, Rejection};
use serde::{Deserialize, Serialize};

use super::collections::{missing, with_names};
use super::output::{self, Output, counted};
use crate::config::Config;
use crate::knowledge::{self, KnowledgeError, Library};

/// How many are found where nobody says so: for people, and for who measures the recall of a hundred.
const SHOWN_OF_ONE: usize = 5;
const SHOWN_OF_MANY: usize = 10;
const FOR_A_PROGRAM: usize = 100;
/// Characters of a passage that are shown around what was found.
const SHOWN: usize = 480;

/// Searches a collection
///
/// By meaning and by words at once (hybrid), unless --mode says otherwise; by words alone it needs no text encoder. Reads
/// the collection from the store of artifacts ([store]); no service need run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark search \"how is boundary layer transition delayed\"\n  \
                        lunapark search \"flutter\" -c papers --filter \"year >= 1960\" --k 3 --explain\n  \
                        lunapark search -c papers --queries questions.ndjson --json > answers.ndjson")]
pub struct Args {
    /// The question
    #[arg(required_unless_present = "queries", conflicts_with = "queries")]
    question: Option<String>,
    /// Collection; where there is only one, it need not be named
    #[arg(long, short, value_parser = super::ingest::collection)]
    collection: Option<String>,
    /// Passages to show; without it 5, with --queries 10, and 100 with --queries --json
    #[arg(long, short)]
    k: Option<usize>,
    /// Which documents count, for example "year >= 1960 AND author LIKE 'R. %'"
    #[arg(long)]
    filter: Option<String>,
    /// hybrid, dense or words
    #[arg(long, value_enum, default_value = "hybrid")]
    mode: Mode,
    /// Each document once, by its best passage
    #[arg(long)]
    documents: bool,
    /// The collection as it was at this version
    #[arg(long, value_name = "VERSION")]
    as_of: Option<u64>,
    /// What part of the ten nearest vectors must be found; where it is not given, large collections find 0.97
    #[arg(long, value_name = "0..1", conflicts_with = "exact")]
    recall: Option<f64>,
    /// Compare all vectors with the question, however many there are
    #[arg(long)]
    exact: bool,
    /// Show how each score came about
    #[arg(long)]
    explain: bool,
    /// File of questions, one JSON object with id and text per line; each document counts once
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
}

/// What decides how well a passage fits.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mode {
    Hybrid,
    Dense,
    Words,
}

impl From<Mode> for SearchMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Hybrid => SearchMode::Hybrid,
            Mode::Dense => SearchMode::Dense,
            Mode::Words => SearchMode::Words,
        }
    }
}

/// Runs the command.
pub fn run(config: &Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let collection = match &args.collection {
        Some(name) => name.clone(),
        None => the_only_one(config)?,
    };
    let search = Asking { args, searcher: searcher(config, args, &collection)?, collection };
    output::on_stdout(json, |out| match &args.queries {
        Some(file) => search.many(file, out),
        None => search.one(out),
    })
}

fn the_only_one(config: &Config) -> anyhow::Result<String> {
    let names = knowledge::store_if_made(config)?.map(|store| list(&store)).transpose()?.unwrap_or_default();
    match &names[..] {
        [name] => Ok(name.clone()),
        [] => bail!("there is no collection yet: `lunapark ingest` makes one"),
        _ => bail!("name one of the collections with --collection: {}", names.join(", ")),
    }
}

/// Words need no encoder, wherever it is.
fn searcher(config: &Config, args: &Args, collection: &str) -> anyhow::Result<Searcher> {
    if !matches!(args.mode, Mode::Words) {
        return match Library::open(config) {
            Ok(library) => Ok(library.searcher()),
            Err(error @ KnowledgeError::Encoder { .. }) => bail!("{error}. --mode words searches without an encoder"),
            Err(error) => Err(error.into()),
        };
    }
    let store = Arc::new(knowledge::store(config)?);
    let searcher = knowledge::searcher_of_words(store.clone(), config, collection);
    searcher.map_err(|error| with_names(&store, error.into()))
}

/// Who answers, of which collection, and how that is asked for.
struct Asking<'a> {
    args: &'a Args,
    searcher: Searcher,
    collection: String,
}

impl Asking<'_> {
    fn ask(&self, texts: Texts, unit: SearchUnit, k: usize) -> anyhow::Result<SearchReply> {
        let args = self.args;
        let request = SearchRequest {
            id: None,
            collection: self.collection.clone(),
            query: Some(texts),
            search_input: None,
            k: args.k.unwrap_or(k),
            mode: args.mode.into(),
            unit,
            filter: args.filter.clone(),
            as_of: args.as_of,
            recall: if args.exact { Some(1.0) } else { args.recall },
        };
        request.check().map_err(anyhow::Error::msg)?;
        self.searcher.answer(&request).map_err(|error| match &error {
            SearchError::Refused(Rejection { class: ErrorClass::UnknownCollection, .. }) => {
                missing(self.searcher.collections.store(), &self.collection).unwrap_or(error.into())
            }
            _ => error.into(),
        })
    }

    fn one(&self, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
        let args = self.args;
        let question = args.question.clone().unwrap_or_default();
        let unit = if args.documents { SearchUnit::Document } else { SearchUnit::Passage };
        let reply = self.ask(Texts::One(question.clone()), unit, SHOWN_OF_ONE)?;
        told(&reply.notes);
        if out.json {
            out.document(&reply)?;
            return Ok(ExitCode::SUCCESS);
        }
        let hits = reply.answers.first().map(|answer| &answer.results[..]).unwrap_or_default();
        let words = question_words(&question);
        for (number, hit) in hits.iter().enumerate() {
            passage(out, number + 1, hit, &words, args.explain)?;
        }
        if args.explain && !hits.is_empty() {
            legend(out, args.mode)?;
        }
        let (found, collection) = (counted(hits.len() as u64, "passage"), &reply.collection);
        out.line(format_args!("{found} of {collection}, version {}", reply.version))?;
        Ok(ExitCode::SUCCESS)
    }

    fn many(&self, file: &PathBuf, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
        let queries = read_queries(file)?;
        let mut notes = BTreeSet::new();
        for queries in queries.chunks(MAX_QUERIES) {
            let texts = queries.iter().map(|query| query.text.clone()).collect();
            let k = if out.json { FOR_A_PROGRAM } else { SHOWN_OF_MANY };
            let reply = self.ask(Texts::Many(texts), SearchUnit::Document, k)?;
            for (query, answer) in queries.iter().zip(&reply.answers) {
                match out.json {
                    true => out.json_line(&Answered { id: &query.id, results: &answer.results })?,
                    false => listed(out, query, &answer.results)?,
                }
            }
            notes.extend(reply.notes);
        }
        told(&notes);
        Ok(ExitCode::SUCCESS)
    }
}

fn told<'a>(notes: impl IntoIterator<Item = &'a String>) {
    notes.into_iter().for_each(|note| output::note(format_args!("note: {note}")));
}

/// What the numbers of --explain mean.
fn legend(out: &mut Output<'_>, mode: Mode) -> anyhow::Result<()> {
    let score = match mode {
        Mode::Hybrid => {
            "score    both rankings together, by reciprocal rank fusion: the sum of weighted 1 / (constant + rank)"
        }
        Mode::Dense => "score    the same as dense",
        Mode::Words => "score    the same as words",
    };
    out.line(score)?;
    out.line("dense    likeness of meaning: the collection's metric of the vectors of question and passage, higher is nearer")?;
    out.line("words    BM25 of the question's words in the passage; only to be compared within one question")?;
    out.line("         where one of them is missing, the passage is not among the best of that ranking")?;
    out.line("parent   number of the passage in its document, from 0")?;
    Ok(out.line("bytes    where the best part of the passage lies in the document's extracted text\n")?)
}

/// One passage, with its number, its source and the found words marked.
pub(crate) fn passage(
    out: &mut Output<'_>,
    number: usize,
    hit: &Hit,
    words: &[String],
    explain: bool,
) -> anyhow::Result<()> {
    let bold = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let title = hit.title.as_deref().unwrap_or(&hit.document);
    let place: Vec<String> = [
        Some(hit.document.clone()),
        hit.heading.clone(),
        pages(hit),
        hit.uri.clone().filter(|uri| *uri != hit.document),
    ]
    .into_iter()
    .flatten()
    .collect();
    out.line(format_args!("{number}. {title}"))?;
    out.line(format_args!("   {}", place.join(" · ")))?;
    if explain {
        let score = |name: &str, score: Option<f64>| score.map(|score| format!(", {name} {score:.4}"));
        let parts = [score("dense", hit.dense), score("words (BM25)", hit.words)];
        let parts: String = parts.into_iter().flatten().collect();
        out.line(format_args!(
            "   score {:.5}{parts}; parent {}, bytes {} to {}",
            hit.score, hit.parent, hit.span[0], hit.span[1]
        ))?;
    }
    for line in marked(&hit.text, words, bold).lines().filter(|line| !line.trim().is_empty()) {
        out.line(format_args!("   {}", line.trim()))?;
    }
    out.line("")?;
    Ok(())
}

/// `page 3`, or `pages 3–4`.
fn pages(hit: &Hit) -> Option<String> {
    let page = hit.page?;
    Some(match hit.last_page {
        Some(last) => format!("pages {page}–{last}"),
        None => format!("page {page}"),
    })
}

/// The part of the text with the first found words, these marked.
fn marked(text: &str, words: &[String], bold: bool) -> String {
    let found = find_words(text, words);
    let range = shown(text, found.first().map_or(0, |range| range.start));
    let (on, off) = if bold { ("\u{1b}[1m", "\u{1b}[0m") } else { ("*", "*") };
    let mut marked = String::from(if range.start > 0 { "… " } else { "" });
    let mut at = range.start;
    for word in found.iter().filter(|word| word.start >= range.start && word.end <= range.end) {
        marked += &text[at..word.start];
        marked += on;
        marked += &text[word.clone()];
        marked += off;
        at = word.end;
    }
    marked += &text[at..range.end];
    marked + if range.end < text.len() { " …" } else { "" }
}

/// So much of a text that a byte is in it, between whole characters.
fn shown(text: &str, around: usize) -> Range<usize> {
    let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = if text.len() <= SHOWN { 0 } else { floor(around.saturating_sub(SHOWN / 4)) };
    start..floor(start + SHOWN)
}

#[derive(Debug, Deserialize)]
struct Query {
    id: Id,
    text: String,
}

/// Collections of questions number them, or name them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

#[derive(Debug, Serialize)]
struct Answered<'a> {
    id: &'a Id,
    results: &'a [Hit],
}

fn listed(out: &mut Output<'_>, query: &Query, hits: &[Hit]) -> anyhow::Result<()> {
    out.line(&query.text)?;
    for (number, hit) in hits.iter().enumerate() {
        let title = hit.title.as_deref().unwrap_or_default();
        out.line(format_args!("  {}. {} {title} ({:.4})", number + 1, hit.document, hit.score))?;
    }
    Ok(out.line("")?)
}

fn read_queries(path: &PathBuf) -> anyhow::Result<Vec<Query>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut queries = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if !line.trim().is_empty() {
            let query = serde_json::from_str(&line);
            queries.push(query.with_context(|| format!("{}, line {}", path.display(), number + 1))?);
        }
    }
    if queries.is_empty() {
        bail!("{} has no questions: write {{\"id\": …, \"text\": …}}, one per line", path.display());
    }
    Ok(queries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_were_found_are_marked() {
        let text = "Flutter of wings. ".repeat(3) + &"è tutto qui. ".repeat(80) + "The boundary layer.";
        let words = question_words("the Boundary layer");
        let shown = marked(&text, &words, false);
        assert!(shown.starts_with("… ") && shown.ends_with("*The* *boundary* *layer*."), "{shown}");
        assert_eq!(marked("no such thing", &words, false), "no such thing");
        assert!(marked(&"è".repeat(2000), &words, true).len() < 1000);
    }
}
