//! Where the answers of a replay go: a file, or a topic that is none of the pipelines'.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lunapark_schemas::headers::{MODEL, SOURCE};
use lunapark_schemas::{Message, Record};
use lunapark_topics::Writer;
use serde_json::{Value, json};

use super::super::Context;
use super::super::output::base64;
use super::answers::Answer;

/// As long as a broker may take for what is queued.
const FLUSH: Duration = Duration::from_secs(60);

/// A file or a topic.
pub(super) enum Sink {
    File(BufWriter<File>),
    Topic { writer: Box<dyn Writer>, topic: Arc<str>, partitions: i32 },
}

impl Sink {
    pub(super) fn open(context: &Context, name: &str) -> anyhow::Result<Self> {
        if context.catalog.specs().iter().any(|spec| *spec.name == *name) {
            bail!("--output {name} is a topic of the pipelines: a replay must not look like the real thing");
        }
        match context.log.topics()?.into_iter().find(|topic| *topic.name == *name) {
            Some(topic) => {
                let (writer, partitions) = (context.log.writer()?, topic.partitions);
                Ok(Self::Topic { writer, topic: topic.name, partitions })
            }
            None => {
                Ok(Self::File(BufWriter::new(File::create(name).with_context(|| format!("cannot create {name}"))?)))
            }
        }
    }

    pub(super) fn write(&mut self, message: &Message<'_>, answer: &Answer) -> anyhow::Result<()> {
        match self {
            Self::File(file) => {
                serde_json::to_writer(&mut *file, &line(message, answer))?;
                Ok(file.write_all(b"\n")?)
            }
            Self::Topic { writer, topic, partitions } => {
                let Answer::Result { value, headers } = answer else { return Ok(()) };
                let mut headers = headers.clone();
                headers.push_str(SOURCE, &message.position().to_string());
                let partition = (message.partition < *partitions).then_some(message.partition);
                let (key, value, timestamp) =
                    (message.key, Some(&value[..]), Some(message.timestamp).filter(|t| *t >= 0));
                let headers = headers.view();
                Ok(writer.produce(&Record { topic, partition, key, value, headers, timestamp })?)
            }
        }
    }

    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        match self {
            Self::File(file) => Ok(file.flush()?),
            Self::Topic { writer, .. } => Ok(writer.flush(FLUSH)?),
        }
    }
}

fn line(message: &Message<'_>, answer: &Answer) -> Value {
    let source = message.position().to_string();
    match answer {
        Answer::Filtered => json!({ "source": source, "filtered": "expired" }),
        Answer::Rejected(rejection) => {
            json!({ "source": source, "rejected": rejection.class.as_str(), "message": rejection.message })
        }
        Answer::Result { value, headers } => {
            let model = headers.view().get_str(MODEL).unwrap_or_default().to_owned();
            match std::str::from_utf8(value) {
                Ok(text) => json!({ "source": source, "model": model, "value": text }),
                Err(_) => json!({ "source": source, "model": model, "value_base64": base64(value) }),
            }
        }
    }
}
