//! The card of a pulled encoder: what belongs to it. It is written last, so that an encoder is there whole or not at all.

use std::collections::{BTreeMap, HashMap};

use lunapark_stores::{ArtifactStore, StoreError};
use serde::{Deserialize, Serialize};

use super::{HUB, is};

/// Below the store's root.
const ENCODERS: &str = "encoders";
/// Beside the files.
const CARD: &str = "card.json";

/// What is known of a pulled encoder. A function of what was pulled alone, so that pulling again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// What `documents.encoder` calls it: `minilm`, or `hf://owner/name`.
    pub name: String,
    /// The model's own name: `all-MiniLM-L6-v2`.
    pub model: String,
    /// Whose it is: the repository on the hub, with the revision where one was asked for.
    pub source: String,
    /// Under which terms, as its source states them.
    pub licence: String,
    /// Digest of the encoder, over everything that decides a vector; collections remember it.
    pub digest: String,
    /// Numbers of a vector.
    pub dimension: usize,
    /// The most tokens of a text.
    pub max_tokens: usize,
    /// Its files, by their names in the folder.
    pub files: BTreeMap<String, FileOf>,
}

/// A file of an encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOf {
    /// Size.
    pub bytes: u64,
    /// SHA-256, 64 hex digits.
    pub sha256: String,
}

/// The folder of an encoder in the object store.
pub(super) fn folder(name: &str) -> String {
    format!("{ENCODERS}/{}", name.strip_prefix(HUB).unwrap_or(name))
}

/// The name in the address of a card.
pub(super) fn name_of(address: &str) -> Option<&str> {
    let (_, below) = address.rsplit_once(&format!("/{ENCODERS}/"))?;
    below.strip_suffix(CARD)?.strip_suffix('/')
}

impl Card {
    /// The card of a pulled encoder; `None` where it was not pulled, or not wholly.
    pub fn find(store: &ArtifactStore, name: &str) -> Result<Option<Self>, StoreError> {
        let name = format!("{}/{CARD}", folder(name));
        let Some(bytes) = store.get_named(&name)? else { return Ok(None) };
        let failed = |cause: String| StoreError::Failed { address: format!("{}/{name}", store.describe()), cause };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| failed(format!("it is no card: {error}; pull it again")))
    }

    /// Stores the card; the address and the digest of its bytes.
    pub(super) fn put(&self, store: &ArtifactStore) -> Result<(String, String), StoreError> {
        let (name, bytes) = (format!("{}/{CARD}", folder(&self.name)), self.bytes());
        store.put_named(&name, &bytes)?;
        Ok((format!("{}/{name}", store.describe()), lunapark_stores::digest_of(&bytes)))
    }

    fn bytes(&self) -> Vec<u8> {
        // A struct of text and numbers always serializes.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Bytes of all its files.
    pub fn size(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Its files, each compared with its digest.
    pub fn read(&self, store: &ArtifactStore) -> Result<HashMap<String, Vec<u8>>, StoreError> {
        read(&self.name, &self.files, store)
    }
}

/// The files of an encoder that is, or is about to be, in the store; each compared with its digest.
pub(super) fn read(
    name: &str,
    files: &BTreeMap<String, FileOf>,
    store: &ArtifactStore,
) -> Result<HashMap<String, Vec<u8>>, StoreError> {
    let one = |(file, expected): (&String, &FileOf)| {
        let object = format!("{}/{file}", folder(name));
        let failed = |cause: &str| StoreError::Failed {
            address: format!("{}/{object}", store.describe()),
            cause: format!("{cause}; pull the encoder again: lunapark models pull {name}"),
        };
        match store.get_named(&object)? {
            Some(bytes) if is(&bytes, expected) => Ok((file.clone(), bytes)),
            Some(_) => Err(failed("its bytes are not those that were pulled")),
            None => Err(failed("it is gone")),
        }
    };
    files.iter().map(one).collect()
}

/// Stores one file of an encoder.
pub(super) fn put(store: &ArtifactStore, name: &str, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
    store.put_named(&format!("{}/{file}", folder(name)), bytes)
}

/// Whether one file of an encoder is there as it should be.
pub(super) fn has(store: &ArtifactStore, name: &str, file: &str, expected: &FileOf) -> Result<bool, StoreError> {
    let found = store.get_named(&format!("{}/{file}", folder(name)))?;
    Ok(found.is_some_and(|bytes| is(&bytes, expected)))
}
