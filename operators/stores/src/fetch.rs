//! Files from HTTP servers: whole or not at all, compared with their digests, gone on with after an interruption.
//!
//! A file grows in a folder of downloads under a name made of what is expected of it. A connection that breaks, or a
//! process that dies, leaves that part there; the next try asks for the rest. What comes out has the expected size and
//! digest, and is removed when its [`Download`] is dropped.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_RANGE, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

pub use reqwest::Url;

use crate::digest_of;

/// A server that cannot be connected to within this time counts as away: behind many firewalls packets just vanish.
const CONNECT: Duration = Duration::from_secs(10);
/// A transfer in which nothing arrives for so long is broken off, and tried again from where it stands.
const SILENCE: Duration = Duration::from_secs(30);
/// Tries of one file, each from where the last one was interrupted.
const TRIES: usize = 4;
/// Pages are lists of files; the longest known one has a few megabytes.
const MAX_PAGE_BYTES: u64 = 32 << 20;
/// Hashed at a time.
const BLOCK: usize = 1 << 20;

/// A file that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or a connection that breaks again and again.
    #[error("{url}: {cause}")]
    Unreachable {
        /// What was asked, without credentials.
        url: String,
        /// What went wrong.
        cause: String,
    },
    /// The server answers, but not with the file.
    #[error("{url}: the server answers {status}")]
    Refused {
        /// What was asked, without credentials.
        url: String,
        /// Its HTTP status.
        status: u16,
    },
    /// More than was expected.
    #[error("{url}: more than the {most} bytes that belong there; nothing is kept")]
    TooLarge {
        /// What was asked, without credentials.
        url: String,
        /// So many were expected, or are allowed.
        most: u64,
    },
    /// Less than was expected, again and again.
    #[error("{url}: it ends after {found} of {expected} bytes; what is there is kept, try again")]
    CutShort {
        /// What was asked, without credentials.
        url: String,
        /// Bytes that came.
        found: u64,
        /// Bytes that belong there.
        expected: u64,
    },
    /// Other bytes than those that were checked.
    #[error("{url}: its SHA-256 is {found}, not {expected}: it is not the file that was checked; nothing is kept")]
    Digest {
        /// What was asked, without credentials.
        url: String,
        /// Digest of what came.
        found: String,
        /// Digest that belongs there.
        expected: String,
    },
    /// Another process is at it.
    #[error("{0} is being downloaded by another process; wait for it")]
    Busy(String),
    /// The folder of downloads fails.
    #[error("{path}: {cause}")]
    Folder {
        /// File or folder.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl FetchError {
    /// Whether going on from where it stands may help.
    fn interrupted(&self) -> bool {
        matches!(self, FetchError::Unreachable { .. } | FetchError::CutShort { .. })
    }
}

/// A file to fetch, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where it is.
    pub url: &'a Url,
    /// Sent as `Authorization: Bearer …`; not followed to another host.
    pub bearer: Option<&'a str>,
    /// Its size, where it is known.
    pub bytes: Option<u64>,
    /// Its digest, where it is known. Only then a part can be gone on with.
    pub sha256: Option<&'a str>,
    /// The most bytes that are taken.
    pub most: u64,
}

/// A page: the end of its redirects, and its bytes.
#[derive(Clone, Debug)]
pub struct Page {
    /// What relative addresses on it are relative to.
    pub url: Url,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A whole file in the folder of downloads, which goes with this value.
#[derive(Debug)]
pub struct Download {
    file: File,
    path: PathBuf,
}

impl Download {
    /// The file, from its begin.
    pub fn file(&mut self) -> std::io::Result<&mut File> {
        self.file.rewind()?;
        Ok(&mut self.file)
    }

    /// All of it.
    pub fn bytes(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // What stays is found whole by the next try.
        let _left = std::fs::remove_file(&self.path);
    }
}

/// An HTTP client. It goes through the proxy that `HTTPS_PROXY` and its like name. All calls block.
pub struct Fetcher {
    client: Client,
    runtime: Runtime,
}

impl Fetcher {
    /// Nothing is asked yet.
    pub fn new() -> Result<Self, FetchError> {
        let failed = |cause: String| FetchError::Unreachable { url: "HTTP client".to_owned(), cause };
        let client = Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).user_agent("lunapark");
        let client = client.build().map_err(|error| failed(told(&error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { client, runtime: runtime.map_err(|error| failed(error.to_string()))? })
    }

    /// A page that fits into memory.
    pub fn page(&self, url: &Url, accept: &str, bearer: Option<&str>) -> Result<Page, FetchError> {
        let ask = authorized(self.client.get(url.clone()), bearer).header(ACCEPT, accept);
        self.runtime.block_on(async {
            let mut response = succeeded(url, ask.send().await.map_err(|error| unreachable(url, &error))?)?;
            let (at, mut bytes) = (response.url().clone(), Vec::new());
            while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, &error))? {
                bytes.extend_from_slice(&chunk);
                within(url, bytes.len() as u64, MAX_PAGE_BYTES)?;
            }
            Ok(Page { url: at, bytes })
        })
    }

