//! Objects of a bucket, by the configured store's credentials.

use lunapark_stores::{Bucket, Found};

use super::sender::{Item, Sender};

/// Sends one object, or the records in it.
pub(super) fn send(sender: &mut Sender<'_>, bucket: &Bucket, object: &Found) -> anyhow::Result<()> {
    let Found { name, address, version, bytes, .. } = object;
    let read = |most| bucket.read(object, most).map_err(|error| error.to_string());
    if sender.args().is_list(name) {
        return match read(super::sender::MAX_TABLE_BYTES) {
            Ok(bytes) => sender.lines(address, &bytes),
            Err(reason) => sender.skip(address, reason),
        };
    }
    let item = Item { id: name, address, shown: address, version: Some(version), bytes: Some(*bytes), named: false };
    sender.item(&item, read)
}
