//! `lunapark models diff`: two versions, side by side.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use lunapark_models::Model;
use lunapark_schemas::TensorSpec;
use lunapark_schemas::catalog::ModelVersion;
use lunapark_tables::{ReadOptions, Table as EventTable};
use lunapark_train::picture;
use serde::Serialize;
use serde_json::json;

use super::distribution::{self, Distance, Scores, Spread, distance, spread};
use super::{Reference, Shelf, show};
use crate::catalog::library::Library;
use crate::cli::model::answers;
use crate::cli::output::{Output, Table, number, printable};
use crate::models::{self, Places};

/// Values whose histograms are drawn: more than that no one picture shows.
const DRAWN: usize = 4;

/// Compares two versions: metrics, inputs and outputs, and their scores on one sample of events
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models diff higgs/1 higgs/2\n  \
        lunapark models diff higgs/1 higgs/2 --sample events.parquet --threshold 0.8 --json\n  \
        lunapark models diff higgs/1 higgs/2 --sample events.parquet --picture scores.svg")]
pub struct Args {
    /// NAME/VERSION, or NAME for the newest that is not retired
    one: Reference,
    /// The other
    other: Reference,
    /// Table of events (Parquet, CSV, Arrow or NDJSON) that both score
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Rows of the sample, at most
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Scores on the other side of this count as flipped
    #[arg(long, default_value_t = 0.5)]
    threshold: f64,
    /// Draw the scores of both on the sample to this SVG file
    #[arg(long, value_name = "FILE", requires = "sample")]
    picture: Option<PathBuf>,
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, shelf: &Shelf<'_>) -> anyhow::Result<ExitCode> {
    let pair = [shelf.find(&args.one)?, shelf.find(&args.other)?];
    let metrics = metrics(&pair);
    let tensors = [("input", inputs(&pair)), ("output", outputs(&pair))];
    let scores = match &args.sample {
        Some(sample) => compare(args, sample, shelf, &pair)?,
        None => Vec::new(),
    };
    if out.json {
        let [one, other] = pair.each_ref().map(|version| version.reference());
        let same = |(role, specs): &(&str, [&[TensorSpec]; 2])| ((*role).to_owned(), json!(specs[0] == specs[1]));
        let same: serde_json::Map<_, _> = tensors.iter().map(same).collect();
        out.document(&json!({ "one": one, "other": other, "metrics": metrics, "same": same, "scores": scores }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(out, &pair, &metrics, &tensors)?;
    scores.iter().try_for_each(|compared| print_scores(out, &pair, compared))?;
    Ok(ExitCode::SUCCESS)
}

/// A metric of either.
#[derive(Debug, Serialize)]
struct Metric {
    name: String,
    one: Option<f64>,
    other: Option<f64>,
}

fn metrics([one, other]: &[ModelVersion; 2]) -> Vec<Metric> {
    let names: BTreeSet<&String> = one.metrics.keys().chain(other.metrics.keys()).collect();
    let metric = |name: &String| {
        let of = |version: &ModelVersion| version.metrics.get(name).copied();
        Metric { name: name.clone(), one: of(one), other: of(other) }
    };
    names.into_iter().map(metric).collect()
}

fn inputs(pair: &[ModelVersion; 2]) -> [&[TensorSpec]; 2] {
    pair.each_ref().map(|version| &version.inputs[..])
}

fn outputs(pair: &[ModelVersion; 2]) -> [&[TensorSpec]; 2] {
    pair.each_ref().map(|version| &version.outputs[..])
}

/// One value of the outputs, as both give it.
#[derive(Debug, Serialize)]
struct Compared {
    value: String,
    one: Option<Spread>,
    other: Option<Spread>,
    distance: Option<Distance>,
}

fn compare(args: &Args, sample: &Path, shelf: &Shelf<'_>, pair: &[ModelVersion; 2]) -> anyhow::Result<Vec<Compared>> {
    let s3 = models::s3_options(&shelf.config.store);
    let places = Places { s3, library: Library::on(shelf.log.clone(), &shelf.topics) };
    let [one, other] = pair.each_ref().map(|version| -> anyhow::Result<_> {
        let loaded = models::load(&format!("catalog:{}", version.reference()), None, &places);
        scores_of(&*loaded.map_err(anyhow::Error::msg)?.model, sample, args.rows)
            .with_context(|| format!("{} does not fit {}", sample.display(), version.reference()))
    });
    let (one, other) = (one?, other?);
    let shared = |(name, scores): &(String, Scores)| {
        let (_, others) = other.iter().find(|(other, _)| other == name)?;
        let distance = distance(scores, others, args.threshold);
        Some(Compared { value: name.clone(), one: spread(scores), other: spread(others), distance })
    };
    let compared: Vec<_> = one.iter().filter_map(shared).collect();
    if compared.is_empty() {
        bail!("the two have no numeric output of the same name: their scores cannot be compared");
    }
    if let Some(path) = &args.picture {
        let names = pair.each_ref().map(|version| version.reference());
        std::fs::write(path, draw(&names, &one, &other)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(compared)
}

/// Histograms of the values that both give.
fn draw(names: &[String; 2], one: &[(String, Scores)], other: &[(String, Scores)]) -> String {
    let shared = one.iter().filter_map(|(name, scores)| {
        let (_, others) = other.iter().find(|(other, _)| other == name)?;
        let sample = |side: usize, scores: &Scores| distribution::sample(&names[side], scores);
        Some(picture::histogram(name, "score", &[sample(0, scores), sample(1, others)]))
    });
    picture::beside(&shared.take(DRAWN).collect::<Vec<_>>())
}

/// The numeric outputs for the first rows of a table.
pub(super) fn scores_of(model: &dyn Model, sample: &Path, rows: usize) -> anyhow::Result<Vec<(String, Scores)>> {
    let signature = model.signature();
    let options = ReadOptions { batch_rows: answers::batch_rows(signature), ..ReadOptions::default() };
    let table = EventTable::open(sample, options)?;
    let plan = answers::plan(table.schema(), signature, &[])?;
    let columns: Vec<usize> = plan.columns().collect();
    let doubles: Vec<usize> = plan.doubles(signature).collect();
    let names = answers::columns(signature).into_iter().map(|field| (field.name().clone(), Scores::new()));
    let mut scores: Vec<_> = names.collect();
    for batch in table.batches(&columns, &doubles)? {
        let batch = batch?;
        let done = scores.first().map_or(0, |(_, scores)| scores.len());
        let batch = batch.slice(0, batch.num_rows().min(rows - done));
        let answers = answers::answer(model, &plan, &batch)?;
        scores.iter_mut().zip(&answers.columns).for_each(|((_, scores), column)| scores.extend(numbers(column)));
        if done + batch.num_rows() >= rows {
            break;
        }
    }
    let numeric = |column: &(String, Scores)| column.1.iter().any(Option::is_some);
    Ok(scores.into_iter().filter(numeric).collect())
}

/// Numbers of a column; none for text and for rows that were refused.
fn numbers(column: &ArrayRef) -> Scores {
    match column.data_type() {
        DataType::Float32 => column.as_primitive::<Float32Type>().iter().map(|value| value.map(f64::from)).collect(),
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().collect(),
        DataType::Int64 => column.as_primitive::<Int64Type>().iter().map(|value| value.map(|v| v as f64)).collect(),
        _ => vec![None; column.len()],
    }
}

fn print(
    out: &mut Output<'_>,
    pair: &[ModelVersion; 2],
    metrics: &[Metric],
    tensors: &[(&str, [&[TensorSpec]; 2])],
) -> anyhow::Result<()> {
    let [one, other] = pair.each_ref().map(|version| version.reference());
    out.line(format_args!("{one} → {other}"))?;
    for (role, [one, other]) in tensors {
        let text = |specs: &[TensorSpec]| printable(show::tensors(specs).as_bytes());
        let verdict = match one == other {
            true => format!("the same: {}", text(one)),
            false => format!("DIFFER: {} → {}", text(one), text(other)),
        };
        out.line(format_args!("{role}s  {verdict}"))?;
    }
    if metrics.is_empty() {
        return Ok(out.line("no metrics are recorded")?);
    }
    out.line("")?;
    let mut table = Table::new(&["metric", ">one", ">other", ">change"]);
    for metric in metrics {
        let change = metric.one.zip(metric.other).map(|(one, other)| other - one);
        let cells = [metric.one, metric.other].map(|value| value.map_or("-".to_owned(), |value| format!("{value:.6}")));
        let change = change.map_or("-".to_owned(), |change| format!("{change:+.6}"));
        let [one, other] = cells;
        table.row([printable(metric.name.as_bytes()), one, other, change]);
    }
    Ok(out.table(&table)?)
}

fn print_scores(out: &mut Output<'_>, pair: &[ModelVersion; 2], compared: &Compared) -> anyhow::Result<()> {
    out.line("")?;
    let titles = ["scores", ">rows", ">mean", ">deviation", ">least", ">25 %", ">median", ">75 %", ">greatest"];
    let mut table = Table::new(&titles);
    for (version, spread) in pair.iter().zip([compared.one, compared.other]) {
        let Some(spread) = spread else { continue };
        let mut cells = vec![format!("{} {}", version.reference(), printable(compared.value.as_bytes()))];
        cells.push(number(spread.rows as u64));
        cells
            .extend([spread.mean, spread.deviation].iter().chain(&spread.quartiles).map(|value| format!("{value:.5}")));
        table.row(cells);
    }
    out.table(&table)?;
    let Some(distance) = compared.distance else { return Ok(out.line("no row was scored by both")?) };
    Ok(out.line(format_args!(
        "Kolmogorov–Smirnov distance {:.5}, mean difference {:.3e}, greatest {:.3e}, {:.3} % of {} rows flipped",
        distance.kolmogorov_smirnov,
        distance.mean_difference,
        distance.greatest_difference,
        distance.flipped * 100.0,
        number(distance.rows as u64),
    ))?)
}
