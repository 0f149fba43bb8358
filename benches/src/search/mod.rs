//! Search by vectors against FAISS: exact in 100,000 vectors, by lists in 1,000,000, and a cold start from S3.

mod data;
mod ours;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use lunapark_index::Recall;
use lunapark_stores::{ArtifactStore, S3Options};
use serde::{Deserialize, Serialize};

use crate::broker::root;
use crate::duel::models::python;
use crate::duel::side::Opponent;
use crate::report::{Bar, Report, Table, median, note, number, ratio};
use data::{DIMENSION, Data, QUESTIONS};
use ours::Ours;

/// Vectors of the two collections.
const SMALL: usize = 100_000;
const LARGE: usize = 1_000_000;
const THREADS: usize = 2;
/// Questions of a batch that is answered at once.
const TOGETHER: usize = 100;
/// Numbers of lists that FAISS is given, the best of which counts.
const LISTS: [usize; 2] = [1024, 4096];

/// Which part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// 100,000 vectors, exact.
    Small,
    /// 1,000,000 vectors, by lists; and a cold start from S3.
    Large,
    /// Makes vectors, collections and FAISS's indexes, and measures nothing.
    Prepare,
}

/// What the measurement takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which part.
    #[arg(value_enum)]
    part: Part,
    /// How often each side is measured, in alternation; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

#[derive(Clone, Serialize)]
struct Request {
    rows: usize,
    index: String,
    /// Lists that are looked into; 0 where there are none.
    probes: usize,
    /// So many times as many candidates are compared in full; 0: none are.
    refine: usize,
    threads: usize,
    together: usize,
    seconds: f64,
}

#[derive(Deserialize)]
struct Reply {
    rate: f64,
    ids: Vec<Vec<i64>>,
}

/// One of the parts.
pub fn run(args: &Args) -> anyhow::Result<Option<Report>> {
    let folder = folder();
    let (small, large) = (|| Data::prepare(&folder, SMALL), || Data::prepare(&folder, LARGE));
    match args.part {
        Part::Small => self::small(args, &small()?).map(Some),
        Part::Large => self::large(args, &large()?).map(Some),
        Part::Prepare => prepare(&small()?, &large()?).map(|()| None),
    }
}

fn folder() -> PathBuf {
    root().join(".servers/duel/search")
}

fn faiss() -> anyhow::Result<Opponent> {
    Opponent::script_with(&python(None)?, "search.py", &folder())
}

fn in_folder() -> anyhow::Result<Arc<ArtifactStore>> {
    let path = folder().join("small");
    let path = path.to_str().context("the folder's name is not UTF-8")?;
    Ok(Arc::new(ArtifactStore::open(path, &S3Options::default())?))
}

/// The S3 server; stopped when dropped.
struct Server {
    options: S3Options,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let output = s3().args(["start", "--dir", "duel", "--port", "auto"]).output().context("deploy/servers/s3")?;
        ensure!(output.status.success(), "the S3 server did not start: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        let value = |name: &str| {
            let line =
                text.lines().find_map(|line| line.trim().strip_prefix("export ").unwrap_or(line).strip_prefix(name));
            line.map(|value| value.trim_start_matches('=').trim_matches('\'').to_owned())
        };
        let options = S3Options {
            endpoint: value("S3_ENDPOINT").with_context(|| format!("no endpoint in {text}"))?,
            region: "us-east-1".into(),
            access_key_id: value("AWS_ACCESS_KEY_ID").unwrap_or_else(|| "test".into()),
            secret_access_key: value("AWS_SECRET_ACCESS_KEY").unwrap_or_else(|| "testtest".into()),
        };
        Ok(Self { options })
    }

    fn open(&self) -> anyhow::Result<Arc<ArtifactStore>> {
        Ok(Arc::new(ArtifactStore::open("s3://lunapark/duel-search", &self.options)?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _status = s3().args(["stop", "--dir", "duel"]).status();
    }
}

fn s3() -> Command {
    Command::new(root().join("deploy/servers/s3"))
}

fn prepare(small: &Data, large: &Data) -> anyhow::Result<()> {
    note("collections");
    ours::build(&in_folder()?, small)?;
    ours::build(&Server::start()?.open()?, large)?;
    let mut faiss = faiss()?;
    for lists in LISTS {
        note(format!("FAISS, {lists} lists"));
        let _built: Reply = faiss.ask(&by_lists(lists, 1))?;
    }
    Ok(())
}

fn by_lists(lists: usize, probes: usize) -> Request {
    let index = format!("ivf{lists}");
    Request { rows: LARGE, index, probes, refine: 0, threads: THREADS, together: QUESTIONS, seconds: 0.0 }
}

/// The part of the exact answers that is among others.
fn recall(exact: &[Vec<u64>], found: &[Vec<u64>]) -> f64 {
    let same = |(exact, found): (&Vec<u64>, &Vec<u64>)| {
        let found: BTreeSet<_> = found.iter().collect();
        exact.iter().filter(|id| found.contains(id)).count() as f64 / exact.len() as f64
    };
    exact.iter().zip(found).map(same).sum::<f64>() / exact.len() as f64
}

impl Reply {
    fn recall(&self, exact: &[Vec<u64>]) -> f64 {
        let ids: Vec<Vec<u64>> = self.ids.iter().map(|ids| ids.iter().map(|&id| id as u64).collect()).collect();
        recall(exact, &ids)
    }
}

/// Rates of both sides in alternation.
struct Contest {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Contest {
    fn run(
        args: &Args,
        faiss: &mut Opponent,
        request: &Request,
        ours: impl Fn() -> anyhow::Result<f64>,
    ) -> anyhow::Result<Self> {
        let mut contest = Self { ours: Vec::new(), theirs: Vec::new() };
        for round in 0..args.rounds {
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    contest.ours.push(ours()?);
                } else {
                    contest.theirs.push(faiss.ask::<Reply>(request).context("FAISS")?.rate);
                }
            }
        }
        Ok(contest)
    }

    /// The median of the rounds' ratios.
    fn ratio(&self) -> f64 {
        median(self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs))
    }

    fn cells(&self, what: String, their: String, recalls: [f64; 2]) -> Vec<String> {
        let spread = |rates: &[f64]| {
            let (low, high) = rates.iter().fold((f64::MAX, 0.0_f64), |(l, h), &rate| (l.min(rate), h.max(rate)));
            format!("{} ({}–{})", number(median(rates.iter().copied())), number(low), number(high))
        };
        note(format!("{what}: {} / {their} {} = {:.2}", spread(&self.ours), spread(&self.theirs), self.ratio()));
        let [ours, theirs] = recalls.map(|recall| format!("{recall:.4}"));
        vec![what, spread(&self.ours), ours, their, spread(&self.theirs), theirs, ratio(self.ratio())]
    }
}

