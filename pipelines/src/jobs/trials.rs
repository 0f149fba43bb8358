//! Records of `training.trials`: what a worker makes of one.

use lunapark_schemas::training::{SearchOrigin, TrialPlace, TrialRecord};
use lunapark_schemas::{ErrorClass, Message, Rejection};

use super::job::{Assignment, Task};
use super::shelf::Folder;
use super::{Shared, unfit};

/// A trial to be trained, or the look at what came of one.
pub(super) fn assignment(message: &Message<'_>, shared: &Shared) -> Result<Assignment, Rejection> {
    let malformed = |what: String| Rejection::new(ErrorClass::Malformed, what);
    let value = message.value.unwrap_or_default();
    let record: TrialRecord =
        serde_json::from_slice(value).map_err(|error| malformed(format!("this is no trial: {error}")))?;
    let partitions = shared.catalog.training_trials.spec.partitions;
    let folder = checked(record.origin(), partitions)?;
    let (project, submitted) = (record.origin().request.project.clone(), record.origin().submitted);
    let (task_id, folder, task) = match record {
        TrialRecord::Trial { of, at } => (name(&of, &at), folder.of_trial(at.trial), Task::Trial { origin: of, at }),
        TrialRecord::Trained { of, at, end } => {
            let mut ends = shared.searches.ends(message.partition, &of.folder);
            ends.insert((at.rung, at.trial), (at.clone(), end.clone()));
            (of.task_id.clone(), folder, Task::Trained { origin: of, at, end, ends })
        }
    };
    Ok(Assignment { task_id, project, position: message.position(), folder, submitted, task: Ok(task) })
}

/// A trial answers for itself at each rung.
fn name(of: &SearchOrigin, at: &TrialPlace) -> String {
    format!("{}/trial-{}/rung-{}", of.task_id, at.trial, at.rung)
}

/// Its words become a folder, a partition and the key of records.
fn checked(origin: &SearchOrigin, partitions: i32) -> Result<Folder, Rejection> {
    let wrong = |what: &str| Rejection::new(ErrorClass::Value, what);
    if let Some(rejection) = unfit(&origin.task_id) {
        return Err(rejection);
    }
    if !(0..partitions).contains(&origin.partition) {
        return Err(wrong("`partition` of the search is not one of the topic's"));
    }
    Folder::named(&origin.folder).ok_or_else(|| wrong("`folder` of the search is not 32 hex digits"))
}
