//! `lunapark train list`: the last status of every task.

use std::collections::BTreeMap;
use std::process::ExitCode;

use lunapark_schemas::TopicPartition;
use lunapark_schemas::training::{TaskStatus, TrainingStatus};
use lunapark_topics::LogError;

use crate::audit::scan::Scan;
use crate::cli::Context;
use crate::cli::output::{Output, Table, printable};

pub(super) fn execute(context: &Context, max: usize, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let mut tasks: Vec<_> = last(context)?.into_values().collect();
    tasks.sort_by(|a, b| b.stats.submitted.cmp(&a.stats.submitted));
    tasks.truncate(max);
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
pub(super) fn ended(context: &Context, task_id: &str) -> Result<Option<TrainingStatus>, LogError> {
    Ok(last(context)?.remove(task_id).filter(|status| status.task_status.terminal()))
}

/// Whether any worker has said a word of this task, or of a trial of this name.
pub(super) fn is_known(context: &Context, task_id: &str) -> Result<bool, LogError> {
    let mut known = false;
    each(context, |status| known |= status.task_id == task_id)?;
    Ok(known)
}

/// A status that ends a task stays, whatever a worker that was too late still says.
fn last(context: &Context) -> Result<BTreeMap<String, TrainingStatus>, LogError> {
    let mut tasks: BTreeMap<String, TrainingStatus> = BTreeMap::new();
    each(context, |status| {
        // Trials stand on the leaderboard of their search.
        let ended = tasks.get(&status.task_id).is_some_and(|known| known.task_status.terminal());
        if status.trial.is_none() && !ended {
            tasks.insert(status.task_id.clone(), status);
        }
    })?;
    Ok(tasks)
}

fn each(context: &Context, mut visit: impl FnMut(TrainingStatus)) -> Result<(), LogError> {
    let topic = context.catalog.training_status.name();
    for partition in 0..context.log.topic(topic)?.partitions {
        let at = TopicPartition::new(topic.clone(), partition);
        let end = context.log.watermarks(&at)?.high;
        Scan::open(&*context.log, &at, 0)?.until(end, |message| {
            message.value.and_then(|value| serde_json::from_slice(value).ok()).into_iter().for_each(&mut visit);
            Ok::<(), LogError>(())
        })?;
    }
    Ok(())
}

fn status(task: &TrainingStatus) -> String {
    let progress = task.progress.as_ref().filter(|_| task.task_status == TaskStatus::Running);
    let percent = progress.map(|p| format!(" {:.0} %", 100.0 * p.step as f64 / p.steps.max(1) as f64));
    let place = task.queue_position.filter(|_| task.task_status == TaskStatus::Submitted);
    let place = place.map(|place| format!(" #{place}"));
    let search = task.search.as_ref().filter(|_| task.task_status == TaskStatus::Running);
    let rung = search.map(|search| format!(" rung {}/{}", search.rung, search.rungs));
    let more = percent.or(place).or(rung).unwrap_or_default();
    format!("{}{more}", format!("{:?}", task.task_status).to_lowercase())
}
