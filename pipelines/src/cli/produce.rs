//! `lunapark produce`: messages from a file or standard input.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use lunapark_schemas::headers::{CE_EXPIRYTIME, CE_ID, CONTENT_TYPE};
use lunapark_schemas::{HeadersBuf, Record};
use lunapark_topics::Writer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::json;

use super::Context;
use super::output::{self, Output, counted, number, size};
use super::{arrow, lines, time};
use crate::clock;

/// Every delivery must be acknowledged within this time, which is librdkafka's own limit for one message.
const FLUSH: Duration = Duration::from_secs(300);
/// The bar moves every so many messages.
const BAR_STEP: u64 = 1000;
const JSON: &str = "application/json";
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// Produces messages from a file or standard input
///
/// NDJSON: every line is the value of one message, byte by byte; blank lines are skipped. Arrow IPC (--arrow, or a file
/// that ends in .arrow): cut into messages of --rows-per-message rows. Each message has the headers content-type and
/// ce_id (source name and number), which --header overrides.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark produce inference.events events.ndjson --key-field id\n  \
                        lunapark produce labels labels.ndjson --key-field id --drop-key-field\n  \
                        zcat run7.ndjson.gz | lunapark produce inference.events --rate 1000\n  \
                        lunapark produce inference.events run7.arrow --header lunapark-model=higgs/3")]
pub struct Args {
    /// Topic to write to
    topic: String,
    /// File to read; `-` or nothing is standard input
    file: Option<PathBuf>,
    /// Field at the top level of the JSON that becomes the message's key; else the key is ce_id
    #[arg(long, value_name = "FIELD", conflicts_with = "arrow")]
    key_field: Option<String>,
    /// Leave that field out of the message's value: a label, for example, is known by its key alone
    #[arg(long, requires = "key_field")]
    drop_key_field: bool,
    /// Header of every message
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Messages per second, for example 500 or 500/s; else as fast as the log takes them
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// The input is Arrow IPC, file or stream format
    #[arg(long)]
    arrow: bool,
    /// Rows in each Arrow message
    #[arg(long, value_name = "N", default_value = "256")]
    rows_per_message: NonZeroUsize,
    /// Partition to write to; else the key decides
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Give each message a ce_expirytime this far ahead, for example 5s: later it is filtered, not scored
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    expiry: Option<Duration>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no header: write name=value"))?;
    if name.is_empty() || name.len() > usize::from(u16::MAX) {
        return Err(format!("`{text}` has no usable header name: write name=value"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
    let rate = number.filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| format!("`{text}` is no rate: write messages per second, for example 500 or 0.5"))
}

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| execute(context, args, out))
}

pub(super) fn execute(context: &Context, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    check_topic(context, args)?;
    let writer = context.log.writer().context("cannot open a producer")?;
    let mut sender = Sender::new(args, writer, args.file.as_deref().filter(|path| *path != Path::new("-")));
    let read = if sender.arrow { sender.arrow_messages() } else { sender.lines() };
    let flushed = sender.writer.flush(FLUSH).with_context(|| format!("not every message reached {}", args.topic));
    sender.bar.finish_and_clear();
    // Nobody should have to guess how far it came.
    let told = |error: anyhow::Error| match sender.messages {
        0 => error.context("nothing was written"),
        some => error.context(format!("stopped after {}; the rest is not written", counted(some, "message"))),
    };
    read.map_err(told)?;
    flushed?;
    sender.summary(out)?;
    Ok(ExitCode::SUCCESS)
}

fn check_topic(context: &Context, args: &Args) -> anyhow::Result<()> {
    let topic = context.log.topic(&args.topic).with_context(|| format!("cannot produce to {}", args.topic))?;
    match args.partition {
        Some(partition) if partition >= topic.partitions => {
            bail!("{} has no partition {partition}: its partitions are 0 to {}", topic.name, topic.partitions - 1)
        }
        _ => Ok(()),
    }
}

struct Sender<'a> {
    args: &'a Args,
    writer: Box<dyn Writer>,
    path: Option<&'a Path>,
    /// File name, for ce_id: reading the same file again gives the same ids.
    source: String,
    arrow: bool,
    headers: HeadersBuf,
    id: String,
    started: Instant,
    bar: ProgressBar,
    messages: u64,
    bytes: u64,
}

