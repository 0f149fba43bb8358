//! Tables: a document per row.

use lunapark_documents::{Columns, ExtractError, Limits, Row, TableFormat, each_row};
use lunapark_schemas::documents::IngestRecord;

use super::sender::{Item, MAX_TABLE_BYTES, Sender};

/// Why reading a table ends early.
enum Stop {
    /// The table.
    Table(ExtractError),
    /// The log.
    Log(anyhow::Error),
}

impl From<ExtractError> for Stop {
    fn from(error: ExtractError) -> Self {
        Stop::Table(error)
    }
}

/// Rows that are no documents: how many, and of the first one, which and why.
#[derive(Default)]
struct Passed {
    rows: u64,
    first: Option<(u64, String)>,
}

impl Passed {
    fn note(&mut self, row: u64, reason: impl Into<String>) {
        self.rows += 1;
        self.first.get_or_insert_with(|| (row, reason.into()));
    }

    fn reason(self) -> Option<String> {
        let (row, why) = self.first?;
        Some(match self.rows {
            1 => format!("row {row}: {why}"),
            rows => format!("{rows} rows; the first is row {row}: {why}"),
        })
    }
}

/// Sends the rows of a table.
pub(super) fn send(
    sender: &mut Sender<'_>,
    item: &Item<'_>,
    bytes: &[u8],
    format: TableFormat,
    columns: &Columns<'_>,
) -> anyhow::Result<()> {
    let (mut number, mut passed) = (0, Passed::default());
    let limits = Limits { max_bytes: MAX_TABLE_BYTES as usize, ..sender.limits() };
    let read = each_row(bytes, format, columns, &limits, |row| {
        number += 1;
        match one(sender, item, columns, number, row) {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => {
                passed.note(number, reason);
                Ok(())
            }
            Err(error) => Err(Stop::Log(error)),
        }
    });
    match read {
        Ok(_) => {}
        Err(Stop::Log(error)) => return Err(error),
        Err(Stop::Table(error @ ExtractError::Column(_))) if number == 0 && item.named => {
            anyhow::bail!("{}: {error}", item.shown)
        }
        Err(Stop::Table(error)) if number == 0 => sender.skip(item.shown, error.to_string())?,
        Err(Stop::Table(error)) => sender.skip(item.shown, format!("what follows row {number}: {error}"))?,
    }
    passed.reason().map_or(Ok(()), |reason| sender.skip(item.shown, reason))
}

/// Sends one row, or says why it is no document.
fn one(
    sender: &mut Sender<'_>,
    item: &Item<'_>,
    columns: &Columns<'_>,
    number: u64,
    row: Row,
) -> anyhow::Result<Option<String>> {
    if row.content.trim().is_empty() {
        return Ok(Some(format!("there is no text in its {:?}", columns.content)));
    }
    let record = IngestRecord {
        id: row.id.unwrap_or_else(|| format!("{}#{number}", item.id)),
        collection: sender.collection().to_owned(),
        content: Some(row.content),
        content_type: Some("text/plain".to_owned()),
        title: row.title,
        metadata: row.metadata,
        ..IngestRecord::default()
    };
    match record.check() {
        Ok(()) => sender.record(&record, &format!("{}, row {number}", item.shown)),
        Err(reason) => Ok(Some(reason)),
    }
}
