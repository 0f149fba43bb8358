//! Training on simulated problems whose likelihood ratio is known, on a million test events.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use lunapark_schemas::rows::{Values, f32_values};
use lunapark_schemas::training::TrainingRequest;
use lunapark_train::simulate::{PROBLEMS, Problem, Sample};
use lunapark_train::{Perceptrons, Tables, Trainer as _, evaluate};

use crate::report::{Bar, Report, Table, note};

/// Rows scored at a time.
const BATCH: usize = 8192;
/// Seed of the test events; those of the trainings are other ones.
const TEST_SEED: u64 = 1_000_000;

/// What the measurement takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Trainings of each problem.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..1000))]
    seeds: u64,
    /// Events of a training.
    #[arg(long, default_value_t = 200_000)]
    train: usize,
    /// Events of the test.
    #[arg(long, default_value_t = 1_000_000)]
    test: usize,
}

/// Every problem.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let mut table = Table::new(&["problem", "AUC, mean", "least", "largest", "likelihood ratio", "share"]);
    let mut bars = Vec::new();
    for problem in PROBLEMS {
        let test = (problem.sample)(args.test, TEST_SEED);
        let rows = test.rows();
        let optimum: Vec<f64> = rows.chunks_exact(test.columns.len()).map(problem.ratio).collect();
        let optimum = auc(&optimum, &test);
        let found = (0..args.seeds).map(|seed| train(problem, seed, args.train, &rows).map(|s| auc(&s, &test)));
        let found = found.collect::<anyhow::Result<Vec<f64>>>()?;
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        let share = (mean - 0.5) / (optimum - 0.5);
        note(format!("{}: mean AUC {mean:.5} of {found:.5?}, optimum {optimum:.5}, share {share:.4}", problem.name));
        let (least, largest) = (found.iter().copied().fold(1.0, f64::min), found.iter().copied().fold(0.0, f64::max));
        let cells = [mean, least, largest, optimum, share].map(|value| format!("{value:.5}"));
        table.row([problem.name.to_owned()].into_iter().chain(cells).collect());
        bars.push(Bar::at_least(format!("{}: (AUC − ½) / (optimum − ½)", problem.name), share, 0.98));
    }
    let what = format!("Perceptrons of {} seeds on {} events each, tested on {}.", args.seeds, args.train, args.test);
    Ok(Report { section: "physics".to_owned(), what, table, bars, notes: Vec::new() })
}

fn auc(scores: &[f64], test: &Sample) -> f64 {
    evaluate::auc(scores, |row| test.labels[row] > 0.5, &vec![1.0; test.labels.len()])
}

/// Scores of the test events by a model trained on a sample of this seed.
fn train(problem: Problem, seed: u64, events: usize, test: &[f32]) -> anyhow::Result<Vec<f64>> {
    let request: TrainingRequest = serde_json::from_value(serde_json::json!({
        "model": { "objective": "classification", "name": "physics" },
        "model_train": { "epochs": 8, "batch_size": 512, "seed": seed, "optimizer": { "init_lr": 0.003 } },
        "dataset": { "path": "-", "label": "label", "train_test_split": 0.05 }
    }))?;
    let sample = (problem.sample)(events, seed);
    let label = std::iter::once(("label".to_owned(), sample.labels));
    let named = sample.columns.into_iter().enumerate().map(|(index, values)| (format!("x{index}"), values));
    let array =
        |(name, values): (String, Vec<f32>)| (name, std::sync::Arc::new(Float32Array::from(values)) as ArrayRef);
    let batch = RecordBatch::try_from_iter(named.chain(label).map(array))?;
    let tables = Tables::from_batches(&[batch], &request)?;
    let mut job = Perceptrons::default().start(&request, tables, None)?;
    while !job.step(Duration::from_secs(1))?.done {}
    let trained = job.finish()?;
    let model = lunapark_models::load(&trained.artifact, "physics", None)?.model;
    let (input, mut scores) = (&model.signature().inputs[0], Vec::new());
    for chunk in test.chunks(BATCH * input.width) {
        let column = Values::F32(chunk.to_vec()).into_column(input)?;
        let answers = model.infer(&RecordBatch::try_new(model.signature().input_schema(), vec![column])?)?;
        let values = f32_values(&**answers.column(0)).context("no FP32 answers")?;
        scores.extend(values.iter().map(|&value| f64::from(value)));
    }
    ensure!(scores.len() == test.len() / input.width, "a score is missing");
    Ok(scores)
}
