//! `lunapark topics`: create, list, describe and delete topics.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lunapark_schemas::TopicPartition;
use lunapark_topics::{Cleanup, Created, Log, LogError, LogErrorKind, TopicInfo, TopicSpec, Watermarks};
use serde::Serialize;
use serde_json::json;

use super::Context;
use super::output::{self, Output, Table, number, size};
use super::time;
use crate::audit::scan::{Work, works};

/// Creates, lists, describes and deletes topics
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark topics create\n  lunapark topics describe inference.events")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the topics
    #[command(after_help = "Examples:\n  lunapark topics list\n  lunapark topics list --json | jq -r '.[].name'")]
    List,
    /// Creates one topic, or without a name every topic that Lunapark needs
    #[command(after_help = "Examples:\n  lunapark topics create\n  \
                            lunapark topics create calibration --partitions 6 --retention 30d")]
    Create(Create),
    /// Partitions, sizes, and how much work each consumer group has left
    ///
    /// Work is counted in messages: exactly, by reading, where a group has fewer than 100,000 offsets left on the topic, as
    /// "≤ N" beyond. The size in bytes is known of the embedded log only: Kafka's client library has no request for it
    /// (DescribeLogDirs), `kafka-log-dirs.sh` of a Kafka distribution tells it.
    #[command(after_help = "Examples:\n  lunapark topics describe inference.events\n  lunapark topics describe --json")]
    Describe {
        /// Topic; without it, all
        name: Option<String>,
    },
    /// Deletes a topic and all its records
    #[command(after_help = "Examples:\n  lunapark topics delete calibration --yes")]
    Delete {
        /// Topic
        name: String,
        /// Yes, delete it
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Topic; without it, the whole catalog with its configured sizes
    name: Option<String>,
    /// Number of partitions
    #[arg(long, requires = "name", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How long records are kept: 12h, 7d, or `forever`
    #[arg(long, requires = "name", value_parser = retention)]
    retention: Option<Retention>,
    /// Keep the newest record of each key, instead of deleting by age
    #[arg(long, requires = "name")]
    compact: bool,
    /// Largest message in bytes
    #[arg(long, requires = "name")]
    max_message_bytes: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Retention(Option<Duration>);

fn retention(text: &str) -> Result<Retention, String> {
    if text == "forever" {
        return Ok(Retention(None));
    }
    time::parse_duration(text).map(|time| Retention(Some(time))).map_err(|error| format!("{error}, or forever"))
}

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| execute(context, args, out))
}

pub(super) fn execute(context: &Context, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List => list(context, out),
        Command::Create(create) => create_topics(context, create, out),
        Command::Describe { name } => describe(context, name.as_deref(), out),
        Command::Delete { name, yes } => delete(context, name, *yes, out),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, out: &mut Output<'_>) -> anyhow::Result<()> {
    let log = &*context.log;
    let topics = of_each(log, |topic| Ok((topic.clone(), ends(log, topic)?)))?;
    if out.json {
        return Ok(out.document(&topics.iter().map(|(topic, ends)| summary(topic, ends)).collect::<Vec<_>>())?);
    }
    let mut table = Table::new(&["topic", ">partitions", ">offsets", ">size", "retention", "cleanup", ">max message"]);
    for (topic, ends) in &topics {
        let held: i64 = ends.iter().map(|(_, ends)| ends.high - ends.low).sum();
        table.row([
            topic.name.to_string(),
            topic.partitions.to_string(),
            number(held),
            topic.bytes.map_or("-".into(), size),
            kept(topic.retention),
            cleanup(topic.cleanup).into(),
            size(topic.max_message_bytes as u64),
        ]);
    }
    if topics.is_empty() {
        out.line("no topics yet: `lunapark topics create` makes those that Lunapark needs")?;
        return Ok(());
    }
    Ok(out.table(&table)?)
}

