//! Names of objects on the store.

use lunapark_schemas::documents::{MAX_COLLECTION_BYTES, check_collection};

use crate::IndexError;

/// The folder of all collections.
pub(crate) const COLLECTIONS: &str = "collections";
/// Digits of a manifest's number: names in order are numbers in order.
const DIGITS: usize = 20;

/// Refuses what is no name of a collection, before it becomes a path.
pub(crate) fn check(collection: &str) -> Result<(), IndexError> {
    check_collection(collection).map_err(|_| IndexError::Name(collection.chars().take(MAX_COLLECTION_BYTES).collect()))
}

pub(crate) fn folder(collection: &str) -> String {
    format!("{COLLECTIONS}/{collection}")
}

pub(crate) fn manifests(collection: &str) -> String {
    format!("{}/manifests", folder(collection))
}

pub(crate) fn segments(collection: &str) -> String {
    format!("{}/segments", folder(collection))
}

/// The folder of lists of segments that no manifest names yet.
pub(crate) fn drafts(collection: &str) -> String {
    format!("{}/drafts", folder(collection))
}

pub(crate) fn draft(collection: &str, name: &str) -> String {
    format!("{}/{name}.json", drafts(collection))
}

pub(crate) fn manifest(collection: &str, number: u64) -> String {
    format!("{}/{number:0DIGITS$}.json", manifests(collection))
}

pub(crate) fn segment(collection: &str, name: &str) -> String {
    format!("{}/{name}.segment", segments(collection))
}

/// The number of a manifest's name; none where it is something else.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.rsplit('/').next()?.strip_suffix(".json")?;
    (digits.len() == DIGITS).then(|| digits.parse().ok())?
}

/// The segment of an object's name; none where it is something else.
pub(crate) fn segment_of(name: &str) -> Option<&str> {
    name.rsplit('/').next()?.strip_suffix(".segment")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_paths() {
        for good in ["a", "papers", "2024_x.y-z"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "A", "a/b", "a\0", "ä", &"a".repeat(101)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_and_names_are_each_others_inverse() {
        assert_eq!(number(&manifest("c", 41)), Some(41));
        assert_eq!(number("collections/c/manifests/41.json"), None);
        assert_eq!(segment_of(&segment("c", "7-f")), Some("7-f"));
    }
}
