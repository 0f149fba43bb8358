//! `lunapark models`: the models that the pipelines score with.

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use super::promote;
use crate::config::Config;

/// Promote a model, or go back to the one before.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models promote higgs/2 --model higgs-2.json\n  lunapark models rollback")]
pub struct Args {
    #[command(subcommand)]
    command: Models,
}

#[derive(Debug, Subcommand)]
enum Models {
    Promote(promote::Args),
    Rollback(promote::RollbackArgs),
}

/// Runs the command.
pub fn run(context: &Context, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Models::Promote(args) => promote::run(context, config, args),
        Models::Rollback(args) => promote::run_back(context, config, args),
    }
}
