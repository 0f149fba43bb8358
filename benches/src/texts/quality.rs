//! How good the answers are: Cranfield's questions, beside the same model's exact search and `rank_bm25`.

use std::collections::HashMap;
use std::path::Path;

use lunapark_embed::{PrecisionChoice, Role};
use lunapark_index::metrics::{mean, ndcg, rank, recall, reciprocal_rank};
use lunapark_index::{Document, Fusion, Mode, Question, Search, Snapshot, Unit, question_words};

use super::cranfield::Cranfield;
use super::service::{Place, children, documents};
use super::{Ask, Done, Places, load, load_bf16, product, read_f32, rivals, write_json};
use crate::bench::free_port;
use crate::duel::side::Opponent;
use crate::memory::wait_ready;
use crate::process::build_scorer;
use crate::report::{Bar, Report, Table, note, ratio};

/// Documents of one answer: what recall@100 looks at.
const DEPTH: usize = 100;
/// What is tried on the odd questions: how little the first ranks stand out, and the weight of words beside vectors' 1.
const RANKS: [f64; 4] = [10.0, 30.0, 60.0, 100.0];
const WORDS: [f64; 6] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0];

/// What the measurement takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    places: Places,
}

/// A ranking of documents for each question.
type Rankings = Vec<Vec<String>>;

/// Builds the collection through the service, then asks.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    build_scorer()?;
    let encoder = args.places.encoder()?;
    let cranfield = Cranfield::read(&args.places.cranfield())?;
    let port = free_port()?;
    let place = Place::new(&encoder, None, port)?;
    note("indexing");
    let mut running = place.start()?;
    // Before it owns the log, the command would.
    wait_ready(port, &mut running)?;
    place.ingest(&cranfield, &["--wait"])?;
    drop(running);
    let snapshot = place.snapshot()?;
    let questions = questions(&encoder, &cranfield)?;
    let ours = |mode| ask(&snapshot, mode, Fusion::default(), &questions);
    let (dense, words, hybrid) = (ours(Mode::Dense)?, ours(Mode::Words)?, ours(Mode::Hybrid)?);
    let fusion = tuned(&snapshot, &cranfield, &questions)?;
    let tuned = ask(&snapshot, Mode::Hybrid, fusion, &questions)?;
    let documents = documents(&snapshot)?;
    let mut other = rivals()?;
    let asked: Vec<&str> = cranfield.questions.iter().map(|(_, text)| text.as_str()).collect();
    let paired = load_bf16(&encoder, 2)?
        .map(|encoder| exact(&documents, &asked, |texts, role| Ok(encoder.embed(texts, role)?.values)))
        .transpose()?;
    let theirs = [
        exact(&documents, &asked, |texts, _| torch(&mut other, &place, &encoder, texts))?,
        bm25(&mut other, &place, &documents, &cranfield)?,
    ];
    Ok(report(&cranfield, &documents, &Answers { dense, words, hybrid, tuned, fusion, paired, theirs }))
}

/// All rankings.
struct Answers {
    dense: Rankings,
    words: Rankings,
    hybrid: Rankings,
    tuned: Rankings,
    fusion: Fusion,
    /// By vectors in bfloat16, where the CPU has it.
    paired: Option<Rankings>,
    /// Exact search with torch's vectors, and `rank_bm25`.
    theirs: [Rankings; 2],
}

fn questions(encoder: &Path, cranfield: &Cranfield) -> anyhow::Result<Vec<Question>> {
    let texts: Vec<&str> = cranfield.questions.iter().map(|(_, text)| text.as_str()).collect();
    let vectors = load(encoder, 2, PrecisionChoice::F32)?.embed(&texts, Role::Query)?;
    let question =
        |(row, text): (usize, &&str)| Question { text: (*text).to_owned(), vector: vectors.row(row).to_vec() };
    Ok(texts.iter().enumerate().map(question).collect())
}

