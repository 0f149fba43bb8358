//! `lunapark models`: the model catalog.

mod add;
mod card;
mod diff;
pub(super) mod distribution;
mod gc;
mod list;
mod origin;
mod pull;
mod retire;
mod show;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use lunapark_schemas::catalog::ModelVersion;
use lunapark_stores::catalog::Catalog;
use lunapark_topics::Log;

use super::{Context, compare, output, promote};
use crate::catalog::TopicCatalog;
use crate::config::Config;
use crate::service::reach_log;

/// List, add, pull, compare, promote and retire models of the catalog
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        lunapark models add higgs.json --name higgs --metric auc=0.81\n  \
        lunapark models pull minilm\n  \
        lunapark models list\n  \
        lunapark models diff higgs/1 higgs/2 --sample events.parquet\n  \
        lunapark models compare live higgs/2 --from 1h\n  \
        lunapark models retire higgs/1\n\n\
        A stream scores with one of them where its configuration says path = \"catalog:higgs/2\".")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Add(add::Args),
    Pull(pull::Args),
    Diff(diff::Args),
    Compare(compare::Args),
    Retire(retire::Args),
    Card(card::Args),
    Gc(gc::Args),
    Promote(promote::Args),
    Rollback(promote::RollbackArgs),
    Shadow(promote::shadow::Args),
}

/// Runs the command.
pub fn run(context: &Context, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Compare(args) => return compare::run(context, config, args),
        Command::Promote(args) => return promote::run(context, config, args),
        Command::Rollback(args) => return promote::run_back(context, config, args),
        Command::Shadow(args) => return promote::shadow::run(context, config, args),
        _ => {}
    }
    let json = context.json;
    let shelf = Shelf::reach(config)?;
    output::on_stdout(json, |out| match &args.command {
        Command::List(args) => list::run(out, args, &shelf),
        Command::Show(args) => show::run(out, args, &shelf),
        Command::Add(args) => add::run(out, args, &shelf),
        Command::Pull(args) => pull::run(out, args, &shelf),
        Command::Diff(args) => diff::run(out, args, &shelf),
        Command::Retire(args) => retire::run(out, args, &shelf),
        Command::Card(args) => card::run(out, args, &shelf),
        Command::Gc(args) => gc::run(out, args, &shelf),
        Command::Compare(_) | Command::Promote(_) | Command::Rollback(_) | Command::Shadow(_) => Ok(ExitCode::FAILURE),
    })
}

/// What these commands work on.
struct Shelf<'a> {
    config: &'a Config,
    log: Arc<dyn Log>,
    topics: lunapark_topics::Catalog,
    catalog: TopicCatalog,
}

impl<'a> Shelf<'a> {
    fn reach(config: &'a Config) -> anyhow::Result<Self> {
        let (log, topics) = (reach_log(config)?, lunapark_topics::Catalog::new(&config.topics));
        let catalog = TopicCatalog::new(log.clone(), &topics);
        Ok(Self { config, log, topics, catalog })
    }

    /// The version that a reference means: `NAME/VERSION`, or `NAME` for the newest that is not retired.
    fn find(&self, reference: &Reference) -> anyhow::Result<ModelVersion> {
        let found = self.catalog.get(&reference.name, reference.version)?;
        found.with_context(|| format!("the catalog has no {reference}; `lunapark models list` shows all"))
    }
}

/// A version as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Model name.
    pub name: String,
    /// Number, where given.
    pub version: Option<u32>,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}/{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl std::str::FromStr for Reference {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, version) = match text.split_once('/') {
            None => (text, None),
            Some((name, version)) => match version.parse() {
                Ok(version) => (name, Some(version)),
                Err(_) => bail!("`{text}`: the version is no number; write NAME/VERSION, for example higgs/3"),
            },
        };
        lunapark_schemas::catalog::check_name(name)?;
        Ok(Self { name: name.to_owned(), version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let read = |text: &str| text.parse::<Reference>().map(|reference| (reference.name, reference.version)).ok();
        assert_eq!(read("higgs"), Some(("higgs".into(), None)));
        assert_eq!(read("higgs/12"), Some(("higgs".into(), Some(12))));
        for bad in ["", "/1", "higgs/", "higgs/x", "a b/1", "higgs/1/2", "higgs/-1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
