//! Objects of a bucket, by the configured store's credentials.

use lunapark_stores::{Bucket, Found};

use super::sender::{Item, Sender};
use crate::config::Config;
use crate::models::s3_options;

/// Sends what lies below an address of a bucket.
pub(super) fn walk(sender: &mut Sender<'_>, config: &Config, url: &str) -> anyhow::Result<()> {
    let bucket = Bucket::open(url, &s3_options(&config.store))?;
    let found = bucket.list()?;
    anyhow::ensure!(!found.is_empty(), "{url}: there is nothing below it; check bucket and prefix");
    sender.expect(found.len() as u64);
    found.iter().try_for_each(|object| send(sender, &bucket, object))
}

fn send(sender: &mut Sender<'_>, bucket: &Bucket, object: &Found) -> anyhow::Result<()> {
    let Found { name, address, version, bytes, .. } = object;
    let read = |most| bucket.read(object, most).map_err(|error| error.to_string());
    if sender.has_records(name) {
        return match read(super::sender::MAX_TABLE_BYTES) {
            Ok(bytes) => sender.lines(address, &bytes),
            Err(reason) => sender.skip(address, reason),
        };
    }
    sender.item(&Item { id: name, address, shown: address, version: Some(version), bytes: Some(*bytes) }, read)
}
