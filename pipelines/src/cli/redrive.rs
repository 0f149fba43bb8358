//! `lunapark dlq redrive`: dead letters go back to their topic, each exactly once.
//!
//! All redrives share one transactional id, so that the log lets only one of them write. Each batch writes the events
//! and, in the same transaction, ledger records of the dead letters' positions; a redrive first reads from the ledger
//! what earlier ones did. What it must not miss are commits that still stand behind another producer's open
//! transaction: therefore it commits a fence of its own (a null value) and reads until it sees that.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use lunapark_schemas::headers::dead;
use lunapark_schemas::ledger::{LedgerRecord, Redrive};
use lunapark_schemas::{Headers, HeadersBuf, Message, Position, Record, TopicPartition};
use lunapark_topics::{Log, LogError, LogErrorKind, Topic, Transaction};
use serde_json::json;

use super::Context;
use super::dlq::{Looked, SUFFIX, Selection, at_position};
use super::output::{self, Output, number};
use crate::audit::ledger::{redrive_of, redriven_so_far};
use crate::audit::scan::{self, Scan};
use crate::audit::source::Source;
use crate::clock;

/// All ledger records of redrives go to one partition, so that one fence covers them.
const LEDGER_PARTITION: i32 = 0;
/// A transaction holds back the readers of every topic it writes to; these bounds keep it under a second.
const BATCH_LETTERS: u64 = 1000;
const BATCH_BYTES: usize = 16 << 20;
const BATCH_TIME: Duration = Duration::from_millis(500);
/// Longer than any transaction of a scorer may stay open (10 s), which is what the fence waits for.
const FENCE_WAIT: Duration = Duration::from_secs(60);

/// Writes dead letters back to the topic they came from, each exactly once
///
/// The event goes back with its key, value and own headers to the partition it came from; the ledger notes the dead
/// letter's position in the same transaction. Repeated and concurrent redrives change nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark dlq redrive inference.events.dead/2/17\n  \
                        lunapark dlq redrive --class unknown-model --dry-run\n  \
                        lunapark dlq redrive --all                            of all pipelines, as `dlq count` shows them\n  \
                        lunapark dlq redrive --all --pipeline documents")]
#[command(group(clap::ArgGroup::new("which").required(true).args(["positions", "class", "all"])))]
pub struct Args {
    /// Positions of dead letters: topic/partition/offset
    #[arg(value_name = "POSITION", conflicts_with_all = ["topic", "pipeline"])]
    positions: Vec<Position>,
    /// All dead letters of this reason, of all pipelines unless a topic or a pipeline is named
    #[arg(long)]
    class: Option<String>,
    /// All dead letters, of all pipelines unless a topic or a pipeline is named
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    /// Also those of which only some rows failed: the whole message is scored again, although its good rows already
    /// have a result
    #[arg(long)]
    partial: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn execute(context: &Context, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    // Before any service has run there is not even a ledger.
    if args.positions.is_empty() && args.selection.topics(context)?.is_empty() {
        return Redriver::new(context, args, None, BTreeSet::new()).summary(out);
    }
    let mut redriver = match args.dry_run {
        true => Redriver::rehearsal(context, args)?,
        false => Redriver::open(context, args)?,
    };
    let done = redriver.select().and_then(|()| redriver.commit());
    if let Err(error) = done {
        return Err(redriver.give_up(error));
    }
    redriver.summary(out)
}

pub(super) struct Redriver<'a> {
    context: &'a Context,
    args: &'a Args,
    /// `None` in a dry run.
    transaction: Option<Box<dyn Transaction>>,
    done: BTreeSet<Position>,
    headers: HeadersBuf,
    batch: Batch,
    tally: Tally,
    looked: Looked,
}

/// What is in the open transaction.
#[derive(Default)]
struct Batch {
    letters: u64,
    bytes: usize,
    since: Option<Instant>,
}

impl Batch {
    fn add(&mut self, bytes: usize) {
        self.letters += 1;
        self.bytes += bytes;
        self.since.get_or_insert_with(Instant::now);
    }

    fn is_full(&self) -> bool {
        let late = self.since.is_some_and(|since| since.elapsed() >= BATCH_TIME);
        late || self.letters >= BATCH_LETTERS || self.bytes >= BATCH_BYTES
    }
}

#[derive(Default)]
struct Tally {
    redriven: u64,
    already: u64,
    partial: u64,
    refused: u64,
}