/// What is to be told of each topic. One that somebody deletes meanwhile is left out, as it would be a moment later.
fn of_each<T>(log: &dyn Log, tell: impl Fn(&TopicInfo) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let mut told = Vec::new();
    for topic in log.topics().context("cannot list the topics")? {
        match tell(&topic) {
            Ok(one) => told.push(one),
            Err(error) if is_missing(&error) && is_gone(log, &topic) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

fn is_gone(log: &dyn Log, topic: &TopicInfo) -> bool {
    log.topic(&topic.name).is_err_and(|error| error.kind == LogErrorKind::TopicMissing)
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<LogError>().is_some_and(|error| error.kind == LogErrorKind::TopicMissing)
}

fn summary(topic: &TopicInfo, ends: &Ends) -> serde_json::Value {
    let partitions: Vec<_> = ends.iter().map(|(at, ends)| partition_json(at, ends)).collect();
    json!({
        "name": &*topic.name,
        "partitions": partitions,
        "retention_ms": topic.retention.map(|time| time.as_millis() as u64),
        "cleanup": cleanup(topic.cleanup),
        "max_message_bytes": topic.max_message_bytes,
        "bytes": topic.bytes,
    })
}

fn partition_json(at: &TopicPartition, ends: &Watermarks) -> serde_json::Value {
    json!({"partition": at.partition, "low": ends.low, "high": ends.high, "offsets": ends.high - ends.low})
}

/// Each partition of a topic, and what it holds.
type Ends = Vec<(TopicPartition, Watermarks)>;

pub(super) fn ends(log: &dyn Log, topic: &TopicInfo) -> anyhow::Result<Ends> {
    let of = |partition| {
        let at = TopicPartition::new(topic.name.clone(), partition);
        let ends = log.watermarks(&at).with_context(|| format!("cannot look up the ends of {at}"))?;
        Ok((at, ends))
    };
    (0..topic.partitions).map(of).collect()
}

/// Offsets from what a group has committed of a partition to its end, from its first record where it has not.
pub(super) fn lag(ends: Watermarks, committed: Option<i64>) -> i64 {
    (ends.high - committed.unwrap_or(ends.low).max(ends.low)).max(0)
}

fn kept(retention: Option<Duration>) -> String {
    retention.map_or("forever".into(), time::duration)
}

fn cleanup(cleanup: Cleanup) -> &'static str {
    match cleanup {
        Cleanup::Delete => "delete",
        Cleanup::Compact => "compact",
    }
}

fn create_topics(context: &Context, args: &Create, out: &mut Output<'_>) -> anyhow::Result<()> {
    let specs = match &args.name {
        Some(name) => vec![spec(context, name, args)],
        None => context.catalog.all_specs(),
    };
    let mut made = Vec::new();
    for spec in &specs {
        let created = context.log.create_topic(spec).with_context(|| format!("cannot create topic {}", spec.name))?;
        let done = if created == Created::New { "created" } else { "existed" };
        match out.json {
            true => made.push(json!({"name": &*spec.name, "partitions": spec.partitions, "outcome": done})),
            false => out.line(format_args!("{done}  {} ({} partitions)", spec.name, spec.partitions))?,
        }
    }
    if out.json {
        out.document(&made)?;
    }
    Ok(())
}

/// What is not said is as the catalog has it: for a topic of its own as the catalog says, for others as for events.
fn spec(context: &Context, name: &str, args: &Create) -> TopicSpec {
    let known = [context.catalog.all_specs(), context.catalog.of_users()].concat();
    let known = known.into_iter().find(|spec| *spec.name == *name);
    let events = &context.catalog.inference_events.spec;
    let default = known.unwrap_or_else(|| TopicSpec { name: name.into(), ..events.clone() });
    TopicSpec {
        partitions: args.partitions.unwrap_or(default.partitions),
        retention: args.retention.map_or(default.retention, |Retention(time)| time),
        cleanup: if args.compact { Cleanup::Compact } else { default.cleanup },
        max_message_bytes: args.max_message_bytes.unwrap_or(default.max_message_bytes),
        ..default
    }
}

fn delete(context: &Context, name: &str, yes: bool, out: &mut Output<'_>) -> anyhow::Result<()> {
    let topic = context.log.topic(name).with_context(|| format!("cannot delete topic {name}"))?;
    if !yes {
        bail!("this deletes {name} with all its records in {} partitions; say --yes to do it", topic.partitions);
    }
    context.log.delete_topic(name).with_context(|| format!("cannot delete topic {name}"))?;
    match out.json {
        true => out.document(&json!({"name": name, "outcome": "deleted"}))?,
        false => out.line(format_args!("deleted  {name}"))?,
    }
    Ok(())
}

fn describe(context: &Context, name: Option<&str>, out: &mut Output<'_>) -> anyhow::Result<()> {
    let log = &*context.log;
    let one = |name| log.topic(name).with_context(|| format!("cannot describe topic {name}"));
    let described = match name {
        Some(name) => vec![Described::of(log, &one(name)?)?],
        None => of_each(log, |topic| Described::of(log, topic))?,
    };
    match (out.json, name, described.as_slice()) {
        (true, Some(_), [one]) => out.document(&one.json()?)?,
        (true, ..) => out.document(&described.iter().map(Described::json).collect::<anyhow::Result<Vec<_>>>()?)?,
        (false, ..) => described.iter().try_for_each(|one| one.print(out))?,
    }
    Ok(())
}

/// A topic with everything that `describe` tells.
struct Described {
    topic: TopicInfo,
    ends: Ends,
    groups: Vec<GroupWork>,
}

/// What one group has left to do on one topic.
#[derive(Serialize)]
struct GroupWork {
    group: String,
    committed: i64,
    lag: i64,
    work_left: u64,
    exact: bool,
    partitions: Vec<PartitionWork>,
}

#[derive(Serialize)]
struct PartitionWork {
    partition: i32,
    committed: Option<i64>,
    lag: i64,
    work_left: u64,
    exact: bool,
}

impl Described {
    fn of(log: &dyn Log, topic: &TopicInfo) -> anyhow::Result<Self> {
        let ends = ends(log, topic)?;
        let mut groups = Vec::new();
        for group in log.groups().context("cannot list the consumer groups")? {
            groups.extend(GroupWork::of(log, group, &ends)?);
        }
        Ok(Self { topic: topic.clone(), ends, groups })
    }

    fn json(&self) -> anyhow::Result<serde_json::Value> {
        let mut document = summary(&self.topic, &self.ends);
        document["groups"] = serde_json::to_value(&self.groups)?;
        Ok(document)
    }

    fn print(&self, out: &mut Output<'_>) -> anyhow::Result<()> {
        let TopicInfo { name, partitions, retention, max_message_bytes, bytes, .. } = &self.topic;
        out.line(format_args!(
            "{name}: {partitions} partitions, {}, kept {} ({}), messages up to {}\n",
            bytes.map_or("size unknown".into(), size),
            kept(*retention),
            cleanup(self.topic.cleanup),
            size(*max_message_bytes as u64)
        ))?;
        out.table(&self.partitions())?;
        out.line("")?;
        if self.groups.is_empty() {
            return Ok(out.line("no consumer group has committed here\n")?);
        }
        out.table(&self.work())?;
        Ok(out.line("")?)
    }

    fn partitions(&self) -> Table {
        let mut table = Table::new(&[">partition", ">low", ">high", ">offsets"]);
        for (at, ends) in &self.ends {
            table.row([at.partition.to_string(), number(ends.low), number(ends.high), number(ends.high - ends.low)]);
        }
        table
    }

    fn work(&self) -> Table {
        let mut table = Table::new(&["group", ">partition", ">committed", ">lag (offsets)", ">work left (messages)"]);
        for group in &self.groups {
            for part in &group.partitions {
                let committed = part.committed.map_or("-".into(), number);
                let left = work_left(part.work_left, part.exact);
                table.row([group.group.clone(), part.partition.to_string(), committed, number(part.lag), left]);
            }
            let left = work_left(group.work_left, group.exact);
            table.row([group.group.clone(), "all".into(), "".into(), number(group.lag), left]);
        }
        table
    }
}

fn work_left(messages: u64, exact: bool) -> String {
    format!("{}{}", if exact { "" } else { "≤ " }, number(messages))
}

impl GroupWork {
    /// `None` where the group never committed on this topic.
    fn of(log: &dyn Log, group: String, ends: &[(TopicPartition, Watermarks)]) -> anyhow::Result<Option<Self>> {
        let partitions: Vec<_> = ends.iter().map(|(at, _)| at.clone()).collect();
        let committed = match log.committed(&group, &partitions) {
            // A group may go between being listed and being asked.
            Err(error) if error.kind == LogErrorKind::Invalid => return Ok(None),
            committed => committed.with_context(|| format!("cannot look up what group {group} has committed"))?,
        };
        if committed.iter().all(Option::is_none) {
            return Ok(None);
        }
        // A partition without a committed offset is still to be read from its first record.
        let next = |ends: &Watermarks, committed: Option<i64>| committed.unwrap_or(ends.low).max(ends.low);
        let spans = ends.iter().zip(&committed);
        let spans: Vec<_> =
            spans.map(|((at, ends), committed)| (at.clone(), next(ends, *committed), ends.high)).collect();
        let left = works(log, &spans).with_context(|| format!("cannot count what group {group} has left"))?;
        let parts = ends.iter().zip(committed).zip(left);
        let parts = parts.map(|(((at, ends), committed), left)| PartitionWork::of(at, *ends, committed, left));
        Ok(Some(Self::sum(group, parts.collect())))
    }

    fn sum(group: String, partitions: Vec<PartitionWork>) -> Self {
        let left = partitions.iter().map(|part| Work { messages: part.work_left, exact: part.exact });
        let left = left.fold(Work::NONE, Work::plus);
        Self {
            group,
            committed: partitions.iter().filter_map(|part| part.committed).sum(),
            lag: partitions.iter().map(|part| part.lag).sum(),
            work_left: left.messages,
            exact: left.exact,
            partitions,
        }
    }
}

impl PartitionWork {
    fn of(at: &TopicPartition, ends: Watermarks, committed: Option<i64>, left: Work) -> Self {
        let lag = lag(ends, committed);
        Self { partition: at.partition, committed, lag, work_left: left.messages, exact: left.exact }
    }
}

#[cfg(test)]
mod tests {
    use lunapark_topics::embedded::{EmbeddedLog, EmbeddedOptions};
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_topic_that_is_deleted_meanwhile_is_left_out_and_another_error_is_not() {
        let folder = TempDir::new().unwrap();
        let log = EmbeddedLog::open(&folder.path().join("log"), &EmbeddedOptions::default()).unwrap();
        for name in ["a", "b", "c"] {
            log.create_topic(&TopicSpec::new(name, 2)).unwrap();
        }
        let told = of_each(&log, |topic| {
            if &*topic.name == "b" {
                log.delete_topic("b").unwrap();
            }
            Ok((topic.name.clone(), ends(&log, topic)?.len()))
        });
        assert_eq!(told.unwrap(), [("a".into(), 2), ("c".into(), 2)]);
        let missing = |topic: &TopicInfo| ends(&log, &TopicInfo { partitions: 3, ..topic.clone() });
        assert!(of_each(&log, missing).is_err(), "the topic is there, its third partition is not");
        assert!(of_each(&log, |_| -> anyhow::Result<()> { anyhow::bail!("full") }).is_err());
    }
}
