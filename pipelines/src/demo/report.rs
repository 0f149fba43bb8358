//! The demo's last word: the histogram, the account, and what to try next.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::view::{histogram, reasons};
use super::{Played, suggestion};
use crate::cli::output::{self, number};

#[derive(Serialize)]
struct Figures {
    #[serde(rename = "in")]
    input: u64,
    results: u64,
    filtered: u64,
    dead: u64,
    dead_by_reason: BTreeMap<String, u64>,
    lost: u64,
    duplicated: u64,
    proven: bool,
    events_per_second: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    auc: f64,
    seconds: f64,
}

/// Prints the end of the demo; failure where the audit found anything.
pub(super) fn finish(played: &Played, data: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let figures = figures(played);
    output::on_stdout(json, |out| {
        if json {
            out.json_line(&figures)?;
        } else {
            account(played, &figures).iter().try_for_each(|line| out.line(line))?;
            next_steps(data).iter().try_for_each(|line| out.line(line))?;
        }
        Ok(if figures.proven { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn figures(played: &Played) -> Figures {
    let (audit, seen, seconds) = (&played.audit, &played.observer, played.streamed.as_secs_f64());
    Figures {
        input: audit.messages.input,
        results: audit.messages.results,
        filtered: audit.messages.filtered,
        dead: audit.messages.dead,
        dead_by_reason: seen.dead.clone(),
        lost: audit.lost,
        duplicated: audit.duplicated,
        proven: audit.proven,
        events_per_second: seen.scored() as f64 / seconds,
        latency_p50_ms: seen.latency_ms(0.5),
        latency_p99_ms: seen.latency_ms(0.99),
        auc: seen.auc(),
        seconds,
    }
}

fn account(played: &Played, figures: &Figures) -> Vec<String> {
    let seen = &played.observer;
    let mut lines = vec![String::new()];
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        lines.extend(histogram(&seen.bins));
        lines.push(format!("dead letters  {}", reasons(seen)));
        lines.push(String::new());
    }
    lines.push(format!(
        "audit   in {} = results {} + filtered {} + dead letters {}, lost {}, duplicated {}",
        number(figures.input),
        number(figures.results),
        number(figures.filtered),
        number(figures.dead),
        figures.lost,
        figures.duplicated
    ));
    lines.extend(played.audit.findings.iter().map(|finding| format!("        {finding}")));
    let verdict = if figures.proven { "proven: every event ended exactly once" } else { "NOT proven" };
    lines.push(format!("        {verdict}"));
    lines
}

fn next_steps(data: &Path) -> Vec<String> {
    let mut lines = vec![String::new(), "try next".to_owned()];
    for command in ["consume inference.results --max 3 --headers", "dlq count", "audit --deep"] {
        lines.push(format!("  {}", suggestion(data, command)));
    }
    lines
}
