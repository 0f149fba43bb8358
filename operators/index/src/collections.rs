//! All collections of a store; and whether the store is fit for them.

use std::sync::Arc;

use lunapark_stores::{ArtifactStore, Creation};

use crate::clock::random;
use crate::history::History;
use crate::manifest::Manifest;
use crate::{IndexError, names};

/// Names of all collections, and of some that were dropped: a file system keeps their folders. It costs one listing.
pub fn names(store: &ArtifactStore) -> Result<Vec<String>, IndexError> {
    let mut found = store.folders_named(names::COLLECTIONS)?;
    found.retain(|name| names::check(name).is_ok());
    Ok(found)
}

/// Names of all collections, sorted.
pub fn list(store: &ArtifactStore) -> Result<Vec<String>, IndexError> {
    let mut found = Vec::new();
    for name in store.folders_named(names::COLLECTIONS)? {
        // A file system keeps the folders of a collection that was dropped.
        if names::check(&name).is_ok() && !store.list_named(&names::manifests(&name))?.is_empty() {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// The newest version of a collection: what it is made with, and what it has read.
pub fn newest(store: &Arc<ArtifactStore>, collection: &str) -> Result<Manifest, IndexError> {
    let history = History::new(Arc::clone(store), collection)?;
    history.newest()?.ok_or_else(|| history.missing())
}

/// Removes a collection with all versions.
///
/// Manifests go first, the newest last: a drop that is cut short leaves the newest version whole, or segments that
/// nothing names.
pub fn drop_collection(store: &ArtifactStore, collection: &str) -> Result<(), IndexError> {
    names::check(collection)?;
    for folder in [names::manifests(collection), names::segments(collection), names::folder(collection)] {
        let mut objects = store.list_named(&folder)?;
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        objects.iter().try_for_each(|object| store.delete_named(&object.name))?;
    }
    Ok(())
}

/// Refuses a store on which two writers would overwrite each other's manifests.
pub fn probe(store: &ArtifactStore) -> Result<(), IndexError> {
    let name = format!("probe/{}", random());
    let created = store.create_named(&name, b"first")?;
    let again = store.create_named(&name, b"second");
    let found = store.get_named_within(&name, 64)?;
    store.delete_named(&name)?;
    let refused = matches!(again, Ok(Creation::Exists));
    match created == Creation::Created && refused && found.as_deref() == Some(b"first") {
        true => Ok(()),
        false => Err(IndexError::NotAtomic(store.describe().to_owned())),
    }
}
