//! Which servers are asked: those that the environment names for the hub's and Python's own tools, else the public ones.

use std::path::PathBuf;

use lunapark_stores::fetch::{FetchError, Fetcher, Url};

use super::PullError;

const HUB: &str = "https://huggingface.co";
const INDEX: &str = "https://pypi.org/simple";
/// pip's keys are written both ways.
const INDEX_KEYS: [&str; 2] = ["index-url", "index_url"];

/// The servers, and the client that asks them.
pub struct Net {
    pub(super) fetcher: Fetcher,
    pub(super) hub: Url,
    pub(super) token: Option<String>,
    pub(super) index: Url,
}

impl Net {
    /// `HF_ENDPOINT`, `HF_TOKEN` and `PIP_INDEX_URL`, else pip's configuration files.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, PullError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let hub = set("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
        let index = set("PIP_INDEX_URL").or_else(|| of_files(&set)).unwrap_or_else(|| INDEX.to_owned());
        Ok(Self {
            fetcher: Fetcher::new()?,
            hub: address("HF_ENDPOINT", &hub)?,
            token: set("HF_TOKEN"),
            index: address("PIP_INDEX_URL (or index-url of pip.conf)", &index)?,
        })
    }

    /// An address below a server's.
    pub(super) fn below(base: &Url, path: &str) -> Result<Url, PullError> {
        let mut url = base.clone();
        let parts = url.path_segments_mut().map_err(|()| PullError::Address(base.to_string()));
        parts?.pop_if_empty().extend(path.split('/'));
        Ok(url)
    }
}

fn address(setting: &str, text: &str) -> Result<Url, PullError> {
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| PullError::Address(format!("{setting}: `{text}`")))
}

/// The index of the first of pip's files that names one.
fn of_files(set: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let home = set("HOME").map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home.as_ref().map(|home| home.join(".config")));
    let files = [
        set("PIP_CONFIG_FILE").map(PathBuf::from),
        config.map(|folder| folder.join("pip/pip.conf")),
        home.map(|home| home.join(".pip/pip.conf")),
        Some(PathBuf::from("/etc/pip.conf")),
    ];
    files.into_iter().flatten().find_map(|path| index_of(&std::fs::read_to_string(path).ok()?))
}

/// The line `index-url = …` of a configuration file.
fn index_of(text: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let mut found = lines.filter(|(key, _)| INDEX_KEYS.contains(&key.trim()));
    found.next().map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
}

impl From<FetchError> for PullError {
    fn from(error: FetchError) -> Self {
        PullError::Fetch(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_are_those_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pip.conf");
        std::fs::write(&file, "[global]\ntimeout = 60\nindex-url = https://mirror.example/simple/\n").unwrap();
        let net = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Net::of(move |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
        };
        let file = file.to_str().unwrap();
        assert_eq!(net(&[("PIP_CONFIG_FILE", file)]).unwrap().index.as_str(), "https://mirror.example/simple/");
        let both = net(&[("PIP_CONFIG_FILE", file), ("PIP_INDEX_URL", "http://localhost:1/a")]).unwrap();
        assert_eq!(both.index.as_str(), "http://localhost:1/a");
        assert_eq!(Net::below(&both.index, "b/c d").unwrap().as_str(), "http://localhost:1/a/b/c%20d");
        assert!(matches!(net(&[("HF_ENDPOINT", "ftp://x")]), Err(PullError::Address(_))));
    }
}
