//! Files and folders of this machine.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::sender::{Item, Sender};

/// Sends a file, or what is in a folder.
pub(super) fn walk(sender: &mut Sender<'_>, path: &Path) -> anyhow::Result<()> {
    let path = path.to_str().and_then(|text| text.strip_prefix("file://")).map_or(path, Path::new);
    let found = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if found.is_dir() {
        return folder(sender, path);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match sender.has_records(&name) {
        true => records(sender, path),
        false => file(sender, path, &name),
    }
}

/// Walks a folder in the order of names, links to folders left out: they may lead in a circle.
fn folder(sender: &mut Sender<'_>, root: &Path) -> anyhow::Result<()> {
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let mut folders: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let id = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                file(sender, &path, &id)?;
            }
        }
        todo.extend(folders.into_iter().rev());
    }
    Ok(())
}

fn file(sender: &mut Sender<'_>, path: &Path, id: &str) -> anyhow::Result<()> {
    let address = format!("file://{}", path.canonicalize().unwrap_or_else(|_| path.to_owned()).display());
    let shown = path.display().to_string();
    let read = |most: u64| {
        let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        match bytes > most {
            true => Err(format!("{bytes} bytes where {most} are read at once; split it")),
            false => std::fs::read(path).map_err(|error| error.to_string()),
        }
    };
    sender.item(&Item { id, address: &address, shown: &shown, version: None, bytes: None }, read)
}

fn records(sender: &mut Sender<'_>, path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if !line.trim().is_empty() {
            sender.line(&line).with_context(|| format!("{}, line {}", path.display(), number + 1))?;
        }
    }
    Ok(())
}
