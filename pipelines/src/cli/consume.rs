//! `lunapark consume`: prints the messages of a topic.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lunapark_schemas::headers::CONTENT_TYPE;
use lunapark_schemas::{Message, Messages, Position, TopicPartition};
use lunapark_topics::{Limit, Log, LogError};
use serde_json::{Map, Value, json};

use super::Context;
use super::output::{self, Output, base64, printable};
use super::time;
use crate::audit::scan::Scan;

const LIMIT: Limit = Limit { messages: 1024, bytes: 4 << 20 };
const WAIT: Duration = Duration::from_millis(100);
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// Prints the messages of a topic
///
/// Without options: from the first message still there up to the present end, then stops. Only committed messages are
/// shown. Text is printed with control characters escaped, other bytes in hexadecimal, Arrow as its size.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark consume inference.results --last 3 --headers\n  \
                        lunapark consume inference.results --follow --json | jq .value\n  \
                        lunapark consume inference.events --offset 2:48113 --max 1\n  \
                        lunapark consume inference.events --since 10m")]
pub struct Args {
    /// Topic to read
    topic: String,
    /// Keep waiting for new messages, until Ctrl-C; without a start, from now on
    #[arg(long, short)]
    follow: bool,
    /// Start at the first message still there
    #[arg(long, group = "start")]
    from_beginning: bool,
    /// Start at this offset of this partition, and read no others; may be repeated
    #[arg(long, group = "start", value_name = "PARTITION:OFFSET", value_parser = offset)]
    offset: Vec<(i32, i64)>,
    /// Start at a time, or so long ago: 2026-11-21T10:00:00Z, 10m
    #[arg(long, group = "start", value_name = "TIME", value_parser = time::parse_since)]
    since: Option<i64>,
    /// Start at the last N messages of each partition
    #[arg(long, group = "start", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
    /// Stop after N messages
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Print the headers, too (JSON always has them)
    #[arg(long)]
    headers: bool,
    /// Read this partition only
    #[arg(long, conflicts_with = "offset", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
}

fn offset(text: &str) -> Result<(i32, i64), String> {
    let parsed = text
        .split_once(':')
        .and_then(|(partition, offset)| Some((partition.parse::<i32>().ok()?, offset.parse::<i64>().ok()?)));
    parsed
        .filter(|(partition, offset)| *partition >= 0 && *offset >= 0)
        .ok_or_else(|| format!("`{text}` is no offset: write partition:offset, for example 2:48113"))
}

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| execute(context, args, out))
}

pub(super) fn execute(context: &Context, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let log = &*context.log;
    let partitions = partitions(log, args)?;
    let start =
        starts(log, args, &partitions).with_context(|| format!("cannot find where to start in {}", args.topic))?;
    let ends: anyhow::Result<Vec<_>> = partitions.iter().map(|at| Ok(log.watermarks(at)?.high)).collect();
    let ends = if args.follow { None } else { Some(ends?) };
    let mut consumer = Consumer { args, out, partitions, ends, shown: 0 };
    consumer.run(log, &start)?;
    Ok(ExitCode::SUCCESS)
}

fn partitions(log: &dyn Log, args: &Args) -> anyhow::Result<Vec<TopicPartition>> {
    let topic = log.topic(&args.topic).with_context(|| format!("cannot read {}", args.topic))?;
    let asked: Vec<i32> = args.offset.iter().map(|(partition, _)| *partition).chain(args.partition).collect();
    if let Some(unknown) = asked.iter().find(|partition| **partition >= topic.partitions) {
        bail!("{} has no partition {unknown}: its partitions are 0 to {}", args.topic, topic.partitions - 1);
    }
    let wanted = |partition: &i32| asked.is_empty() || asked.contains(partition);
    Ok((0..topic.partitions)
        .filter(wanted)
        .map(|partition| TopicPartition::new(topic.name.clone(), partition))
        .collect())
}

fn starts(log: &dyn Log, args: &Args, partitions: &[TopicPartition]) -> anyhow::Result<Vec<Position>> {
    partitions.iter().map(|at| Ok(at.at(start(log, args, at)?))).collect()
}

fn start(log: &dyn Log, args: &Args, at: &TopicPartition) -> anyhow::Result<i64> {
    let ends = log.watermarks(at)?;
    if let Some((_, offset)) = args.offset.iter().find(|(partition, _)| *partition == at.partition) {
        if !(ends.low..=ends.high).contains(offset) {
            bail!("{at} has no offset {offset}: it holds {} to {}", ends.low, ends.high);
        }
        return Ok(*offset);
    }
    Ok(match (args.since, args.last) {
        (Some(millis), _) => log.offset_for_time(at, millis)?,
        (_, Some(last)) => last_messages(log, at, ends.low, ends.high, last)?,
        _ if args.follow && !args.from_beginning => ends.high,
        _ => ends.low,
    })
}

