//! The commands against the embedded log, with a scorer so small that its answers are known.

mod audited;
mod redriven;
pub(super) mod scorer;
mod shown;

use std::process::ExitCode;

use clap::Parser;
use lunapark_schemas::{HeadersBuf, Record, TopicPartition};
use lunapark_topics::catalog::CatalogOptions;
use lunapark_topics::{Catalog, embedded};
use serde_json::Value;
use tempfile::TempDir;

use super::context::Context;
use super::output::Output;
use super::{audit, produce};

/// A log of its own in a folder that goes with it.
pub(super) struct Fixture {
    pub(super) context: Context,
    folder: TempDir,
}

#[derive(Parser)]
struct Line<A: clap::Args> {
    #[command(flatten)]
    args: A,
}

/// The arguments of a command, as a person types them.
fn parsed<A: clap::Args>(args: &[&str]) -> A {
    Line::<A>::try_parse_from(std::iter::once(&"command").chain(args)).unwrap_or_else(|error| panic!("{error}")).args
}

/// Runs a command; what it printed, and its exit code.
fn printed(json: bool, command: impl FnOnce(&mut Output<'_>) -> anyhow::Result<ExitCode>) -> (String, ExitCode) {
    let mut bytes = Vec::new();
    let mut out = Output::new(&mut bytes, json);
    let code = command(&mut out).unwrap_or_else(|error| panic!("{error:#}"));
    drop(out);
    (String::from_utf8(bytes).unwrap(), code)
}

impl Fixture {
    /// Two partitions, every topic made.
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let log = embedded::open(&folder.path().join("log"), &embedded::EmbeddedOptions::default()).unwrap();
        let catalog = Catalog::new(&CatalogOptions {
            prefix: "lab.".into(),
            partitions: 2,
            ledger_partitions: 2,
            retention: None,
            jobs_retention: None,
            control_retention: None,
            max_message_bytes: 1 << 20,
            replication: 1,
        });
        for spec in catalog.specs() {
            log.create_topic(&spec).unwrap();
        }
        let names = ["lab.score", "lab.train", "lab.documents", "lab.search"];
        let [group_of_pipeline, group_of_training, group_of_documents, group_of_search] = names.map(str::to_owned);
        let context = Context {
            log,
            catalog,
            group_of_pipeline,
            group_of_training,
            group_of_documents,
            group_of_search,
            json: false,
        };
        Self { context, folder }
    }

    /// Produces lines to the input topic by way of a file.
    fn produce(&self, lines: &[&str], options: &[&str]) -> String {
        let file = self.folder.path().join("events.ndjson");
        std::fs::write(&file, lines.join("\n")).unwrap();
        let args = [&["lab.inference.events", file.to_str().unwrap()], options].concat();
        printed(false, |out| produce::execute(&self.context, &parsed(&args), out)).0
    }

    /// An event for each word; the scorer's answer is what the word says.
    pub(super) fn produce_words(&self, words: &[&str]) {
        let lines: Vec<String> = words.iter().map(|word| format!("{{\"do\":\"{word}\"}}")).collect();
        self.produce(&lines.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    }

    /// Produces one record outside of any pipeline.
    fn plant(&self, topic: &str, partition: i32, headers: &[(&str, &str)], value: &[u8]) {
        let mut buf = HeadersBuf::new();
        for (name, value) in headers {
            buf.push_str(name, value);
        }
        let (partition, value, headers) = (Some(partition), Some(value), buf.view());
        let mut writer = self.context.log.writer().unwrap();
        writer.produce(&Record { topic, partition, key: None, value, headers, timestamp: None }).unwrap();
        writer.flush(std::time::Duration::from_secs(10)).unwrap();
    }

    /// Where the records of a partition end.
    fn end(&self, topic: &str, partition: i32) -> i64 {
        self.context.log.watermarks(&TopicPartition::new(topic, partition)).unwrap().high
    }

    fn audit(&self, options: &[&str]) -> (Value, ExitCode) {
        let (text, code) = printed(true, |out| audit::execute(&self.context, &parsed(options), out));
        (serde_json::from_str(&text).unwrap(), code)
    }
}
