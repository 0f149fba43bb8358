//! The models that a scorer holds, and which one an event wants.

use std::sync::Arc;

use lunapark_models::Model;
use lunapark_schemas::{ErrorClass, Rejection};

/// One loaded model under its name and version.
#[derive(Clone)]
pub struct ModelEntry {
    /// Model name.
    pub name: String,
    /// Version; text, because the outside decides what it looks like.
    pub version: String,
    /// Value of the result header `lunapark-model`: `name/version#digest`, eight digits of the digest.
    pub tag: String,
    /// The model.
    pub model: Arc<dyn Model>,
}

impl ModelEntry {
    /// An entry whose tag carries the first eight digits of `digest`.
    pub fn new(name: &str, version: &str, digest: &str, model: Arc<dyn Model>) -> Self {
        let short = digest.get(..8).unwrap_or(digest);
        Self { name: name.into(), version: version.into(), tag: format!("{name}/{version}#{short}"), model }
    }
}

/// All models of a scorer. Without a header an event is scored by the default, the first entry.
#[derive(Clone, Default)]
pub struct ModelSet {
    entries: Vec<ModelEntry>,
}

impl ModelSet {
    /// The given models; the first one is the default.
    pub fn new(entries: Vec<ModelEntry>) -> Self {
        Self { entries }
    }

    /// The model at `index`, as [`resolve`](Self::resolve) gave it.
    pub fn get(&self, index: usize) -> Option<&ModelEntry> {
        self.entries.get(index)
    }

    /// All of them.
    pub fn entries(&self) -> &[ModelEntry] {
        &self.entries
    }

    /// Which model the header `lunapark-model: name[/version]` wants. A name alone is that name's last entry.
    pub fn resolve(&self, header: Option<&[u8]>) -> Result<usize, Rejection> {
        let Some(raw) = header else {
            return if self.entries.is_empty() { Err(self.unknown("(default)")) } else { Ok(0) };
        };
        let wanted = std::str::from_utf8(raw).map_err(|_| self.unknown("(not UTF-8)"))?.trim();
        let (name, version) = wanted.split_once('/').map_or((wanted, None), |(n, v)| (n, Some(v)));
        let fits = |e: &ModelEntry| e.name == name && version.is_none_or(|v| e.version == v);
        self.entries.iter().rposition(fits).ok_or_else(|| self.unknown(wanted))
    }

    fn unknown(&self, wanted: &str) -> Rejection {
        let known: Vec<_> = self.entries.iter().map(|e| format!("{}/{}", e.name, e.version)).collect();
        let shown: String = wanted.chars().take(100).collect();
        let message =
            format!("header lunapark-model: no model `{}`; loaded are: {}", shown.escape_debug(), known.join(", "));
        Rejection::new(ErrorClass::UnknownModel, message)
    }
}