fn ask(snapshot: &Snapshot, mode: Mode, fusion: Fusion, questions: &[Question]) -> anyhow::Result<Rankings> {
    let search = Search { k: DEPTH, mode, unit: Unit::Document, fusion, threads: 2, ..Search::default() };
    let answers = snapshot.search(&search, questions)?;
    Ok(answers.into_iter().map(|hits| hits.into_iter().map(|hit| hit.document).collect()).collect())
}

/// What is best on the odd questions.
fn tuned(snapshot: &Snapshot, cranfield: &Cranfield, questions: &[Question]) -> anyhow::Result<Fusion> {
    let mut best = (f64::NEG_INFINITY, Fusion::default());
    for (k, words) in RANKS.into_iter().flat_map(|k| WORDS.map(|words| (k, words))) {
        let fusion = Fusion { k, words, ..Fusion::default() };
        let found = figures(cranfield, &ask(snapshot, Mode::Hybrid, fusion, questions)?, |number| number % 2 == 1)[0];
        if found > best.0 {
            best = (found, fusion);
        }
    }
    note(format!("tuned on the odd questions: {:?}", best.1));
    Ok(best.1)
}

/// Every child compared with every question, in double precision, by these vectors.
fn exact(
    documents: &[Document],
    asked: &[&str],
    mut vectors: impl FnMut(&[&str], Role) -> anyhow::Result<Vec<f32>>,
) -> anyhow::Result<Rankings> {
    let mut owners = Vec::new();
    let mut texts = Vec::new();
    for document in documents {
        let children = children(document);
        owners.extend(children.iter().map(|_| document.id.as_str()));
        texts.extend(children);
    }
    let (passages, questions) = (vectors(&texts, Role::Passage)?, vectors(asked, Role::Query)?);
    let width = questions.len() / asked.len();
    let scores = |question: &[f32]| passages.chunks(width).map(|passage| product(question, passage)).collect();
    Ok(questions.chunks(width).map(|question| best_of_each(&owners, scores(question))).collect())
}

fn torch(other: &mut Opponent, place: &Place, encoder: &Path, texts: &[&str]) -> anyhow::Result<Vec<f32>> {
    let (file, vectors) = (place.path("texts.json"), place.path("vectors.f32"));
    write_json(&file, &texts)?;
    other.ask::<Done>(&Ask::Embed { runtime: "torch", encoder, threads: 2, texts: &file, vectors: &vectors })?;
    read_f32(&vectors)
}

/// `rank_bm25`'s scores of the same parents, cut into the same words.
fn bm25(
    other: &mut Opponent,
    place: &Place,
    documents: &[Document],
    cranfield: &Cranfield,
) -> anyhow::Result<Rankings> {
    let parents =
        || documents.iter().flat_map(|document| document.parents.iter().map(move |parent| (document, parent)));
    let owners: Vec<&str> = parents().map(|(document, _)| document.id.as_str()).collect();
    let words: Vec<Vec<String>> = parents().map(|(_, parent)| question_words(&parent.text)).collect();
    let asked: Vec<Vec<String>> = cranfield.questions.iter().map(|(_, text)| question_words(text)).collect();
    let [passages, questions, scores] = ["passages.json", "questions.json", "scores.f64"].map(|name| place.path(name));
    write_json(&passages, &words)?;
    write_json(&questions, &asked)?;
    other.ask::<Done>(&Ask::Bm25 { passages: &passages, questions: &questions, scores: &scores })?;
    let bytes = std::fs::read(&scores)?;
    let all: Vec<f64> = bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    anyhow::ensure!(all.len() == owners.len() * asked.len(), "{} scores", all.len());
    Ok(all.chunks(owners.len()).map(|scores| best_of_each(&owners, scores.to_vec())).collect())
}