impl<'a> Redriver<'a> {
    fn rehearsal(context: &'a Context, args: &'a Args) -> anyhow::Result<Self> {
        let done = redriven_so_far(&*context.log, context.catalog.ledger.name()).context("cannot read the ledger")?;
        Ok(Self::new(context, args, None, done))
    }

    /// The order is what makes it exactly once: others are fenced first, then the ledger is read to its end.
    pub(super) fn open(context: &'a Context, args: &'a Args) -> anyhow::Result<Self> {
        let id = transactional_id(context.catalog.ledger.name());
        let mut transaction = context.log.transaction(&id).with_context(|| format!("cannot become {id}"))?;
        let done = read_to_fence(&*context.log, context.catalog.ledger.name(), &mut *transaction).map_err(overtaken)?;
        Ok(Self::new(context, args, Some(transaction), done))
    }

    fn new(
        context: &'a Context,
        args: &'a Args,
        transaction: Option<Box<dyn Transaction>>,
        done: BTreeSet<Position>,
    ) -> Self {
        let (headers, batch, tally, looked) = Default::default();
        Self { context, args, transaction, done, headers, batch, tally, looked }
    }

    pub(super) fn select(&mut self) -> anyhow::Result<()> {
        let (context, args) = (self.context, self.args);
        for position in &args.positions {
            at_position(&*context.log, position, |message| self.letter(message))?;
            self.looked.note(&position.topic);
        }
        if args.positions.is_empty() {
            let (topics, class) = (args.selection.topics(context)?, args.class.as_deref());
            self.looked = Looked::through(context, topics, class, |message, asked_for| {
                let done = if asked_for { self.letter(message) } else { self.commit_full() };
                done.map(ControlFlow::Continue)
            })?;
        }
        Ok(())
    }

    fn letter(&mut self, message: &Message<'_>) -> anyhow::Result<()> {
        let position = message.position();
        if self.done.contains(&position) {
            self.tally.already += 1;
            return Ok(());
        }
        if message.headers.get(dead::ROWS).is_some() && !self.args.partial {
            self.tally.partial += 1;
            return Ok(());
        }
        match target(&*self.context.log, message) {
            Ok(partition) => self.send(message, &position, partition),
            Err(error) => {
                output::note(format_args!("{position} stays: {error:#}"));
                self.tally.refused += 1;
                Ok(())
            }
        }
    }

    fn send(&mut self, message: &Message<'_>, position: &Position, partition: i32) -> anyhow::Result<()> {
        let source_topic = position.topic.strip_suffix(SUFFIX).unwrap_or(&position.topic);
        if let Some(transaction) = &mut self.transaction {
            self.headers.clear();
            self.headers.extend(message.headers, |name| !dead::ALL.contains(&name));
            let (key, value, headers) = (message.key, message.value, self.headers.view());
            let partition = Some(partition);
            let event = Record { topic: source_topic, partition, key, value, headers, timestamp: None };
            transaction.produce(&event).with_context(|| format!("cannot write {position} back"))?;
            note_in_ledger(&mut **transaction, &self.context.catalog.ledger, position, source_topic)?;
        }
        self.done.insert(position.clone());
        self.batch.add(message.size());
        self.commit_full()
    }

    fn commit_full(&mut self) -> anyhow::Result<()> {
        if self.batch.is_full() { self.commit() } else { Ok(()) }
    }

    pub(super) fn commit(&mut self) -> anyhow::Result<()> {
        if let Some(transaction) = self.transaction.as_mut().filter(|_| self.batch.letters > 0) {
            transaction.commit().context("cannot commit")?;
        }
        self.tally.redriven += std::mem::take(&mut self.batch).letters;
        Ok(())
    }

    /// The open batch goes; what was committed before stays, once.
    pub(super) fn give_up(mut self, error: anyhow::Error) -> anyhow::Error {
        let fenced = is_fenced(&error);
        if let Some(transaction) = self.transaction.as_mut().filter(|_| !fenced) {
            let _ = transaction.abort();
        }
        let committed = self.tally.redriven;
        let what = if fenced { "another redrive has taken over" } else { "the redrive stopped" };
        let done = match committed {
            0 => "nothing was redriven".to_owned(),
            _ => format!("{} went back, the rest did not", output::counted(committed, "dead letter")),
        };
        error.context(format!("{what}; {done}; to run it again doubles nothing"))
    }

