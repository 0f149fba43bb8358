//! Which fields the documents of a collection have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::segment::{Documents, read_metadata};
use crate::{FieldKind, IndexError, Snapshot};

/// Names beyond so many are left out: they are keys of outside objects, which may be anything.
const MAX_FIELDS: usize = 10_000;
/// What every document has beside its metadata.
const OWN: [&str; 3] = ["id", "title", "uri"];

impl Snapshot {
    /// Fields that filters can name, each with the kinds of its values: those of all documents' metadata, and `id`, `title`
    /// and `uri`. A list counts as what is in it. Reads the metadata of the whole collection.
    pub fn fields(&self) -> Result<BTreeMap<String, BTreeSet<FieldKind>>, IndexError> {
        let mut fields: BTreeMap<String, BTreeSet<FieldKind>> =
            OWN.map(|name| (name.to_owned(), BTreeSet::from([FieldKind::Text]))).into();
        for (segment, live) in self.live.iter().enumerate() {
            let documents = self.table::<Documents>(segment)?;
            for (name, value) in live.iter().flat_map(|row| read_metadata(documents.metadata.value(row))) {
                if fields.len() < MAX_FIELDS || fields.contains_key(&name) {
                    add(&value, fields.entry(name).or_default());
                }
            }
        }
        Ok(fields)
    }
}

fn add(value: &Value, kinds: &mut BTreeSet<FieldKind>) {
    match value {
        Value::String(_) => drop(kinds.insert(FieldKind::Text)),
        Value::Number(_) => drop(kinds.insert(FieldKind::Number)),
        Value::Bool(_) => drop(kinds.insert(FieldKind::Truth)),
        Value::Array(list) => list.iter().for_each(|value| add(value, kinds)),
        Value::Null | Value::Object(_) => {}
    }
}