/// Offset of the last `count` messages: looks back further and further, since not every offset is a message.
fn last_messages(log: &dyn Log, at: &TopicPartition, low: i64, high: i64, count: u64) -> Result<i64, LogError> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut back = i64::try_from(count).unwrap_or(i64::MAX).saturating_add(1);
    loop {
        let from = high.saturating_sub(back).max(low);
        let mut offsets = Vec::new();
        Scan::open(log, at, from)?.until(high, |message| {
            offsets.push(message.offset);
            Ok::<(), LogError>(())
        })?;
        match offsets.len().checked_sub(count).and_then(|skip| offsets.get(skip)) {
            Some(first) => return Ok(*first),
            None if from == low => return Ok(low),
            None => back = back.saturating_mul(4),
        }
    }
}

struct Consumer<'a, 'o> {
    args: &'a Args,
    out: &'a mut Output<'o>,
    partitions: Vec<TopicPartition>,
    /// Where to stop in each partition; `None` is never.
    ends: Option<Vec<i64>>,
    shown: u64,
}

impl Consumer<'_, '_> {
    fn run(&mut self, log: &dyn Log, start: &[Position]) -> anyhow::Result<()> {
        let mut reader = log.reader(start).with_context(|| format!("cannot read {}", self.args.topic))?;
        let mut batch = Messages::new();
        while !self.done(&*reader)? {
            batch.clear();
            reader.poll(&mut batch, LIMIT, WAIT)?;
            for message in batch.iter().filter(|message| !self.past(message)).collect::<Vec<_>>() {
                if self.full() {
                    break;
                }
                self.print(&message)?;
                self.shown += 1;
            }
            self.out.flush()?;
        }
        Ok(())
    }

    fn full(&self) -> bool {
        self.args.max.is_some_and(|max| self.shown >= max)
    }

    fn done(&self, reader: &dyn lunapark_topics::Reader) -> Result<bool, LogError> {
        let Some(ends) = self.ends.as_ref().filter(|_| !self.full()) else { return Ok(self.full()) };
        for (at, end) in self.partitions.iter().zip(ends) {
            if reader.position(at)? < *end {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn past(&self, message: &Message<'_>) -> bool {
        let index = self.partitions.iter().position(|at| at.partition == message.partition);
        let end = self.ends.as_ref().zip(index).and_then(|(ends, index)| ends.get(index));
        end.is_some_and(|end| message.offset >= *end)
    }

    fn print(&mut self, message: &Message<'_>) -> anyhow::Result<()> {
        if self.out.json {
            return Ok(self.out.json_line(&document(message))?);
        }
        let key = message.key.map_or("-".into(), printable);
        let headers = if self.args.headers { format!("  {}", headers(message)) } else { String::new() };
        let (position, time) = (message.position(), time::shown(message.timestamp));
        Ok(self.out.line(format_args!("{position}  {time}  {key}{headers}  {}", value(message)))?)
    }
}

/// The headers of a message in one line.
pub fn headers(message: &Message<'_>) -> String {
    let text = |(name, value): (&str, Option<&[u8]>)| {
        format!("{}={}", printable(name.as_bytes()), value.map_or("null".into(), printable))
    };
    format!("[{}]", message.headers.map(text).collect::<Vec<_>>().join(", "))
}

/// The value of a message in one line.
pub fn value(message: &Message<'_>) -> String {
    match message.value {
        None => "<null>".into(),
        Some(value) if message.headers.get(CONTENT_TYPE) == Some(ARROW.as_bytes()) => {
            format!("<arrow {} bytes>", value.len())
        }
        Some(value) => printable(value),
    }
}

/// A message as a JSON object.
pub fn document(message: &Message<'_>) -> Value {
    let mut object = Map::new();
    object.insert("topic".into(), json!(&**message.topic));
    object.insert("partition".into(), json!(message.partition));
    object.insert("offset".into(), json!(message.offset));
    object.insert("timestamp".into(), json!(message.timestamp));
    text_or_base64(&mut object, "key", message.key);
    let headers = message.headers.map(|(name, value)| {
        let mut header = Map::new();
        header.insert("name".into(), json!(name));
        text_or_base64(&mut header, "value", value);
        Value::Object(header)
    });
    object.insert("headers".into(), headers.collect());
    text_or_base64(&mut object, "value", message.value);
    Value::Object(object)
}

/// Text under `name`, other bytes under `name_base64`, so that no byte is lost.
fn text_or_base64(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => object.insert(name.into(), Value::Null),
        Some(Ok(text)) => object.insert(name.into(), json!(text)),
        Some(Err(bytes)) => object.insert(format!("{name}_base64"), json!(base64(bytes))),
    };
}
