//! Documents on their way into a collection: what is sent, and what is answered.
//!
//! A record is JSON, or the file itself with the fields in headers ([`COLLECTION`], [`DOCUMENT`], [`TITLE`], [`URI`],
//! [`METADATA`], [`PAGE_CONTENT_COLUMN`]).

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::Event;
use crate::headers::CONTENT_TYPE;
use crate::messages::Message;
use crate::outcome::{ErrorClass, Rejection};

/// Header of a record whose value is the file itself: the collection.
pub const COLLECTION: &str = "lunapark-collection";
/// Header beside [`COLLECTION`]: id of the document; without it the record's key is the id.
pub const DOCUMENT: &str = "lunapark-document";
/// Header beside [`COLLECTION`]: title.
pub const TITLE: &str = "lunapark-title";
/// Header beside [`COLLECTION`]: where the file came from.
pub const URI: &str = "lunapark-uri";

/// Header beside [`COLLECTION`]: a JSON object, what searches can filter by.
pub const METADATA: &str = "lunapark-metadata";

/// Header beside [`COLLECTION`]: the column that holds the text, where the file is a table.
pub const PAGE_CONTENT_COLUMN: &str = "lunapark-page-content-column";

/// An id is a Kafka key and part of every answer: longer ones are refused.
pub const MAX_ID_BYTES: usize = 1024;
/// A collection's name is one part of a path on every store.
pub const MAX_COLLECTION_BYTES: usize = 100;

/// One document for a collection, or its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IngestRecord {
    /// Names the document within its collection, and is the record's key: the last record of an id holds.
    pub id: String,
    /// Collection: small letters, digits, `-`, `_` and `.`; made with the service's settings where there is none yet.
    pub collection: String,
    /// The text itself. Exactly one of `content`, `uri` and `deleted` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Where the content is: `file:///…` or `s3://bucket/key`, inside what the service may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// `text/plain`, `text/markdown`, `text/html` or `application/pdf`; found by looking where it is absent: then
    /// `content` is always a text. With `page_content_column`: `application/json`, `application/x-ndjson`, `text/csv` or `application/vnd.apache.parquet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The content is a table, and this column holds its text: the document is the texts of all rows, one after the
    /// other. For a document per row, send a record per row, as `lunapark ingest` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_content_column: Option<String>,
    /// Title; the document's own where it is absent. One that the text does not begin with is searched with each passage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What searches can filter by: text, numbers, true and false, and lists of them, of which one that fits is enough.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Takes the document out of its collection.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// A document as it arrived: the fields of its record, and the bytes where the value was the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ingest {
    /// The fields.
    pub record: IngestRecord,
    /// The file, where the value is not JSON but the file itself.
    pub file: Option<Vec<u8>>,
}

impl Ingest {
    /// Reads a message of `documents.ingest`.
    pub fn of(message: &Message<'_>) -> Result<Self, Rejection> {
        match message.headers.get_str(COLLECTION) {
            Some(collection) => file(message, collection),
            None => record(message),
        }
    }

    /// The id of a message's document, as far as it can be told without reading the rest.
    pub fn id_of(message: &Message<'_>) -> Option<String> {
        let id = match message.headers.get_str(COLLECTION) {
            Some(_) => file_id(message)?,
            None => serde_json::from_slice::<Named<'_>>(message.value?).ok()?.id.into_owned(),
        };
        (1..=MAX_ID_BYTES).contains(&id.len()).then_some(id)
    }
}

/// What names a document in its record.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// The id of a document whose value is the file itself.
fn file_id(message: &Message<'_>) -> Option<String> {
    let key = || message.key.and_then(|key| std::str::from_utf8(key).ok());
    message.headers.get_str(DOCUMENT).or_else(key).map(str::to_owned)
}

fn record(message: &Message<'_>) -> Result<Ingest, Rejection> {
    let value = message.value.filter(|value| !value.is_empty());
    let empty = || reject(ErrorClass::Empty, "no value; send an ingest record, or `deleted: true` to take one out");
    let record =
        IngestRecord::from_json(value.ok_or_else(empty)?).map_err(|what| reject(ErrorClass::Malformed, what))?;
    Ok(Ingest { record, file: None })
}

