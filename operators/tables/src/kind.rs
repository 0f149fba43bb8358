//! The kinds of file, and how to tell them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A kind of file that holds a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache Parquet.
    Parquet,
    /// Text with a separator; `,`, `;` or a tab.
    Csv,
    /// Arrow IPC, a file (Feather 2) or a stream.
    Arrow,
    /// A JSON object per line.
    Ndjson,
}

/// Names and extensions; the first extension is the kind's own name.
const EXTENSIONS: [(Kind, &[&str]); 4] = [
    (Kind::Parquet, &["parquet", "pq"]),
    (Kind::Csv, &["csv", "tsv", "txt"]),
    (Kind::Arrow, &["arrow", "arrows", "feather", "ipc"]),
    (Kind::Ndjson, &["ndjson", "jsonl", "json"]),
];

impl Kind {
    /// What the name says, if it says anything.
    pub fn of_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        EXTENSIONS.iter().find(|(_, known)| known.contains(&&*extension)).map(|(kind, _)| *kind)
    }

    /// What the first bytes say: the binary kinds have a mark; text is JSON where it starts with a brace.
    pub(crate) fn of_bytes(start: &[u8]) -> Self {
        let text = start.strip_prefix(UTF8_MARK).unwrap_or(start);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            _ if start.starts_with(b"PAR1") => Kind::Parquet,
            _ if start.starts_with(ARROW_FILE) || start.starts_with(ARROW_STREAM) => Kind::Arrow,
            Some(b'{' | b'[') => Kind::Ndjson,
            _ => Kind::Csv,
        }
    }
}

/// Some spreadsheets put it before their text.
pub(crate) const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
/// The first bytes of an Arrow IPC file.
pub(crate) const ARROW_FILE: &[u8] = b"ARROW1";
/// The first bytes of each message of an Arrow IPC stream.
pub(crate) const ARROW_STREAM: &[u8] = &[0xff; 4];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = EXTENSIONS.iter().find(|(kind, _)| kind == self).map(|(_, names)| names[0]);
        f.write_str(name.unwrap_or_default())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = EXTENSIONS.iter().find(|(_, names)| names[0] == text).map(|(kind, _)| *kind);
        found.ok_or_else(|| "write parquet, csv, arrow or ndjson".to_owned())
    }
}
