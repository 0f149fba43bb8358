//! Job history as a value: where each task stands, told by its statuses in any order and however often. No I/O.

use std::collections::BTreeMap;

use lunapark_schemas::training::{TaskStatus, TrainingStatus};

/// Ends rank above everything else: no partition has so many records. The sum is still exact as a floating-point number.
const END: i64 = 1 << 52;

/// Which tasks are asked for; what is absent makes no difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Tasks of this project.
    pub project: Option<String>,
    /// Tasks that stand there.
    pub status: Option<TaskStatus>,
}

impl TaskFilter {
    /// Whether this is such a task.
    pub fn fits(&self, task: &TrainingStatus) -> bool {
        let of_project = self.project.is_none() || self.project == task.project;
        of_project && self.status.is_none_or(|status| status == task.task_status)
    }
}

/// The status of each task that says where it stands. Trials are not among them: they stand on the leaderboard of their
/// search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tasks {
    tasks: BTreeMap<String, (i64, TrainingStatus)>,
}

impl Tasks {
    /// Takes in a status that stands at this offset.
    pub fn apply(&mut self, status: TrainingStatus, offset: i64) {
        let rank = rank(&status, offset);
        let higher = self.tasks.get(&status.task_id).is_some_and(|(known, _)| *known > rank);
        if status.trial.is_none() && !higher {
            self.tasks.insert(status.task_id.clone(), (rank, status));
        }
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Where a task stands.
    pub fn get(&self, task_id: &str) -> Option<&TrainingStatus> {
        self.tasks.get(task_id).map(|(_, status)| status)
    }

    /// Where tasks stand: those that were sent last come first.
    pub fn list(&self, filter: &TaskFilter, most: usize) -> Vec<TrainingStatus> {
        let all = self.tasks.values().map(|(_, status)| status);
        let mut found: Vec<_> = all.filter(|status| filter.fits(status)).collect();
        // What was sent at the same moment stays in the order of the names.
        found.sort_by(|one, other| other.stats.submitted.cmp(&one.stats.submitted));
        found.into_iter().take(most).cloned().collect()
    }

    /// Every status with its rank.
    #[cfg(feature = "mongodb")]
    pub(super) fn ranked(&self) -> impl Iterator<Item = (i64, &TrainingStatus)> {
        self.tasks.values().map(|(rank, status)| (*rank, status))
    }
}

/// Of all statuses of a task the one with the highest rank says where it stands: the first that ends it, whatever a worker
/// that was too late still says, else the last. All of them lie in one partition, that of its request.
fn rank(status: &TrainingStatus, offset: i64) -> i64 {
    if status.task_status.terminal() { END - offset } else { offset }
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::training::{TrainingStats, TrialReference};

    use super::*;

    fn status(task: &str, task_status: TaskStatus, submitted: &str) -> TrainingStatus {
        let stats = TrainingStats { submitted: submitted.into(), ..Default::default() };
        TrainingStatus { task_id: task.into(), task_status, stats, ..Default::default() }
    }

    /// What each of these says of the task `t`, by its place in the list.
    fn after(statuses: impl IntoIterator<Item = (TaskStatus, i64)>) -> (TaskStatus, String) {
        let mut tasks = Tasks::default();
        statuses.into_iter().for_each(|(at, offset)| tasks.apply(status("t", at, &offset.to_string()), offset));
        let found = tasks.get("t").unwrap();
        (found.task_status, found.stats.submitted.clone())
    }

    #[test]
    fn the_first_end_stays_else_the_last_word_in_any_order_and_however_often() {
        use TaskStatus::{Cancelled, Running, Submitted, Succeeded};
        let open = [(Submitted, 3), (Running, 5), (Running, 8)];
        let ended = [(Submitted, 3), (Running, 5), (Succeeded, 7), (Running, 8), (Cancelled, 9)];
        for (statuses, expected) in [(&open[..], (Running, "8")), (&ended[..], (Succeeded, "7"))] {
            let expected = (expected.0, expected.1.to_owned());
            assert_eq!(after(statuses.iter().copied()), expected);
            assert_eq!(after(statuses.iter().rev().copied()), expected);
            assert_eq!(after(statuses.iter().chain(statuses).copied()), expected);
        }
    }

    #[test]
    fn the_newest_come_first_as_far_as_they_are_asked_for() {
        let mut tasks = Tasks::default();
        let times = [("b", "10"), ("a", "10"), ("c", "30"), ("d", "20")];
        for (offset, (task, submitted)) in (0..).zip(times) {
            let project = (task < "c").then(|| "p".to_owned());
            let at = if task == "a" { TaskStatus::Failed } else { TaskStatus::Running };
            tasks.apply(TrainingStatus { project, ..status(task, at, submitted) }, offset);
        }
        let trial = Some(TrialReference { search: "c".into(), trial: 0, rung: 0 });
        tasks.apply(TrainingStatus { trial, ..status("c/0", TaskStatus::Running, "40") }, 9);
        let names = |filter: &TaskFilter, most| {
            tasks.list(filter, most).into_iter().map(|task| task.task_id).collect::<Vec<_>>()
        };
        let all = TaskFilter::default();
        assert_eq!(
            (names(&all, 9), names(&all, 2)),
            (vec!["c".into(), "d".into(), "a".into(), "b".into()], vec!["c".into(), "d".into()])
        );
        let of_project = TaskFilter { project: Some("p".into()), status: None };
        assert_eq!((names(&of_project, 9), tasks.len()), (vec!["a".to_owned(), "b".into()], 4));
        let failed = TaskFilter { status: Some(TaskStatus::Failed), ..of_project };
        assert_eq!((names(&failed, 9), names(&failed, 0)), (vec!["a".to_owned()], Vec::new()));
    }
}
