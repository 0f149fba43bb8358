//! Object stores: artifacts by address, from a plain path, `file://` or `s3://`; artifacts under their digests; files of
//! HTTP servers; the trait of the model catalog, and MongoDB behind it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod artifacts;
mod bucket;
pub mod catalog;
pub mod fetch;
mod retry;

use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ClientOptions, ObjectStoreExt, RetryConfig};

use retry::{passing, said};

pub use artifacts::{ArtifactStore, Creation, Listed, Stored, digest_of};
pub use bucket::{Bucket, Found};
pub use catalog::{Catalog, CatalogError, Registered};

/// An artifact larger than this is refused before it is read: no model of ours comes near it.
pub const MAX_ARTIFACT_BYTES: u64 = 4 << 30;

/// How to reach the S3 server; what is empty is taken from the AWS environment variables.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// `http://host:port` of an S3-compatible server.
    pub endpoint: String,
    /// Region.
    pub region: String,
    /// Access key.
    pub access_key_id: String,
    /// Secret key.
    pub secret_access_key: String,
}

/// An artifact that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file or object is not there, or may not be read.
    #[error("{address}: {cause}; check that it exists and may be read")]
    Unreadable {
        /// The address as given.
        address: String,
        /// What the store said.
        cause: String,
    },
    /// An address of another kind.
    #[error("`{0}` is not an address of an artifact: write a path, file:///… or s3://bucket/key")]
    NotAnAddress(String),
    /// The store does not do what it is asked.
    #[error("{address}: {cause}; check [store], its server and its permissions")]
    Failed {
        /// The address concerned.
        address: String,
        /// What the store said.
        cause: String,
    },
    /// The store does not answer now: a server error, a broken connection. It may later.
    #[error("{address}: {cause}; the store may be down for a moment: try again")]
    Away {
        /// The address concerned.
        address: String,
        /// What went wrong.
        cause: String,
    },
    /// The bytes are not those that were put there.
    #[error("{address}: its bytes have the digest {found}: they are not those that were put; put the artifact again")]
    Changed {
        /// The address, which ends in the digest that was put.
        address: String,
        /// Digest of the bytes found.
        found: String,
    },
    /// Larger than it may be, for an artifact [`MAX_ARTIFACT_BYTES`].
    #[error("{address}: {bytes} bytes, at most {limit} are read")]
    TooLarge {
        /// The address as given.
        address: String,
        /// Its size.
        bytes: u64,
        /// What it may have.
        limit: u64,
    },
}

impl StoreError {
    /// True where the same call may succeed later; anything else is the store's answer.
    pub fn passes(&self) -> bool {
        matches!(self, StoreError::Away { .. })
    }
}

/// Where an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A file of this machine.
    File(PathBuf),
    /// An object of an S3 bucket.
    S3 {
        /// Bucket name.
        bucket: String,
        /// Object key.
        key: String,
    },
}

impl Address {
    /// Reads a plain path, `file://` or `s3://` address; relative paths are relative to `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, StoreError> {
        let refused = || StoreError::NotAnAddress(text.to_owned());
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, key) =
                rest.split_once('/').filter(|(b, k)| !b.is_empty() && !k.is_empty()).ok_or_else(refused)?;
            return Ok(Address::S3 { bucket: bucket.into(), key: key.into() });
        }
        match text.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => Ok(Address::File(path.into())),
            Some(_) => Err(refused()),
            None if text.is_empty() || text.contains("://") => Err(refused()),
            None => Ok(Address::File(base.join(text))),
        }
    }
}

/// Reads a whole artifact; blocks.
pub fn read(address: &Address, s3: &S3Options) -> Result<Vec<u8>, StoreError> {
    read_within(address, s3, MAX_ARTIFACT_BYTES)
}

/// The same for at most so many bytes: what has more is refused by its size, before it is read.
pub fn read_within(address: &Address, s3: &S3Options, limit: u64) -> Result<Vec<u8>, StoreError> {
    match address {
        Address::File(path) => read_file(path, limit),
        Address::S3 { bucket, key } => read_object(bucket, key, s3, limit),
    }
}

fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let address = path.display().to_string();
    let unreadable = |e: std::io::Error| StoreError::Unreadable { address: address.clone(), cause: e.to_string() };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > limit {
        return Err(StoreError::TooLarge { address, bytes, limit });
    }
    std::fs::read(path).map_err(unreadable)
}

fn read_object(bucket: &str, key: &str, s3: &S3Options, limit: u64) -> Result<Vec<u8>, StoreError> {
    let address = format!("s3://{bucket}/{key}");
    let unreadable = |cause: String| StoreError::Unreadable { address: address.clone(), cause };
    let failed = |error: object_store::Error| match passing(&error) {
        true => StoreError::Away { address: address.clone(), cause: said(&error) },
        false => unreadable(said(&error)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| unreadable(e.to_string()))?;
    let store = s3_store(bucket, s3).map_err(|e| unreadable(e.to_string()))?;
    let path = object_store::path::Path::parse(key).map_err(|e| unreadable(e.to_string()))?;
    runtime.block_on(async {
        let bytes = store.head(&path).await.map_err(failed)?.size;
        if bytes > limit {
            return Err(StoreError::TooLarge { address: address.clone(), bytes, limit });
        }
        let object = store.get(&path).await.map_err(failed)?;
        Ok(object.bytes().await.map_err(failed)?.to_vec())
    })
}

fn s3_store(bucket: &str, options: &S3Options) -> object_store::Result<AmazonS3> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    if !options.endpoint.is_empty() {
        let plain = options.endpoint.starts_with("http://");
        builder = builder.with_endpoint(&options.endpoint).with_allow_http(plain);
    }
    if !options.region.is_empty() {
        builder = builder.with_region(&options.region);
    }
    if !options.access_key_id.is_empty() {
        builder = builder.with_access_key_id(&options.access_key_id);
    }
    if !options.secret_access_key.is_empty() {
        builder = builder.with_secret_access_key(&options.secret_access_key);
    }
    let patience = Duration::from_secs(10);
    let client = ClientOptions::new().with_connect_timeout(patience).with_timeout(Duration::from_secs(300));
    let client = client.with_allow_http(options.endpoint.starts_with("http://"));
    let retry = RetryConfig { max_retries: 3, retry_timeout: patience, ..Default::default() };
    builder.with_client_options(client).with_retry(retry).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let parse = |text: &str| Address::parse(text, Path::new("/base"));
        assert_eq!(parse("m.json").unwrap(), Address::File("/base/m.json".into()));
        assert_eq!(parse("file:///m.json").unwrap(), Address::File("/m.json".into()));
        assert_eq!(parse("s3://b/k/l").unwrap(), Address::S3 { bucket: "b".into(), key: "k/l".into() });
        for bad in ["", "s3://b", "s3:///k", "file://m.json", "ftp://h/m"] {
            assert!(matches!(parse(bad), Err(StoreError::NotAnAddress(_))), "{bad}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(&Address::File("/no/such/model.json".into()), &S3Options::default()).unwrap_err();
        assert!(error.to_string().contains("/no/such/model.json"));
    }
}
