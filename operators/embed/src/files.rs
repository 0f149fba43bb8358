//! The files of a model, by name, however they were had.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::EmbedError;

/// Files of a model by their names in its folder, such as `config.json` or `1_Pooling/config.json`.
pub trait ModelFiles {
    /// The bytes, or `None` where there is no such file.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, EmbedError>;
}

/// A folder of this machine.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl ModelFiles for Folder {
    /// Names come from the model's own files, too: one that leads out of the folder is refused.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, EmbedError> {
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(EmbedError::unreadable(name, "the name leads out of the model's folder"));
        }
        match std::fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(EmbedError::unreachable(name, format!("it cannot be read: {error}"))),
        }
    }
}

/// Files in memory, as they come out of an archive or an object store.
impl ModelFiles for HashMap<String, Vec<u8>> {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, EmbedError> {
        Ok(self.get(name).cloned())
    }
}

/// The bytes of a file that must be there.
pub(crate) fn required(files: &dyn ModelFiles, name: &str) -> Result<Vec<u8>, EmbedError> {
    files.read(name)?.ok_or_else(|| EmbedError::missing(name))
}

/// A JSON file, if it is there; an error names the field.
pub(crate) fn json<T: DeserializeOwned>(files: &dyn ModelFiles, name: &str) -> Result<Option<T>, EmbedError> {
    files.read(name)?.map(|bytes| parse(name, &bytes)).transpose()
}

pub(crate) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, EmbedError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { format!("\"{path}\": ") };
        EmbedError::unreadable(name, format!("{field}{}", error.into_inner()))
    })?;
    reader.end().map_err(|error| EmbedError::unreadable(name, error.to_string()))?;
    Ok(value)
}

/// The name of a file inside the folder of a module; the folder may be empty.
pub(crate) fn inside(folder: &str, name: &str) -> String {
    let folder = folder.trim_end_matches('/');
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
