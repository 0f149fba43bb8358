//! `lunapark audit`: proves from the topics that every message ended exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use lunapark_topics::LogErrorKind;

use super::Context;
use super::output::{self, Output, Table, number};
use crate::audit::ledger::pipelines;
use crate::audit::report::{AuditReport, NAMED_IN_JSON, NAMED_PER_KIND};
use crate::audit::{AuditRequest, audit_with};

/// Proves from the topics that every message ended exactly once
///
/// The quick audit reads the ledger alone: the ranges of each partition must chain without gap and overlap, add up, and
/// end where the consumer group stands. What the ledger says of messages it believes: a result that is missing, doubled
/// or of another message shows with --deep only, which also reads every message, result and dead letter, and compares.
///
/// Each fault is named with its offsets, of each kind the first 20, and the first 10,000 with --json; `faults` counts them
/// all.
///
/// Exit code: 0 where it is proven, 1 where something is wrong (each fault is named), 3 where nothing is wrong but
/// retention has deleted records that would be needed for the proof, 4 where there is nothing to audit yet: no message
/// has ended. A script that must have a proof takes 0 alone; one that runs before the first event may take 4 as well.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lunapark audit\n  lunapark audit --pipeline train --deep\n  lunapark audit --pipeline documents --deep\n  lunapark audit --deep --json | jq .findings"
)]
pub struct Args {
    /// Input topic, one that the pipeline reads; without --pipeline, the pipeline that reads it is audited
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
    /// Call unprovable what retention deleted before the pipeline began, or what it left out because it was told to start
    /// with the latest, instead of leaving it out of the account
    #[arg(long)]
    from_beginning: bool,
}

/// Exit code of an audit that found no fault, but no proof either.
const UNPROVABLE: u8 = 3;

/// Exit code of an audit before anything has ended.
const NOTHING_YET: u8 = 4;

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| execute(context, args, out))
}

pub(super) fn execute(context: &Context, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let named_per_kind = if out.json { NAMED_IN_JSON } else { NAMED_PER_KIND };
    let request = AuditRequest { named_per_kind, ..request(context, args)? };
    let failed = || format!("cannot audit pipeline {} on {}", request.pipeline, request.topic);
    let report = match context.log.topic(&request.topic) {
        Err(error) if error.kind == LogErrorKind::TopicMissing => {
            refuse_gone(context, &request)?;
            before_all(&request)
        }
        found => {
            found.with_context(failed)?;
            let bar = output::progress(None, "{spinner} {human_pos} records read, {per_sec}, {elapsed}");
            let report = audit_with(&*context.log, &request, &mut |read| bar.set_position(read));
            bar.finish_and_clear();
            report.with_context(failed)?
        }
    };
    match out.json {
        true => out.document(&report)?,
        false => print(out, &report)?,
    }
    Ok(exit_code(&report))
}

/// The report where no service has made the pipeline's topic yet.
fn before_all(request: &AuditRequest) -> AuditReport {
    AuditReport {
        pipeline: request.pipeline.clone(),
        topic: request.topic.to_string(),
        deep: request.deep,
        empty: true,
        pending_exact: true,
        notes: vec![format!("there is no topic {} yet: a service of this pipeline makes it", request.topic)],
        ..AuditReport::default()
    }
}

fn request(context: &Context, args: &Args) -> anyhow::Result<AuditRequest> {
    let pipeline = match (&args.pipeline, &args.topic) {
        (Some(name), _) => context.group_of(name),
        (None, Some(topic)) => reader_of(context, topic).unwrap_or(&context.group_of_pipeline).to_owned(),
        (None, None) => context.group_of_pipeline.clone(),
    };
    let mut request = of_pipeline(context, &pipeline);
    let is_own = |topic: &str| request.topics().any(|own| own == topic);
    if let Some(topic) = args.topic.as_ref().filter(|topic| !is_own(topic)) {
        let (topic, dead) = (topic.as_str().into(), format!("{topic}.dead").into());
        request = AuditRequest { topic, dead, ..AuditRequest::scorer(&context.catalog, &pipeline, &pipeline) };
    }
    refuse_unread(context, &request)?;
    if let Some(results) = &args.results {
        request.results = Arc::from(results.as_str());
    }
    Ok(AuditRequest { deep: args.deep, from_beginning: args.from_beginning, ..request })
}

/// The configured pipeline that reads a topic.
fn reader_of<'a>(context: &'a Context, topic: &str) -> Option<&'a str> {
    let reads = |group: &&str| of_pipeline(context, group).topics().any(|own| own == topic);
    context.groups().into_iter().find(reads)
}

