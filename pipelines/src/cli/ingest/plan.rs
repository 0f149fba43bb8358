//! What is named, looked at before anything is sent: a name that two files would share is refused while nothing is lost.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use lunapark_stores::{Bucket, Found};

use super::report::{Listed, Skipped};
use super::sender::Sender;
use super::{Args, bucket, files};
use crate::config::Config;
use crate::models::s3_options;

/// Everything that was named on the command line.
pub(super) struct Plan {
    roots: Vec<Root>,
    /// What is left out, and why.
    pub skipped: Listed<Skipped>,
}

/// One of the paths that were named.
enum Root {
    Folder(Folder),
    File {
        path: PathBuf,
        name: String,
    },
    Records(PathBuf),
    /// With the names that are left out.
    Bucket {
        bucket: Bucket,
        url: String,
        found: Vec<Found>,
        hidden: Vec<String>,
    },
}

/// A folder of this machine, and the files in it.
pub(super) struct Folder {
    /// As it was named.
    pub path: PathBuf,
    /// The same without links.
    pub real: PathBuf,
    /// Paths below it, in the order of names.
    pub files: Vec<PathBuf>,
}

/// The documents that a folder or a prefix has now.
pub(super) struct Below {
    /// What stands before the ids in their addresses.
    pub prefix: String,
    /// Their ids.
    pub ids: Vec<String>,
}

impl Plan {
    /// Lists what the paths hold.
    pub(super) fn of(config: &Config, args: &Args) -> anyhow::Result<Self> {
        let mut plan = Self { roots: Vec::new(), skipped: Listed::default() };
        for path in &args.paths {
            let root = match path.to_str().filter(|text| text.starts_with("s3://")) {
                Some(url) => plan.bucket(config, url)?,
                None => plan.path(args, path)?,
            };
            plan.roots.push(root);
        }
        plan.refuse_shared_names(args)?;
        Ok(plan)
    }

    fn bucket(&mut self, config: &Config, url: &str) -> anyhow::Result<Root> {
        let bucket = Bucket::open(url, &s3_options(&config.store))?;
        let mut found = bucket.list()?;
        let mut hidden = Vec::new();
        found.retain(|object| {
            let shown = object.address == url || !object.name.split('/').any(files::is_hidden);
            if !shown {
                self.skipped.push(Skipped::new(&object.address, files::HIDDEN));
                hidden.push(object.name.clone());
            }
            shown
        });
        anyhow::ensure!(!found.is_empty(), "{url}: there is nothing below it; check bucket and prefix");
        Ok(Root::Bucket { bucket, url: url.to_owned(), found, hidden })
    }

    fn path(&mut self, args: &Args, path: &Path) -> anyhow::Result<Root> {
        let path = path.to_str().and_then(|text| text.strip_prefix("file://")).map_or(path, Path::new);
        let found = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if found.is_dir() {
            return Ok(Root::Folder(files::look(path, &mut self.skipped)?));
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(match args.is_list(&name) {
            true => Root::Records(path.to_owned()),
            false => Root::File { path: path.to_owned(), name },
        })
    }

    /// A document's id is its path below what was named: of two files with the same one, the second would silently take
    /// the place of the first.
    fn refuse_shared_names(&self, args: &Args) -> anyhow::Result<()> {
        let mut seen: HashMap<String, &Root> = HashMap::new();
        for root in &self.roots {
            for id in root.ids(args) {
                if let Some(other) = seen.insert(id.clone(), root) {
                    let (first, second) = (other.shown(&id), root.shown(&id));
                    bail!(
                        "{first} and {second} would be the same document, `{id}`: a document's id is its path below \
                         what is named. Name the folder that holds both, or give each its own collection"
                    );
                }
            }
        }
        Ok(())
    }

    /// Sends what was found.
    pub(super) fn send(&self, sender: &mut Sender<'_>) -> anyhow::Result<()> {
        for root in &self.roots {
            sender.expect(root.len());
            match root {
                Root::Folder(folder) => files::folder(sender, folder)?,
                Root::File { path, name } => files::file(sender, path, name, true)?,
                Root::Records(path) => files::records(sender, path)?,
                Root::Bucket { bucket, found, .. } => {
                    found.iter().try_for_each(|object| bucket::send(sender, bucket, object))?;
                }
            }
        }
        Ok(())
    }

    /// What each folder and prefix has now; an error where there is something else.
    pub(super) fn below(&self, args: &Args) -> anyhow::Result<Vec<Below>> {
        let below = |root: &Root| {
            let mut ids: Vec<String> = root.ids(args).collect();
            if let Root::Bucket { hidden, .. } = root {
                ids.extend(hidden.iter().cloned());
            }
            Ok(Below { prefix: root.prefix()?, ids })
        };
        self.roots.iter().map(below).collect()
    }
}

fn no_folder(path: &str) -> anyhow::Error {
    anyhow::anyhow!("--prune compares folders and prefixes with the collection, and {path} is a single file")
}

impl Root {
    fn len(&self) -> u64 {
        match self {
            Root::Folder(folder) => folder.files.len() as u64,
            Root::File { .. } => 1,
            Root::Records(_) => 0,
            Root::Bucket { found, .. } => found.len() as u64,
        }
    }

    /// What stands before the ids in its documents' addresses.
    fn prefix(&self) -> anyhow::Result<String> {
        match self {
            Root::Folder(folder) if folder.files.is_empty() => bail!(
                "{} is empty, so --prune would take out all that came from it: is the right disk there? \
                 `lunapark collections drop` removes a whole collection",
                folder.path.display()
            ),
            Root::Folder(folder) => Ok(format!("file://{}/", folder.real.display())),
            Root::Bucket { url, found, .. } if found.first().is_none_or(|one| one.address != *url) => {
                Ok(format!("{}/", url.trim_end_matches('/')))
            }
            Root::File { path, .. } | Root::Records(path) => Err(no_folder(&path.display().to_string())),
            Root::Bucket { url, .. } => Err(no_folder(url)),
        }
    }

    /// The ids of its documents, but for those that stand in lists and tables.
    fn ids<'a>(&'a self, args: &'a Args) -> Box<dyn Iterator<Item = String> + 'a> {
        match self {
            Root::Folder(folder) => Box::new(folder.files.iter().map(|file| file.to_string_lossy().into_owned())),
            Root::File { name, .. } => Box::new(std::iter::once(name.clone())),
            Root::Records(_) => Box::new(std::iter::empty()),
            Root::Bucket { found, .. } => {
                Box::new(found.iter().filter(|object| !args.is_list(&object.name)).map(|object| object.name.clone()))
            }
        }
    }

    /// What people call the file of an id.
    fn shown(&self, id: &str) -> String {
        match self {
            Root::Folder(folder) => folder.path.join(id).display().to_string(),
            Root::File { path, .. } | Root::Records(path) => path.display().to_string(),
            Root::Bucket { url, .. } => format!("{}/{id}", url.trim_end_matches('/')),
        }
    }
}
