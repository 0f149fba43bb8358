//! Text: what separates the cells of a CSV file, and which columns a text has.

use std::io::Cursor;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::TableError;
use crate::kind::UTF8_MARK;
use crate::read::ReadOptions;
use crate::source::Source;

/// So much of a text is looked at to learn its columns.
const LOOK_BYTES: usize = 1 << 20;
/// A line that is longer is no line of a table.
const MAX_LINE_BYTES: usize = 64 << 20;

/// The first whole lines of a text.
fn first_lines(source: &mut Source) -> Result<Vec<u8>, TableError> {
    let mut limit = LOOK_BYTES;
    loop {
        let looked = source.look(limit);
        let (mut start, all) = looked.map_err(|error| TableError::new(&source.name, error, "check the file"))?;
        let end = start.iter().rposition(|byte| *byte == b'\n');
        match (all, end) {
            (true, _) => return Ok(start),
            (false, Some(end)) => {
                start.truncate(end + 1);
                return Ok(start);
            }
            (false, None) if limit >= MAX_LINE_BYTES => {
                let what = format!("its first line is longer than {MAX_LINE_BYTES} bytes");
                return Err(TableError::new(&source.name, what, "is it the format that you named?"));
            }
            (false, None) => limit *= 8,
        }
    }
}

/// How a CSV file is to be read, and its columns, all of text: what a cell means, its reader decides.
pub(crate) fn csv(source: &mut Source, options: &ReadOptions) -> Result<(arrow_csv::reader::Format, SchemaRef), TableError> {
    let start = first_lines(source)?;
    let start = start.strip_prefix(UTF8_MARK).unwrap_or(&start);
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let separator = options.separator.unwrap_or_else(|| separator(line));
    let format = arrow_csv::reader::Format::default().with_header(options.header).with_delimiter(separator);
    let wrong = |error| TableError::new(&source.name, format!("no CSV: {error}"), "check the file and its separator");
    let (schema, _) = format.infer_schema(Cursor::new(start), Some(1)).map_err(wrong)?;
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().trim()).collect();
    if names.is_empty() {
        return Err(TableError::new(&source.name, "it is empty", "give a table with at least its column names"));
    }
    if options.header && names.iter().all(|name| name.parse::<f64>().is_ok()) {
        let what = "its first line holds numbers where column names belong";
        return Err(TableError::new(&source.name, what, "say that it has none (--no-header), or add them"));
    }
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    Ok((format, Arc::new(Schema::new(fields))))
}

/// The one of tab, semicolon and comma that stands most often in the line, outside of quotes.
fn separator(line: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    for byte in line {
        quoted ^= *byte == b'"';
        counts.iter_mut().filter(|(separator, _)| !quoted && separator == byte).for_each(|(_, count)| *count += 1);
    }
    // Of equals the last would win: a comma is the one without any.
    counts.iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(separator, _)| *separator)
}

/// The columns of an NDJSON file, as its first lines have them.
pub(crate) fn ndjson(source: &mut Source) -> Result<SchemaRef, TableError> {
    let start = first_lines(source)?;
    if start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let advice = "write one object per line (`jq -c '.[]'`)";
        return Err(TableError::new(&source.name, "a JSON array", advice));
    }
    let wrong = |error| TableError::new(&source.name, format!("no NDJSON: {error}"), "write one object per line");
    let (schema, records) = arrow_json::reader::infer_json_schema(Cursor::new(start), None).map_err(wrong)?;
    if records == 0 {
        return Err(TableError::new(&source.name, "it is empty", "give at least one row"));
    }
    Ok(Arc::new(schema))
}

/// The column with integers as doubles: further down there may be fractions.
pub(crate) fn widened(field: &Field) -> Field {
    let item = |item: &Arc<Field>| Arc::new(widened(item));
    let data_type = match field.data_type() {
        DataType::Int64 | DataType::Null => DataType::Float64,
        DataType::List(inner) => DataType::List(item(inner)),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_the_most_frequent_one_outside_of_quotes() {
        for (line, expected) in [("a,b", b','), ("a;b,c;d", b';'), ("\"a,b,c\"\tb", b'\t'), ("a", b','), ("", b',')] {
            assert_eq!(separator(line.as_bytes()), expected, "{line}");
        }
    }
}