fn file(message: &Message<'_>, collection: &str) -> Result<Ingest, Rejection> {
    let header = |name: &str| message.headers.get_str(name).map(str::to_owned);
    let unnamed = || reject(ErrorClass::Header, format!("no id; give the header `{DOCUMENT}`, or a key in UTF-8"));
    let record = IngestRecord {
        id: file_id(message).ok_or_else(unnamed)?,
        collection: collection.to_owned(),
        uri: header(URI),
        content_type: header(CONTENT_TYPE),
        title: header(TITLE),
        page_content_column: header(PAGE_CONTENT_COLUMN),
        metadata: metadata(message)?,
        ..IngestRecord::default()
    };
    let checked = record.check_names().and_then(|()| record.check_metadata());
    checked.map_err(|what| reject(ErrorClass::Header, what))?;
    let file = message.value.filter(|value| !value.is_empty()).map(<[u8]>::to_vec);
    let empty = || reject(ErrorClass::Empty, "the file is empty; send `deleted: true` in JSON to take a document out");
    Ok(Ingest { record, file: Some(file.ok_or_else(empty)?) })
}

fn metadata(message: &Message<'_>) -> Result<Map<String, Value>, Rejection> {
    let Some(text) = message.headers.get(METADATA) else { return Ok(Map::new()) };
    let wrong = |error| reject(ErrorClass::Header, format!("the header `{METADATA}` is no JSON object: {error}"));
    serde_json::from_slice(text).map_err(wrong)
}

fn reject(class: ErrorClass, what: impl Into<String>) -> Rejection {
    Rejection::new(class, what)
}

impl IngestRecord {
    /// Reads and checks a record's value.
    pub fn from_json(value: &[u8]) -> Result<Self, String> {
        let mut reader = serde_json::Deserializer::from_slice(value);
        let record: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| error.to_string())?;
        reader.end().map_err(|error| error.to_string())?;
        record.check()?;
        Ok(record)
    }

    /// What is wrong with it, and what to do.
    pub fn check(&self) -> Result<(), String> {
        self.check_names()?;
        let given = [self.content.is_some(), self.uri.is_some(), self.deleted];
        match given.iter().filter(|given| **given).count() {
            1 => {}
            0 => return Err("give `content`, `uri`, or `deleted: true`".to_owned()),
            _ => return Err("give only one of `content`, `uri` and `deleted`".to_owned()),
        }
        self.check_metadata()
    }

    fn check_metadata(&self) -> Result<(), String> {
        let plain = |value: &Value| !value.is_object() && !value.is_array();
        let fits = |value: &Value| plain(value) || value.as_array().is_some_and(|list| list.iter().all(plain));
        match self.metadata.iter().find(|(_, value)| !fits(value)) {
            Some((name, _)) => {
                Err(format!("`metadata.{name}` must be text, a number, true or false, or a list of such values"))
            }
            None => Ok(()),
        }
    }

    fn check_names(&self) -> Result<(), String> {
        check_collection(&self.collection)?;
        match self.id.len() {
            0 => Err("`id` is empty".to_owned()),
            1..=MAX_ID_BYTES => Ok(()),
            bytes => Err(format!("`id` has {bytes} bytes; at most {MAX_ID_BYTES} are taken")),
        }
    }
}

/// A collection's name is a folder of the object store: nothing else can be one.
pub fn check_collection(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let begins = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    match begins && name.len() <= MAX_COLLECTION_BYTES && name.chars().all(plain) {
        true => Ok(()),
        false => Err(format!(
            "`collection` is `{}`: use up to 100 small letters, digits, `-`, `_` and `.`, a letter or digit first",
            name.chars().take(MAX_COLLECTION_BYTES).collect::<String>()
        )),
    }
}

impl Event for IngestRecord {
    fn key(&self) -> String {
        self.id.clone()
    }
}

/// What became of a document; a function of its record and the collection's settings alone, so that a record that is
/// read twice is answered with the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IndexedRecord {
    /// Id of the document.
    pub id: String,
    /// Its collection.
    pub collection: String,
    /// In or out.
    pub status: IndexedStatus,
    /// Its title, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How it was read: `text`, `markdown`, `html`, `pdf` or `table`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Parents: passages that answers show.
    pub parents: u32,
    /// Children: passages that are embedded.
    pub children: u32,
    /// Tokens of the children, special tokens included.
    pub tokens: u64,
    /// Children that were longer than the model takes; 0 unless the settings ask for more than it can.
    pub truncated: u32,
    /// SHA-256 of the content; empty where the document was taken out.
    pub digest: String,
    /// The text encoder: name and digest.
    pub model: String,
}

/// Whether a document can be found from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IndexedStatus {
    /// It can be found, and nothing of what it was before.
    Indexed,
    /// It cannot be found any more.
    Deleted,
}

impl fmt::Display for IndexedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IndexedStatus::Indexed => "indexed",
            IndexedStatus::Deleted => "deleted",
        })
    }
}

