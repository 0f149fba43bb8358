//! Dead letters: the message verbatim, plus headers that say what went wrong (KIP-1034 names, then ours). Headers of these
//! names that the message came with are left out: a dead letter that was produced back would speak for the new one.

use lunapark_schemas::headers::dead;
use lunapark_schemas::ledger::push_offset;
use lunapark_schemas::outcome::FailedRow;
use lunapark_schemas::{HeadersBuf, Message, Rejection};

/// A sentence longer than this is cut: it must fit beside the largest original into the dead-letter topic.
const MAX_MESSAGE: usize = 2048;
/// Row ranges longer than this are cut, with `…` at the end, for the same reason.
const MAX_ROWS: usize = 16 << 10;

/// What a record needs beside key, value and headers, at most (see `Record::wire_size`).
const OVERHEAD: usize = 128;

/// What a dead letter says beside its original.
pub struct DeadLetter<'a> {
    /// Why.
    pub rejection: &'a Rejection,
    /// Which operator rejected it.
    pub operator: &'a str,
    /// How often it was tried.
    pub attempts: u32,
    /// The rows that failed, where others of the same message have a result.
    pub rows: &'a [FailedRow],
}

impl DeadLetter<'_> {
    /// Writes the headers, and gives the value that goes with them: the original's, verbatim.
    ///
    /// A message that was compressed can be larger than any topic takes as it is. Then its value is cut, and where its
    /// headers alone are too large they are left out; a header says so, and the whole stays where its position says.
    pub fn fit<'m>(&self, message: &Message<'m>, limit: usize, headers: &mut HeadersBuf) -> Option<&'m [u8]> {
        headers.clear();
        headers.extend(message.headers, |name| !dead::ALL.contains(&name));
        self.own_headers(message, headers);
        let key = message.key.map_or(0, <[u8]>::len);
        let size = message.value.map_or(0, <[u8]>::len);
        let rest = |headers: &HeadersBuf| key + headers.view().encoded().len() + OVERHEAD;
        if rest(headers) + size <= limit {
            return message.value;
        }
        if rest(headers) >= limit {
            headers.clear();
            self.own_headers(message, headers);
        }
        headers.push_str(dead::ORIGINAL_BYTES, &(key + size).to_string());
        let room = limit.saturating_sub(rest(headers));
        message.value.map(|value| &value[..room.min(value.len())])
    }

    fn own_headers(&self, message: &Message<'_>, headers: &mut HeadersBuf) {
        let position = message.position();
        headers.push_str(dead::EXCEPTION, &format!("lunapark.{}", self.rejection.class));
        headers.push_str(dead::MESSAGE, &cut(format!("{position}: {}", self.rejection.message), MAX_MESSAGE));
        headers.push_str(dead::TOPIC, message.topic);
        headers.push_str(dead::PARTITION, &message.partition.to_string());
        headers.push_str(dead::OFFSET, &message.offset.to_string());
        headers.push_str(dead::CLASS, self.rejection.class.as_str());
        headers.push_str(dead::OPERATOR, self.operator);
        headers.push_str(dead::ATTEMPTS, &self.attempts.to_string());
        if !self.rows.is_empty() {
            headers.push_str(dead::ROWS, &row_ranges(self.rows));
        }
    }
}

fn row_ranges(rows: &[FailedRow]) -> String {
    let mut ranges = Vec::new();
    rows.iter().for_each(|failed| push_offset(&mut ranges, i64::from(failed.row)));
    let text = |(from, to): &(i64, i64)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    cut(ranges.iter().map(text).collect::<Vec<_>>().join(","), MAX_ROWS)
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunapark_schemas::messages::At;
    use lunapark_schemas::{ErrorClass, Messages, Record};

    #[test]
    fn a_message_larger_than_its_dead_letter_topic_is_cut() {
        let mut own = HeadersBuf::new();
        own.push_str("h", &"x".repeat(5_000));
        let mut messages = Messages::new();
        let at = At { topic: "t", partition: 0, offset: 7, timestamp: 0 };
        messages.push(at, Some(b"key"), Some(&[7; 10_000]), own.view());
        let rejection = Rejection::new(ErrorClass::Shape, "wrong");
        let letter = DeadLetter { rejection: &rejection, operator: "score", attempts: 1, rows: &[] };
        for (limit, cut) in [(100_000, false), (10_000, true), (3_000, true)] {
            let mut headers = HeadersBuf::new();
            let message = messages.get(0);
            let value = letter.fit(&message, limit, &mut headers);
            let key = message.key;
            let record = Record { topic: "t", partition: None, key, value, headers: headers.view(), timestamp: None };
            assert!(record.wire_size() <= limit, "{limit}");
            assert_eq!(headers.view().get_str(dead::ORIGINAL_BYTES), cut.then_some("10003"));
            assert_eq!(value == message.value, !cut);
            assert_eq!(headers.view().get_str(dead::OFFSET), Some("7"));
        }
    }

    #[test]
    fn what_the_message_says_of_an_earlier_death_is_left_out() {
        let mut own = HeadersBuf::new();
        for name in dead::ALL.into_iter().chain(["run"]) {
            own.push_str(name, "7");
        }
        let mut messages = Messages::new();
        let at = At { topic: "t", partition: 0, offset: 8, timestamp: 0 };
        messages.push(at, None, Some(b"{"), own.view());
        let rejection = Rejection::new(ErrorClass::Malformed, "wrong");
        let letter = DeadLetter { rejection: &rejection, operator: "score", attempts: 1, rows: &[] };
        let mut headers = HeadersBuf::new();
        letter.fit(&messages.get(0), 100_000, &mut headers);
        let says = |name| headers.view().filter(|(found, _)| *found == name).count();
        // Whole, for nothing says that it is cut or only partly dead.
        assert_eq!([dead::ROWS, dead::ORIGINAL_BYTES, dead::OFFSET, "run"].map(says), [0, 0, 1, 1]);
        assert_eq!(headers.view().get_str(dead::OFFSET), Some("8"));
    }

    #[test]
    fn rows_are_compact_ranges_and_long_texts_are_cut() {
        let failed = |row| FailedRow { row, rejection: Rejection::new(ErrorClass::Shape, "x") };
        assert_eq!(row_ranges(&[0, 2, 3, 4, 9].map(failed)), "0,2-4,9");
        assert_eq!(cut("é".repeat(3), 3), "é…");
    }
}
