//! Collections on several stores: exactly once, whatever fails; searches against plain formulas; upkeep; hostile bytes.

mod bm25;
mod contract;
mod exactly_once;
mod faulty;
mod hostile;
mod made;
mod ndcg;
mod property;
mod searches;

use std::sync::Arc;

use lunapark_stores::{ArtifactStore, S3Options};

#[test]
fn the_contract_holds_in_memory() {
    contract::suite(&made::memory());
}

#[test]
fn the_contract_holds_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(dir.path().to_str().unwrap(), &S3Options::default()).unwrap();
    contract::suite(&Arc::new(store));
}
