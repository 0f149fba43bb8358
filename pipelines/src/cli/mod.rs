//! The command line: what the user typed, and which command answers.

mod arrow;
pub mod audit;
pub mod catalog;
pub mod collections;
mod compare;
mod condition;
pub mod consume;
pub mod context;
pub mod dlq;
pub mod doctor;
pub mod ingest;
mod lines;
pub mod model;
pub mod models;
pub mod output;
pub mod produce;
pub mod promote;
mod redrive;
pub mod replay;
pub mod run;
pub mod search;
mod settled;
#[cfg(test)]
mod tests;
pub mod time;
pub mod topics;
pub mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, DEFAULT};
use crate::{demo, service};
pub use context::Context;
use lunapark_topics::Catalog;

/// Score detector streams exactly once, and prove it.
#[derive(Debug, Parser)]
#[command(
    name = "lunapark",
    version,
    about,
    max_term_width = 110,
    after_help = "Examples:
  lunapark demo                              see it work, on this machine alone
  lunapark models pull minilm                a text encoder; then `lunapark demo search`
  lunapark run                               the scorer as a service, on the embedded log
  lunapark produce inference.events events.ndjson
  lunapark consume inference.results --follow
  lunapark audit --deep                      prove that nothing was lost or doubled
  lunapark doctor                            what this machine has, and what is missing

Every command takes --config FILE; `lunapark config` prints all settings."
)]
struct Cli {
    /// Configuration file; LUNAPARK_CONFIG names one too. `lunapark config` prints every setting with its default.
    #[arg(long, global = true, env = "LUNAPARK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Log what happens, at the level of the configuration, on standard error; `run` always does.
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay real collision events, score them, and audit the account; ends by itself.
    Demo(demo::Args),
    /// Run the pipelines as a service: score events, train models, index documents, answer questions.
    Run(run::Args),
    /// Print every setting with its default, or with --config FILE what holds (secrets masked).
    #[command(after_help = "Examples:\n  lunapark config > lunapark.toml\n  lunapark --config lunapark.toml config")]
    Config,
    /// List, create, describe or delete topics.
    Topics(topics::Args),
    /// Write events from a file or standard input.
    Produce(produce::Args),
    /// Read records of a topic.
    Consume(consume::Args),
    /// Count, show and redrive dead letters.
    Dlq(dlq::Args),
    /// Prove from the topics alone that every message ended exactly once.
    Audit(audit::Args),
    /// Train a model: send a request and follow it; cancel and list tasks.
    Train(train::Args),
    /// Look into a model file.
    Model(model::Args),
    /// List, add, pull, compare, promote and retire models of the catalog.
    Models(models::Args),
    /// Rebuild MongoDB's copy of the catalog.
    Catalog(catalog::Args),
    /// Send documents to a collection.
    Ingest(ingest::Args),
    /// Search a collection.
    Search(search::Args),
    /// List, show and keep up collections.
    Collections(collections::Args),
    /// Read one PDF from standard input, as the child process of a service.
    #[command(name = crate::knowledge::READ_PDF, hide = true)]
    ReadPdf {
        /// The library of pdfium.
        #[arg(long)]
        pdfium: Option<PathBuf>,
    },
    /// Score recorded events again, with the same model or another one.
    Replay(replay::Args),
    /// Show what this machine has and what is missing, with the way out.
    Doctor(doctor::Args),
}

/// Parses, runs, and turns errors into one line and an exit code.
pub fn main() -> ExitCode {
    match try_main(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            output::note(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn try_main(cli: Cli) -> anyhow::Result<ExitCode> {
    if let (Command::Config, None) = (&cli.command, &cli.config) {
        return output::on_stdout(false, |out| Ok(out.bytes(DEFAULT.as_bytes()).map(|()| ExitCode::SUCCESS)?));
    }
    if let Command::Doctor(_) = &cli.command {
        return doctor::run(cli.config.as_deref(), cli.json);
    }
    let config = Config::load(cli.config.as_deref(), std::env::vars())?;
    start_logging(&config, cli.verbose || matches!(cli.command, Command::Run(_)));
    match &cli.command {
        Command::Config => {
            output::on_stdout(false, |out| Ok(out.bytes(config.shown.as_bytes()).map(|()| ExitCode::SUCCESS)?))
        }
        Command::Demo(args) => demo::run(&config, args, cli.json),
        Command::Run(args) => run::run(&config, args),
        Command::Model(args) => model::run(&crate::models::Places::of(&config), args, cli.json),
        Command::Catalog(args) => catalog::run(&config, args, cli.json),
        Command::Search(args) => search::run(&config, args, cli.json),
        Command::Collections(args) => collections::run(&config, args, cli.json),
        Command::ReadPdf { pdfium } => {
            let limits = crate::knowledge::limits(&config.documents);
            Ok(lunapark_documents::pdf::child_main(&limits, pdfium.as_deref()))
        }
        command => data_command(&config, command, cli.json),
    }
}

/// Commands that need the log: the owner's, where the embedded log has one.
fn data_command(config: &Config, command: &Command, json: bool) -> anyhow::Result<ExitCode> {
    let catalog = Catalog::new(&config.topics);
    let names = [&config.score.name, &config.train.name, &config.documents.name, &config.search.name];
    let [group_of_pipeline, group_of_training, group_of_documents, group_of_search] =
        names.map(|name| format!("{}{name}", catalog.prefix()));
    let log = match command {
        Command::Train(args) if args.follows() => train::reach(config)?,
        _ => service::reach_log(config)?,
    };
    let context =
        Context { log, catalog, group_of_pipeline, group_of_training, group_of_documents, group_of_search, json };
    match command {
        Command::Topics(args) => topics::run(&context, args),
        Command::Produce(args) => produce::run(&context, args),
        Command::Consume(args) => consume::run(&context, args),
        Command::Dlq(args) => dlq::run(&context, args),
        Command::Audit(args) => audit::run(&context, args),
        Command::Train(args) => train::run(&context, config, args),
        Command::Models(args) => models::run(&context, config, args),
        Command::Replay(args) => replay::run(&context, config, args),
        Command::Ingest(args) => ingest::run(&context, config, args),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Services log at the configured level, other commands only what a human must see.
fn start_logging(config: &Config, verbose: bool) {
    let filter = if verbose { config.log_level.as_str() } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_default();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second initialisation, in tests, is no fault.
    let _already_set = subscriber.with_ansi(ansi).try_init();
}
