//! `lunapark model`: looks into a model file, compares it with expected answers, scores files with it.

mod answers;
mod check;
mod golden;
mod score;
mod speed;

use std::process::ExitCode;

use lunapark_stores::S3Options;

use super::output;

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

/// Runs the command; needs no log.
pub fn run(s3: &S3Options, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    output::on_stdout(json, |out| match &args.command {
        Command::Check(args) => check::run(out, args, s3),
        Command::Score(args) => score::run(out, args, s3),
    })
}
