//! Documents into collections:
//!
//! ```text
//! documents.ingest ──▶ fetch ──▶ extract ──▶ chunk ──▶ embed ──▶ index ──▶ documents.indexed
//!                       │          │          │                    │   ├──▶ documents.ingest.dead
//!                       └──────────┴──────────┴────────────────────┴───┴──▶ ledger
//!                                                                  └┄┄┄┄▶ object store: segment, then manifest
//! ```
//!
//! What lies on another partition than its id's is put there first, back on `documents.ingest`: the order of a document's
//! changes is its partition's (`runner/home.rs`). The manifest holds the next offsets of the log: what a crash makes come
//! again changes nothing, and is answered alike.

use lunapark_knowledge::ingest::{IngestCodec, Ingestor};
use lunapark_topics::Catalog;

use super::plain::{Plain, Ways};
use crate::config::Config;
use crate::runner::Homes;

/// The pipeline of documents.
pub type Documents = Plain<IngestCodec, Ingestor>;

/// The pipeline over this operator.
pub fn documents(config: &Config, catalog: &Catalog, homes: Homes, operator: Ingestor) -> Documents {
    let (ingest, settings) = (&catalog.documents_ingest, &config.documents);
    let ways = Ways {
        input: ingest.name().clone(),
        results: catalog.documents_indexed.name().clone(),
        dead: ingest.dead().name().clone(),
    };
    let codec = IngestCodec::new(operator.collections.encoder_tag());
    Plain::new(config, catalog, &settings.name, ways, codec, operator)
        .batches_of(settings.batch_messages, settings.batch_bytes)
        .gathering_for(settings.batch_interval)
        .at_home(homes)
}
