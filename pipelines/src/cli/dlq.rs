//! `lunapark dlq`: what could not be processed, why, and back again.

mod selection;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use lunapark_schemas::headers::dead;
use lunapark_schemas::{Message, Position};
use lunapark_topics::{Log, LogError};
use serde::Serialize;
use serde_json::{Value, json};

use super::Context;
use super::consume;
use super::output::{self, Output, Table, hex_dump, number, printable, size};
use super::redrive;
use super::time;
use crate::audit::ledger::redriven_so_far;
use crate::audit::scan::{self, Scan};
use crate::audit::source::Source;
pub(super) use selection::{Looked, Selection};

/// Ending of every dead-letter topic.
pub const SUFFIX: &str = ".dead";

/// Lists, counts, shows and redrives dead letters
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark dlq count\n  lunapark dlq show inference.events.dead/2/17")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the dead letters, oldest first in each partition
    #[command(after_help = "Examples:\n  lunapark dlq list\n  lunapark dlq list --class malformed --max 20\n  \
                            lunapark dlq list --pipeline documents")]
    List {
        /// Topic, or its dead-letter topic; without it, those of all pipelines
        #[arg(value_name = "TOPIC", conflicts_with_all = ["topic", "pipeline"])]
        named: Option<String>,
        #[command(flatten)]
        selection: Selection,
        /// Only those of this reason
        #[arg(long)]
        class: Option<String>,
        /// Stop after N
        #[arg(long, value_name = "N")]
        max: Option<u64>,
    },
    /// Counts the dead letters by reason and source topic
    #[command(after_help = "Examples:\n  lunapark dlq count              of all pipelines\n  \
                            lunapark dlq count inference.events --json\n  lunapark dlq count --pipeline documents")]
    Count {
        /// Topic, or its dead-letter topic; without it, those of all pipelines
        #[arg(value_name = "TOPIC", conflicts_with_all = ["topic", "pipeline"])]
        named: Option<String>,
        #[command(flatten)]
        selection: Selection,
    },
    /// Shows one dead letter: why it failed, its headers and its raw bytes
    #[command(after_help = "Examples:\n  lunapark dlq show inference.events.dead/2/17\n  \
                            lunapark dlq show inference.events.dead/2/17 --raw > event.json")]
    Show {
        /// Position of the dead letter: topic/partition/offset
        position: Position,
        /// Write the value to standard output byte by byte, and nothing else
        #[arg(long)]
        raw: bool,
    },
    /// Writes dead letters back to the topic they came from, each exactly once
    Redrive(redrive::Args),
}

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| execute(context, args, out))
}

pub(super) fn execute(context: &Context, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List { named, selection, class, max } => {
            list(context, selection.or_topic(named).topics(context)?, class.as_deref(), *max, out)?
        }
        Command::Count { named, selection } => {
            let selection = selection.or_topic(named);
            match selection.only() {
                Some(topic) => count(context, &topic, out)?,
                None => count_all(context, selection.topics(context)?, out)?,
            }
        }
        Command::Show { position, raw } => show(context, position, *raw, out)?,
        Command::Redrive(args) => return redrive::execute(context, args, out),
    }
    Ok(ExitCode::SUCCESS)
}

