//! A table as one document: the texts of its rows, one after the other.

use super::{Columns, TableFormat, each_row};
use crate::{ExtractError, Extracted, Kind, Limits, Section, checked, encoding};

/// Each row is a part of its own, below its title or number: passages end where rows do, and a result says which one.
const LEVEL: u8 = 2;

/// The text of a table's column, for a record that is a table as a whole.
pub fn extract_table(
    bytes: &[u8],
    format: TableFormat,
    column: &str,
    limits: &Limits,
) -> Result<Extracted, ExtractError> {
    let (mut text, mut sections, mut number) = (String::new(), Vec::new(), 0_u64);
    let columns = Columns { content: column, ..Columns::default() };
    each_row(bytes, format, &columns, limits, |row| {
        number += 1;
        let content = row.content.trim();
        if content.is_empty() {
            return Ok(());
        }
        let heading = row.title.map(|title| title.trim().to_owned()).filter(|title| !title.is_empty());
        let heading = Some(heading.unwrap_or_else(|| format!("row {number}")));
        sections.push(Section { start: text.len(), heading, level: LEVEL, page: None });
        encoding::clean_into(content, &mut text);
        text.push_str("\n\n");
        match text.len() > limits.max_text_bytes {
            true => Err(ExtractError::too_large("bytes of text", text.len(), limits.max_text_bytes)),
            false => Ok(()),
        }
    })?;
    checked(Extracted { title: None, text, sections, encoding: "UTF-8", kind: Kind::Table }, limits)
}
