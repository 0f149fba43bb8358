//! Tables whose rows are documents, or one document together: one column holds the content, the others what is known of
//! it.
//!
//! ```text
//!   JSON, NDJSON ─────────────────────────────────────────┐
//!   CSV     ─▶ batches ────────────────────┐              ├─▶ a JSON object per row ─▶ Row, taken one at a time
//!   Parquet ─▶ sizes checked ─▶ batches ───┴▶ arrow's JSON ┘                              └▶ text.rs: all in one text
//! ```

mod json;
mod parquet;
mod tables;
mod text;
mod thrift;

use serde_json::{Map, Value};

use crate::{ExtractError, Limits};
pub use text::extract_table;

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// A JSON array of objects, or an object per line.
    Json,
    /// Text with a separator, whose first line names the columns.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl TableFormat {
    /// What a content type or a file name says, if it says a table.
    pub fn of(content_type: Option<&str>, name: Option<&str>) -> Option<Self> {
        let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        let extension = name.and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension);
        match (media_type.to_ascii_lowercase().as_str(), extension.to_ascii_lowercase().as_str()) {
            ("application/json" | "application/x-ndjson" | "application/jsonl", _) => Some(Self::Json),
            ("text/csv" | "text/tab-separated-values", _) => Some(Self::Csv),
            ("application/vnd.apache.parquet" | "application/x-parquet", _) => Some(Self::Parquet),
            ("" | "application/octet-stream", "json" | "ndjson" | "jsonl") => Some(Self::Json),
            ("" | "application/octet-stream", "csv" | "tsv") => Some(Self::Csv),
            ("" | "application/octet-stream", "parquet" | "pq") => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Which column is what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns<'a> {
    /// The content.
    pub content: &'a str,
    /// What names a row.
    pub id: Option<&'a str>,
    /// The title; `title` where none is named.
    pub title: Option<&'a str>,
}

/// A row of a table: a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What the id column holds, where one is named.
    pub id: Option<String>,
    /// The content; empty where the row has none, which is its caller's to refuse.
    pub content: String,
    /// What the title's column holds.
    pub title: Option<String>,
    /// All other columns that hold text, numbers or truth values.
    pub metadata: Map<String, Value>,
}

/// A table may unfold to so many times its largest size: columns repeat themselves, and are packed for it.
const UNFOLDS: usize = 4;
/// What a row costs beside its text.
const ROW_BYTES: usize = 128;
/// The column of titles where none is named.
const TITLE: &str = "title";

/// Hands over a table's rows one by one; gives their number. Of the table no more is held than its bytes, a few of its
/// rows, and what `take` keeps.
pub fn each_row<E: From<ExtractError>>(
    bytes: &[u8],
    format: TableFormat,
    columns: &Columns<'_>,
    limits: &Limits,
    mut take: impl FnMut(Row) -> Result<(), E>,
) -> Result<u64, E> {
    if bytes.len() > limits.max_bytes {
        return Err(ExtractError::too_large("bytes", bytes.len(), limits.max_bytes).into());
    }
    let mut rows = Rows { columns, limits, take: &mut take, rows: 0, bytes: 0, may_lack: format == TableFormat::Json };
    match format {
        TableFormat::Json => json::read(bytes, &mut rows)?,
        TableFormat::Csv => tables::csv(bytes, &mut rows)?,
        TableFormat::Parquet => parquet::read(bytes, &mut rows)?,
    }
    match rows.rows {
        0 => Err(ExtractError::Empty.into()),
        rows => Ok(rows),
    }
}

/// Rows as they are found.
struct Rows<'a, E> {
    columns: &'a Columns<'a>,
    limits: &'a Limits,
    take: &'a mut dyn FnMut(Row) -> Result<(), E>,
    rows: u64,
    bytes: usize,
    /// A row may leave out what another has.
    may_lack: bool,
}

impl<E: From<ExtractError>> Rows<'_, E> {
    /// Takes one row.
    fn push(&mut self, row: Map<String, Value>) -> Result<(), E> {
        self.weigh(&row)?;
        let row = self.row(row)?;
        self.rows += 1;
        (self.take)(row)
    }

    fn row(&self, mut row: Map<String, Value>) -> Result<Row, ExtractError> {
        // A JSON object may leave a title out; the columns of the others are the same in every row.
        let title = self.columns.title.filter(|_| !self.may_lack);
        for (what, column) in [("id", self.columns.id), ("title", title)] {
            if let Some(column) = column.filter(|column| !row.contains_key(*column)) {
                return Err(self.no_column(what, column, &row));
            }
        }
        let content = match row.shift_remove(self.columns.content) {
            Some(Value::String(content)) => content,
            Some(Value::Null) => String::new(),
            Some(other) => {
                return Err(self.wrong(&format!("its {:?} is {}, not text", self.columns.content, kind(&other))));
            }
            None => return Err(self.no_column("content", self.columns.content, &row)),
        };
        let id = self.columns.id.map(|column| self.id(column, &mut row)).transpose()?;
        let title = row.get(self.title()).and_then(Value::as_str).map(str::to_owned);
        if title.is_some() {
            row.shift_remove(self.title());
        }
        row.retain(|_, value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)));
        Ok(Row { id, content, title, metadata: row })
    }

    fn title(&self) -> &str {
        self.columns.title.unwrap_or(TITLE)
    }

    /// True where a column's cells are text whatever they look like.
    fn is_text(&self, column: &str) -> bool {
        column == self.columns.content || Some(column) == self.columns.id || column == self.title()
    }

    fn weigh(&mut self, row: &Map<String, Value>) -> Result<(), ExtractError> {
        let bytes = row.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>();
        if bytes > self.limits.max_text_bytes.saturating_mul(UNFOLDS) {
            let may = self.limits.max_text_bytes.saturating_mul(UNFOLDS);
            return Err(ExtractError::too_large("bytes of one row", bytes, may));
        }
        let may = self.limits.max_bytes.saturating_mul(UNFOLDS);
        self.bytes = self.bytes.saturating_add(ROW_BYTES + bytes);
        match self.bytes > may {
            true => Err(ExtractError::too_large("bytes of rows", self.bytes, may)),
            false => Ok(()),
        }
    }

    /// An id is text or a whole number.
    fn id(&self, column: &str, row: &mut Map<String, Value>) -> Result<String, ExtractError> {
        match row.shift_remove(column) {
            Some(Value::String(id)) if !id.is_empty() => Ok(id),
            Some(Value::Number(id)) if !id.is_f64() => Ok(id.to_string()),
            Some(other) => {
                Err(self.wrong(&format!("its id {column:?} is {}, not text or a whole number", kind(&other))))
            }
            None => Err(self.no_column("id", column, row)),
        }
    }

    fn no_column(&self, what: &str, column: &str, row: &Map<String, Value>) -> ExtractError {
        let names: Vec<_> = row.keys().take(20).map(String::as_str).collect();
        let (row, names) = (self.rows + 1, names.join(", "));
        ExtractError::Column(format!("row {row} has no column {column:?} for the {what}; its columns are {names}"))
    }

    fn wrong(&self, what: &str) -> ExtractError {
        ExtractError::Broken(format!("row {}: {what}", self.rows + 1))
    }
}

/// Bytes that a value costs; serde_json bounds its depth.
fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(object) => object.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    inside + size_of::<Value>()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "an empty text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
