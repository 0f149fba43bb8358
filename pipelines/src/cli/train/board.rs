//! The leaderboard of a search, as a table and in a line.

use lunapark_schemas::training::{SearchReport, TrialReport, TrialState};

use crate::cli::output::{Output, Table, printable};

/// Trials that a table shows, at most.
const SHOWN: usize = 10;

/// The best trials as a table.
pub(super) fn table(report: &SearchReport, out: &mut Output<'_>) -> anyhow::Result<()> {
    let mut table = Table::new(&["trial", "", ">epochs", ">metric", "values"]);
    for row in report.leaderboard.iter().take(SHOWN) {
        let state = format!("{:?}", row.state).to_lowercase();
        table.row([row.trial.to_string(), state, row.epochs.to_string(), metric(row), values(row)]);
    }
    out.line(format_args!("leaderboard, by {}", printable(report.metric.as_bytes())))?;
    out.table(&table)?;
    match report.leaderboard.len().saturating_sub(SHOWN) {
        0 => Ok(out.line("")?),
        more => Ok(out.line(format_args!("and {more} more\n"))?),
    }
}

/// How far it is, in a line.
pub(super) fn line(report: &SearchReport) -> String {
    let open = report.leaderboard.iter().filter(|row| row.state == TrialState::Open).count();
    let best = report.leaderboard.iter().find(|row| row.metric.is_some());
    let best = best.map(|row| format!(", best: trial {} with {} {}", row.trial, report.metric, metric(row)));
    let text = format!("rung {}/{}, {open} trials open{}", report.rung, report.rungs, best.unwrap_or_default());
    printable(text.as_bytes())
}

fn metric(row: &TrialReport) -> String {
    row.metric.map(|metric| format!("{metric:.4}")).unwrap_or_default()
}

/// What a request named may hold anything.
fn values(row: &TrialReport) -> String {
    let last = |field: &str| field.rsplit('.').next().unwrap_or_default().to_owned();
    let values: Vec<_> =
        row.parameters.iter().map(|(field, value)| format!("{}={}", last(field), short(value))).collect();
    let error = row.error.as_deref().map(|error| format!("  {error}")).unwrap_or_default();
    printable(format!("{}{error}", values.join(" ")).as_bytes())
}

fn short(value: &serde_json::Value) -> String {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(number) if number.abs() < 0.01 => format!("{number:.2e}"),
        Some(number) => format!("{number:.4}"),
        None => value.to_string(),
    }
}
