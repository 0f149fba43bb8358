//! `lunapark replay`: scores recorded events again, beside the running pipeline and without its group.

pub(super) mod answers;
mod compare;
mod distributions;
mod expired;
mod models;
mod recorded;
mod sink;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use lunapark_schemas::inference::Limits;
use lunapark_schemas::{Message, Messages, TopicPartition};
use lunapark_score::{InferenceCodec, Scorer};
use lunapark_topics::{Limit, Log};
use serde_json::json;

use super::Context;
use super::output::{self, Output, number};
use super::time;
use crate::audit::scan::Scan;
use crate::config::Config;
use answers::Answer;
use compare::Comparison;
use expired::Expired;
use models::{Range, Replayed};
use recorded::Recorded;
use sink::Sink;

/// Messages of one batch.
const BATCH: Limit = Limit { messages: 4096, bytes: 16 << 20 };

/// Scores recorded events again
///
/// Reads without any group, so the pipeline does not notice. The same model gives the same bytes; without --model each
/// event is scored by the model that the cuts give it. Events whose header names a version keep it. --diff compares with
/// the results that were recorded.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark replay --model higgs/2 --diff\n  \
                        lunapark replay --from 48000 --to 52000 --model s3://models/new.onnx --diff --threshold 0.8\n  \
                        lunapark replay --model higgs/2 --diff --picture scores.svg\n  \
                        lunapark replay --from 1h --model higgs/1 --output replayed.ndjson")]
pub struct Args {
    /// Topic of the events; without it, that of the inference events
    #[arg(long)]
    topic: Option<String>,
    /// Start: an offset of every partition, a time, or so long ago
    #[arg(long, value_name = "OFFSET|TIME", value_parser = bound)]
    from: Option<Bound>,
    /// End, not included: an offset of every partition, a time, or so long ago
    #[arg(long, value_name = "OFFSET|TIME", value_parser = bound)]
    to: Option<Bound>,
    /// Read this partition only
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Model that scores what pins no version: name/version, or a path, file://, s3:// or builtin: address
    #[arg(long, value_name = "NAME/V|ADDRESS")]
    model: Option<String>,
    /// Compare with the recorded results
    #[arg(long)]
    diff: bool,
    /// A score at or above this is a decision for it
    #[arg(long, default_value_t = 0.5, requires = "diff")]
    threshold: f64,
    /// Draw the recorded and the replayed scores to this SVG file
    #[arg(long, value_name = "FILE", requires = "diff")]
    picture: Option<PathBuf>,
    /// Write the answers to this file (one JSON object a line), or to this topic where one of the name exists
    #[arg(long, value_name = "FILE|TOPIC")]
    output: Option<String>,
}

/// An end of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Offset(i64),
    Time(i64),
}

pub(super) fn bound(text: &str) -> Result<Bound, String> {
    match text.parse::<i64>() {
        Ok(offset) if offset >= 0 => Ok(Bound::Offset(offset)),
        Ok(_) => Err(format!("`{text}` is no offset: offsets begin with 0")),
        Err(_) => time::parse_since(text).map(Bound::Time),
    }
}

/// Runs the command.
pub fn run(context: &Context, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| execute(context, config, args, out))
}

fn execute(context: &Context, config: &Config, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let source = args.topic.as_deref().unwrap_or(context.catalog.inference_events.name());
    let partitions = partitions(&*context.log, source, args.partition)?;
    // First the ends of what was recorded, then those of the events, then the cuts: so every recorded result that is compared
    // was scored under cuts that are known, while the pipeline goes on.
    let recorded = match args.diff {
        true => partitions.iter().map(|at| Recorded::open(context, at)).collect::<anyhow::Result<Vec<_>>>()?,
        false => Vec::new(),
    };
    let ranges = partitions.iter().map(|at| range(&*context.log, at, args)).collect::<anyhow::Result<Vec<_>>>()?;
    let models = Replayed::load(context, config, args.model.as_deref(), &ranges)?;
    let limits = Limits { max_rows: config.score.max_rows, max_payload_bytes: config.score.max_payload_bytes };
    let mut replay = Replay {
        context,
        codec: InferenceCodec::with_cuts(models.set.clone(), models.table.clone(), limits),
        scorer: Scorer::new(models.set.clone()),
        models,
        strict: args.model.is_none(),
        expired: Expired::default(),
        sink: args.output.as_deref().map(|name| Sink::open(context, name)).transpose()?,
        comparison: args.diff.then(|| Comparison::new(args.threshold)),
        tally: Tally::default(),
    };
    let mut recorded = recorded.into_iter();
    for range in &ranges {
        replay.partition(range, recorded.next())?;
    }
    replay.sink.as_mut().map_or(Ok(()), Sink::finish)?;
    replay.report(args.picture.as_deref(), out)
}

