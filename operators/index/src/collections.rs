//! All collections of a store; and whether the store is fit for them.

use std::sync::Arc;

use lunapark_stores::{ArtifactStore, Creation};

use crate::clock::random;
use crate::history::History;
use crate::manifest::Manifest;
use crate::{IndexError, Swept, names};

/// Names of all collections, and perhaps of some that were dropped: a file system may keep their folders. It costs one
/// listing.
pub fn names(store: &ArtifactStore) -> Result<Vec<String>, IndexError> {
    let mut found = store.folders_named(names::COLLECTIONS)?;
    found.retain(|name| names::check(name).is_ok());
    Ok(found)
}

/// Names of all collections, sorted.
pub fn list(store: &ArtifactStore) -> Result<Vec<String>, IndexError> {
    let mut found = Vec::new();
    for name in store.folders_named(names::COLLECTIONS)? {
        // A drop that was cut short leaves segments that nothing names.
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

/// True where a collection has anything on the store, be it only what a drop that was cut short has left.
pub fn exists(store: &ArtifactStore, collection: &str) -> Result<bool, IndexError> {
    names::check(collection)?;
    Ok(!store.list_named(&names::folder(collection))?.is_empty())
}

/// Removes a collection with all versions, and says what that was; one of which nothing is there is an error.
///
/// Manifests go first, the newest last: a drop that is cut short leaves the newest version whole, or segments that
/// nothing names.
pub fn drop_collection(store: &ArtifactStore, collection: &str) -> Result<Swept, IndexError> {
    names::check(collection)?;
    let (mut objects, mut swept) = (0, Swept::default());
    let (manifests, segments) = (names::manifests(collection), names::segments(collection));
    for folder in [&manifests, &segments, &names::folder(collection)] {
        let mut found = store.list_named(folder)?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        objects += found.len();
        for object in &found {
            store.delete_named(&object.name)?;
            swept.add(object);
        }
    }
    for folder in [manifests, segments, names::drafts(collection), names::folder(collection)] {
        store.remove_folder_named(&folder)?;
    }
    if objects == 0 { Err(IndexError::NoCollection(collection.to_owned())) } else { Ok(swept) }
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