/// A topic that the pipeline does not read is a slip of the pen, and so is a pipeline that nobody configured and no ledger
/// knows: the empty account would prove nothing.
fn refuse_unread(context: &Context, request: &AuditRequest) -> anyhow::Result<()> {
    let configured = context.groups();
    let mut reads = BTreeSet::new();
    if configured.contains(&request.pipeline.as_str()) {
        reads.extend(of_pipeline(context, &request.pipeline).topics().map(str::to_owned));
    }
    if reads.contains(&*request.topic) {
        return Ok(());
    }
    let found = accounts(context)?;
    reads.extend(found.get(&request.pipeline).into_iter().flatten().cloned());
    match reads.contains(&*request.topic) {
        true => Ok(()),
        false if reads.is_empty() => Err(unknown(context, &request.pipeline, found.keys())),
        false => Err(unread(context, request, &reads)),
    }
}

/// A topic that is gone proves nothing of what was sent to it: that is not the same as nothing having been sent.
fn refuse_gone(context: &Context, request: &AuditRequest) -> anyhow::Result<()> {
    let AuditRequest { topic, pipeline, .. } = request;
    if accounts(context)?.get(pipeline).is_some_and(|topics| topics.contains(&**topic)) {
        bail!(
            "topic {topic} is gone, and the ledger accounts for messages of it that pipeline {} has ended: nothing can be \
             proven of them any more",
            context.short(pipeline)
        );
    }
    Ok(())
}

/// The pipelines of the ledgers, with the topics that they read.
fn accounts(context: &Context) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let ledgers = [context.catalog.ledger.name().clone(), context.catalog.training_ledger.name().clone()];
    pipelines(&*context.log, &ledgers).context("cannot read the ledger")
}

fn unknown<'a>(context: &Context, pipeline: &str, found: impl Iterator<Item = &'a String>) -> anyhow::Error {
    let found: Vec<&str> = found.map(|name| context.short(name)).collect();
    let known = match found.is_empty() {
        true => "the ledger is empty".to_owned(),
        false => format!("the ledger holds {}", found.join(", ")),
    };
    let configured = context.groups().map(|name| context.short(name)).join(", ");
    anyhow!("there is no pipeline `{}`: the configuration names {configured}; {known}", context.short(pipeline))
}

fn unread(context: &Context, request: &AuditRequest, reads: &BTreeSet<String>) -> anyhow::Error {
    let (pipeline, topic) = (context.short(&request.pipeline), &request.topic);
    let reads = reads.iter().map(|topic| format!("`{topic}`")).collect::<Vec<_>>().join(" and ");
    let other = reader_of(context, topic).map(|other| context.short(other));
    let other = other.map_or(String::new(), |other| format!("; `{topic}` is read by `{other}` (--pipeline {other})"));
    anyhow!("pipeline `{pipeline}` does not read `{topic}`, but {reads}{other}")
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
        _ if report.empty => ExitCode::from(NOTHING_YET),
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::from(UNPROVABLE),
    }
}

/// Prints a report for people.
pub fn print(out: &mut Output<'_>, report: &AuditReport) -> anyhow::Result<()> {
    let depth = if report.deep { "deep" } else { "quick" };
    out.line(format_args!("{depth} audit of pipeline {} on {}\n", report.pipeline, report.topic))?;
    if report.empty {
        report.notes.iter().try_for_each(|note| out.line(format_args!("note: {note}")))?;
        return Ok(out.line(nothing_yet(report))?);
    }
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

fn nothing_yet(report: &AuditReport) -> String {
    let at_most = if report.pending_exact { "" } else { "up to " };
    match report.pending {
        0 => format!("NOTHING TO AUDIT YET: pipeline {} has been sent no message", report.pipeline),
        pending => format!(
            "NOTHING TO AUDIT YET: {at_most}{} {} for pipeline {}, and none has ended; does its service run?",
            output::counted(pending, "message"),
            if pending == 1 { "waits" } else { "wait" },
            report.pipeline
        ),
    }
}

fn conclusion(report: &AuditReport) -> &'static str {
    match (report.proven, report.faulty(), report.deep) {
        (true, _, true) => "PROVEN from the records: every message ended exactly once",
        (true, _, false) => "PROVEN from the ledger: every message ended exactly once (--deep also reads the records)",
        (false, true, _) => "NOT PROVEN: see the faults above",
        (false, false, _) => "NOT PROVEN: no fault was found, but see the note above",
    }
}
