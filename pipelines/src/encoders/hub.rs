//! The Hugging Face hub: files of a repository by name, and what a repository has.

use std::collections::BTreeMap;

use lunapark_schemas::catalog::{check_name, is_digest};
use lunapark_stores::fetch::Url;
use serde::Deserialize;

use super::{HUB, Net, PullError};

/// The newest revision.
pub(super) const MAIN: &str = "main";
/// One file of an encoder; larger ones belong to models of another kind.
pub(super) const MAX_FILE_BYTES: u64 = 4 << 30;
/// Files that an encoder may have; lists of more are of other repositories.
const MAX_FILES: usize = 100;

/// `hf://owner/name`, at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    pub owner: String,
    pub name: String,
    pub revision: String,
}

impl Repository {
    /// Reads `hf://owner/name` and `hf://owner/name@revision`.
    pub fn parse(text: &str) -> Result<Self, PullError> {
        let refused = || PullError::Unknown(text.to_owned());
        let rest = text.strip_prefix(HUB).ok_or_else(refused)?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, MAIN));
        let (owner, name) = path.trim_end_matches('/').split_once('/').ok_or_else(refused)?;
        match [owner, name, revision].iter().all(|part| check_name(part).is_ok() && !part.starts_with('.')) {
            true => Ok(Self { owner: owner.into(), name: name.into(), revision: revision.into() }),
            false => Err(refused()),
        }
    }

    /// As `documents.encoder` names it: with the revision where one was asked for.
    pub fn address(&self) -> String {
        match self.revision.as_str() {
            MAIN => format!("{HUB}{}", self.path()),
            revision => format!("{HUB}{}@{revision}", self.path()),
        }
    }

    /// `owner/name`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

/// Where a file of a repository is.
pub(super) fn file(net: &Net, repository: &str, revision: &str, name: &str) -> Result<Url, PullError> {
    Net::below(&net.hub, &format!("{repository}/resolve/{revision}/{name}"))
}

/// What the hub says of a repository.
#[derive(Debug)]
pub(super) struct Listing {
    /// The commit: what a branch is today.
    pub commit: String,
    pub licence: String,
    /// Size, and the digest where the hub knows it: of weights, not of small files.
    pub files: BTreeMap<String, (Option<u64>, Option<String>)>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    tags: Vec<String>,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
}

/// The files of an encoder among those of a repository.
pub(super) fn list(net: &Net, repository: &Repository) -> Result<Listing, PullError> {
    let path = format!("api/models/{}/revision/{}", repository.path(), repository.revision);
    let mut url = Net::below(&net.hub, &path)?;
    url.set_query(Some("blobs=true"));
    let page = net.fetcher.page(&url, "application/json", net.token.as_deref())?;
    let odd = |what: String| PullError::Odd { url: url.to_string(), what };
    let Answer { sha, tags, siblings } =
        serde_json::from_slice(&page.bytes).map_err(|error| odd(format!("no list of files: {error}")))?;
    if check_name(&sha).is_err() {
        return Err(odd("the commit has no name".to_owned()));
    }
    let digest = |lfs: Option<Lfs>| lfs.map(|lfs| lfs.sha256).filter(|digest| is_digest(digest));
    let kept = siblings.into_iter().filter(|file| belongs(&file.rfilename));
    let files: BTreeMap<_, _> = kept.map(|file| (file.rfilename, (file.size, digest(file.lfs)))).collect();
    match files.len() {
        0 => Err(odd("it has no config.json and no safetensors: it is no text encoder".to_owned())),
        1..=MAX_FILES => {
            let licence = tags.iter().find_map(|tag| tag.strip_prefix("license:")).unwrap_or("not stated");
            Ok(Listing { commit: sha, licence: licence.to_owned(), files })
        }
        many => Err(odd(format!("it has {many} files of settings and weights: it is no text encoder"))),
    }
}

/// Settings and weights, at the top or in the folder of a module (`1_Pooling`): other folders hold other formats.
fn belongs(name: &str) -> bool {
    let plain = |part: &str| check_name(part).is_ok() && !part.starts_with('.');
    let wanted = name.ends_with(".json") || name.ends_with(".safetensors");
    let place = match name.split_once('/') {
        None => plain(name),
        Some((folder, file)) => plain(folder) && plain(file) && folder.starts_with(|c: char| c.is_ascii_digit()),
    };
    wanted && place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_read_and_nonsense_is_refused() {
        let read = |text: &str| Repository::parse(text).map(|found| (found.address(), found.revision)).ok();
        assert_eq!(read("hf://intfloat/e5-base"), Some(("hf://intfloat/e5-base".into(), "main".into())));
        assert_eq!(read("hf://a/b@v1.0"), Some(("hf://a/b@v1.0".into(), "v1.0".into())));
        assert_eq!(read("hf://a/b@main"), Some(("hf://a/b".into(), "main".into())));
        for bad in ["hf://a", "hf://a/b/c", "hf://../b", "hf://a/..", "hf://a/b@../c", "a/b", "hf://a/b@"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_an_encoders_files_are_taken() {
        for name in ["config.json", "model-00001-of-00002.safetensors", "1_Pooling/config.json"] {
            assert!(belongs(name), "{name}");
        }
        for name in ["README.md", "onnx/config.json", "../config.json", "1_Pooling/../x.json", ".a.json", "1/2/a.json"]
        {
            assert!(!belongs(name), "{name}");
        }
    }
}
