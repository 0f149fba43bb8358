//! Following a task on `training.status` to its end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lunapark_schemas::training::{DatasetReport, Epoch, SearchReport, TaskStatus, TrainingStatus, TrialState};
use lunapark_schemas::{Messages, TopicPartition};
use lunapark_topics::{Catalog, Limit, Log, Reader};

use super::{board, curve};
use crate::cli::output::{self, Output, Table};

const LIMIT: Limit = Limit { messages: 1000, bytes: 4 << 20 };
const WAIT: Duration = Duration::from_millis(100);
/// A task that nobody has taken by then may wait for a worker that does not run.
const NOBODY: Duration = Duration::from_secs(10);
/// Width of a curve.
const CURVE: usize = 40;

/// Reads the statuses that come from now on.
pub struct Follower {
    reader: Box<dyn Reader>,
}

impl Follower {
    /// Open it before the request is sent: then no word is missed.
    pub fn open(log: &dyn Log, catalog: &Catalog) -> anyhow::Result<Self> {
        let topic = catalog.training_status.name();
        let partitions = log.topic(topic)?.partitions;
        let all = (0..partitions).map(|number| TopicPartition::new(topic.clone(), number));
        let ends = all.map(|at| Ok(at.at(log.watermarks(&at)?.high))).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { reader: log.reader(&ends)? })
    }

    /// What came of this task within a moment.
    pub fn poll(&mut self, task_id: &str) -> anyhow::Result<Vec<TrainingStatus>> {
        let mut messages = Messages::new();
        self.reader.poll(&mut messages, LIMIT, WAIT)?;
        let read = |value: Option<&[u8]>| serde_json::from_slice::<TrainingStatus>(value?).ok();
        let mut found: Vec<_> = messages.iter().filter_map(|message| read(message.value)).collect();
        found.retain(|status| status.task_id == task_id);
        Ok(found)
    }
}

/// Shows progress until the task ends; its last status.
pub fn watch(follower: &mut Follower, task_id: &str, out: &mut Output<'_>) -> anyhow::Result<TrainingStatus> {
    let mut view = View::new(task_id, out.json);
    let started = Instant::now();
    loop {
        for status in follower.poll(task_id)? {
            if out.json {
                out.json_line(&status)?;
                out.flush()?;
            }
            if status.task_status.terminal() {
                view.end();
                return Ok(status);
            }
            view.show(&status);
        }
        if !view.taken && started.elapsed() > NOBODY {
            view.taken = true;
            output::note("no worker has taken it yet; `lunapark run` with train.threads = 1 is one. Still waiting");
        }
    }
}

/// A bar with the curve in a terminal, a line per epoch elsewhere, nothing beside JSON.
struct View {
    bar: indicatif::ProgressBar,
    losses: Vec<f64>,
    epoch: u32,
    taken: bool,
    silent: bool,
}

impl View {
    fn new(task_id: &str, silent: bool) -> Self {
        let bar = output::progress(Some(1), "{prefix} {bar:24} {percent:>3} %  eta {eta_precise}  {msg}");
        bar.set_prefix(task_id.to_owned());
        Self { bar, losses: Vec::new(), epoch: 0, taken: false, silent }
    }

    fn show(&mut self, status: &TrainingStatus) {
        self.taken |= status.queue_position.is_none();
        if let Some(place) = status.queue_position.filter(|_| !self.silent) {
            self.bar.set_message(format!("waits, place {place} in the queue"));
        }
        if let Some(report) = &status.search {
            return self.show_search(report);
        }
        let Some(progress) = &status.progress else { return };
        self.bar.set_length(progress.steps.max(1));
        self.bar.set_position(progress.step);
        let Some(epoch) = status.history.last().filter(|epoch| epoch.epoch > self.epoch) else { return };
        self.epoch = epoch.epoch;
        self.losses.push(epoch.val_loss);
        let text = format!("{}  {}", curve::line(&self.losses, CURVE), figures(epoch));
        if self.bar.is_hidden() && !self.silent {
            output::note(format_args!("epoch {:>4}/{}  {}", epoch.epoch, progress.epochs, figures(epoch)));
        }
        self.bar.set_message(text);
    }