impl<'a> Sender<'a> {
    fn new(args: &'a Args, writer: Box<dyn Writer>, path: Option<&'a Path>) -> Self {
        let source = path.and_then(Path::file_name).map_or("stdin".into(), |name| name.to_string_lossy().into_owned());
        Self {
            arrow: args.arrow || path.is_some_and(|path| path.extension().is_some_and(|end| end == "arrow")),
            bar: bar(path),
            args,
            writer,
            path,
            source,
            headers: HeadersBuf::new(),
            id: String::new(),
            started: Instant::now(),
            messages: 0,
            bytes: 0,
        }
    }

    fn lines(&mut self) -> anyhow::Result<()> {
        let mut from: Box<dyn BufRead> = match self.path {
            Some(path) => Box::new(BufReader::with_capacity(1 << 20, open(path)?)),
            None => Box::new(io::stdin().lock()),
        };
        let (mut line, mut number) = (Vec::new(), 0u64);
        loop {
            line.clear();
            if from.read_until(b'\n', &mut line).with_context(|| format!("cannot read {}", self.source))? == 0 {
                return Ok(());
            }
            number += 1;
            let value = line.strip_suffix(b"\n").unwrap_or(&line);
            let value = value.strip_suffix(b"\r").unwrap_or(value);
            if !value.trim_ascii().is_empty() {
                self.line(value, number)?;
            }
        }
    }

    fn line(&mut self, value: &[u8], number: u64) -> anyhow::Result<()> {
        let key = match &self.args.key_field {
            Some(field) => Some(key_of(value, field).with_context(|| format!("{}, line {number}", self.source))?),
            None => None,
        };
        let less = match &self.args.key_field {
            Some(field) if self.args.drop_key_field => Some(without(value, field)?),
            _ => None,
        };
        self.send(key.as_deref(), less.as_deref().unwrap_or(value), number, JSON)
    }

    fn arrow_messages(&mut self) -> anyhow::Result<()> {
        if self.args.key_field.is_some() {
            bail!("--key-field is for JSON: an Arrow message holds many events");
        }
        let rows = self.args.rows_per_message.get();
        let mut messages = match self.path {
            Some(path) => arrow::Messages::of_file(open(path)?, rows),
            None => arrow::Messages::of_stream(io::stdin(), rows),
        }
        .with_context(|| format!("cannot read {}", self.source))?;
        let mut value = Vec::new();
        while messages.next(&mut value).with_context(|| format!("cannot read {}", self.source))? > 0 {
            self.send(None, &value, self.messages + 1, ARROW)?;
        }
        Ok(())
    }

    fn send(&mut self, key: Option<&[u8]>, value: &[u8], number: u64, content_type: &str) -> anyhow::Result<()> {
        self.pace();
        self.id.clear();
        fmt::write(&mut self.id, format_args!("{}:{number}", self.source))?;
        write_headers(&mut self.headers, self.args, content_type, &self.id);
        let record = Record {
            topic: &self.args.topic,
            partition: self.args.partition,
            key: Some(key.unwrap_or(self.id.as_bytes())),
            value: Some(value),
            headers: self.headers.view(),
            timestamp: None,
        };
        self.writer.produce(&record).with_context(|| format!("{}, message {number}", self.source))?;
        self.messages += 1;
        self.bytes += value.len() as u64;
        if self.messages.is_multiple_of(BAR_STEP) || self.args.rate.is_some() {
            self.bar.set_position(self.bytes);
        }
        Ok(())
    }

    /// Waits until the message is due, by the schedule and not by the last message, so that the mean rate holds.
    #[expect(clippy::disallowed_methods, reason = "a paced source has nothing else to wait for")]
    fn pace(&self) {
        let Some(rate) = self.args.rate else { return };
        let Ok(due) = Duration::try_from_secs_f64(self.messages as f64 / rate) else { return };
        std::thread::sleep(due.saturating_sub(self.started.elapsed()));
    }

