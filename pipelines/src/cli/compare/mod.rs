//! `lunapark models compare`: what two versions said of the same events, from the topics.

pub(super) mod gather;
mod measures;
mod report;
mod streams;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::Context;
use super::output;
use super::replay::{Bound, bound};
use crate::config::Config;

pub(super) use report::{NAMES, OF_PAIRS};

/// Compares what two versions said of the same events: decisions, distributions, and with labels their AUC
///
/// Reads their results from the topics, those of a shadow and of replays among them, without any group. Where no event was
/// scored by both, the distributions over different events are compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models compare live higgs/2 --from 1h\n  \
        lunapark models compare higgs/1 higgs/2 --in replayed --threshold 0.8 --picture compare.svg\n  \
        lunapark models compare higgs/1 higgs/2 --json")]
pub struct Args {
    /// NAME/VERSION, or `live` for the version that scores now
    a: String,
    /// The other
    b: String,
    #[command(flatten)]
    scope: Scope,
    /// Draw the scores of both, and their ROC curves where there are labels, to this SVG file
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// Which events are compared, and by what.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Scope {
    /// First event: an offset of every partition, a time, or so long ago
    #[arg(long, value_name = "OFFSET|TIME", value_parser = bound)]
    pub from: Option<Bound>,
    /// End, not included: an offset of every partition, a time, or so long ago
    #[arg(long, value_name = "OFFSET|TIME", value_parser = bound)]
    pub to: Option<Bound>,
    /// A score at or above this is a decision for it
    #[arg(long, default_value_t = 0.5)]
    pub threshold: f64,
    /// Look for results in this topic, too: what `lunapark replay --output` wrote; may be repeated
    #[arg(long = "in", value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Topic of the labels; without it `labels`, where it exists
    #[arg(long, value_name = "TOPIC")]
    pub labels: Option<String>,
}

impl Scope {
    /// Whether the user has said nothing.
    pub(super) fn is_default(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.topics.is_empty() && self.labels.is_none()
    }
}

/// Runs the command.
pub fn run(context: &Context, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let models = [&args.a, &args.b].map(|name| gather::version(context, config, name));
    let [a, b] = models;
    let compared = gather::compare(context, [a?, b?], &args.scope)?;
    if let Some(path) = &args.picture {
        std::fs::write(path, report::picture(&compared)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(what) = &compared.first_broken {
        output::note(format_args!("{} records of the labels are none, first {what}", compared.broken));
    }
    output::on_stdout(context.json, |out| match out.json {
        true => Ok(out.document(&report::document(&compared)).map(|()| ExitCode::SUCCESS)?),
        false => Ok(out.table(&report::table(&compared)).map(|()| ExitCode::SUCCESS)?),
    })
}
