//! Documents whose files are gone, or have nothing in them any more: found by their addresses, and taken out where that is
//! asked for.

use std::collections::HashSet;
use std::path::Path;

use lunapark_index::Snapshot;

use super::plan::Below;
use super::report::Gone;
use super::sender::Sender;
use crate::cli::output::counted;

/// Notes the documents of the named folders and prefixes whose files are gone, and takes them out with --yes; of the others
/// it is told that nobody looked at them.
///
/// A document is of a folder where its address is the folder's and its id: that is how `ingest` names it. Others that
/// came from files in the folder, by records of their own, are left alone. So are rows of tables: they have no address that
/// says of which table they are.
pub(super) fn prune(sender: &mut Sender<'_>, below: Vec<Below>, collection: &Snapshot) -> anyhow::Result<()> {
    let args = sender.args();
    let mut unlooked = Unlooked::default();
    collection.each_place(|id, uri| unlooked.see(&below, id, uri))?;
    sender.unlooked(unlooked);
    for Below { prefix, ids } in below {
        let ids: HashSet<String> = ids.into_iter().collect();
        let mut gone = Vec::new();
        collection.each_place(|id, uri| {
            let is_gone = || !ids.contains(id) && !is_there(uri) || sender.is_emptied(id);
            if is_of(&prefix, id, uri) && is_gone() {
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

/// True for a document that was sent as a file of a folder or an object below a prefix.
fn is_of(prefix: &str, id: &str, uri: &str) -> bool {
    uri.strip_prefix(prefix) == Some(id)
}

/// True for a file of this machine that is there: hidden ones are not listed, nor those that have come since.
fn is_there(uri: &str) -> bool {
    uri.strip_prefix("file://").is_some_and(|path| Path::new(path).symlink_metadata().is_ok())
}

/// Documents that are of none of the named folders and prefixes.
#[derive(Debug, Default)]
pub(super) struct Unlooked {
    /// That have no address.
    unaddressed: u64,
    /// Of other places.
    elsewhere: u64,
    /// The first of those.
    first: Option<String>,
}

impl Unlooked {
    fn see(&mut self, below: &[Below], id: &str, uri: &str) {
        if below.iter().any(|below| is_of(&below.prefix, id, uri)) {
            return;
        }
        match uri.is_empty() {
            true => self.unaddressed += 1,
            false => {
                self.elsewhere += 1;
                self.first.get_or_insert_with(|| format!("`{id}` from {uri}"));
            }
        }
    }

    /// What is said of them; none where all were looked at.
    pub(super) fn told(&self, collection: &str) -> Option<String> {
        let unaddressed = (self.unaddressed > 0).then(|| {
            let documents = counted(self.unaddressed, "document");
            format!("{documents} without an address, as rows of tables and records with a text of their own are")
        });
        let elsewhere = self.first.as_ref().map(|first| {
            let documents = counted(self.elsewhere, "document");
            format!("{documents} from elsewhere or by records of their own (the first is {first})")
        });
        let parts: Vec<String> = [unaddressed, elsewhere].into_iter().flatten().collect();
        let advice = "name the folders and prefixes that they came from, or send {\"id\": …, \"deleted\": true} for each \
                      that is gone";
        (!parts.is_empty())
            .then(|| format!("--prune has not looked at {} in {collection}: {advice}", parts.join(", and ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_looked_at_is_told() {
        let below = [Below { prefix: "file:///papers/".into(), ids: vec![] }];
        let mut unlooked = Unlooked::default();
        unlooked.see(&below, "a/b.md", "file:///papers/a/b.md");
        assert_eq!(unlooked.told("c"), None);
        for (id, uri) in
            [("t.csv#1", ""), ("t.csv#2", ""), ("b.md", "file:///notes/b.md"), ("doi:7", "file:///papers/a/b.md")]
        {
            unlooked.see(&below, id, uri);
        }
        let told = unlooked.told("c").unwrap();
        for words in [
            "2 documents without an address",
            "rows of tables",
            "2 documents from elsewhere",
            "`b.md` from file:///notes/b.md",
            "\"deleted\": true",
        ] {
            assert!(told.contains(words), "{told}");
        }
    }
}