    fn summary(&self, out: &mut Output<'_>) -> anyhow::Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = self.messages as f64 / seconds.max(1e-9);
        let Self { messages, bytes, args: Args { topic, .. }, .. } = self;
        match out.json {
            true => out.document(&json!({
                "topic": topic, "messages": messages, "bytes": bytes, "seconds": seconds, "messages_per_second": rate
            }))?,
            false => out.line(format_args!(
                "{}, {} to {topic} in {seconds:.2} s: {}/s",
                counted(*messages, "message"),
                size(*bytes),
                number(rate as u64)
            ))?,
        }
        Ok(())
    }
}

/// The same object but for one field.
fn without(value: &[u8], field: &str) -> anyhow::Result<Vec<u8>> {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(value)?;
    object.remove(field);
    Ok(serde_json::to_vec(&object)?)
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

fn bar(path: Option<&Path>) -> ProgressBar {
    let length = path.and_then(|path| path.metadata().ok()).filter(|meta| meta.is_file()).map(|meta| meta.len());
    let template = match length {
        Some(_) => "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
        None => "{spinner} {bytes}  {bytes_per_sec}  {elapsed}",
    };
    output::progress(length, template)
}

/// Ours unless --header says otherwise, then those of --header.
fn write_headers(headers: &mut HeadersBuf, args: &Args, content_type: &str, id: &str) {
    headers.clear();
    let given = |name: &str| args.headers.iter().any(|(given, _)| given == name);
    for (name, value) in [(CONTENT_TYPE, content_type), (CE_ID, id)] {
        if !given(name) {
            headers.push_str(name, value);
        }
    }
    if let Some(expiry) = args.expiry.filter(|_| !given(CE_EXPIRYTIME)) {
        let millis = i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX);
        headers.push_str(CE_EXPIRYTIME, &clock::rfc3339(clock::now_millis().saturating_add(millis)));
    }
    for (name, value) in &args.headers {
        headers.push_str(name, value);
    }
}

/// The field at the top level of a JSON object, as a key: a string as it is, a number as it is written by JSON.
fn key_of(value: &[u8], field: &str) -> anyhow::Result<Vec<u8>> {
    let mut json = serde_json::Deserializer::from_slice(value);
    let found = json.deserialize_map(TopLevel { field }).map_err(|error| anyhow::anyhow!(not_json(&error)))?;
    match found {
        Some(serde_json::Value::String(text)) => Ok(text.into_bytes()),
        Some(serde_json::Value::Number(number)) => Ok(number.to_string().into_bytes()),
        Some(_) => bail!("field `{field}` is neither a string nor a number, so it is no key"),
        None => bail!("there is no field `{field}` for the key: name another --key-field, or none"),
    }
}

/// What is wrong with a line, without the number that a parser gives it who sees no other.
fn not_json(error: &serde_json::Error) -> String {
    let (what, column) = lines::fault(error);
    format!("{what}{column}: --key-field takes the key from a JSON object on each line; leave it out for other values")
}

/// Visits an object and keeps one field of it, so that a long line of floats costs no tree.
struct TopLevel<'f> {
    field: &'f str,
}

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = Option<serde_json::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match *name == *self.field {
                true => found = Some(map.next_value()?),
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_the_top_level() {
        let line = br#"{"x":{"id":9},"id":"evt-7","n":12345678901,"l":[1]}"#;
        assert_eq!(key_of(line, "id").unwrap(), b"evt-7");
        assert_eq!(key_of(line, "n").unwrap(), b"12345678901");
        for (line, field) in
            [(&line[..], "l"), (line, "none"), (b"[1]", "id"), (b"{\"id\":", "id"), (b"nonsense", "id")]
        {
            assert!(key_of(line, field).is_err());
        }
    }

    #[test]
    fn rates_and_headers_are_checked() {
        assert_eq!((rate("500"), rate("0.5/s")), (Ok(500.0), Ok(0.5)));
        assert!(["0", "-1", "NaN", "inf", "x", ""].into_iter().all(|text| rate(text).is_err()));
        assert_eq!(header("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(header("a").is_err() && header("=b").is_err());
    }
}
