//! Waiting until what was sent is indexed.

use std::time::Duration;

use anyhow::bail;

use crate::cli::settled::wait_settled;
use crate::cli::{Context, output};

/// Until the pipeline has committed what is on the topic now.
pub(super) fn wait(context: &Context, patience: Duration) -> anyhow::Result<()> {
    let topic = context.catalog.documents_ingest.name();
    let bar = output::progress(None, "{spinner} {msg} documents left to index");
    let settled = wait_settled(&*context.log, &context.group_of_documents, topic, patience, &mut |left| {
        bar.set_message(left.to_string())
    })?;
    bar.finish_and_clear();
    match settled {
        Ok(()) => Ok(()),
        Err(left) => bail!(
            "{left} documents are not indexed after {patience:?}: is a service with documents.threads above 0 running? \
             (`lunapark topics describe {topic}` shows its lag)"
        ),
    }
}
