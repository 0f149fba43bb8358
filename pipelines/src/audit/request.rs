//! What is audited: a pipeline with its topics.

use std::sync::Arc;

use lunapark_topics::{Catalog, Topic};

use super::report::NAMED_PER_KIND;
use crate::pipelines::train::group_of_trials;

/// What to audit.
#[derive(Clone, Debug)]
pub struct AuditRequest {
    /// Pipeline, as the ledger names it.
    pub pipeline: String,
    /// Its consumer group.
    pub group: String,
    /// Input topic.
    pub topic: Arc<str>,
    /// Result topic.
    pub results: Arc<str>,
    /// Dead-letter topic.
    pub dead: Arc<str>,
    /// Ledger topics: accounts and redrives may be in either.
    pub ledgers: Vec<Arc<str>>,
    /// Topic of the cuts, which say who scores what; none for pipelines that switch no models.
    pub cuts: Option<Arc<str>>,
    /// Whether to read the records themselves.
    pub deep: bool,
    /// Whether the result topic also holds records that answer no message, told by their lack of a source: progress.
    pub interim: bool,
    /// Another input topic with answers on the same result topic, which is audited as well. It need not exist.
    pub second: Option<Second>,
    /// Whether the account must begin at offset 0, even where retention deleted those records before it began, or the
    /// group left them out.
    pub from_beginning: bool,
    /// So many findings of each kind are named.
    pub named_per_kind: u64,
}

/// An input topic beside the first.
#[derive(Clone, Debug)]
pub struct Second {
    /// Its consumer group, and name in the ledger.
    pub group: String,
    /// Its name.
    pub topic: Arc<str>,
    /// Where its dead letters are.
    pub dead: Arc<str>,
}

impl AuditRequest {
    /// The input topics.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.topic).chain(self.second.iter().map(|second| &*second.topic))
    }

    /// The quick audit of the scorer.
    pub fn scorer(catalog: &Catalog, pipeline: &str, group: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            group: group.to_owned(),
            topic: catalog.inference_events.name().clone(),
            results: catalog.inference_results.name().clone(),
            dead: catalog.inference_events.dead().name().clone(),
            ledgers: vec![catalog.ledger.name().clone()],
            cuts: Some(catalog.model_cuts.name().clone()),
            deep: false,
            interim: false,
            second: None,
            from_beginning: false,
            named_per_kind: NAMED_PER_KIND,
        }
    }

    /// The quick audit of a pipeline without models to switch: of documents, of questions.
    pub fn plain<I, O>(catalog: &Catalog, pipeline: &str, input: &Topic<I>, results: &Topic<O>) -> Self {
        Self {
            topic: input.name().clone(),
            results: results.name().clone(),
            dead: input.dead().name().clone(),
            cuts: None,
            ..Self::scorer(catalog, pipeline, pipeline)
        }
    }

    /// The quick audit of training.
    pub fn training(catalog: &Catalog, pipeline: &str) -> Self {
        Self {
            topic: catalog.training_requests.name().clone(),
            results: catalog.training_status.name().clone(),
            dead: catalog.training_requests.dead().name().clone(),
            // Redrives are in the common one, as were the accounts of older versions.
            ledgers: vec![catalog.ledger.name().clone(), catalog.training_ledger.name().clone()],
            cuts: None,
            interim: true,
            second: Some(Second {
                group: group_of_trials(pipeline),
                topic: catalog.training_trials.name().clone(),
                dead: catalog.training_trials.dead().name().clone(),
            }),
            ..Self::scorer(catalog, pipeline, pipeline)
        }
    }
}