fn partitions(log: &dyn Log, topic: &str, only: Option<i32>) -> anyhow::Result<Vec<TopicPartition>> {
    let count = log.topic(topic).with_context(|| format!("cannot read {topic}"))?.partitions;
    if let Some(only) = only.filter(|only| *only >= count) {
        bail!("{topic} has no partition {only}, its partitions are 0 to {}", count - 1);
    }
    let wanted = (0..count).filter(|partition| only.is_none_or(|only| only == *partition));
    Ok(wanted.map(|partition| TopicPartition::new(topic, partition)).collect())
}

fn range(log: &dyn Log, at: &TopicPartition, args: &Args) -> anyhow::Result<Range> {
    let ends = log.watermarks(at)?;
    let offset = |bound: Option<Bound>, otherwise: i64| {
        Ok::<i64, anyhow::Error>(match bound {
            None => otherwise,
            Some(Bound::Offset(offset)) => offset.clamp(ends.low, ends.high),
            Some(Bound::Time(millis)) => log.offset_for_time(at, millis)?,
        })
    };
    let (from, to) = (offset(args.from, ends.low)?, offset(args.to, ends.high)?);
    Ok(Range { at: at.clone(), from, to: to.max(from) })
}

/// What became of the messages.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    messages: u64,
    scored: u64,
    rejected: u64,
    filtered: u64,
}

struct Replay<'a> {
    context: &'a Context,
    models: Replayed,
    /// Every event is to be scored as it was: a model that is missing ends the replay.
    strict: bool,
    expired: Expired,
    codec: InferenceCodec,
    scorer: Scorer,
    sink: Option<Sink>,
    comparison: Option<Comparison>,
    tally: Tally,
}

impl Replay<'_> {
    fn partition(&mut self, range: &Range, mut recorded: Option<Recorded>) -> anyhow::Result<()> {
        let (mut scan, mut batch) = (Scan::open(&*self.context.log, &range.at, range.from)?, Messages::new());
        let mut next = range.from;
        while next < range.to {
            // In steps, so that no more than a batch is held.
            next = (next + BATCH.messages as i64).min(range.to);
            scan.until(next, |message| {
                keep(&mut batch, message);
                if batch.bytes() >= BATCH.bytes {
                    self.batch(&mut batch, recorded.as_mut())?;
                }
                Ok::<(), anyhow::Error>(())
            })?;
            self.batch(&mut batch, recorded.as_mut())?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &mut Messages, mut recorded: Option<&mut Recorded>) -> anyhow::Result<()> {
        let mut indices = Vec::with_capacity(batch.len());
        for (index, message) in batch.iter().enumerate() {
            if !self.expired.filtered(self.context, &message)? {
                indices.push(index);
            }
        }
        let decoded = self.models.decode(&self.codec, batch, &indices, self.strict)?;
        let answers = answers::of(&self.codec, &self.scorer, batch, &indices, decoded);
        for (message, answer) in batch.iter().zip(&answers) {
            self.tally.messages += 1;
            match answer {
                Answer::Result { .. } => self.tally.scored += 1,
                Answer::Rejected(_) => self.tally.rejected += 1,
                Answer::Filtered => self.tally.filtered += 1,
            }
            if let (Some(comparison), Some(recorded)) = (&mut self.comparison, recorded.as_deref_mut()) {
                comparison.add(recorded.of(message.offset)?.as_ref(), answer);
            }
            if let Some(sink) = &mut self.sink {
                sink.write(&message, answer)?;
            }
        }
        batch.clear();
        Ok(())
    }

    fn report(self, picture: Option<&Path>, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
        let (Tally { messages, scored, rejected, filtered }, model) = (self.tally, &self.models.shown);
        let diff = self.comparison.map(Comparison::finish);
        if let Some((path, diff)) = picture.zip(diff.as_ref()) {
            std::fs::write(path, diff.picture(model)).with_context(|| format!("cannot write {}", path.display()))?;
        }
        if out.json {
            let mut document = json!({
                "model": model, "in": messages, "scored": scored, "rejected": rejected, "filtered": filtered
            });
            if let Some(diff) = diff {
                document["diff"] = diff.document();
            }
            out.document(&document)?;
            return Ok(ExitCode::SUCCESS);
        }
        out.line(format_args!(
            "{} events replayed with {model}: {} scored, {} rejected, {} expired",
            number(messages),
            number(scored),
            number(rejected),
            number(filtered)
        ))?;
        if let Some(diff) = diff {
            out.table(&diff.table())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn keep(batch: &mut Messages, message: &Message<'_>) {
    let (topic, partition, offset, timestamp) =
        (&**message.topic, message.partition, message.offset, message.timestamp);
    let at = lunapark_schemas::messages::At { topic, partition, offset, timestamp };
    batch.push_encoded(at, message.key, message.value, message.headers);
}