fn table() -> Table {
    Table::new(&["questions", "Lunapark/s", "recall@10", "FAISS", "FAISS/s", "recall@10", "ratio"])
}

fn small(args: &Args, data: &Data) -> anyhow::Result<Report> {
    let store = in_folder()?;
    ours::build(&store, data)?;
    let (ours, mut faiss) = (Ours::open(&store, data)?, faiss()?);
    let exact = ours.found(Recall::Exact, QUESTIONS)?;
    let base = Request {
        rows: SMALL,
        index: "sq8".into(),
        probes: 0,
        refine: 1,
        threads: THREADS,
        together: 1,
        seconds: args.seconds,
    };
    let (mut table, mut bars) = (table(), Vec::new());
    let mut refine = 1;
    let (request, theirs) = loop {
        let request = Request { refine, ..base.clone() };
        let recall = faiss.ask::<Reply>(&Request { seconds: 0.0, together: 1000, ..request.clone() })?.recall(&exact);
        if recall >= 0.999 || refine >= 32 {
            break (request, recall);
        }
        refine *= 2;
    };
    let contest = Contest::run(args, &mut faiss, &request, || ours.rate(Recall::Exact, THREADS, 1, args.seconds))?;
    table.row(contest.cells("one at a time".into(), format!("SQ8, refined from {refine} × 10"), [1.0, theirs]));
    bars.push(Bar::at_least("one at a time, against SQ8 with refinement", contest.ratio(), 1.2));
    let request = Request { index: "flat".into(), refine: 0, together: TOGETHER, ..base };
    let ours = || ours.rate(Recall::Exact, THREADS, TOGETHER, args.seconds);
    let theirs = faiss.ask::<Reply>(&Request { seconds: 0.0, ..request.clone() })?.recall(&exact);
    let contest = Contest::run(args, &mut faiss, &request, ours)?;
    table.row(contest.cells(format!("{TOGETHER} together"), "flat".into(), [1.0, theirs]));
    bars.push(Bar::at_least(format!("{TOGETHER} together, against flat"), contest.ratio(), 4.0));
    let what = format!("Exact search in {SMALL} vectors of {DIMENSION} numbers, two threads.");
    Ok(Report { section: "duel-search-small".into(), what, table, bars, notes: vec![HOW.to_owned(), HELD.to_owned()] })
}

/// How FAISS finds so much with the fewest lists, and how much that is; refined where 8-bit numbers alone do not do.
fn fewest(
    faiss: &mut Opponent,
    exact: &[Vec<u64>],
    lists: usize,
    wanted: f64,
) -> anyhow::Result<Option<(Request, f64)>> {
    for refine in [0, 4] {
        let mut recall = |probes| {
            let reply: Reply = faiss.ask(&Request { refine, ..by_lists(lists, probes) })?;
            anyhow::Ok(reply.recall(exact))
        };
        let (mut low, mut high) = (0, 1);
        while recall(high)? < wanted && high < lists / 8 {
            (low, high) = (high, 2 * high);
        }
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if recall(middle)? >= wanted { high = middle } else { low = middle }
        }
        let reached = recall(high)?;
        if reached >= wanted {
            return Ok(Some((Request { refine, ..by_lists(lists, high) }, reached)));
        }
    }
    Ok(None)
}

