//! `lunapark train list`: the last status of every task.

use std::process::ExitCode;

use lunapark_schemas::training::{TaskStatus, TrainingStatus};
use lunapark_stores::catalog::{Catalog as _, CatalogError, TaskFilter};
use lunapark_topics::LogError;

use crate::audit::scan;
use crate::catalog::TopicCatalog;
use crate::cli::Context;
use crate::cli::output::{Output, Table, printable};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show at most N
    #[arg(long, value_name = "N", default_value_t = 20)]
    max: usize,
    /// Only tasks of this project
    #[arg(long)]
    project: Option<String>,
    /// Only tasks that stand there: submitted, running, succeeded, failed or cancelled
    #[arg(long, value_parser = stands)]
    status: Option<TaskStatus>,
}

fn stands(text: &str) -> Result<TaskStatus, String> {
    let refused = |_| "write submitted, running, succeeded, failed or cancelled".to_owned();
    serde_json::from_value(text.into()).map_err(refused)
}

pub(super) fn execute(context: &Context, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let filter = TaskFilter { project: args.project.clone(), status: args.status };
    let tasks = catalog(context).tasks(&filter, args.max)?;
    if out.json {
        out.document(&tasks)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["task", "status", "submitted", ">seconds", "model", ">auc", ""]);
    for task in &tasks {
        let model = task.model.as_ref().map(|model| format!("{}/{}", model.name, model.version));
        let auc = task.evaluation.get("auc").map(|auc| format!("{auc:.4}"));
        let seconds = format!("{:.1}", task.stats.elapsed_seconds);
        table.row([
            printable(task.task_id.as_bytes()),
            status(task),
            task.stats.submitted.clone(),
            seconds,
            model.unwrap_or_default(),
            auc.unwrap_or_default(),
            printable(task.error.as_deref().unwrap_or_default().as_bytes()),
        ]);
    }
    out.table(&table)?;
    Ok(ExitCode::SUCCESS)
}

/// How this task ended, where it has.
pub(super) fn ended(context: &Context, task_id: &str) -> Result<Option<TrainingStatus>, CatalogError> {
    Ok(catalog(context).task(task_id)?.filter(|status| status.task_status.terminal()))
}

fn catalog(context: &Context) -> TopicCatalog {
    TopicCatalog::new(context.log.clone(), &context.catalog)
}

/// Whether any worker has said a word of this task, or of a trial of this name.
pub(super) fn is_known(context: &Context, task_id: &str) -> Result<bool, LogError> {
    let mut known = false;
    scan::whole(&*context.log, context.catalog.training_status.name(), |message| {
        let status = message.value.and_then(|value| serde_json::from_slice::<TrainingStatus>(value).ok());
        known |= status.is_some_and(|status| status.task_id == task_id);
        Ok::<(), LogError>(())
    })?;
    Ok(known)
}

/// Where a task stands, in a word.
pub(super) fn word(status: TaskStatus) -> String {
    format!("{status:?}").to_lowercase()
}

fn status(task: &TrainingStatus) -> String {
    let progress = task.progress.as_ref().filter(|_| task.task_status == TaskStatus::Running);
    let percent = progress.map(|p| format!(" {:.0} %", 100.0 * p.step as f64 / p.steps.max(1) as f64));
    let place = task.queue_position.filter(|_| task.task_status == TaskStatus::Submitted);
    let place = place.map(|place| format!(" #{place}"));
    let search = task.search.as_ref().filter(|_| task.task_status == TaskStatus::Running);
    let rung = search.map(|search| format!(" rung {}/{}", search.rung, search.rungs));
    let more = percent.or(place).or(rung).unwrap_or_default();
    format!("{}{more}", word(task.task_status))
}
