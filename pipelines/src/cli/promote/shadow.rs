//! `lunapark models shadow`: another model scores a share of the stream besides, and nobody acts on it.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use lunapark_schemas::Share;
use lunapark_schemas::promotion::{PromotionKind, PromotionStage};

use super::super::Context;
use super::super::output::{self, Output};
use super::{
    Intent, Patience, Wanted, follow, gather, known, prepare, report, shadows, share, switch, wanted, write_intent,
};
use crate::config::Config;
use crate::models;

/// Lets another model score a share of the stream besides
///
/// Its scores go to the topic inference.shadow, in the transaction of the results and written as they are; the results do not
/// change. Which events are taken is decided by a hash of their keys. A shadow that fails is ended by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models shadow higgs/2 --share 0.2\n  \
                        lunapark models shadow higgs/2 --model s3://models/higgs-2.json --share 1\n  \
                        lunapark models shadow --list\n  lunapark models shadow --stop")]
pub struct Args {
    /// Name of the model, or name/version; without a version the newest of the catalog, or with --model the next number
    #[arg(value_name = "NAME[/VERSION]", required_unless_present_any = ["stop", "list"], requires = "share")]
    name: Option<String>,
    /// Address of the model: a path that every instance can read, file://, s3:// or builtin:
    #[arg(long, value_name = "ADDRESS", requires = "name")]
    model: Option<String>,
    /// Share of the events that it scores
    #[arg(long, value_name = "0..1", value_parser = share, requires = "name")]
    share: Option<Share>,
    /// End the shadow that scores now
    #[arg(long, conflicts_with = "name")]
    stop: bool,
    /// List the shadows: where and how much they have scored, and why those that ended by themselves did
    #[arg(long, conflicts_with_all = ["name", "stop"])]
    list: bool,
    #[command(flatten)]
    patience: Patience,
}

/// Runs the command.
pub fn run(context: &Context, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| match &args.name {
        Some(name) => start(context, config, args, name, out),
        None if args.list => shadows::run(context, config, out),
        None => stop(context, args, out),
    })
}

fn start(
    context: &Context,
    config: &Config,
    args: &Args,
    name: &str,
    out: &mut Output<'_>,
) -> anyhow::Result<ExitCode> {
    prepare(context)?;
    let wanted = wanted(&known(context)?, config, name, args.model.as_deref(), &models::Places::of(config))?;
    let intent = Intent { kind: PromotionKind::Shadow, share: args.share, at: Vec::new() };
    switch(context, &wanted, &intent, &args.patience, out)
}

/// Nothing has to be loaded for an end: it is on at once.
fn stop(context: &Context, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    prepare(context)?;
    let known = known(context)?;
    let Some(shadow) = known.live(true).filter(|promotion| promotion.kind == PromotionKind::Shadow) else {
        bail!("no shadow scores; `lunapark models shadow NAME/VERSION --share 0.2` starts one");
    };
    let wanted = Wanted {
        name: shadow.model.clone(),
        version: shadow.version.clone(),
        artifact: shadow.artifact.clone(),
        digest: shadow.digest.clone(),
    };
    let running = gather::Ear::open(context)?.running_now(&context.group_of_pipeline, args.patience.deadline)?;
    if let Some(reason) = running.misled() {
        bail!("cannot end the shadow while instances run {reason}");
    }
    let intent = Intent { kind: PromotionKind::ShadowEnd, ..Intent::whole() };
    let decided = write_intent(context, &wanted, &intent, PromotionStage::On).context("cannot end the shadow")?;
    let cuts = follow::cuts(context, &decided, running.somebody(), args.patience.deadline)?;
    report(context, &decided, &running, &cuts, out)
}
