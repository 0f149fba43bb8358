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
    let requests = &catalog.search_requests;
    let ways = Ways {
        input: requests.name().clone(),
        results: catalog.search_results.name().clone(),
        dead: requests.dead().name().clone(),
    };
    let codec = SearchCodec::new(operator.collections.encoder_tag());
    Plain::new(config, catalog, &config.search.name, ways, codec, operator)
}
