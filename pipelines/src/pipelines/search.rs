//! Questions to collections:
//!
//! ```text
//! search.requests ──▶ embed ──▶ scan, words ──▶ fuse ──▶ search.results
//!                                 ▲               ├────▶ search.requests.dead
//!                                 ┊               └────▶ ledger
//!                   object store: manifest, segments
//! ```

use lunapark_knowledge::search::{SearchCodec, Searcher};
use lunapark_topics::Catalog;

use super::plain::{Plain, Ways};
use crate::config::Config;

/// The pipeline of questions.
pub type Search = Plain<SearchCodec, Searcher>;

/// The pipeline over this operator.
pub fn search(config: &Config, catalog: &Catalog, operator: Searcher) -> Search {
    let (requests, settings) = (&catalog.search_requests, &config.search);
    let ways = Ways {
        input: requests.name().clone(),
        results: catalog.search_results.name().clone(),
        dead: requests.dead().name().clone(),
    };
    let codec = SearchCodec::new(operator.collections.encoder_tag());
    Plain::new(config, catalog, &settings.name, ways, codec, operator)
        .batches_of(settings.batch_messages, settings.batch_bytes)
}
