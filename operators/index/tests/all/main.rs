//! Collections on several stores: exactly once, whatever fails; searches against plain formulas; upkeep; hostile bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation ends a test")]

mod bm25;
mod contract;
mod exactly_once;
mod faulty;
mod hostile;
mod lists;
mod looks;
mod made;
mod ndcg;
mod property;
mod rebuilds;
mod searches;
mod sharing;
mod skewed;
mod upkeep;

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

/// `tests/run` starts a server and names it in the environment; without one there is nothing to check, and it says so.
#[test]
fn the_contract_holds_in_a_bucket() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let endpoint = variable("S3_ENDPOINT");
    if endpoint.is_empty() {
        eprintln!("skipped: S3_ENDPOINT names no server");
        return;
    }
    let options = S3Options {
        endpoint,
        region: "us-east-1".into(),
        access_key_id: variable("AWS_ACCESS_KEY_ID"),
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY"),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let url = format!("s3://{}/index/{}-{now}", variable("S3_BUCKET"), std::process::id());
    contract::suite(&Arc::new(ArtifactStore::open(&url, &options).unwrap()));
}
