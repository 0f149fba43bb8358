//! Reading and sending a request.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use lunapark_schemas::training::TrainingRequest;
use lunapark_topics::{Catalog, Log};

use crate::clock;
use crate::jobs::unfit;

/// A broker that does not take a record within this is not there.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The request in a file; refused here already where no worker could read it.
pub(super) fn read(path: &Path) -> anyhow::Result<TrainingRequest> {
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().read_to_end(&mut bytes).map(drop),
        false => std::fs::read(path).map(|found| bytes = found),
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    TrainingRequest::from_json(&bytes).with_context(|| path.display().to_string())
}

/// Sends the request under its task's name, which is made up where it has none; the name.
pub fn send(log: &dyn Log, catalog: &Catalog, mut request: TrainingRequest) -> anyhow::Result<String> {
    let made_up = || format!("{}-{:x}", request.model.name, clock::now_millis());
    let task_id = request.task_id.clone().unwrap_or_else(made_up);
    // Workers make a dead letter of it, and whoever follows the task would wait for ever.
    if let Some(rejection) = unfit(&task_id) {
        anyhow::bail!("{}; without a `task_id` it is made of `model.name`", rejection.message);
    }
    request.task_id = Some(task_id.clone());
    let event = catalog.training_requests.encode(&request)?;
    let mut writer = log.writer()?;
    writer.produce(&event.record(None))?;
    writer.flush(PATIENCE).context("the request was not acknowledged")?;
    Ok(task_id)
}