    fn summary(&self, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
        let Tally { redriven, already, partial, refused } = self.tally;
        let dry_run = self.args.dry_run;
        let nothing = self.args.positions.is_empty() && redriven + already + partial + refused == 0;
        let nothing = nothing.then(|| self.looked.nothing(self.args.class.as_deref()));
        if out.json {
            // Beside the object, which has no place for it.
            nothing.iter().for_each(output::note);
            out.document(&json!({
                "redriven": redriven, "already": already, "partial": partial, "refused": refused, "dry_run": dry_run,
                "topics": self.looked.topics
            }))?;
        } else {
            let verb = if dry_run { "would be redriven" } else { "redriven" };
            if let Some(nothing) = nothing {
                out.line(nothing)?;
                return Ok(ExitCode::SUCCESS);
            }
            out.line(format_args!("{} {verb}, {} were redriven before", number(redriven), number(already)))?;
            if partial > 0 {
                out.line(format_args!(
                    "{} left: only some of their rows failed; --partial scores the whole messages again",
                    number(partial)
                ))?;
            }
        }
        Ok(if refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// What to say where a redrive could not even begin.
fn overtaken(error: anyhow::Error) -> anyhow::Error {
    match is_fenced(&error) {
        true => error.context("another redrive has taken over; this one has changed nothing, run it again"),
        false => error.context("cannot read in the ledger what was redriven before"),
    }
}

fn is_fenced(error: &anyhow::Error) -> bool {
    error.downcast_ref::<LogError>().is_some_and(|error| error.kind == LogErrorKind::Fenced)
}

/// One id for all redrives of one Lunapark, told apart by the prefix of its topics.
fn transactional_id(ledger: &str) -> String {
    format!("{}lunapark-redrive", ledger.strip_suffix("ledger").unwrap_or(ledger))
}

fn read_to_fence(log: &dyn Log, ledger: &str, transaction: &mut dyn Transaction) -> anyhow::Result<BTreeSet<Position>> {
    let fence = format!("redrive-fence/{}/{}", std::process::id(), clock::now_millis());
    let (key, headers) = (Some(fence.as_bytes()), Headers::default());
    let partition = Some(LEDGER_PARTITION);
    transaction.produce(&Record { topic: ledger, partition, key, value: None, headers, timestamp: None })?;
    transaction.commit()?;
    let at = TopicPartition::new(ledger, LEDGER_PARTITION);
    let mut scan = Scan::open(log, &at, 0)?;
    let (mut done, mut seen) = (BTreeSet::new(), false);
    let deadline = Instant::now() + FENCE_WAIT;
    while !seen {
        scan.until(log.watermarks(&at)?.high, |message| {
            seen |= message.key == key;
            done.extend(redrive_of(message));
            Ok::<(), LogError>(())
        })?;
        if !seen && Instant::now() > deadline {
            bail!("{at} has been held back by an open transaction for {} s: try again", FENCE_WAIT.as_secs());
        }
        if !seen {
            scan::pause();
        }
    }
    Ok(done)
}

/// The partition that a dead letter goes back to. Its headers are outside text: they must name the very topic whose
/// dead letters these are.
fn target(log: &dyn Log, message: &Message<'_>) -> anyhow::Result<i32> {
    let Some(topic) = message.topic.strip_suffix(SUFFIX) else { bail!("{} is no dead-letter topic", message.topic) };
    let Some(source) = Source::of_dead_letter(message.headers) else {
        bail!("its headers do not say where it is from")
    };
    if source.topic != topic {
        bail!("its headers say that it is from {}, not from {topic}", output::printable(source.topic.as_bytes()));
    }
    if let Some(bytes) = message.headers.get_str(dead::ORIGINAL_BYTES) {
        bail!(
            "it was cut: {} bytes did not fit into its topic; the whole is at {source}",
            output::printable(bytes.as_bytes())
        );
    }
    let partitions = log.topic(topic)?.partitions;
    if source.partition >= partitions {
        bail!("its headers name partition {}, but {topic} has {partitions}", source.partition);
    }
    Ok(source.partition)
}

fn note_in_ledger(
    transaction: &mut dyn Transaction,
    ledger: &Topic<LedgerRecord>,
    position: &Position,
    target: &str,
) -> anyhow::Result<()> {
    let redrive = LedgerRecord::Redrive(Redrive {
        topic: position.topic.to_string(),
        partition: position.partition,
        offset: position.offset,
        target: target.to_owned(),
    });
    let entry = ledger.encode(&redrive)?;
    transaction
        .produce(&entry.record(Some(LEDGER_PARTITION)))
        .with_context(|| format!("cannot note {position} in the ledger"))
}
