//! Which dead letters a command looks at: `count`, `list` and `redrive` alike.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use anyhow::{Context as _, bail};
use lunapark_knowledge::search::among;
use lunapark_schemas::Message;
use lunapark_topics::LogErrorKind;

use super::{SUFFIX, class_of, each_letter};
use crate::cli::Context;
use crate::cli::output::printable;

/// The dead letters of all pipelines, unless one of them or one topic is named.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Only those of this topic, or of this dead-letter topic
    #[arg(long, conflicts_with = "pipeline")]
    topic: Option<String>,
    /// Only those of this pipeline, for example documents; without it, and without a topic, those of all pipelines
    #[arg(long)]
    pipeline: Option<String>,
}

impl Selection {
    /// The same, of a topic that was named without `--topic`.
    pub fn or_topic(&self, named: &Option<String>) -> Self {
        Self { topic: named.clone().or_else(|| self.topic.clone()), ..self.clone() }
    }

    /// The one topic, where one was named.
    pub fn only(&self) -> Option<String> {
        let topic = self.topic.as_ref()?;
        Some(if topic.ends_with(SUFFIX) { topic.clone() } else { format!("{topic}{SUFFIX}") })
    }

    /// The dead-letter topics, each of which is there; but one that was named must be there, which its reader sees.
    pub fn topics(&self, context: &Context) -> anyhow::Result<Vec<String>> {
        if let Some(topic) = self.only() {
            return Ok(vec![topic]);
        }
        let mut topics = Vec::new();
        for topic in self.of_pipelines(context)? {
            match context.log.topic(&topic) {
                Ok(_) => topics.push(topic),
                Err(error) if error.kind == LogErrorKind::TopicMissing => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read the dead letters in {topic}")),
            }
        }
        Ok(topics)
    }

    fn of_pipelines(&self, context: &Context) -> anyhow::Result<Vec<String>> {
        let all = inputs(context);
        let Some(pipeline) = &self.pipeline else { return Ok(all.into_iter().map(|(_, topic)| topic).collect()) };
        let group = context.group_of(pipeline);
        let topics: Vec<_> = all.into_iter().filter(|(of, _)| *of == group).map(|(_, topic)| topic).collect();
        if topics.is_empty() {
            let (short, known) = (context.short(pipeline), context.groups().map(|group| context.short(group)));
            bail!("there is no pipeline `{short}`{}", among(short, known.into_iter()));
        }
        Ok(topics)
    }
}

/// Each pipeline with the dead letters of what it reads.
fn inputs(context: &Context) -> [(&str, String); 5] {
    let catalog = &context.catalog;
    let (score, train) = (&context.group_of_pipeline, &context.group_of_training);
    [
        (score, catalog.inference_events.dead().name().to_string()),
        (train, catalog.training_requests.dead().name().to_string()),
        (train, catalog.training_trials.dead().name().to_string()),
        (&context.group_of_documents, catalog.documents_ingest.dead().name().to_string()),
        (&context.group_of_search, catalog.search_requests.dead().name().to_string()),
    ]
    .map(|(group, topic)| (group.as_str(), topic))
}

/// What was looked at, and which reasons there are.
#[derive(Default)]
pub struct Looked {
    /// The dead-letter topics.
    pub topics: Vec<String>,
    classes: BTreeSet<String>,
}

impl Looked {
    /// Visits the dead letters of some topics, and tells with each whether it is asked for: of the one reason, where that is
    /// given. A visit says whether to go on.
    pub fn through(
        context: &Context,
        topics: Vec<String>,
        class: Option<&str>,
        mut visit: impl FnMut(&Message<'_>, bool) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<Self> {
        let mut classes = BTreeSet::new();
        for topic in &topics {
            let read = each_letter(&*context.log, topic, |message| {
                let is = class_of(message);
                if !classes.contains(is) {
                    classes.insert(is.to_owned());
                }
                visit(message, class.is_none_or(|class| class == is))
            })?;
            if read.is_break() {
                break;
            }
        }
        Ok(Self { topics, classes })
    }

    /// Notes a topic that was looked at otherwise.
    pub fn note(&mut self, topic: &str) {
        if !self.topics.iter().any(|known| known == topic) {
            self.topics.push(topic.to_owned());
        }
    }

    /// Why nothing was found.
    pub fn nothing(&self, class: Option<&str>) -> String {
        let topics = self.topics.join(", ");
        match class {
            _ if self.topics.is_empty() => "no dead letters: there is no topic for them yet".to_owned(),
            Some(class) if !self.classes.is_empty() => {
                let there: Vec<String> = self.classes.iter().map(|class| printable(class.as_bytes())).collect();
                let there = among(class, there.iter().map(String::as_str));
                format!("no dead letters of the reason `{class}` in {topics}{there}")
            }
            _ => format!("no dead letters in {topics}"),
        }
    }
}
