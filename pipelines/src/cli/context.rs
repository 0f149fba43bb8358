//! What every command gets.

use std::sync::Arc;

use lunapark_topics::{Catalog, Log};

/// The log, its topics, and how to print.
pub struct Context {
    /// The log that the configuration names.
    pub log: Arc<dyn Log>,
    /// The topics of this Lunapark.
    pub catalog: Catalog,
    /// Consumer group of the scorer, for example `score`.
    pub group_of_pipeline: String,
    /// Consumer group of the training pipeline, for example `train`.
    pub group_of_training: String,
    /// Consumer group of the pipeline of documents, for example `documents`.
    pub group_of_documents: String,
    /// Consumer group of the pipeline of questions, for example `search`.
    pub group_of_search: String,
    /// Print JSON instead of tables.
    pub json: bool,
}

impl Context {
    /// The consumer groups of all pipelines, by which the ledger names them.
    pub fn groups(&self) -> [&str; 4] {
        [&self.group_of_pipeline, &self.group_of_training, &self.group_of_documents, &self.group_of_search]
            .map(String::as_str)
    }

    /// The group of a pipeline that was named with the prefix or without it.
    pub fn group_of(&self, pipeline: &str) -> String {
        let prefix = self.catalog.prefix();
        if pipeline.starts_with(prefix) { pipeline.to_owned() } else { format!("{prefix}{pipeline}") }
    }

    /// The name of a pipeline without the prefix, for people.
    pub fn short<'a>(&self, pipeline: &'a str) -> &'a str {
        pipeline.strip_prefix(self.catalog.prefix()).unwrap_or(pipeline)
    }
}