    fn show_search(&self, report: &SearchReport) {
        let line = board::line(report);
        if self.bar.is_hidden() && !self.silent {
            output::note(&line);
        }
        let all = report.leaderboard.len() as u64;
        let open = report.leaderboard.iter().filter(|row| row.state == TrialState::Open).count() as u64;
        self.bar.set_length(all.max(1));
        self.bar.set_position(all - open);
        self.bar.set_message(line);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn figures(epoch: &Epoch) -> String {
    let more = |name: &str, value: Option<f64>| value.map(|value| format!("  {name} {value:.4}")).unwrap_or_default();
    format!(
        "loss {:.4}  validation {:.4}{}{}",
        epoch.loss,
        epoch.val_loss,
        more("AUC", epoch.val_auc),
        more("accuracy", epoch.val_accuracy)
    )
}

/// Prints how the task ended.
pub fn conclude(status: &TrainingStatus, kept: Option<&std::path::Path>, out: &mut Output<'_>) -> anyhow::Result<()> {
    if out.json {
        return Ok(());
    }
    if let Some(report) = &status.search {
        board::table(report, out)?;
    }
    match status.task_status {
        TaskStatus::Succeeded => succeeded(status, kept, out),
        TaskStatus::Cancelled => Ok(out.line(format_args!("{} was cancelled", status.task_id))?),
        _ => Ok(out.line(format_args!(
            "{} failed: {}",
            status.task_id,
            output::printable(status.error.as_deref().unwrap_or("no reason given").as_bytes())
        ))?),
    }
}

fn succeeded(status: &TrainingStatus, kept: Option<&std::path::Path>, out: &mut Output<'_>) -> anyhow::Result<()> {
    curves(&status.history, out)?;
    let mut table = Table::new(&["evaluation", ">"]);
    for (name, value) in &status.evaluation {
        table.row([name.clone(), format!("{value:.5}")]);
    }
    out.table(&table)?;
    if let Some(data) = &status.dataset {
        out.line(format_args!("\nrows: {}", rows(data)))?;
    }
    if let Some(model) = &status.model {
        out.line(format_args!(
            "model: {}/{}#{}",
            model.name,
            model.version,
            model.digest.get(..8).unwrap_or_default()
        ))?;
    }
    if let Some(folder) = kept {
        out.line(format_args!("files: {}", folder.display()))?;
    }
    Ok(())
}

/// What became of the rows of a data set. Where none is held out, those that test also judge each epoch.
pub(in crate::cli) fn rows(data: &DatasetReport) -> String {
    let (train, test) = (data.samples_train, data.samples_test);
    let mut text = match data.samples_validation {
        0 => format!("{train} trained, {test} tested, also for the validation after each epoch"),
        validation => format!("{train} trained, {validation} validated, {test} tested"),
    };
    if data.unlabelled > 0 {
        text += &format!("; {} had no label and were left out", data.unlabelled);
    }
    text
}

/// The loss of every epoch, trained and held out.
pub fn curves(history: &[Epoch], out: &mut Output<'_>) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (history.first(), history.last()) else { return Ok(()) };
    type Value = fn(&Epoch) -> f64;
    let rows: [(&str, Value); 2] = [("loss", |epoch| epoch.loss), ("validation", |epoch| epoch.val_loss)];
    for (name, value) in rows {
        let values: Vec<f64> = history.iter().map(value).collect();
        let bars = curve::line(&values, CURVE);
        out.line(format_args!("{name:10}  {bars}  {:.4} → {:.4} in {} epochs", value(first), value(last), last.epoch))?;
    }
    Ok(out.line("")?)
}

/// Success for a model, failure for anything else.
pub fn exit_code(status: &TrainingStatus) -> ExitCode {
    if status.task_status == TaskStatus::Succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_the_rows_is_told() {
        let mut data = DatasetReport { samples_train: 80, samples_test: 20, ..DatasetReport::default() };
        assert_eq!(rows(&data), "80 trained, 20 tested, also for the validation after each epoch");
        (data.samples_validation, data.unlabelled) = (10, 7);
        assert_eq!(rows(&data), "80 trained, 10 validated, 20 tested; 7 had no label and were left out");
    }
}
