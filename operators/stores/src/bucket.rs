//! Buckets that others fill: what lies below a prefix, and its bytes.

use futures::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use crate::retry::{passing, said};
use crate::{S3Options, StoreError, s3_store};

/// A bucket, or what lies below a prefix of it. All calls block.
pub struct Bucket {
    store: AmazonS3,
    name: String,
    prefix: Path,
    /// The address ends in `/`: it is no object.
    is_folder: bool,
    runtime: Runtime,
}

/// An object of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// Its key below the prefix; its last part where the prefix is its key.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its size.
    pub bytes: u64,
    /// What changes with its bytes: the ETag, else the time of writing.
    pub version: String,
}

impl Bucket {
    /// The bucket or prefix at `s3://bucket`, `s3://bucket/prefix/` or `s3://bucket/key`.
    pub fn open(url: &str, s3: &S3Options) -> Result<Self, StoreError> {
        let rest = url.strip_prefix("s3://").filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
        let rest = rest.ok_or_else(|| StoreError::NotAnAddress(url.to_owned()))?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let unreadable = |cause: String| StoreError::Unreadable { address: url.to_owned(), cause };
        let is_folder = prefix.is_empty() || prefix.ends_with('/');
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|error| unreadable(error.to_string()))?;
        let store = s3_store(name, s3).map_err(|error| unreadable(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { store, name: name.to_owned(), prefix, is_folder, runtime })
    }

    /// All objects, in the order of their keys. "Folders" that a console has made, objects without bytes that end in `/`,
    /// are left out.
    pub fn list(&self) -> Result<Vec<Found>, StoreError> {
        if let Some(one) = self.one()? {
            return Ok(vec![one]);
        }
        let listed = self.runtime.block_on(self.store.list(Some(&self.prefix)).try_collect::<Vec<ObjectMeta>>());
        let mut found: Vec<Found> =
            listed.map_err(|e| self.failed(&self.prefix, &e))?.iter().map(|m| self.found(m)).collect();
        found.retain(|found| !found.name.is_empty());
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// The object whose key the prefix is, where there is one.
    fn one(&self) -> Result<Option<Found>, StoreError> {
        if self.is_folder {
            return Ok(None);
        }
        match self.runtime.block_on(self.store.head(&self.prefix)) {
            Ok(meta) => {
                let name = meta.location.filename().unwrap_or_default().to_owned();
                Ok(Some(Found { name, ..self.found(&meta) }))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&self.prefix, &error)),
        }
    }

    /// An object's bytes, if they are no more than `most`.
    pub fn read(&self, object: &Found, most: u64) -> Result<Vec<u8>, StoreError> {
        let key = Path::parse(&object.key);
        let key = key.map_err(|e| StoreError::Unreadable { address: object.address.clone(), cause: e.to_string() })?;
        let read = self.runtime.block_on(async {
            let got = self.store.get(&key).await?;
            match got.meta.size > most {
                true => Ok::<_, object_store::Error>(Err(got.meta.size)),
                false => Ok(Ok(got.bytes().await?)),
            }
        });
        match read.map_err(|error| self.failed(&key, &error))? {
            Ok(bytes) => Ok(Vec::from(bytes)),
            Err(bytes) => Err(StoreError::Unreadable {
                address: object.address.clone(),
                cause: format!("{bytes} bytes where {most} are allowed"),
            }),
        }
    }

    fn found(&self, meta: &ObjectMeta) -> Found {
        let below = meta.location.prefix_match(&self.prefix);
        let parts = below.map(|parts| parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>());
        Found {
            key: meta.location.to_string(),
            name: parts.unwrap_or_default().join("/"),
            address: self.address(&meta.location),
            bytes: meta.size,
            version: meta.e_tag.clone().unwrap_or_else(|| meta.last_modified.timestamp_millis().to_string()),
        }
    }

    fn address(&self, key: &Path) -> String {
        format!("s3://{}/{key}", self.name)
    }

    fn failed(&self, key: &Path, error: &object_store::Error) -> StoreError {
        let (address, cause) = (self.address(key), said(error));
        if passing(error) { StoreError::Away { address, cause } } else { StoreError::Unreadable { address, cause } }
    }
}