/// Visits every dead letter that is in the topic now; a visit says whether to go on.
pub fn each_letter(
    log: &dyn Log,
    topic: &str,
    mut visit: impl FnMut(&Message<'_>) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<ControlFlow<()>> {
    let read = scan::whole(log, topic, |message| match visit(message)? {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Halt::Enough),
    });
    match read {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(Halt::Enough) => Ok(ControlFlow::Break(())),
        Err(Halt::Unread(error)) => Err(error).with_context(|| format!("cannot read the dead letters in {topic}")),
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// Why a scan ends before its end.
enum Halt {
    Enough,
    Unread(LogError),
    Failed(anyhow::Error),
}

impl From<LogError> for Halt {
    fn from(error: LogError) -> Self {
        Self::Unread(error)
    }
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Visits the one message at a position.
pub fn at_position<T>(
    log: &dyn Log,
    position: &Position,
    visit: impl FnOnce(&Message<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let at = position.topic_partition();
    let partitions = log.topic(&at.topic).with_context(|| format!("cannot read {position}"))?.partitions;
    let ends = (at.partition < partitions).then(|| log.watermarks(&at)).transpose()?;
    let mut visit = Some(visit);
    let mut found = None;
    if ends.is_some_and(|ends| (ends.low..ends.high).contains(&position.offset)) {
        Scan::open(log, &at, position.offset)?.until(position.offset + 1, |message| {
            found = visit.take().map(|visit| visit(message));
            Ok::<(), LogError>(())
        })?;
    }
    match found {
        Some(found) => found,
        None => bail!("there is no message at {position}: `lunapark dlq list` shows the positions of the dead letters"),
    }
}

/// The reason of a dead letter.
pub fn class_of<'m>(message: &Message<'m>) -> &'m str {
    message.headers.get_str(dead::CLASS).unwrap_or("unknown")
}

/// What a dead letter says of itself.
#[derive(Serialize)]
struct Why {
    class: String,
    source: Option<String>,
    operator: Option<String>,
    attempts: Option<String>,
    rows: Option<String>,
    exception: Option<String>,
    message: Option<String>,
    redriven: bool,
}

impl Why {
    fn of(message: &Message<'_>, redriven: &BTreeSet<Position>) -> Self {
        let text = |name| message.headers.get(name).map(printable);
        Self {
            class: printable(class_of(message).as_bytes()),
            source: Source::of_dead_letter(message.headers).map(|source| printable(source.to_string().as_bytes())),
            operator: text(dead::OPERATOR),
            attempts: text(dead::ATTEMPTS),
            rows: text(dead::ROWS),
            exception: text(dead::EXCEPTION),
            message: text(dead::MESSAGE),
            redriven: redriven.contains(&message.position()),
        }
    }
}

fn ledger_redriven(context: &Context) -> anyhow::Result<BTreeSet<Position>> {
    let ledger = context.catalog.ledger.name();
    redriven_so_far(&*context.log, ledger).with_context(|| format!("cannot read in {ledger} what was redriven"))
}

fn list(
    context: &Context,
    topics: Vec<String>,
    class: Option<&str>,
    max: Option<u64>,
    out: &mut Output<'_>,
) -> anyhow::Result<()> {
    let redriven = ledger_redriven(context)?;
    let (mut found, mut shown) = (false, 0);
    let looked = Looked::through(context, topics, class, |message, asked_for| {
        if !asked_for {
            return Ok(ControlFlow::Continue(()));
        }
        found = true;
        if max.is_some_and(|max| shown == max) {
            return Ok(ControlFlow::Break(()));
        }
        shown += 1;
        list_one(message, &Why::of(message, &redriven), out)?;
        Ok(ControlFlow::Continue(()))
    })?;
    if !found {
        // Beside the lines of JSON, of which there are none.
        let nothing = looked.nothing(class);
        if out.json { output::note(nothing) } else { out.line(nothing)? }
    }
    Ok(())
}

fn list_one(message: &Message<'_>, why: &Why, out: &mut Output<'_>) -> anyhow::Result<()> {
    let (position, time) = (message.position(), time::shown(message.timestamp));
    if out.json {
        let line = json!({"position": position.to_string(), "timestamp": message.timestamp, "why": why});
        return Ok(out.json_line(&line)?);
    }
    let redriven = if why.redriven { "  (redriven)" } else { "" };
    let rows = why.rows.as_ref().map_or(String::new(), |rows| format!(" rows {rows}"));
    let text = why.message.as_deref().unwrap_or("no reason given");
    Ok(out.line(format_args!("{position}  {time}  {}{rows}  {text}{redriven}", why.class))?)
}

/// Dead letters of one reason and source topic.
#[derive(Default, Serialize)]
struct Tally {
    count: u64,
    redriven: u64,
    oldest: Option<i64>,
    newest: Option<i64>,
}

impl Tally {
    fn add(&mut self, message: &Message<'_>, redriven: bool) {
        let time = message.timestamp;
        self.count += 1;
        self.redriven += u64::from(redriven);
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
        self.newest = Some(self.newest.map_or(time, |newest| newest.max(time)));
    }
}

/// Dead letters of a topic, by reason and source topic.
type Tallies = BTreeMap<(String, String), Tally>;

fn tallies(context: &Context, topic: &str, redriven: &BTreeSet<Position>) -> anyhow::Result<Tallies> {
    let mut tallies = Tallies::new();
    let read = each_letter(&*context.log, topic, |message| {
        let source = Source::of_dead_letter(message.headers).map_or("unknown", |source| source.topic);
        let key = (printable(class_of(message).as_bytes()), printable(source.as_bytes()));
        tallies.entry(key).or_default().add(message, redriven.contains(&message.position()));
        Ok(ControlFlow::Continue(()))
    })?;
    debug_assert!(read.is_continue(), "no visit ends it");
    Ok(tallies)
}

fn count(context: &Context, topic: &str, out: &mut Output<'_>) -> anyhow::Result<()> {
    let tallies = tallies(context, topic, &ledger_redriven(context)?)?;
    match out.json {
        true => out.document(&count_json(topic, &tallies))?,
        false => print_count(topic, &tallies, out)?,
    }
    Ok(())
}

/// The dead letters of several topics.
fn count_all(context: &Context, topics: Vec<String>, out: &mut Output<'_>) -> anyhow::Result<()> {
    let redriven = ledger_redriven(context)?;
    let tally = |topic: String| Ok((tallies(context, &topic, &redriven)?, topic));
    let counted = topics.into_iter().map(tally).collect::<anyhow::Result<Vec<_>>>()?;
    match out.json {
        true => out.document(&overview_json(&counted))?,
        false => print_overview(&counted, out)?,
    }
    Ok(())
}

/// The sums of all topics, as one topic has them, and each topic by itself.
fn overview_json(counted: &[(Tallies, String)]) -> Value {
    let topics: Vec<Value> = counted.iter().map(|(tallies, topic)| count_json(topic, tallies)).collect();
    let sum = |name: &str| topics.iter().filter_map(|topic| topic[name].as_u64()).sum::<u64>();
    let reasons: Vec<&Value> = topics.iter().filter_map(|topic| topic["reasons"].as_array()).flatten().collect();
    json!({ "total": sum("total"), "redriven": sum("redriven"), "reasons": reasons, "topics": topics })
}

fn print_overview(counted: &[(Tallies, String)], out: &mut Output<'_>) -> anyhow::Result<()> {
    let letters = |tallies: &Tallies| tallies.values().map(|tally| tally.count).sum::<u64>();
    for (tallies, topic) in counted.iter().filter(|(tallies, _)| letters(tallies) > 0) {
        print_count(topic, tallies, out)?;
        out.line("")?;
    }
    let all = counted.iter().map(|(tallies, _)| letters(tallies)).sum();
    Ok(out.line(format_args!("{} in {}", dead_letters(all), output::counted(counted.len() as u64, "topic")))?)
}

fn dead_letters(count: u64) -> String {
    output::counted(count, "dead letter")
}

fn count_json(topic: &str, tallies: &Tallies) -> Value {
    let reasons = tallies.iter().map(|((class, source), tally)| {
        let mut reason = json!({"class": class, "source_topic": source});
        reason["count"] = tally.count.into();
        reason["redriven"] = tally.redriven.into();
        reason["oldest"] = tally.oldest.into();
        reason["newest"] = tally.newest.into();
        reason
    });
    let sum = |of: fn(&Tally) -> u64| tallies.values().map(of).sum::<u64>();
    json!({
        "topic": topic,
        "total": sum(|tally| tally.count),
        "redriven": sum(|tally| tally.redriven),
        "reasons": reasons.collect::<Vec<_>>(),
    })
}

fn print_count(topic: &str, tallies: &Tallies, out: &mut Output<'_>) -> anyhow::Result<()> {
    let mut table = Table::new(&["reason", "source topic", ">count", ">redriven", "oldest", "newest"]);
    for ((class, source), tally) in tallies {
        let [oldest, newest] = [tally.oldest, tally.newest].map(|at| at.map_or("-".into(), time::shown));
        let [count, redriven] = [tally.count, tally.redriven].map(number);
        table.row([class.clone(), source.clone(), count, redriven, oldest, newest]);
    }
    if !tallies.is_empty() {
        out.table(&table)?;
        out.line("")?;
    }
    let total: u64 = tallies.values().map(|tally| tally.count).sum();
    Ok(out.line(format_args!("{} in {topic}", dead_letters(total)))?)
}

fn show(context: &Context, position: &Position, raw: bool, out: &mut Output<'_>) -> anyhow::Result<()> {
    let log = &*context.log;
    if raw {
        return at_position(log, position, |message| Ok(out.bytes(message.value.unwrap_or_default())?));
    }
    let redriven = ledger_redriven(context)?;
    at_position(log, position, |message| {
        let why = Why::of(message, &redriven);
        match out.json {
            true => show_json(message, &why, out),
            false => show_text(message, &why, out),
        }
    })
}

fn show_json(message: &Message<'_>, why: &Why, out: &mut Output<'_>) -> anyhow::Result<()> {
    let mut document = consume::document(message);
    document["why"] = serde_json::to_value(why)?;
    Ok(out.document(&document)?)
}

fn show_text(message: &Message<'_>, why: &Why, out: &mut Output<'_>) -> anyhow::Result<()> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    for (name, text) in [
        ("position", message.position().to_string()),
        ("time", time::shown(message.timestamp)),
        ("source", or_dash(&why.source)),
        ("reason", why.class.clone()),
        ("message", or_dash(&why.message)),
        ("operator", or_dash(&why.operator)),
        ("attempts", or_dash(&why.attempts)),
        ("rows", why.rows.clone().unwrap_or_else(|| "all".into())),
        ("redriven", if why.redriven { "yes" } else { "no" }.into()),
        ("key", message.key.map_or("-".into(), printable)),
    ] {
        out.line(format_args!("{name:<10}{text}"))?;
    }
    out.line("\nheaders of the event")?;
    for (name, value) in message.headers.filter(|(name, _)| !dead::ALL.contains(name)) {
        out.line(format_args!("  {}: {}", printable(name.as_bytes()), value.map_or("null".into(), printable)))?;
    }
    let value = message.value.unwrap_or_default();
    out.line(format_args!("\nvalue, {}", size(value.len() as u64)))?;
    Ok(hex_dump(value).try_for_each(|line| out.line(line))?)
}
