//! Artifacts under their digests, and named objects (checkpoints), in a folder or a bucket.
//!
//! An artifact's name is the SHA-256 of its bytes: putting it twice is putting it once, nothing that was put ever
//! changes, and every get compares.

mod named;
#[cfg(test)]
mod tests;

pub use named::Creation;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use crate::retry::{passing, said, with_back_off};
use crate::{Address, MAX_ARTIFACT_BYTES, S3Options, StoreError, s3_store};

/// Below the store's root. Two digits of the digest make folders that no file system finds too large.
const ARTIFACTS: &str = "artifacts/sha256";
/// An S3 server that answers with errors for so long is given up: longer than a restart of one takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// An artifact that is put again is written again when it is older than this, so that a garbage collection that spares
/// young artifacts spares it too while its record is on the way.
const REFRESH_AFTER: Duration = Duration::from_secs(3600);

/// The object whose time of writing is the store's time.
const CLOCK: &str = "clock";
/// Clocks drift by milliseconds in so long.
const CLOCK_HOLDS: Duration = Duration::from_secs(600);

/// A folder or a bucket with artifacts and named objects. All calls block.
pub struct ArtifactStore {
    store: Arc<dyn ObjectStore>,
    /// Before every key: the path within the bucket.
    root: Path,
    /// Before every key in an address.
    base: String,
    /// The folder, where it is one.
    folder: Option<PathBuf>,
    patience: Duration,
    /// When the store last told its time, and how many milliseconds it was ahead of this machine.
    ahead: Mutex<Option<(Instant, i64)>>,
    runtime: Runtime,
}

/// Where an artifact lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 of its bytes, 64 hex digits.
    pub digest: String,
    /// Its address, for [`read`](crate::read).
    pub address: String,
}

/// An artifact or named object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The digest of an artifact, the name of another object.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// When it was written, in milliseconds since 1970, by the store's clock.
    pub modified: i64,
    /// What the store calls this content of it: another one has another, also within the clock's tick.
    pub e_tag: Option<String>,
}

impl ArtifactStore {
    /// The store at `file:///folder`, a plain path (made where it is missing) or `s3://bucket/prefix`.
    pub fn open(url: &str, s3: &S3Options) -> Result<Self, StoreError> {
        let address = url.strip_prefix("s3://").filter(|rest| !rest.is_empty());
        match address {
            Some(rest) => Self::open_bucket(url, rest, s3),
            None => match Address::parse(url, std::path::Path::new(""))? {
                Address::File(folder) => Self::open_folder(url, folder),
                Address::S3 { .. } => Err(StoreError::NotAnAddress(url.to_owned())),
            },
        }
    }

    /// A store over one that is open already, which errors call `base`: memory, or a wrapper.
    pub fn over(store: Arc<dyn ObjectStore>, base: &str) -> Result<Self, StoreError> {
        Self::new(base, store, Path::default(), base.to_owned(), None, Duration::ZERO)
    }

