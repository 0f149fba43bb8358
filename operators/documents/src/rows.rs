//! Tables whose rows are documents: one column holds the content, the others what is known of it.
//!
//! ```text
//!   JSON, NDJSON ─────────────────────────┐
//!   CSV     ─▶ batches ─┐                 ├─▶ a JSON object per row ─▶ Row
//!   Parquet ─▶ batches ─┴─▶ arrow's JSON ─┘   one at a time
//! ```

mod json;
mod tables;

use serde_json::{Map, Value};

use crate::ExtractError;

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

/// A row of a table: a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What the id column holds, where one is named.
    pub id: Option<String>,
    /// The content; empty where the row has none, which is its caller's to refuse.
    pub content: String,
    /// What a column `title` holds.
    pub title: Option<String>,
    /// All other columns.
    pub metadata: Map<String, Value>,
}

/// Bytes of all rows, at most: a compressed table may hold a thousand times its size.
const MAX_ROWS_BYTES: usize = 256 << 20;
/// What a row costs beside its text.
const ROW_BYTES: usize = 128;

/// The rows of a table, whose contents are in `column`.
pub fn rows(
    bytes: &[u8],
    format: TableFormat,
    column: &str,
    id_column: Option<&str>,
) -> Result<Vec<Row>, ExtractError> {
    let mut rows = Rows { column, id_column, rows: Vec::new(), bytes: 0 };
    match format {
        TableFormat::Json => json::read(bytes, &mut rows)?,
        TableFormat::Csv => tables::csv(bytes, &mut rows)?,
        TableFormat::Parquet => tables::parquet(bytes, &mut rows)?,
    }
    match rows.rows.is_empty() {
        true => Err(ExtractError::Empty),
        false => Ok(rows.rows),
    }
}

/// Rows as they are found.
struct Rows<'a> {
    column: &'a str,
    id_column: Option<&'a str>,
    rows: Vec<Row>,
    bytes: usize,
}

impl Rows<'_> {
    /// Takes one row.
    fn push(&mut self, mut row: Map<String, Value>) -> Result<(), ExtractError> {
        self.weigh(&row)?;
        let content = match row.shift_remove(self.column) {
            Some(Value::String(content)) => content,
            Some(Value::Null) => String::new(),
            Some(other) => return Err(self.wrong(&format!("its {:?} is {}, not text", self.column, kind(&other)))),
            None => return Err(self.wrong(&self.no_column(&row))),
        };
        let id = self.id_column.map(|column| self.id(column, &mut row)).transpose()?;
        let title = row.get("title").and_then(Value::as_str).map(str::to_owned);
        if title.is_some() {
            row.shift_remove("title");
        }
        row.retain(|_, value| !value.is_null());
        self.rows.push(Row { id, content, title, metadata: row });
        Ok(())
    }

    fn weigh(&mut self, row: &Map<String, Value>) -> Result<(), ExtractError> {
        self.bytes += ROW_BYTES + row.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>();
        match self.bytes > MAX_ROWS_BYTES {
            true => Err(ExtractError::too_large("bytes of rows", self.bytes, MAX_ROWS_BYTES)),
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
            None => Err(self.wrong(&format!("it has no id {column:?}"))),
        }
    }

    fn no_column(&self, row: &Map<String, Value>) -> String {
        let names: Vec<_> = row.keys().take(20).map(String::as_str).collect();
        format!("it has no column {:?}, but {}", self.column, names.join(", "))
    }

    fn wrong(&self, what: &str) -> ExtractError {
        ExtractError::Broken(format!("row {}: {what}", self.rows.len() + 1))
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