/// What must be asked for so that so much is found: the measured recall is what counts, on both sides.
fn asked(ours: &Ours, exact: &[Vec<u64>], wanted: f64) -> anyhow::Result<(f64, f64)> {
    let (mut low, mut high) = (0.05, 0.9995);
    for _ in 0..10 {
        let middle = f64::midpoint(low, high);
        let found = recall(exact, &ours.found(Recall::AtLeast(middle), QUESTIONS)?);
        if found >= wanted { high = middle } else { low = middle }
    }
    Ok((high, recall(exact, &ours.found(Recall::AtLeast(high), QUESTIONS)?)))
}

fn large(args: &Args, data: &Data) -> anyhow::Result<Report> {
    let server = Server::start()?;
    ours::build(&server.open()?, data)?;
    let (ours, mut faiss) = (Ours::open(&server.open()?, data)?, faiss()?);
    let exact = ours.found(Recall::Exact, QUESTIONS)?;
    let usual = recall(&exact, &ours.found(Recall::Auto, QUESTIONS)?);
    note(format!("asked for 0.97 and found {usual:.4}"));
    let (mut table, mut bars) = (table(), Vec::new());
    for wanted in [0.9, 0.97] {
        let (target, found) = asked(&ours, &exact, wanted)?;
        let fewest = LISTS.map(|lists| fewest(&mut faiss, &exact, lists, wanted));
        let fewest = fewest.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        for together in [1, 1000] {
            let mut best: Option<(Contest, String, f64)> = None;
            for (request, theirs) in fewest.iter().flatten() {
                let request = Request { together, seconds: args.seconds, ..request.clone() };
                let rate = || ours.rate(Recall::AtLeast(target), THREADS, together, args.seconds);
                let contest = Contest::run(args, &mut faiss, &request, rate)?;
                if best.as_ref().is_none_or(|(before, ..)| contest.ratio() < before.ratio()) {
                    let refined = if request.refine > 0 { ", refined" } else { "" };
                    best =
                        Some((contest, format!("{}, SQ8{refined}, {} lists", request.index, request.probes), *theirs));
                }
            }
            let how = if together == 1 { "one at a time".to_owned() } else { format!("{together} together") };
            let (contest, name, theirs) = best.context("FAISS does not find so much")?;
            table.row(contest.cells(format!("{how}, recall {wanted}"), name, [found, theirs]));
            bars.push(Bar::at_least(format!("{how}, at recall {wanted}"), contest.ratio(), 1.0));
        }
    }
    let (held, resident) = (ours.vector_bytes() as f64 / (LARGE * DIMENSION * 4) as f64, resident()?);
    drop(ours);
    let cold = cold(args, &server, data)?;
    bars.push(Bar::at_least("measured recall@10 where 0.97 is asked for", usual, 0.97));
    bars.push(
        Bar::at_most("cold start from S3 to the first answer", median(cold.iter().map(|c| c.0)), 3.0).in_unit(" s"),
    );
    bars.push(Bar::at_most("vectors, codes and lists in memory / bytes of the vectors", held, 1.3));
    let what = format!("Search in {LARGE} vectors of {DIMENSION} numbers sorted into lists, two threads.");
    let tenth = median(cold.iter().map(|cold| cold.1));
    let notes = vec![
        HOW.to_owned(),
        HELD.to_owned(),
        format!(
            "FAISS gets {LISTS:?} lists, made from 64 points each (`max_points_per_centroid`; its default of 256 would train \
         four times as long, and Lunapark makes its own from as many), of which the faster one stands here, and as few lists \
         looked into as reach the recall. A cold start opens the store, the newest version and the tables that a search by vectors needs; the server and its files \
         are on the same machine, in the page cache. The nine answers after the first one took {tenth:.2} s together. The whole \
         process had {:.2} GB in memory after the contests, with documents, places and texts.",
            resident / 1e9
        ),
    ];
    Ok(Report { section: "duel-search-large".into(), what, table, bars, notes })
}

fn cold(args: &Args, server: &Server, data: &Data) -> anyhow::Result<Vec<(f64, f64)>> {
    let all = (0..args.rounds).map(|_| {
        let (first, others) = ours::cold(|| server.open(), data)?;
        note(format!("cold: first answer after {first:.2} s, nine more {others:.2} s"));
        Ok((first, others))
    });
    all.collect()
}

/// Bytes of this process in memory.
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? * 1024.0)
}

/// What a reader must know of both parts.
const HOW: &str = "Medians of the rounds and, in brackets, the lowest and highest, the sides in alternation; the ratio is the \
    median of the rounds' ratios. Questions are drawn as the vectors are: 250 vectors a topic on average, each topic spread over \
    16 of 256 directions. Lunapark's figure holds everything from the vector to ten documents with text, title and exact scores; \
    FAISS gives ten numbers. Recall@10 is that of the 1,000 questions, against the exact search.";
/// What is best about the collection: others have several segments, and a cache that may be smaller than they are.
const HELD: &str = "Lunapark's collection is one segment, as `collections compact --whole` leaves it, and all of it stays in a cache of \
    8 GiB (`search.cache_bytes` is 2 GiB unless one says otherwise); FAISS's indexes are in memory as well.";