    /// A file, whole and as it was expected; `progress` hears how many of its bytes are there.
    pub fn download(
        &self,
        wanted: &Wanted<'_>,
        folder: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Download, FetchError> {
        let (path, mut file) = part(wanted, folder)?;
        let disk = |cause| FetchError::Folder { path: path.display().to_string(), cause };
        let mut left_over = file.metadata().map_err(disk)?.len() > 0;
        let mut tried = 1;
        loop {
            match self.attempt(wanted, &mut file, &path, progress) {
                Ok(()) => return Ok(Download { file, path }),
                Err(error) if error.interrupted() && tried < TRIES => tried += 1,
                // It may be the part of an earlier process that is not what it should be.
                Err(FetchError::Digest { .. } | FetchError::TooLarge { .. }) if left_over => {
                    left_over = false;
                    file.set_len(0).map_err(disk)?;
                }
                Err(error) => {
                    let nothing = file.metadata().map_err(disk)?.len() == 0;
                    if nothing || !error.interrupted() || wanted.sha256.is_none() {
                        let _left = std::fs::remove_file(&path);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn attempt(
        &self,
        wanted: &Wanted<'_>,
        file: &mut File,
        path: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), FetchError> {
        let disk = |cause| FetchError::Folder { path: path.display().to_string(), cause };
        let have = file.seek(SeekFrom::End(0)).map_err(disk)?;
        if wanted.bytes.is_none_or(|bytes| have < bytes) || have == 0 {
            self.runtime.block_on(receive(&self.client, wanted, have, file, path, progress))?;
        }
        let found = file.seek(SeekFrom::End(0)).map_err(disk)?;
        if let Some(expected) = wanted.bytes.filter(|expected| found < *expected) {
            return Err(FetchError::CutShort { url: shown(wanted.url), found, expected });
        }
        within(wanted.url, found, wanted.bytes.unwrap_or(wanted.most))?;
        compare(wanted, &hash(file).map_err(disk)?)
    }
}

/// Appends what the server sends to the part that is there, or begins anew where it does not go on.
async fn receive(
    client: &Client,
    wanted: &Wanted<'_>,
    have: u64,
    file: &mut File,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), FetchError> {
    let disk = |cause| FetchError::Folder { path: path.display().to_string(), cause };
    let resume = have > 0 && wanted.sha256.is_some();
    let ask = authorized(client.get(wanted.url.clone()), wanted.bearer);
    let ask = if resume { ask.header(RANGE, format!("bytes={have}-")) } else { ask };
    let response = ask.send().await.map_err(|error| unreachable(wanted.url, &error))?;
    let mut at = if resume && goes_on(&response, have) { have } else { 0 };
    // A server that has no more than the part says so; what is there is judged, by its size and its digest.
    if resume && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(());
    }
    let mut response = succeeded(wanted.url, response)?;
    file.set_len(at).and_then(|()| file.seek(SeekFrom::Start(at))).map_err(disk)?;
    let most = wanted.bytes.unwrap_or(wanted.most);
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(wanted.url, &error))? {
        at += chunk.len() as u64;
        within(wanted.url, at, most)?;
        file.write_all(&chunk).map_err(disk)?;
        progress(at);
    }
    Ok(())
}

/// Whether the answer is the rest that was asked for.
fn goes_on(response: &Response, have: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    response.status() == StatusCode::PARTIAL_CONTENT && range.starts_with(&format!("bytes {have}-"))
}

/// Removes the part of a file that was had from elsewhere; one that another process is at stays.
pub fn forget(folder: &Path, sha256: &str) {
    let path = part_path(folder, sha256);
    if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
        let _left = std::fs::remove_file(&path);
    }
}

/// Named by what it is to be.
fn part_path(folder: &Path, named: &str) -> PathBuf {
    let plain: String = named.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    folder.join(format!("{plain}.part"))
}

/// The part of a file, locked: two processes would write into each other's bytes.
fn part(wanted: &Wanted<'_>, folder: &Path) -> Result<(PathBuf, File), FetchError> {
    let named = wanted.sha256.map_or_else(|| digest_of(wanted.url.as_str().as_bytes()), str::to_owned);
    let path = part_path(folder, &named);
    let disk = |cause| FetchError::Folder { path: path.display().to_string(), cause };
    std::fs::create_dir_all(folder).map_err(disk)?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(disk)?;
    match file.try_lock() {
        Ok(()) => Ok((path, file)),
        Err(TryLockError::WouldBlock) => Err(FetchError::Busy(shown(wanted.url))),
        Err(TryLockError::Error(cause)) => Err(disk(cause)),
    }
}

fn hash(file: &mut File) -> std::io::Result<String> {
    file.rewind()?;
    let (mut hash, mut block) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hash.update(&block[..read]),
        }
    }
}

fn compare(wanted: &Wanted<'_>, found: &str) -> Result<(), FetchError> {
    match wanted.sha256 {
        Some(expected) if expected != found => {
            Err(FetchError::Digest { url: shown(wanted.url), found: found.to_owned(), expected: expected.to_owned() })
        }
        _ => Ok(()),
    }
}

fn within(url: &Url, found: u64, most: u64) -> Result<(), FetchError> {
    if found <= most { Ok(()) } else { Err(FetchError::TooLarge { url: shown(url), most }) }
}

fn authorized(request: RequestBuilder, bearer: Option<&str>) -> RequestBuilder {
    match bearer {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

fn succeeded(url: &Url, response: Response) -> Result<Response, FetchError> {
    match response.status() {
        status if status.is_success() => Ok(response),
        status => Err(FetchError::Refused { url: shown(url), status: status.as_u16() }),
    }
}

fn unreachable(url: &Url, error: &reqwest::Error) -> FetchError {
    FetchError::Unreachable { url: shown(url), cause: told(error) }
}

/// The innermost cause says what happened; the outer ones repeat the address, with its credentials.
fn told(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false if std::ptr::addr_eq(cause, error) => "the request failed".to_owned(),
        false => cause.to_string(),
    }
}

/// An address without the credentials that a private index has in it.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Addresses that can have none have none.
    let _none = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        let url = Url::parse("https://me:hunter2@packages.example/simple/?page=2").unwrap();
        assert_eq!(shown(&url), "https://packages.example/simple/?page=2");
        assert_eq!(shown(&Url::parse("file:///a").unwrap()), "file:///a");
    }
}
