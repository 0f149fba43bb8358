//! Named objects for those who build more than checkpoints of them: made only where there is none, read by ranges,
//! listed from a name on.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::{ArtifactStore, Listed, failed};
use crate::StoreError;

/// What came of a put-if-absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The object is there, and it is ours.
    Created,
    /// There is one of this name: another writer's, or our own, whose answer a retry of the client has lost.
    Exists,
}

impl ArtifactStore {
    /// Stores an object only where there is none of this name.
    ///
    /// It is asked once: after an error the object may be there or not, and the caller reads back which. In a folder the
    /// bytes are on the disk before the name is, so that a power failure leaves no half object that nobody may replace.
    pub fn create_named(&self, name: &str, bytes: &[u8]) -> Result<Creation, StoreError> {
        let key = self.key(name);
        if let Some(folder) = &self.folder {
            let created = create_file(&folder.join(key.as_ref()), bytes).and_then(|creation| {
                self.sync(&key)?;
                Ok(creation)
            });
            return created.map_err(|e| failed(&self.named(name), &generic(e)));
        }
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        let put = self.store.put_opts(&key, PutPayload::from(bytes.to_vec()), options);
        match self.runtime.block_on(put) {
            Ok(_) => Ok(Creation::Created),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Creation::Exists)
            }
            Err(error) => Err(failed(&self.named(name), &error)),
        }
    }

    /// The object of this name, `None` where there is none; one of more than `most` bytes is refused before it is read.
    pub fn get_named_within(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_within(name, most)
    }

    /// Bytes of an object; `None` where there is none of this name. They may be fewer than asked at its end.
    pub fn get_range_named(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        let key = self.key(name);
        match self.again(async || self.store.get_range(&key, range.clone()).await) {
            Ok(bytes) => Ok(Some(Vec::from(bytes))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&self.named(name), &error)),
        }
    }

    /// All objects below a name whose names come after another, in no order.
    pub fn list_named_after(&self, below: &str, after: &str) -> Result<Vec<Listed>, StoreError> {
        let (key, offset) = (self.key(below), self.key(after));
        let list = async || self.store.list_with_offset(Some(&key), &offset).try_collect::<Vec<ObjectMeta>>().await;
        let all = self.again(list).map_err(|e| failed(&self.named(below), &e))?;
        Ok(all.into_iter().map(|found| self.listed(found)).collect())
    }

    /// Names of the folders right below a name.
    pub fn folders_named(&self, below: &str) -> Result<Vec<String>, StoreError> {
        let key = self.key(below);
        let found = self.again(async || self.store.list_with_delimiter(Some(&key)).await);
        let found = found.map_err(|e| failed(&self.named(below), &e))?;
        Ok(found.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Removes a folder in which nothing is left; one that has something in it stays, and a bucket has no folders.
    pub fn remove_folder_named(&self, name: &str) -> Result<(), StoreError> {
        use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
        let Some(folder) = &self.folder else { return Ok(()) };
        match std::fs::remove_dir(folder.join(self.key(name).as_ref())) {
            Err(error) if !matches!(error.kind(), NotFound | DirectoryNotEmpty) => {
                Err(failed(&self.named(name), &generic(error)))
            }
            _ => Ok(()),
        }
    }
}

/// A file that appears whole or not at all, and never in the place of another.
fn create_file(path: &FilePath, bytes: &[u8]) -> std::io::Result<Creation> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    // A name with `#` is none that the object store lists.
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!("{file_name}#{process}-{count}"));
    let linked = match write_and_link(&draft, path, bytes) {
        // Somebody found the folder empty and removed it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(folder)?;
            write_and_link(&draft, path, bytes)
        }
        linked => linked,
    };
    std::fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(Creation::Created),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Creation::Exists),
        Err(error) => Err(error),
    }
}

fn write_and_link(draft: &FilePath, path: &FilePath, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::hard_link(draft, path)
}

fn generic(source: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "folder", source: Box::new(source) }
}
