//! Training: samples a second of Lunapark and of torch, on the same network and table size, in alternation.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use lunapark_schemas::training::TrainingRequest;
use lunapark_tables::{Kind, ReadOptions, Table, TableWriter};
use lunapark_train::{Job, Perceptrons, Tables, Trainer};
use serde::{Deserialize, Serialize};

use crate::duel::models::python;
use crate::duel::side::Opponent;
use crate::report::{self, Bar, Report, median, note, number, ratio};

/// Features, and rows of the table.
const FEATURES: usize = 28;
const ROWS: usize = 1 << 16;
/// Batch, threads and what must at least be reached: torch's own speed on a quiet machine of two cores.
const CASES: [(u32, usize, Option<f64>); 4] =
    [(1024, 2, Some(1.24e6)), (1024, 1, None), (256, 2, Some(0.54e6)), (256, 1, None)];

/// Rows and epochs of the whole job: the epochs are a request's default.
const LONG_ROWS: usize = 1 << 20;
const LONG_EPOCHS: u32 = 20;

/// What the measurement takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How often each side is measured, in alternation; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

#[derive(Serialize)]
struct Request {
    batch: u32,
    threads: usize,
    seconds: f64,
}

#[derive(Deserialize)]
struct Reply {
    rate: f64,
}

/// Every batch size and number of threads.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let mut torch = Opponent::script(&python(Some("train"))?, "train.py")?;
    let rows = table()?;
    let mut table = report::Table::new(&["batch", "threads", "Lunapark, samples/s", "torch, samples/s", "ratio"]);
    let mut bars = Vec::new();
    for (batch, threads, floor) in CASES {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            ours.push(lunapark(&rows, batch, threads, args.seconds)?);
            let request = Request { batch, threads, seconds: args.seconds };
            theirs.push(torch.ask::<Reply>(&request).context("torch")?.rate);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        note(format!("batch {batch}, {threads} threads: {ours:.0} torch {theirs:.0} ratio {:.2}", ours / theirs));
        let cells = [batch.to_string(), threads.to_string(), number(ours), number(theirs), ratio(ours / theirs)];
        table.row(cells.to_vec());
        bars.push(Bar::at_least(format!("batch {batch}, {threads} threads, against torch"), ours / theirs, 1.0));
        let floor = floor.map(|floor| Bar::at_least(format!("batch {batch}, samples/s"), ours / 1e6, floor / 1e6));
        bars.extend(floor.map(|bar| bar.in_unit(" M")));
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("table.parquet");
    write_long(&file)?;
    let jobs = (0..args.rounds).map(|_| long_job(&file)).collect::<anyhow::Result<Vec<_>>>()?;
    let [read, prepared, busy] = [0, 1, 2].map(|figure| median(jobs.iter().map(|job| job[figure])));
    note(format!("reading {read:.2} s, preparing {prepared:.2} s, busy {busy:.3}"));
    bars.push(Bar::at_least("share of a job's time in its steps, 1,048,576 rows of Parquet, 20 epochs", busy, 0.95));
    let what = "Rows trained per second of wall time, perceptron 28-128-64-1, AdamW, 65,536 rows in memory.".to_owned();
    let notes = vec![
        "Lunapark's figure holds everything of a job's slices: order, steps, the judgement after each epoch. torch: its \
         fused AdamW, eager, rows picked by index as a shuffled tensor is."
            .to_owned(),
        format!(
            "A job reads its table before the first step and nothing later: before the {LONG_EPOCHS} epochs on {LONG_ROWS} \
             rows (batch 1024, two threads), reading the Parquet file (from the page cache) took {read:.2} s, checks, split \
             and standardisation {prepared:.2} s; both count as not busy. Medians of {} jobs.",
            args.rounds
        ),
    ];
    Ok(Report { section: "train".to_owned(), what, table, bars, notes })
}

/// The table as often as the whole job has rows, as a file.
fn write_long(file: &Path) -> anyhow::Result<()> {
    let rows = table()?;
    let mut writer = TableWriter::create(file, Kind::Parquet, &rows.schema(), false)?;
    for _ in 0..LONG_ROWS / ROWS {
        writer.write(&rows)?;
    }
    Ok(writer.finish()?)
}

/// Seconds of reading and of preparing before the first step, and the share that the epochs have of a job from opening its
/// file to its model.
fn long_job(file: &Path) -> anyhow::Result<[f64; 3]> {
    let request = request(1024, LONG_EPOCHS)?;
    let began = Instant::now();
    let batches = read(file)?;
    let read = began.elapsed();
    let tables = Tables::from_batches(&batches, &request)?;
    drop(batches);
    let mut job: Box<dyn Job> =
        Perceptrons { threads: Some(2), ..Perceptrons::default() }.start(&request, tables, None)?;
    let started = Instant::now();
    while !job.step(Duration::from_secs(1))?.done {}
    let steps = started.elapsed().as_secs_f64();
    job.finish()?;
    let prepared = started - began - read;
    Ok([read.as_secs_f64(), prepared.as_secs_f64(), steps / began.elapsed().as_secs_f64()])
}

/// As a worker reads a data set.
fn read(file: &Path) -> anyhow::Result<Vec<RecordBatch>> {
    let table = Table::open(file, ReadOptions::default())?;
    let columns: Vec<usize> = (0..table.schema().fields().len()).collect();
    Ok(table.batches(&columns, &[])?.collect::<Result<_, _>>()?)
}

/// Noise with a label that the network can learn.
pub fn table() -> anyhow::Result<RecordBatch> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let columns: Vec<Vec<f32>> = (0..FEATURES).map(|_| (0..ROWS).map(|_| next()).collect()).collect();
    let label = (0..ROWS).map(|row| f32::from(u8::from(columns[0][row] * columns[1][row] > 0.0)));
    let label = std::iter::once(("label".to_owned(), label.collect()));
    let named = columns.into_iter().enumerate().map(|(index, values)| (format!("x{index}"), values));
    let array =
        |(name, values): (String, Vec<f32>)| (name, std::sync::Arc::new(Float32Array::from(values)) as ArrayRef);
    Ok(RecordBatch::try_from_iter(named.chain(label).map(array))?)
}

pub fn request(batch: u32, epochs: u32) -> anyhow::Result<TrainingRequest> {
    Ok(serde_json::from_value(serde_json::json!({
        "model": { "objective": "classification", "name": "duel", "architecture": { "hidden": [128, 64] } },
        "model_train": { "epochs": epochs, "batch_size": batch },
        "dataset": { "path": "-", "label": "label", "train_test_split": 0.001 }
    }))?)
}

fn lunapark(rows: &RecordBatch, batch: u32, threads: usize, seconds: f64) -> anyhow::Result<f64> {
    let trainer = Perceptrons { threads: Some(threads), ..Perceptrons::default() };
    rate(&trainer, &request(batch, 100_000)?, rows, seconds)
}

/// Samples a second of a trainer, once it is warm.
pub fn rate(trainer: &dyn Trainer, request: &TrainingRequest, rows: &RecordBatch, seconds: f64) -> anyhow::Result<f64> {
    let tables = Tables::from_batches(std::slice::from_ref(rows), request)?;
    let mut job: Box<dyn Job> = trainer.start(request, tables, None)?;
    job.step(Duration::from_secs_f64(seconds / 4.0))?;
    Ok(job.step(Duration::from_secs_f64(seconds))?.samples_per_second)
}