impl Event for IndexedRecord {
    fn key(&self) -> String {
        self.id.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_nonsense_is_refused() {
        let read = |text: &str| IngestRecord::from_json(text.as_bytes());
        let record = read(include_str!("../examples/records/documents.ingest/ok-document.json")).unwrap();
        assert_eq!((record.id.as_str(), record.metadata["year"].as_i64()), ("cranfield/184", Some(1957)));
        assert_eq!(record.key(), record.id);
        assert!(read(r#"{"id": "a", "collection": "c", "deleted": true}"#).unwrap().deleted);
        for (text, what) in [
            ("", "EOF"),
            (r#"{"id": "a", "collection": "c"}"#, "give `content`"),
            (r#"{"id": "a", "collection": "c", "content": "x", "deleted": true}"#, "only one"),
            (r#"{"id": "", "collection": "c", "content": "x"}"#, "`id` is empty"),
            (r#"{"id": "a", "collection": "../c", "content": "x"}"#, "`collection`"),
            (r#"{"id": "a", "collection": ".c", "content": "x"}"#, "`collection`"),
            (r#"{"id": "a", "collection": "c", "content": "x", "metadata": {"a": [[]]}}"#, "metadata.a"),
            (r#"{"id": "a", "collection": "c", "content": "x", "metadata": {"b": {}}}"#, "metadata.b"),
            (r#"{"id": "a", "collection": "c", "content": 1}"#, "content"),
            (r#"{"id": "a", "collection": "c", "text": "x"}"#, "unknown field `text`"),
            (r#"{"id": "a", "collection": "c", "content": "x"} 1"#, "trailing"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
        let long = IngestRecord { id: "x".repeat(1025), collection: "c".into(), deleted: true, ..Default::default() };
        assert!(long.check().unwrap_err().contains("1025"));
    }

    #[test]
    fn the_id_is_told_without_the_rest() {
        let id = |value: &str| {
            let mut messages = crate::Messages::new();
            let at = crate::messages::At { topic: "documents.ingest", partition: 0, offset: 0, timestamp: 0 };
            messages.push(at, None, Some(value.as_bytes()), std::iter::empty());
            Ingest::id_of(&messages.get(0))
        };
        assert_eq!(id(r#"{"text": [1], "id": "a\u00e9\n", "id2": 2}"#).as_deref(), Some("aé\n"));
        let long = format!(r#"{{"id": "{}"}}"#, "x".repeat(1025));
        for nothing in ["", "{}", "[]", r#"{"id": 1}"#, r#"{"id": ""}"#, r#"{"id": "a""#, &long] {
            assert_eq!(id(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_value_can_be_the_file_itself() {
        let mut messages = crate::Messages::new();
        let at = |offset| crate::messages::At { topic: "documents.ingest", partition: 0, offset, timestamp: 0 };
        let headers = [(COLLECTION, Some(&b"papers"[..])), (CONTENT_TYPE, Some(b"application/pdf"))];
        messages.push(at(7), Some(b"a.pdf"), Some(b"%PDF-1.7"), headers.into_iter());
        messages.push(at(8), None, Some(b"%PDF-1.7"), headers.into_iter());
        messages.push(at(9), Some(b"a.pdf"), None, headers.into_iter());
        let told = |metadata: &'static str| headers.into_iter().chain([(METADATA, Some(metadata.as_bytes()))]);
        for (offset, metadata) in [(10, r#"{"tags": ["jet", 3]}"#), (11, "[]"), (12, r#"{"of": {"city": "Bari"}}"#)] {
            messages.push(at(offset), Some(b"a.pdf"), Some(b"%PDF-1.7"), told(metadata));
        }
        let read = |index: usize| Ingest::of(&messages.get(index));
        let found = read(0).unwrap();
        assert_eq!((found.record.id.as_str(), found.file.as_deref()), ("a.pdf", Some(&b"%PDF-1.7"[..])));
        assert_eq!(found.record.content_type.as_deref(), Some("application/pdf"));
        assert_eq!(Ingest::id_of(&messages.get(0)).as_deref(), Some("a.pdf"));
        assert_eq!(Ingest::id_of(&messages.get(1)), None);
        assert_eq!(read(1).unwrap_err().class, ErrorClass::Header);
        assert_eq!(read(2).unwrap_err().class, ErrorClass::Empty);
        assert_eq!(read(3).unwrap().record.metadata["tags"][1], 3);
        assert!(read(4).unwrap_err().message.contains("lunapark-metadata"));
        assert!(read(5).unwrap_err().message.contains("metadata.of"));
    }
}
