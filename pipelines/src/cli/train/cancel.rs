//! `lunapark train cancel`: asks every worker to end a task.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use lunapark_knowledge::search::among;
use lunapark_schemas::control::ControlRecord;
use lunapark_topics::LogError;

use super::{list, send};
use crate::audit::scan;
use crate::cli::Context;
use crate::cli::output::{Output, printable};
use crate::jobs::task_of;

pub(super) fn execute(context: &Context, task: &str, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    if let Some(status) = list::ended(context, task)? {
        let how = list::word(status.task_status);
        bail!("{} has ended before, as {how}: there is nothing to cancel", printable(task.as_bytes()));
    }
    let requested = requested(context)?;
    if !requested.contains(task) && !list::is_known(context, task)? {
        bail!("there is no task `{}`{}", printable(task.as_bytes()), others(task, &requested));
    }
    send(context, task)?;
    match out.json {
        true => out.json_line(&serde_json::json!({ "task_id": task, "cancel": "sent" }))?,
        false => out.line(format_args!(
            "cancel of {} sent: it ends as cancelled within a second or so, whether it runs or waits",
            printable(task.as_bytes())
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn send(context: &Context, task: &str) -> anyhow::Result<()> {
    let event = context.catalog.control.encode(&ControlRecord::Cancel { task_id: task.to_owned() })?;
    let mut writer = context.log.writer()?;
    writer.produce(&event.record(Some(0)))?;
    writer.flush(send::PATIENCE).context("the cancel was not acknowledged")
}

/// Every task that somebody has asked for, as far as the requests are still there.
fn requested(context: &Context) -> Result<BTreeSet<String>, LogError> {
    let mut tasks = BTreeSet::new();
    scan::whole(&*context.log, context.catalog.training_requests.name(), |message| {
        tasks.extend(task_of(message));
        Ok::<(), LogError>(())
    })?;
    Ok(tasks)
}

fn others(task: &str, requested: &BTreeSet<String>) -> String {
    match requested.is_empty() {
        true => ", and no other one: `lunapark train REQUEST.json` sends one".to_owned(),
        false => {
            let names: Vec<_> = requested.iter().map(|name| printable(name.as_bytes())).collect();
            among(task, names.iter().map(String::as_str))
        }
    }
}
