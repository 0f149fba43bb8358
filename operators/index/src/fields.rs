//! Which fields the documents of a collection have.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::segment::Documents;
use crate::{FieldKind, IndexError, Snapshot};

/// Names beyond so many are left out: they are keys of outside objects, which may be anything.
const MAX_FIELDS: usize = 10_000;
/// What every document has beside its metadata.
const OWN: [&str; 3] = ["id", "title", "uri"];

/// The kinds of a field's values, and how many documents have each.
pub type Kinds = BTreeMap<FieldKind, u64>;
/// What the documents of a segment that count have in their metadata.
pub(crate) type SegmentFields = OnceLock<Arc<BTreeMap<String, Kinds>>>;

impl Snapshot {
    /// Fields that filters can name, each with the kinds of its values: those of all documents' metadata, and `id`, `title`
    /// and `uri`. A list counts as what is in it. Reads the metadata of what is new since an earlier version was asked.
    pub fn fields(&self) -> Result<BTreeMap<String, Kinds>, IndexError> {
        let mut fields: BTreeMap<String, Kinds> = OWN.map(|name| (name.to_owned(), Kinds::new())).into();
        for segment in 0..self.live.len() {
            for (name, more) in self.segment_fields(segment)?.iter() {
                if let Some(kinds) = field(&mut fields, name) {
                    merge(kinds, more);
                }
            }
        }
        OWN.iter().for_each(|name| self.add_own(fields.entry((*name).to_owned()).or_default()));
        Ok(fields)
    }

    /// The kinds of one field, as [`fields`](Self::fields) has them; none where no document has it, among the first 10,000
    /// names of each segment.
    pub fn kinds(&self, name: &str) -> Result<Option<Kinds>, IndexError> {
        let mut found: Option<Kinds> = None;
        for segment in 0..self.live.len() {
            if let Some(more) = self.segment_fields(segment)?.get(name) {
                merge(found.get_or_insert_default(), more);
            }
        }
        if OWN.contains(&name) {
            self.add_own(found.get_or_insert_default());
        }
        Ok(found)
    }

    /// Documents whose metadata does not have the name show their own.
    fn add_own(&self, kinds: &mut Kinds) {
        let own = self.counts().documents.saturating_sub(kinds.values().sum());
        if own > 0 {
            *kinds.entry(FieldKind::Text).or_default() += own;
        }
    }

    fn segment_fields(&self, segment: usize) -> Result<Arc<BTreeMap<String, Kinds>>, IndexError> {
        if let Some(fields) = self.fields[segment].get() {
            return Ok(fields.clone());
        }
        let (mut fields, documents) = (BTreeMap::new(), self.table::<Documents>(segment)?);
        let metadata = documents.parsed();
        for (name, value) in self.live[segment].iter().flat_map(|row| &metadata[row]) {
            if let Some(kinds) = field(&mut fields, name) {
                add(value, kinds);
            }
        }
        Ok(self.fields[segment].get_or_init(|| Arc::new(fields)).clone())
    }
}

fn merge(kinds: &mut Kinds, more: &Kinds) {
    more.iter().for_each(|(kind, count)| *kinds.entry(*kind).or_default() += count);
}

/// The kinds of a field; none where there are too many of them.
fn field<'a>(fields: &'a mut BTreeMap<String, Kinds>, name: &str) -> Option<&'a mut Kinds> {
    if !fields.contains_key(name) {
        if fields.len() >= MAX_FIELDS {
            return None;
        }
        fields.insert(name.to_owned(), Kinds::new());
    }
    fields.get_mut(name)
}

/// A document counts once, whatever its list holds.
fn add(value: &Value, kinds: &mut Kinds) {
    let mut has = [(FieldKind::Text, false), (FieldKind::Number, false), (FieldKind::Truth, false)];
    mark(value, &mut has);
    has.iter().filter(|(_, has)| *has).for_each(|(kind, _)| *kinds.entry(*kind).or_default() += 1);
}

fn mark(value: &Value, has: &mut [(FieldKind, bool); 3]) {
    match value {
        Value::String(_) => has[0].1 = true,
        Value::Number(_) => has[1].1 = true,
        Value::Bool(_) => has[2].1 = true,
        Value::Array(list) => list.iter().for_each(|value| mark(value, has)),
        Value::Null | Value::Object(_) => {}
    }
}
