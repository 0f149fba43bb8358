//! Documents whose files are gone, or have nothing in them any more: found by their addresses, and taken out where that is
//! asked for.

use std::collections::HashSet;
use std::path::Path;

use lunapark_index::Snapshot;

use super::plan::Below;
use super::report::Gone;
use super::sender::Sender;

/// Notes the documents of the named folders and prefixes whose files are gone, and takes them out with --yes.
///
/// A document is of a folder where its address is the folder's and its id: that is how `ingest` names it. Others that
/// came from files in the folder, by records of their own, are left alone.
pub(super) fn prune(sender: &mut Sender<'_>, below: Vec<Below>, collection: &Snapshot) -> anyhow::Result<()> {
    let args = sender.args();
    for Below { prefix, ids } in below {
        let ids: HashSet<String> = ids.into_iter().collect();
        let mut gone = Vec::new();
        collection.each_place(|id, uri| {
            let is_gone = || !ids.contains(id) && !is_there(uri) || sender.is_emptied(id);
            if uri.strip_prefix(&prefix) == Some(id) && is_gone() {
                gone.push(id.to_owned());
            }
        })?;
        for id in gone {
            let path = format!("{}{id}", prefix.strip_prefix("file://").unwrap_or(&prefix));
            if args.yes {
                sender.take_out(&id)?;
            }
            sender.gone(Gone { document: id, path });
        }
    }
    Ok(())
}

/// True for a file of this machine that is there: hidden ones are not listed, nor those that have come since.
fn is_there(uri: &str) -> bool {
    uri.strip_prefix("file://").is_some_and(|path| Path::new(path).symlink_metadata().is_ok())
}
