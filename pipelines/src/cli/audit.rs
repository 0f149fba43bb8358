//! `lunapark audit`: proves from the topics that every message ended exactly once.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::Context;
use super::output::{self, Output, Table, number};
use crate::audit::ledger::pipelines;
use crate::audit::report::AuditReport;
use crate::audit::{AuditRequest, audit_with};

/// Proves from the topics that every message ended exactly once
///
/// The quick audit reads the ledger: the ranges of each partition must chain without gap and overlap, add up, and end
/// where the consumer group stands. With --deep it also reads every message, result and dead letter, and compares.
///
/// Exit code: 0 where it is proven, 1 where something is wrong (each fault is named), 3 where nothing is wrong but
/// retention has deleted records that would be needed for the proof.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lunapark audit\n  lunapark audit --pipeline train --deep\n  lunapark audit --pipeline documents --deep\n  lunapark audit --deep --json | jq .findings"
)]
pub struct Args {
    /// Input topic; results and dead letters are looked for where the catalog says, or in TOPIC.dead
    #[arg(long)]
    topic: Option<String>,
    /// Pipeline, as the ledger names it; its consumer group has the same name
    #[arg(long)]
    pipeline: Option<String>,
    /// Result topic
    #[arg(long)]
    results: Option<String>,
    /// Read the records themselves, not only the ledger
    #[arg(long)]
    deep: bool,
    /// Call unprovable what retention deleted before the pipeline began, instead of leaving it out of the account
    #[arg(long)]
    from_beginning: bool,
}

/// Exit code of an audit that found no fault, but no proof either.
const UNPROVABLE: u8 = 3;

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| execute(context, args, out))
}

pub(super) fn execute(context: &Context, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let request = request(context, args);
    refuse_unknown(context, &request)?;
    let bar = output::progress(None, "{spinner} {human_pos} records read, {per_sec}, {elapsed}");
    let report = audit_with(&*context.log, &request, &mut |read| bar.set_position(read));
    bar.finish_and_clear();
    let report = report.with_context(|| format!("cannot audit pipeline {} on {}", request.pipeline, request.topic))?;
    match out.json {
        true => out.document(&report)?,
        false => print(out, &report)?,
    }
    Ok(exit_code(&report))
}

fn request(context: &Context, args: &Args) -> AuditRequest {
    let group = &context.group_of_pipeline;
    let prefix = context.catalog.prefix();
    let pipeline = match &args.pipeline {
        Some(name) if name.starts_with(prefix) => name.clone(),
        Some(name) => format!("{prefix}{name}"),
        None => group.clone(),
    };
    let mut request = match args.topic.is_none() {
        true => of_pipeline(context, &pipeline),
        false => AuditRequest::scorer(&context.catalog, &pipeline, &pipeline),
    };
    if let Some(topic) = &args.topic {
        request.topic = topic.as_str().into();
        request.dead = format!("{topic}.dead").into();
        request.second = None;
    }
    if let Some(results) = &args.results {
        request.results = Arc::from(results.as_str());
    }
    AuditRequest { deep: args.deep, from_beginning: args.from_beginning, ..request }
}

/// A pipeline that nobody configured and no ledger knows is a slip of the pen: its empty account would prove nothing.
fn refuse_unknown(context: &Context, request: &AuditRequest) -> anyhow::Result<()> {
    let configured = context.groups();
    if configured.contains(&request.pipeline.as_str()) {
        return Ok(());
    }
    let ledgers = [context.catalog.ledger.name().clone(), context.catalog.training_ledger.name().clone()];
    let found = pipelines(&*context.log, &ledgers).context("cannot read the ledger")?;
    if found.contains(&request.pipeline) {
        return Ok(());
    }
    let prefix = context.catalog.prefix();
    let short = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    let known = match found.is_empty() {
        true => "the ledger is empty".to_owned(),
        false => format!("the ledger holds {}", found.iter().map(|name| short(name)).collect::<Vec<_>>().join(", ")),
    };
    bail!(
        "there is no pipeline `{}`: the configuration names {}; {known}",
        short(&request.pipeline),
        configured.map(short).join(", "),
    )
}

/// Each pipeline has its own topics.
fn of_pipeline(context: &Context, pipeline: &str) -> AuditRequest {
    let catalog = &context.catalog;
    if pipeline == context.group_of_training {
        AuditRequest::training(catalog, pipeline)
    } else if pipeline == context.group_of_documents {
        AuditRequest::plain(catalog, pipeline, &catalog.documents_ingest, &catalog.documents_indexed)
    } else if pipeline == context.group_of_search {
        AuditRequest::plain(catalog, pipeline, &catalog.search_requests, &catalog.search_results)
    } else {
        AuditRequest::scorer(catalog, pipeline, pipeline)
    }
}

fn exit_code(report: &AuditReport) -> ExitCode {
    match (report.proven, report.faulty()) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::from(UNPROVABLE),
    }
}

/// Prints a report for people.
pub fn print(out: &mut Output<'_>, report: &AuditReport) -> anyhow::Result<()> {
    let depth = if report.deep { "deep" } else { "quick" };
    out.line(format_args!("{depth} audit of pipeline {} on {}\n", report.pipeline, report.topic))?;
    out.table(&figures(report))?;
    out.line("")?;
    let at_most = if report.pending_exact { "" } else { "≤ " };
    out.line(format_args!(
        "lost {}, duplicated {}, unprovable {}, pending {at_most}{}, redriven {}; {} ledger ranges",
        number(report.lost),
        number(report.duplicated),
        number(report.unprovable),
        number(report.pending),
        number(report.redriven),
        number(report.ranges)
    ))?;
    findings(out, report)?;
    report.notes.iter().try_for_each(|note| out.line(format_args!("note: {note}")))?;
    Ok(out.line(conclusion(report))?)
}

fn figures(report: &AuditReport) -> Table {
    let mut table = Table::new(&["", ">in", "", ">results", "", ">filtered", "", ">dead letters", ">partial"]);
    for (name, counts) in [("messages", report.messages), ("rows", report.rows)] {
        let [input, results, filtered, dead, partial] =
            [counts.input, counts.results, counts.filtered, counts.dead, counts.partial].map(number);
        let [equals, plus] = ["=", "+"].map(str::to_owned);
        table.row([name.into(), input, equals, results, plus.clone(), filtered, plus, dead, partial]);
    }
    table
}

fn findings(out: &mut Output<'_>, report: &AuditReport) -> anyhow::Result<()> {
    for finding in &report.findings {
        out.line(format_args!("  {finding}"))?;
    }
    for (kind, count) in &report.faults {
        let named = report.findings.iter().filter(|finding| finding.kind == *kind).count() as u64;
        if *count > named {
            out.line(format_args!("  {kind}: and {} more", number(count - named)))?;
        }
    }
    Ok(())
}

fn conclusion(report: &AuditReport) -> &'static str {
    match (report.proven, report.faulty(), report.deep) {
        (true, _, true) => "PROVEN from the records: every message ended exactly once",
        (true, _, false) => "PROVEN from the ledger: every message ended exactly once (--deep also reads the records)",
        (false, true, _) => "NOT PROVEN: see the faults above",
        (false, false, _) => "NOT PROVEN: no fault was found, but see the note above",
    }
}
