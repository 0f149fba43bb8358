//! `lunapark catalog`: MongoDB's copy of the model catalog and of job history.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::output::{self, Output, number};
use crate::catalog::projection::{Projection, Rebuilt};
use crate::config::Config;
use crate::service::reach_log;

/// Work on MongoDB's copy of the model catalog and of job history
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark catalog rebuild    where the configuration says [catalog] mongodb = \
                        \"mongodb://…\"")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Makes the copy what the topics `models` and `training.status` say and nothing else; others may go on writing
    #[command(after_help = "Examples:\n  lunapark catalog rebuild\n  lunapark catalog rebuild --json")]
    Rebuild,
}

/// Runs the command.
pub fn run(config: &Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let Command::Rebuild = &args.command;
    output::on_stdout(json, |out| rebuild(out, config))
}

fn rebuild(out: &mut Output<'_>, config: &Config) -> anyhow::Result<ExitCode> {
    let projection = Projection::of(config, reach_log(config)?, &lunapark_topics::Catalog::new(&config.topics));
    let projection = projection.context("`catalog.mongodb` is empty: there is no copy to rebuild")?;
    let Rebuilt { entries, tasks } = projection.rebuild()?;
    match out.json {
        true => out.document(&json!({ "entries": entries, "tasks": tasks }))?,
        false => out.line(format_args!(
            "{} entries of the catalog and {} tasks are in MongoDB",
            number(entries as u64),
            number(tasks as u64)
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}
