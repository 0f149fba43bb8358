//! Files and folders of this machine.

use std::fs::{DirEntry, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::plan::Folder;
use super::report::{Listed, Skipped};
use super::sender::{Item, Sender};

/// Why a file is left out whose name begins with a dot.
pub(super) const HIDDEN: &str = "hidden: its name begins with a dot; name it itself if it is to be sent";

/// True for names that listings leave out: editors and version control keep their own files under them.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// What an entry of a folder is to us.
enum Kind {
    File,
    Folder,
    /// Left out, with the reason.
    Not(String),
}

/// Walks a folder in the order of names. Hidden files, links to folders, which may lead in a circle, and links that leave
/// the folder are left out.
pub(super) fn look(path: &Path, skipped: &mut Listed<Skipped>) -> anyhow::Result<Folder> {
    let unreadable = |path: &Path| format!("cannot read {}", path.display());
    let real = path.canonicalize().with_context(|| unreadable(path))?;
    let (mut files, mut todo) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(below) = todo.pop() {
        let folder = path.join(&below);
        let entries = std::fs::read_dir(&folder).with_context(|| unreadable(&folder))?;
        let mut entries: Vec<_> = entries.collect::<Result<_, _>>().with_context(|| unreadable(&folder))?;
        entries.sort_by_key(DirEntry::file_name);
        let mut folders: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let name = below.join(entry.file_name());
            match kind(&entry, &real).with_context(|| unreadable(&entry.path()))? {
                Kind::File => files.push(name),
                Kind::Folder => folders.push(name),
                Kind::Not(reason) => skipped.push(Skipped::new(&entry.path().display().to_string(), reason)),
            }
        }
        todo.extend(folders.into_iter().rev());
    }
    Ok(Folder { path: path.to_owned(), real, files })
}

fn kind(entry: &DirEntry, root: &Path) -> std::io::Result<Kind> {
    if is_hidden(&entry.file_name().to_string_lossy()) {
        return Ok(Kind::Not(HIDDEN.to_owned()));
    }
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        return Ok(link(&entry.path(), root));
    }
    Ok(match (kind.is_dir(), kind.is_file()) {
        (true, _) => Kind::Folder,
        (_, true) => Kind::File,
        _ => Kind::Not("no file: a pipe, a socket or a device".to_owned()),
    })
}

/// A link counts as the file that it means, where that lies in the same folder.
fn link(path: &Path, root: &Path) -> Kind {
    let Ok(target) = path.canonicalize() else { return Kind::Not("a link to nothing".to_owned()) };
    let to = target.display();
    if target.is_dir() {
        return Kind::Not(format!("a link to the folder {to}: name that folder itself if it is to be sent"));
    }
    match target.starts_with(root) && target.is_file() {
        true => Kind::File,
        false => Kind::Not(format!("a link to {to}, outside the folder: name that file itself if it is to be sent")),
    }
}

/// Sends the files of a folder.
pub(super) fn folder(sender: &mut Sender<'_>, folder: &Folder) -> anyhow::Result<()> {
    folder.files.iter().try_for_each(|below| file(sender, &folder.path.join(below), &below.to_string_lossy(), false))
}

/// Sends one file under an id.
pub(super) fn file(sender: &mut Sender<'_>, path: &Path, id: &str, named: bool) -> anyhow::Result<()> {
    let address = format!("file://{}", path.canonicalize().unwrap_or_else(|_| path.to_owned()).display());
    let shown = path.display().to_string();
    let bytes = std::fs::metadata(path).ok().map(|found| found.len());
    let read = |_: u64| std::fs::read(path).map_err(|error| error.to_string());
    sender.item(&Item { id, address: &address, shown: &shown, version: None, bytes, named }, read)
}

/// Sends the records of a list, one per line.
pub(super) fn records(sender: &mut Sender<'_>, path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let shown = path.display().to_string();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {shown}"))?;
        if !line.trim().is_empty() {
            sender.line(&line, &format!("{shown}, line {}", number + 1))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn hidden_files_and_links_that_leave_the_folder_are_told_and_left_out() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("notes");
        std::fs::create_dir_all(root.join("deep")).unwrap();
        std::fs::create_dir(root.join(".git")).unwrap();
        for name in ["notes/b.md", "notes/deep/a.md", "notes/.b.md.swp", "notes/.git/config", "secret.md"] {
            std::fs::write(place.path().join(name), "text").unwrap();
        }
        symlink(place.path().join("secret.md"), root.join("link.md")).unwrap();
        symlink(place.path().join("notes/b.md"), root.join("same.md")).unwrap();
        symlink(place.path(), root.join("up")).unwrap();
        symlink(place.path().join("nothing"), root.join("void.md")).unwrap();
        let mut skipped = Listed::default();
        let found = look(&root, &mut skipped).unwrap();
        assert_eq!(found.files, ["b.md", "same.md", "deep/a.md"].map(PathBuf::from));
        let told: Vec<_> =
            skipped.shown().iter().map(|one| (one.path.rsplit('/').next().unwrap(), &one.reason)).collect();
        assert_eq!(told.len(), 5, "{told:?}");
        for (number, (name, why)) in [
            (".b.md.swp", "hidden"),
            (".git", "hidden"),
            ("link.md", "outside the folder"),
            ("up", "a link to the folder"),
            ("void.md", "a link to nothing"),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(told[number].0 == name && told[number].1.contains(why), "{told:?}");
        }
    }
}
