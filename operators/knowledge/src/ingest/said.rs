//! What a record is answered: now, or before, when it was read for the first time.

use lunapark_index::{IndexError, Last, Snapshot, Source};
use lunapark_schemas::documents::{IndexedRecord, IndexedStatus};
use lunapark_schemas::{ErrorClass, Outcome, Rejection};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::codec::Json;

/// Bytes of a reason that is kept: what is wrong, not all of a long path.
const MAX_REASON_BYTES: usize = 1000;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Indexed(IndexedRecord),
    Deleted(IndexedRecord),
    Refused(Rejection),
}

/// An answer as it is kept with the collection; a deletion's needs no keeping.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Indexed(IndexedRecord),
    Refused { class: String, reason: String },
}

impl Said {
    /// What the collection keeps of it.
    pub fn to_keep(&self) -> Option<Value> {
        let kept = match self {
            Said::Deleted(_) => return None,
            Said::Indexed(record) => {
                Kept::Indexed(IndexedRecord { id: String::new(), collection: String::new(), ..record.clone() })
            }
            Said::Refused(Rejection { class, message }) => {
                Kept::Refused { class: class.as_str().to_owned(), reason: shortened(message) }
            }
        };
        serde_json::to_value(kept).ok()
    }

    /// The answer to a record that the collection has kept; none where a newer version wrote it, in words unknown here.
    pub fn kept(value: &Value, id: &str, collection: &str) -> Option<Self> {
        Some(match serde_json::from_value(value.clone()).ok()? {
            Kept::Indexed(record) => {
                Said::Indexed(IndexedRecord { id: id.to_owned(), collection: collection.to_owned(), ..record })
            }
            Kept::Refused { class, reason } => {
                let class = ErrorClass::ALL.into_iter().find(|known| known.as_str() == class)?;
                Said::Refused(Rejection::new(class, reason))
            }
        })
    }

    /// The answer to a record that was read before, and of which nothing is known but the collection: what it holds is so.
    /// `self` is what the record would be answered if it were new, by this encoder.
    pub fn or_held(self, snapshot: &Snapshot, id: &str, source: Source, model: &str) -> Result<Self, IndexError> {
        if matches!(self, Said::Deleted(_)) {
            return Ok(self);
        }
        Ok(match snapshot.last_change(id)? {
            Some(last) if last.source == source => self.or_of(snapshot.collection(), id, last, model),
            // Something later stands in its place: nobody can see any more what it was.
            Some(last) if last.source.partition == source.partition && last.source.offset > source.offset => self,
            _ => Said::Refused(not_held(snapshot.collection())),
        })
    }

    /// This answer where it is of the content that is held, else one that is.
    fn or_of(self, collection: &str, id: &str, last: Last, model: &str) -> Self {
        let Some(about) = last.about else { return self };
        match self {
            Said::Indexed(record) if record.digest == about.digest => Said::Indexed(record),
            _ => Said::Indexed(IndexedRecord {
                id: id.to_owned(),
                collection: collection.to_owned(),
                status: IndexedStatus::Indexed,
                title: Some(about.title).filter(|title| !title.is_empty()),
                kind: None,
                parents: last.parents as u32,
                children: last.children as u32,
                tokens: 0,
                truncated: 0,
                digest: about.digest,
                model: model.to_owned(),
            }),
        }
    }
}

impl From<Said> for Outcome<Json<IndexedRecord>> {
    fn from(said: Said) -> Self {
        match said {
            Said::Indexed(record) | Said::Deleted(record) => Outcome::Emit(Json(record)),
            Said::Refused(rejection) => Outcome::Reject(rejection),
        }
    }
}

fn not_held(collection: &str) -> Rejection {
    let what = format!(
        "it was read before, and is not in collection `{collection}`: it was refused then, or taken out since; send it \
         again to have it tried again"
    );
    Rejection::new(ErrorClass::Document, what)
}

fn shortened(reason: &str) -> String {
    match reason.len() > MAX_REASON_BYTES {
        true => format!("{}…", &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]),
        false => reason.to_owned(),
    }
}