    fn open_bucket(url: &str, rest: &str, s3: &S3Options) -> Result<Self, StoreError> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let root = Path::parse(prefix.trim_end_matches('/')).map_err(|e| unreadable(url, &e))?;
        let store = s3_store(bucket, s3).map_err(|e| unreadable(url, &e))?;
        let base = if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{root}") };
        Self::new(url, Arc::new(store), root, base, None, PATIENCE)
    }

    fn open_folder(url: &str, folder: PathBuf) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&folder).map_err(|e| unreadable(url, &e))?;
        let folder = folder.canonicalize().map_err(|e| unreadable(url, &e))?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|e| unreadable(url, &e))?;
        let base = format!("file://{}", folder.display());
        // What a file system refuses once it refuses again.
        Self::new(url, Arc::new(store), Path::default(), base, Some(folder), Duration::ZERO)
    }

    fn new(
        url: &str,
        store: Arc<dyn ObjectStore>,
        root: Path,
        base: String,
        folder: Option<PathBuf>,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        // A thread of its own, so that connections are looked after between two calls.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("object-store").enable_all().build();
        let runtime = runtime.map_err(|e| unreadable(url, &e))?;
        Ok(Self { store, root, base, folder, patience, ahead: Mutex::default(), runtime })
    }

    /// The same store, whose calls give a server's trouble this long before they fail: callers that have more to look
    /// after than the store try again themselves.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What and where, for people.
    pub fn describe(&self) -> &str {
        &self.base
    }

    /// The address that an artifact has here, whether or not it is there.
    pub fn address(&self, digest: &str) -> String {
        format!("{}/{}", self.base, artifact_key(digest))
    }

    /// Stores an artifact under its digest; one that is there already is left as it is.
    pub fn put(&self, bytes: &[u8]) -> Result<Stored, StoreError> {
        let digest = digest_of(bytes);
        let (address, key) = (self.address(&digest), self.key(&artifact_key(&digest)));
        if bytes.len() as u64 > MAX_ARTIFACT_BYTES {
            return Err(StoreError::TooLarge { address, bytes: bytes.len() as u64, limit: MAX_ARTIFACT_BYTES });
        }
        match self.write(&key, bytes, PutMode::Create) {
            Ok(()) => {}
            Err(object_store::Error::AlreadyExists { .. }) => {
                self.renew(&key, bytes).map_err(|e| failed(&address, &e))?
            }
            Err(error) => return Err(failed(&address, &error)),
        }
        Ok(Stored { digest, address })
    }

    /// Writes anew what was cut short by a power failure, or has grown old.
    fn renew(&self, key: &Path, bytes: &[u8]) -> object_store::Result<()> {
        let found = self.again(async || self.store.head(key).await)?;
        let age = self.about_now().map(|now| now.saturating_sub(found.last_modified.timestamp_millis()));
        // Where the store does not tell its time it may be old.
        let young = age.is_some_and(|age| i128::from(age) < REFRESH_AFTER.as_millis() as i128);
        match young && found.size == bytes.len() as u64 {
            true => Ok(()),
            false => self.write(key, bytes, PutMode::Overwrite),
        }
    }

    /// The store's time by this machine's clock and what the store told some minutes ago: one write for many questions.
    fn about_now(&self) -> Option<i64> {
        let told = *self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        match told.filter(|(asked, _)| asked.elapsed() < CLOCK_HOLDS) {
            Some((_, ahead)) => Some(chrono::Utc::now().timestamp_millis() + ahead),
            None => self.now().ok(),
        }
    }

    /// The time by the store's clock, in milliseconds since 1970: what is compared with [`Listed::modified`], so that a clock
    /// of this machine that is wrong makes nothing old. A small object, `clock`, is written for it.
    pub fn now(&self) -> Result<i64, StoreError> {
        let key = self.key(CLOCK);
        let told = self
            .write(&key, b"the time of this object is the store's time\n", PutMode::Overwrite)
            .and_then(|()| self.again(async || self.store.head(&key).await));
        let now = told.map_err(|e| failed(&format!("{}/{CLOCK}", self.base), &e))?.last_modified.timestamp_millis();
        let ahead = now - chrono::Utc::now().timestamp_millis();
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), ahead));
        Ok(now)
    }

    /// The artifact of this digest, compared with it.
    pub fn get(&self, digest: &str) -> Result<Vec<u8>, StoreError> {
        let address = self.address(digest);
        let bytes =
            self.read(&artifact_key(digest))?.ok_or_else(|| unreadable(&address, &"there is no such artifact"))?;
        match digest_of(&bytes) {
            found if found == digest => Ok(bytes),
            found => Err(StoreError::Changed { address, found }),
        }
    }

    /// All artifacts.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let all = self.list_named(ARTIFACTS)?;
        let digest = |name: &str| name.rsplit('/').next().filter(|digest| digest.len() == 64).map(str::to_owned);
        Ok(all.into_iter().filter_map(|found| Some(Listed { name: digest(&found.name)?, ..found })).collect())
    }

    /// Removes an artifact; one that is not there is removed already.
    pub fn delete(&self, digest: &str) -> Result<(), StoreError> {
        self.delete_named(&artifact_key(digest))
    }

    /// When the artifact was written, in milliseconds since 1970; `None` where it is not there.
    pub fn modified(&self, digest: &str) -> Result<Option<i64>, StoreError> {
        let key = self.key(&artifact_key(digest));
        match self.again(async || self.store.head(&key).await) {
            Ok(found) => Ok(Some(found.last_modified.timestamp_millis())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&self.address(digest), &error)),
        }
    }

    /// Stores an object under a name such as `checkpoints/TASK/latest`, in place of what was there; readers see the old
    /// or the new, never a part.
    pub fn put_named(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(&self.key(name), bytes, PutMode::Overwrite).map_err(|e| failed(&self.named(name), &e))
    }

    /// The object of this name; `None` where there is none.
    pub fn get_named(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(name)
    }

    /// Removes an object; one that is not there is removed already.
    pub fn delete_named(&self, name: &str) -> Result<(), StoreError> {
        let key = self.key(name);
        match self.again(async || self.store.delete(&key).await) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(&self.named(name), &error)),
        }
    }

    /// All objects below a name such as `checkpoints/TASK`, in no order.
    pub fn list_named(&self, below: &str) -> Result<Vec<Listed>, StoreError> {
        let key = self.key(below);
        let all = self.again(async || self.store.list(Some(&key)).try_collect::<Vec<ObjectMeta>>().await);
        let all = all.map_err(|e| failed(&self.named(below), &e))?;
        Ok(all.into_iter().map(|found| self.listed(found)).collect())
    }

    fn listed(&self, found: ObjectMeta) -> Listed {
        let (name, modified) = (self.name_of(&found.location), found.last_modified.timestamp_millis());
        Listed { name, bytes: found.size, modified, e_tag: found.e_tag }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_within(name, MAX_ARTIFACT_BYTES)
    }

    fn read_within(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let (key, address) = (self.key(name), self.named(name));
        let got = self.again(async || {
            let got = self.store.get(&key).await?;
            if got.meta.size > most {
                return Ok(Err(got.meta.size));
            }
            Ok(Ok(got.bytes().await?))
        });
        match got {
            Ok(Ok(bytes)) => Ok(Some(Vec::from(bytes))),
            Ok(Err(bytes)) => Err(StoreError::TooLarge { address, bytes, limit: most }),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&address, &error)),
        }
    }

    fn write(&self, key: &Path, bytes: &[u8], mode: PutMode) -> object_store::Result<()> {
        let payload = PutPayload::from(bytes.to_vec());
        let options = PutOptions { mode, ..Default::default() };
        self.again(async || self.store.put_opts(key, payload.clone(), options.clone()).await)?;
        self.sync(key).map_err(|source| object_store::Error::Generic { store: "folder", source: Box::new(source) })
    }

    /// What a record is about to name must outlast a power failure: file and folder entry.
    fn sync(&self, key: &Path) -> std::io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = folder.join(key.as_ref());
        File::open(&file)?.sync_all()?;
        file.ancestors()
            .skip(1)
            .take_while(|parent| parent.starts_with(folder))
            .try_for_each(|parent| File::open(parent)?.sync_all())
    }

    fn again<T>(&self, attempt: impl AsyncFnMut() -> object_store::Result<T>) -> object_store::Result<T> {
        self.runtime.block_on(with_back_off(self.patience, passing, attempt))
    }

    /// A key below the root: whatever a name holds, it cannot leave it.
    fn key(&self, name: &str) -> Path {
        Path::from_iter(self.root.parts().chain(Path::from(name).parts()))
    }

    fn named(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    fn name_of(&self, key: &Path) -> String {
        let rest = key.prefix_match(&self.root).map(|parts| parts.map(|part| part.as_ref().to_owned()));
        rest.map(|parts| parts.collect::<Vec<_>>().join("/")).unwrap_or_else(|| key.to_string())
    }
}

/// SHA-256 in 64 hex digits.
pub fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Only hex digits come into a path: anything else has no artifact.
fn artifact_key(digest: &str) -> String {
    let plain: String = digest.chars().filter(char::is_ascii_hexdigit).collect();
    format!("{ARTIFACTS}/{}/{plain}", plain.get(..2).unwrap_or("00"))
}

fn unreadable(address: &str, cause: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unreadable { address: address.to_owned(), cause: cause.to_string() }
}

fn failed(address: &str, error: &object_store::Error) -> StoreError {
    let (address, cause) = (address.to_owned(), said(error));
    if passing(error) { StoreError::Away { address, cause } } else { StoreError::Failed { address, cause } }
}
