//! JSON: an array of objects, or objects one after the other; read one at a time.

use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Value};

use super::Rows;
use crate::{ExtractError, Kind, encoding};

pub(super) fn read<E: From<ExtractError>>(bytes: &[u8], rows: &mut Rows<'_, E>) -> Result<(), E> {
    let (text, _) = encoding::decode(bytes, None, Kind::Text)?;
    if text.trim_start().starts_with('[') {
        return array(&text, rows);
    }
    for row in Deserializer::from_str(&text).into_iter::<Map<String, Value>>() {
        let row = row.map_err(|error| rows.wrong(&format!("no JSON object: {error}")))?;
        rows.push(row)?;
    }
    Ok(())
}

fn array<E: From<ExtractError>>(text: &str, rows: &mut Rows<'_, E>) -> Result<(), E> {
    let mut refused = None;
    let mut json = Deserializer::from_str(text);
    let read = json.deserialize_seq(Rowwise { rows, refused: &mut refused }).and_then(|()| json.end());
    match (refused, read) {
        (Some(refused), _) => Err(refused),
        (None, Err(error)) => Err(rows.wrong(&format!("no JSON object: {error}")).into()),
        (None, Ok(())) => Ok(()),
    }
}

/// Hands over an array's objects as they are read.
struct Rowwise<'a, 'b, E> {
    rows: &'a mut Rows<'b, E>,
    refused: &'a mut Option<E>,
}

impl<'de, E: From<ExtractError>> Visitor<'de> for Rowwise<'_, '_, E> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(row) = sequence.next_element::<Map<String, Value>>()? {
            if let Err(error) = self.rows.push(row) {
                *self.refused = Some(error);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}
