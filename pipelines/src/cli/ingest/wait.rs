//! Waiting until what was sent is indexed.

use std::time::{Duration, Instant};

use anyhow::bail;
use lunapark_schemas::TopicPartition;
use lunapark_topics::Watermarks;

use crate::cli::{Context, output, topics};
use crate::config::Config;

/// Between two looks at how far the service has come.
const LOOK: Duration = Duration::from_millis(50);

/// Until the pipeline has committed what is on the topic now.
pub(super) fn wait(context: &Context, config: &Config, patience: Duration) -> anyhow::Result<()> {
    let topic = context.catalog.documents_ingest.name();
    let group = format!("{}{}", context.catalog.prefix(), config.documents.name);
    let ends = topics::ends(&*context.log, &context.log.topic(topic)?)?;
    let (began, bar) = (Instant::now(), output::progress(None, "{spinner} {msg} documents left to index"));
    loop {
        let left = left(context, &group, &ends)?;
        if left == 0 {
            bar.finish_and_clear();
            return Ok(());
        }
        bar.set_message(left.to_string());
        if began.elapsed() > patience {
            bail!(
                "{left} documents are not indexed after {patience:?}: is a service with documents.threads above 0 \
                 running? (`lunapark topics describe {topic}` shows its lag)"
            );
        }
        std::thread::park_timeout(LOOK);
    }
}

fn left(context: &Context, group: &str, ends: &[(TopicPartition, Watermarks)]) -> anyhow::Result<i64> {
    let partitions: Vec<_> = ends.iter().map(|(at, _)| at.clone()).collect();
    let committed = context.log.committed(group, &partitions)?;
    Ok(ends.iter().zip(committed).map(|((_, ends), next)| topics::lag(*ends, next)).sum())
}