/// Documents by their best passage.
fn best_of_each(owners: &[&str], scores: Vec<f64>) -> Vec<String> {
    let mut best = HashMap::<&str, f64>::new();
    for (owner, score) in owners.iter().zip(scores) {
        let held = best.entry(owner).or_insert(f64::NEG_INFINITY);
        *held = held.max(score);
    }
    let scored: Vec<(String, f64)> = best.into_iter().map(|(owner, score)| (owner.to_owned(), score)).collect();
    rank(&scored).into_iter().take(DEPTH).collect()
}

/// nDCG@10, recall@100 and MRR over the chosen questions.
fn figures(cranfield: &Cranfield, rankings: &Rankings, chosen: impl Fn(u32) -> bool) -> [f64; 3] {
    let all = cranfield.questions.iter().zip(rankings).filter(|((number, _), _)| chosen(*number));
    let of = |((number, _), ranking): (&(u32, String), &Vec<String>)| {
        let judged = cranfield.judgements(*number);
        [ndcg(ranking, judged, 10), recall(ranking, judged, DEPTH), reciprocal_rank(ranking, judged)]
    };
    let all: Vec<[f64; 3]> = all.map(of).collect();
    [0, 1, 2].map(|figure| mean(&all.iter().map(|figures| figures[figure]).collect::<Vec<_>>()))
}

fn report(cranfield: &Cranfield, documents: &[Document], answers: &Answers) -> Report {
    let mut table = Table::new(&["search", "questions", "nDCG@10", "recall@100", "MRR"]);
    let mut row = |name: &str, rankings: &Rankings, which: &str| {
        let even = which == "even";
        let found = figures(cranfield, rankings, |number| !even || number % 2 == 0);
        table.row([name, which].map(str::to_owned).into_iter().chain(found.map(ratio)).collect());
        found[0]
    };
    let dense = row("dense", &answers.dense, "all");
    let exact = row("torch's vectors of the same passages, exact", &answers.theirs[0], "all");
    let paired = answers.paired.as_ref().map(|paired| row("dense, vectors in bf16", paired, "all"));
    let words = row("words", &answers.words, "all");
    let okapi = row("rank_bm25's BM25Okapi on the same words", &answers.theirs[1], "all");
    row("hybrid, as it is by default", &answers.hybrid, "all");
    let dense_even = row("dense", &answers.dense, "even");
    let words_even = row("words", &answers.words, "even");
    let default = row("hybrid, as it is by default", &answers.hybrid, "even");
    let tuned = row("hybrid, tuned on the odd questions", &answers.tuned, "even");
    let best = dense_even.max(words_even);
    let children: usize = documents.iter().flat_map(|document| &document.parents).map(|p| p.children.len()).sum();
    let mut bars = vec![
        Bar::at_least("dense, nDCG@10, less the exact search's", dense - exact, -0.002),
        Bar::at_least("words, nDCG@10, less rank_bm25's", words - okapi, 0.0),
        Bar::at_least("hybrid by default on the even questions, less the better of the two", default - best, 0.0),
        Bar::at_least("hybrid tuned on the odd, on the even ones, less the better of the two", tuned - best, 0.0),
    ];
    bars.extend(paired.map(|paired| Bar::at_most("bf16, nDCG@10, apart from f32's", (paired - exact).abs(), 0.002)));
    Report {
        section: "quality".to_owned(),
        what: format!(
            "Cranfield: {} documents in {children} passages, {} questions, all-MiniLM-L6-v2; a document once, by its best \
             passage; gain = 5 − grade.",
            documents.len(),
            cranfield.questions.len()
        ),
        table,
        bars,
        notes: vec![
            format!(
                "Tuned: rank constant {}, words weigh {} and vectors 1. The default (60, 1 and 1) was chosen on no collection.",
                answers.fusion.k, answers.fusion.words
            ),
            "Computed by `lunapark_index::metrics`, trec_eval's conventions; the collection was built by the service from \
             records on its log."
                .to_owned(),
        ],
    }
}
