//! `lunapark models retire`.

use std::process::ExitCode;

use anyhow::bail;
use lunapark_schemas::catalog::Stage;
use lunapark_stores::catalog::Catalog;
use serde_json::json;

use super::{Reference, Shelf};
use crate::cli::output::Output;

/// Marks a version as not to be used any more; its entry and artifact stay
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models retire higgs/1\n  lunapark models retire higgs/1 --undo")]
pub struct Args {
    /// NAME/VERSION
    model: Reference,
    /// Put a retired version back into use
    #[arg(long)]
    undo: bool,
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, shelf: &Shelf<'_>) -> anyhow::Result<ExitCode> {
    let Some(number) = args.model.version else {
        bail!("say which version of {}: NAME/VERSION", args.model);
    };
    let (from, to) = match args.undo {
        false => (Stage::Registered, Stage::Retired),
        true => (Stage::Retired, Stage::Registered),
    };
    let found = shelf.find(&args.model)?;
    let changed = found.stage != to;
    if changed {
        shelf.catalog.set_stage(&args.model.name, number, from, to)?;
    }
    match out.json {
        true => out.document(&json!({ "model": found.reference(), "stage": to, "changed": changed }))?,
        false => {
            let was = if changed { "is now" } else { "was already" };
            out.line(format_args!("{} {was} {}", found.reference(), to.as_str()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
