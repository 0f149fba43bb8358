//! The measurements: every one is a ratio of two sides inside one run, taken in alternation (see `README.md`).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod arrow;
mod bare;
mod bench;
mod broker;
mod delivery;
mod duel;
mod embedded;
mod gpu;
mod gpu_train;
mod higgs;
mod job;
mod kernels;
mod latency;
mod machine;
mod memory;
mod parts;
mod physics;
mod process;
mod report;
mod rig;
mod search;
mod spine;
mod swap;
mod texts;
mod train;
mod verify;
mod watch;
mod workload;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use report::Report;

/// Measures Lunapark against its limits.
#[derive(Debug, Parser)]
#[command(
    name = "lunapark-benches",
    version,
    max_term_width = 110,
    after_help = "Examples:
  cargo run --release -p lunapark-benches -- spine
  cargo run --release -p lunapark-benches -- spine --model xgb --threads 2
  cargo run --release -p lunapark-benches -- latency --record     writes its section of benches/RESULTS.md

Exit code: 0 where every bar is met, 3 where one is not (the figures are printed and recorded all the same), 1 where the
measurement failed, 2 for a wrong command line.

A Kafka broker of its own is started on port 9192 and stopped at the end; KAFKA_BOOTSTRAP names another one."
)]
struct Cli {
    /// Replace this measurement's section in benches/RESULTS.md.
    #[arg(long, global = true)]
    record: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The scorer against the bare loop: events/s and CPU, exactly once.
    Spine(spine::Args),
    /// What exactly once costs against at least once.
    Delivery(delivery::Args),
    /// 256 events per Arrow message against the bare model.
    Arrow(arrow::Args),
    /// Latency at half load, at least once, against the bare loop's.
    Latency(latency::Args),
    /// How long the stream stands still where another model takes over.
    Swap(swap::Args),
    /// The embedded log against Kafka under the same pipeline.
    Embedded(embedded::Args),
    /// Memory of one scorer, and how soon it is ready.
    Memory(memory::Args),
    /// Decoding, encoding and the models alone, in memory.
    Kernels(kernels::Args),
    /// Trees: Lunapark against ONNX Runtime and XGBoost.
    DuelTrees(duel::Args),
    /// Perceptrons: Lunapark against ONNX Runtime.
    DuelPerceptrons(duel::Args),
    /// Networks that are more than perceptron chains: Lunapark against ONNX Runtime.
    DuelNetworks(duel::Args),
    /// Search by vectors against FAISS, exact and by lists; a cold start from S3.
    DuelSearch(search::Args),
    /// Lunapark's tree layouts against each other.
    Layouts(duel::Args),
    /// Perceptrons, and a text encoder, on a GPU against the CPU's kernels.
    Gpu(gpu::Args),
    /// Training on a GPU against the CPU's kernel.
    GpuTrain(gpu_train::Args),
    /// Training: samples a second against torch's fused AdamW.
    Train(train::Args),
    /// Training on simulated problems against their likelihood ratio.
    Physics(physics::Args),
    /// Training on HIGGS beside scikit-learn's and torch's means.
    Higgs(higgs::Args),
    /// Embedding: tokens a second against ONNX Runtime and torch, and how far the vectors are apart.
    DuelEmbed(texts::EmbedArgs),
    /// The whole ingestion of documents against the encoder alone.
    Ingest(texts::IngestArgs),
    /// Answers to Cranfield's questions beside exact search and rank_bm25.
    Quality(texts::QualityArgs),
    /// One side of a duel, as a process of its own; started by the duels.
    #[command(hide = true)]
    Side {
        /// Where models and rows are.
        folder: std::path::PathBuf,
    },
    /// One bare loop, as a process of its own; started by the measurements.
    #[command(hide = true)]
    Bare {
        /// What it is to do, as JSON.
        job: String,
    },
}

/// A bar that is not met is told apart from a measurement that failed (1) and from a wrong command line (2).
const NOT_MET: u8 = 3;

fn main() -> ExitCode {
    // As the service does: the bare loop is one of these processes.
    lunapark::allocator::keep_freed_pages();
    let cli = Cli::parse();
    match run(&cli).and_then(|report| publish(report, cli.record)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_MET),
        Err(error) => {
            report::note(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<Option<Report>> {
    match &cli.command {
        Command::Spine(args) => spine::run(args).map(Some),
        Command::Delivery(args) => delivery::run(args).map(Some),
        Command::Arrow(args) => arrow::run(args).map(Some),
        Command::Latency(args) => latency::run(args).map(Some),
        Command::Swap(args) => swap::run(args).map(Some),
        Command::Embedded(args) => embedded::run(args).map(Some),
        Command::Memory(args) => memory::run(args).map(Some),
        Command::Kernels(args) => kernels::run(args).map(Some),
        Command::DuelTrees(args) => duel::trees(args).map(Some),
        Command::DuelPerceptrons(args) => duel::perceptrons(args).map(Some),
        Command::DuelNetworks(args) => duel::networks(args).map(Some),
        Command::DuelSearch(args) => search::run(args),
        Command::Layouts(args) => duel::layouts(args).map(Some),
        Command::Gpu(args) => gpu::run(args).map(Some),
        Command::GpuTrain(args) => gpu_train::run(args).map(Some),
        Command::Train(args) => train::run(args).map(Some),
        Command::Physics(args) => physics::run(args).map(Some),
        Command::Higgs(args) => higgs::run(args).map(Some),
        Command::DuelEmbed(args) => texts::embed(args).map(Some),
        Command::Ingest(args) => texts::ingest(args).map(Some),
        Command::Quality(args) => texts::quality(args).map(Some),
        Command::Side { folder } => duel::side::run(folder).map(|()| None),
        Command::Bare { job } => bare::run(&serde_json::from_str(job)?).map(|()| None),
    }
}

/// Prints and records; whether every bar is met.
fn publish(report: Option<Report>, record: bool) -> anyhow::Result<bool> {
    let Some(report) = report else { return Ok(true) };
    writeln!(std::io::stdout(), "{}", report.markdown())?;
    if record {
        report.record()?;
    }
    report.unmet().for_each(|what| report::note(format!("not met: {what}")));
    Ok(report.unmet().next().is_none())
}
