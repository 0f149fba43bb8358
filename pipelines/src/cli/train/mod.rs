//! `lunapark train`: send a training request, follow it, cancel it, list what there is.

mod board;
mod cancel;
mod curve;
pub mod follow;
mod list;
pub mod send;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use lunapark_schemas::catalog::check_name;
use lunapark_schemas::training::{TrainingRequest, TrainingStatus};
use lunapark_stores::artifacts::ArtifactStore;
use lunapark_topics::{Log, embedded};

use super::Context;
use super::output::{self, Output};
use crate::config::Config;
use crate::models::s3_options;
use crate::service::reach_log;

/// Trains a model: sends a request and follows it to its end
///
/// Workers are instances of `lunapark run` with train.threads above 0. The request is JSON: what to train (model), on what
/// (dataset), how (model_train). The result is a version in the catalog; its file and pictures are also left in --out.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  lunapark train request.json\n  lunapark train request.json --detach\n  \
                  lunapark train list\n  lunapark train cancel higgs-18c2f"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The request: a file, or `-` for standard input
    #[arg(value_name = "REQUEST.json", required = true)]
    request: Option<PathBuf>,
    /// Do not follow: print the task's name and leave
    #[arg(long)]
    detach: bool,
    /// Folder for the model's file and pictures; without it, NAME-VERSION here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Ends a task as cancelled, whether it waits or runs
    #[command(after_help = "Examples:\n  lunapark train cancel higgs-18c2f")]
    Cancel {
        /// Name of the task, as `train list` shows it
        task: String,
    },
    /// Lists tasks, the newest first
    #[command(after_help = "Examples:\n  lunapark train list\n  lunapark train list --project higgs --status failed \
                            --json")]
    List(list::Args),
}

impl Args {
    /// Whether the command waits for a worker.
    pub(super) fn follows(&self) -> bool {
        self.command.is_none() && !self.detach
    }
}

/// The log, which a worker must own where it is embedded: this command would keep one from starting.
pub(super) fn reach(config: &Config) -> anyhow::Result<Arc<dyn Log>> {
    if config.kafka.is_some() {
        return Ok(reach_log(config)?);
    }
    let nobody =
        "no worker is up on this log: start `LUNAPARK_TRAIN_THREADS=1 lunapark run` first, or send with --detach";
    embedded::connect(&config.data).context(nobody)
}

/// Runs the command.
pub fn run(context: &Context, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| execute(context, config, args, out))
}

pub(super) fn execute(
    context: &Context,
    config: &Config,
    args: &Args,
    out: &mut Output<'_>,
) -> anyhow::Result<ExitCode> {
    let specs = context.catalog.training_specs();
    if config.create_topics {
        // A request may be sent before the first worker has ever run.
        specs.iter().try_for_each(|spec| context.log.create_topic(spec).map(drop))?;
    }
    match (&args.command, &args.request) {
        (Some(Command::Cancel { task }), _) => cancel::execute(context, task, out),
        (Some(Command::List(args)), _) => list::execute(context, args, out),
        (None, Some(request)) => train(context, config, request, args, out),
        (None, None) => anyhow::bail!("name a request, for example `lunapark train request.json`"),
    }
}

fn train(
    context: &Context,
    config: &Config,
    path: &std::path::Path,
    args: &Args,
    out: &mut Output<'_>,
) -> anyhow::Result<ExitCode> {
    let request = send::read(path)?;
    let mut follower = follow::Follower::open(&*context.log, &context.catalog)?;
    if !args.detach
        && let Some(status) = ended_before(context, &request)?
    {
        if out.json {
            out.json_line(&status)?;
        }
        return conclude(config, &status, args, out);
    }
    let task_id = send::send(&*context.log, &context.catalog, request)?;
    if args.detach {
        match out.json {
            true => out.json_line(&serde_json::json!({ "task_id": task_id }))?,
            false => out.line(&task_id)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let status = follow::watch(&mut follower, &task_id, out)?;
    conclude(config, &status, args, out)
}

/// The end of a task of this name, where there is one: workers leave the request out then, and nothing would follow.
fn ended_before(context: &Context, request: &TrainingRequest) -> anyhow::Result<Option<TrainingStatus>> {
    let Some(task_id) = &request.task_id else { return Ok(None) };
    let ended = list::ended(context, task_id)?;
    if ended.is_some() {
        output::note(format_args!(
            "{} has ended before, and nothing was sent; to train again, choose another task_id",
            output::printable(task_id.as_bytes())
        ));
    }
    Ok(ended)
}

/// Keeps what a task that has ended made, and says how it ended.
fn conclude(config: &Config, status: &TrainingStatus, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let kept = keep(config, status, args);
    follow::conclude(status, kept.as_ref().ok().and_then(Option::as_deref), out)?;
    if let Err(error) = kept {
        output::note(format_args!("the model is in the catalog, but not copied here: {error:#}"));
    }
    Ok(follow::exit_code(status))
}

/// Copies the model and its pictures out of the store; the folder.
fn keep(config: &Config, status: &TrainingStatus, args: &Args) -> anyhow::Result<Option<PathBuf>> {
    let Some(model) = &status.model else { return Ok(None) };
    // It becomes part of a path, and whoever may write statuses has chosen it.
    check_name(&model.name).context("the status names a model that no path can hold")?;
    let store = ArtifactStore::open(&config.artifacts, &s3_options(&config.store))?;
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}-{}", model.name, model.version)));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(folder.join("model.safetensors"), store.get(&model.digest)?)?;
    for picture in store.list_named(&crate::jobs::picture(&model.digest, ""))? {
        let file = picture.name.rsplit('/').next().unwrap_or_default();
        let bytes = store.get_named(&picture.name)?.unwrap_or_default();
        std::fs::write(folder.join(file), bytes)?;
    }
    Ok(Some(folder))
}
