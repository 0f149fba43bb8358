//! `lunapark model`: looks into a model file, compares it with expected answers, scores files with it.

pub(in crate::cli) mod answers;
mod check;
mod golden;
mod score;
mod speed;

use std::process::ExitCode;


use super::output;
use crate::models::Places;

/// Looks into a model file, or scores a file with it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark model check models/higgs.json\n  \
                        lunapark model score models/higgs.json --input events.parquet --output scores.parquet")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Args),
    Score(score::Args),
}

/// Runs the command; needs a log only where a model of the catalog is named.
pub fn run(places: &Places, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    output::on_stdout(json, |out| match &args.command {
        Command::Check(args) => check::run(out, args, places),
        Command::Score(args) => score::run(out, args, places),
    })
}
