//! `lunapark models list`.

use std::process::ExitCode;

use lunapark_schemas::catalog::ModelVersion;
use lunapark_stores::catalog::Catalog;

use super::Shelf;
use crate::cli::output::{Output, Table, printable};
use crate::cli::time;

/// Lists the versions of all models, or of one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models list\n  lunapark models list higgs --json\n  \
                        lunapark models list --search \"jets classification\"")]
pub struct Args {
    /// Only versions of this model
    name: Option<String>,
    /// Only versions whose name, objective and description hold all these words
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, shelf: &Shelf<'_>) -> anyhow::Result<ExitCode> {
    let found = match &args.search {
        Some(words) => shelf.catalog.search(words)?,
        None => shelf.catalog.list()?,
    };
    let wanted = |version: &ModelVersion| args.name.as_ref().is_none_or(|name| *name == version.name);
    let found: Vec<_> = found.into_iter().filter(wanted).collect();
    match out.json {
        true => out.document(&found)?,
        false if found.is_empty() => out.line("no models; `lunapark models add FILE --name NAME` adds one")?,
        false => out.table(&table(&found))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn table(found: &[ModelVersion]) -> Table {
    let mut table = Table::new(&["model", "stage", "objective", "format", "digest", "added", "metrics"]);
    for version in found {
        table.row([
            version.reference(),
            version.stage.as_str().to_owned(),
            printable(version.objective.as_bytes()),
            printable(version.format.as_bytes()),
            version.digest.chars().take(8).collect(),
            time::shown(version.created_at),
            metrics(version),
        ]);
    }
    table
}

/// `auc 0.81, loss 0.5`.
pub(super) fn metrics(version: &ModelVersion) -> String {
    let metric = |(name, value): (&String, &f64)| format!("{} {value}", printable(name.as_bytes()));
    version.metrics.iter().map(metric).collect::<Vec<_>>().join(", ")
}
