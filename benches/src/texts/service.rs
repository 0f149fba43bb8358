//! A service that indexes documents, as a user runs it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use lunapark::config::Config;
use lunapark_index::{Child, Document, Parent, Reader, Snapshot};
use serde_json::json;

use super::cranfield::Cranfield;
use crate::process::{Running, scorer_binary};

/// The one collection.
const COLLECTION: &str = "cranfield";
/// Segments that are held while a collection is read: all of it.
const CACHE_BYTES: u64 = 1 << 30;

/// A configuration of a folder of its own, and the commands that use it.
pub struct Place {
    folder: tempfile::TempDir,
    text: String,
}

impl Place {
    /// On the embedded log, or on a cluster with topics of this prefix.
    pub fn new(encoder: &Path, kafka: Option<(&str, &str)>, port: u16) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (bootstrap, prefix) = kafka.unwrap_or_default();
        let text = format!(
            "[kafka]\nbootstrap = {bootstrap:?}\n[embedded]\ndata = {data:?}\n[topics]\nprefix = {prefix:?}\n\
             [http]\nlisten = \"127.0.0.1:{port}\"\n[score]\nthreads = 0\n\
             [documents]\nthreads = 1\nencoder = {encoder:?}\nencoder_threads = 2\nprecision = \"f32\"\n",
            data = folder.path().join("data"),
        );
        let place = Self { folder, text };
        std::fs::write(place.config(), &place.text)?;
        Ok(place)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("lunapark.toml")
    }

    /// A path of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the service.
    pub fn start(&self) -> anyhow::Result<Running> {
        Running::scorer(&self.config(), &self.path("service.log"))
    }

    /// Runs a command to its end.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(scorer_binary()?);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LUNAPARK_")) {
            command.env_remove(name);
        }
        command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let output = command.stderr(Stdio::piped()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Sends the documents, with more arguments of `ingest`.
    pub fn ingest(&self, cranfield: &Cranfield, more: &[&str]) -> anyhow::Result<()> {
        let file = self.path("documents.ndjson");
        let line = |(id, text): &(String, String)| {
            format!("{}\n", json!({ "id": id, "content": text, "content_type": "text/plain" }))
        };
        std::fs::write(&file, cranfield.documents.iter().map(line).collect::<String>())?;
        let file = file.to_str().context("a path that is not UTF-8")?;
        self.command(&[&["ingest", file, "--collection", COLLECTION], more].concat())
    }

    /// The collection, as it is now.
    pub fn snapshot(&self) -> anyhow::Result<Arc<Snapshot>> {
        let config = Config::from_texts(&self.text, std::iter::empty())?;
        let store = Arc::new(lunapark::knowledge::store(&config)?);
        Ok(Reader::open(store, COLLECTION, CACHE_BYTES)?.snapshot())
    }
}

/// All documents of a collection, in the order in which they lie.
pub fn documents(snapshot: &Snapshot) -> anyhow::Result<Vec<Document>> {
    let mut found = Vec::new();
    snapshot.each_document(|_, document| found.push(document))?;
    Ok(found)
}

/// The texts of a document's children.
pub fn children(document: &Document) -> Vec<&str> {
    let text = |parent: &'_ Parent, child: &Child| {
        let place = |at: u64| (at - parent.span.start) as usize;
        place(child.span.start)..place(child.span.end)
    };
    let of = |parent: &'_ Parent| -> Vec<Range<usize>> { parent.children.iter().map(|c| text(parent, c)).collect() };
    document
        .parents
        .iter()
        .flat_map(|parent| of(parent).into_iter().filter_map(|range| parent.text.get(range)))
        .collect()
}
