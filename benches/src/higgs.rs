//! HIGGS, 7,000 events to train and 500 to test: ten seeds beside scikit-learn's and torch's means, trained alike.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use lunapark_schemas::rows::{Values, f32_values};
use lunapark_schemas::training::TrainingRequest;
use lunapark_train::{Tables, evaluate, trainers};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::report::{Bar, Report, Table, note};

const FEATURES: usize = 28;
const TEST_ROWS: usize = 500;
/// How far the means may be apart.
const TOLERANCE: f64 = 0.01;
/// Made by `operators/train/fixtures/make.py` with scikit-learn and torch.
const MEANS: &str = include_str!("../../operators/train/fixtures/means.json");
const FIRST: &[u8] = include_bytes!("../../operators/train/fixtures/higgs-4500.i16");
const REST: &str = include_str!("../../pipelines/assets/higgs-sample.tsv");

/// What the measurement takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Trainings of each kind.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..1000))]
    seeds: u64,
}

#[derive(Deserialize)]
struct Means {
    mlp_classifier: Mean,
    torch: Mean,
    torch_autoencoder: Mean,
    epochs: u32,
    batch: u32,
    rate: f64,
    decay: f64,
    warm_up: u64,
}

#[derive(Deserialize)]
struct Mean {
    mean: f64,
    deviation: f64,
}

/// The perceptron and the autoencoder.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let means: Means = serde_json::from_str(MEANS)?;
    let events = events()?;
    let mut table = Table::new(&["model", "AUC, mean", "deviation", "beside", "AUC, mean", "deviation"]);
    let mut bars = Vec::new();
    let kinds =
        [("perceptron", "classification", json!([128, 64])), ("autoencoder", "anomaly-detection", json!([56, 7, 56]))];
    for (name, objective, hidden) in kinds {
        let found = (0..args.seeds).map(|seed| auc_of(&events, &means, objective, &hidden, seed));
        let found = found.collect::<anyhow::Result<Vec<f64>>>()?;
        note(format!("{name}: {found:.4?}"));
        let (mean, deviation) = moments(&found);
        let others = match objective {
            "classification" => vec![("MLPClassifier", &means.mlp_classifier), ("torch", &means.torch)],
            _ => vec![("torch", &means.torch_autoencoder)],
        };
        for (other, theirs) in others {
            let cells = [mean, deviation, theirs.mean, theirs.deviation].map(|value| format!("{value:.4}"));
            let [a, b, c, d] = cells;
            table.row(vec![name.to_owned(), a, b, other.to_owned(), c, d]);
            bars.push(Bar::at_most(format!("{name}, from {other}'s mean"), (mean - theirs.mean).abs(), TOLERANCE));
        }
    }
    let what = format!("HIGGS, 7,000 events to train, 500 to test, {} seeds.", args.seeds);
    let notes =
        vec!["The others' means are fixtures of ten seeds: same events, network, epochs and optimizer.".to_owned()];
    Ok(Report { section: "higgs".to_owned(), what, table, bars, notes })
}

fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (values.len() as f64 - 1.0).max(1.0)).sqrt())
}

type Event = [f32; FEATURES + 1];

/// Label and features of all 7,500 events, the test events last.
fn events() -> anyhow::Result<Vec<Event>> {
    let values = FIRST.as_chunks::<2>().0.iter().map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 1000.0);
    let values: Vec<f32> = values.collect();
    let mut events: Vec<Event> = values.as_chunks().0.to_vec();
    for line in REST.lines() {
        let numbers = line.split('\t').map(str::parse).collect::<Result<Vec<f32>, _>>()?;
        events.push(Event::try_from(numbers).ok().context("a line of another length")?);
    }
    ensure!(events.len() == 7_500, "{} events", events.len());
    Ok(events)
}

fn auc_of(events: &[Event], means: &Means, objective: &str, hidden: &Value, seed: u64) -> anyhow::Result<f64> {
    let (training, test) = events.split_at(events.len() - TEST_ROWS);
    let optimizer = json!({ "init_lr": means.rate, "weight_decay_rate": means.decay, "num_warm_steps": means.warm_up });
    let request: TrainingRequest = serde_json::from_value(json!({
        "model": { "objective": objective, "name": "higgs", "architecture": { "hidden": hidden } },
        "model_train":
            { "epochs": means.epochs, "batch_size": means.batch, "seed": seed, "optimizer": optimizer },
        // Next to nothing for our own test: all that the others train on trains.
        "dataset": { "path": "-", "label": "label", "train_test_split": 0.0005 }
    }))?;
    let tables = Tables::from_batches(&[batch(training)?], &request)?;
    let trainers = trainers();
    let trainer = trainers.iter().find(|trainer| trainer.accepts(&request)).context("no trainer")?;
    let mut job = trainer.start(&request, tables, None)?;
    while !job.step(Duration::from_secs(1))?.done {}
    let model = lunapark_models::load(&job.finish()?.artifact, "higgs", None)?.model;
    let input = &model.signature().inputs[0];
    let rows = test.iter().flat_map(|event| &event[1..]).copied().collect();
    let column = Values::F32(rows).into_column(input)?;
    let answers = model.infer(&RecordBatch::try_new(model.signature().input_schema(), vec![column])?)?;
    let scores = f32_values(&**answers.column(0)).context("no FP32 answers")?;
    let scores: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
    Ok(evaluate::auc(&scores, |row| test[row][0] > 0.5, &vec![1.0; test.len()]))
}

fn batch(events: &[Event]) -> anyhow::Result<RecordBatch> {
    let column = |at: usize| -> (String, ArrayRef) {
        let values: Float32Array = events.iter().map(|event| event[at]).collect();
        (if at == 0 { "label".to_owned() } else { format!("x{at}") }, std::sync::Arc::new(values))
    };
    Ok(RecordBatch::try_from_iter((0..=FEATURES).map(column))?)
}
