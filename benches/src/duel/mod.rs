//! Lunapark's models against the runtimes that people would have picked, on the same model files.
//!
//! Each side is a process of its own with one thread that answers the same requests: score this model's rows in batches
//! of so many, for so long, and say how many rows a second of CPU time scored.

mod layouts;
mod models;
mod networks;
mod peak;
mod perceptrons;
pub mod side;
mod trees;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::report::{Bar, Report, Table, median, note, number};
use models::Folder;
use side::Opponent;

/// Rows per call.
const BATCHES: [usize; 4] = [1, 32, 256, 8192];
/// How far answers may be apart: what rounding in another order makes of 2,000 trees.
const TOLERANCE: f64 = 1e-4;

/// What the duels take.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How often each side is measured, in alternation; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Milliseconds of CPU time of one measurement.
    #[arg(long, default_value_t = 150)]
    millis: u64,
    /// Only the models whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// What a side is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    model: String,
    runtime: String,
    width: usize,
    batch: usize,
    millis: u64,
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Rows per second of CPU time.
    rate: f64,
    /// Of the first rows, one after the other.
    answers: Vec<f64>,
}

/// A side by name, as a column of the table.
struct Side {
    name: &'static str,
    runtime: &'static str,
    opponent: Opponent,
}

/// The median rate of each side for one model and batch.
fn contest(args: &Args, sides: &mut [Side], model: &str, width: usize, batch: usize) -> anyhow::Result<Vec<f64>> {
    let mut rates = vec![Vec::new(); sides.len()];
    let mut first: Option<Vec<f64>> = None;
    for round in 0..args.rounds as usize {
        for turn in 0..sides.len() {
            let index = (turn + round) % sides.len();
            let side = &mut sides[index];
            let (model, runtime) = (model.to_owned(), side.runtime.to_owned());
            let request = Request { model, runtime, width, batch, millis: args.millis };
            let reply = side.opponent.ask(&request).with_context(|| side.name)?;
            let expected = first.get_or_insert_with(|| reply.answers.clone());
            check(expected, &reply.answers).with_context(|| format!("{} on {}", side.name, request.model))?;
            rates[index].push(reply.rate);
        }
    }
    Ok(rates.into_iter().map(median).collect())
}

/// All sides must give the same answers.
fn check(expected: &[f64], answers: &[f64]) -> anyhow::Result<()> {
    let pairs = expected.iter().zip(answers);
    let apart = pairs.map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f64::max);
    let count = (expected.len(), answers.len());
    ensure!(count.0 == count.1 && apart <= TOLERANCE, "the answers are {apart:e} apart, {count:?} of them");
    Ok(())
}

/// The trees' duel.
pub fn trees(args: &Args) -> anyhow::Result<Report> {
    trees::run(args, &Folder::prepare("trees")?)
}

/// Lunapark's tree layouts among themselves.
pub fn layouts(args: &Args) -> anyhow::Result<Report> {
    layouts::run(args, &Folder::prepare("trees")?)
}

/// The perceptrons' duel.
pub fn perceptrons(args: &Args) -> anyhow::Result<Report> {
    perceptrons::run(args, &Folder::prepare("perceptrons")?)
}

/// The networks' duel.
pub fn networks(args: &Args) -> anyhow::Result<Report> {
    networks::run(args, &Folder::prepare("networks")?)
}

/// Cells of a rate and its ratio.
fn cells(rates: &[f64]) -> Vec<String> {
    rates.iter().map(|&rate| number(rate)).collect()
}

fn report(section: &str, what: String, table: Table, bars: Vec<Bar>, notes: &[&str]) -> Report {
    let notes = notes.iter().map(|&text| text.to_owned()).collect();
    note(format!("{section}: {} bars of {} met", bars.iter().filter(|bar| bar.met()).count(), bars.len()));
    Report { section: section.to_owned(), what, table, bars, notes }
}

/// What a reader must know of all duels.
const HOW: &str = "Rows per second of one thread's CPU time, median of the rounds, the sides in alternation. Each side \
    walks through 8,192 different rows in batches; the other sides are called from Python as their users do, with \
    prepared arrays, and their thread pools have one thread. Lunapark is called through `Model::infer` with prepared \
    Arrow batches. The answers of all sides are compared.";
