//! The ledger: the account that every transaction writes of what it did, from which anyone can audit a pipeline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of the topic `ledger`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "nearly every record is a range: a box would only add an allocation")]
pub enum LedgerRecord {
    /// A pipeline committed a range of one input partition.
    Range(LedgerRange),
    /// A dead letter was written back to the topic it came from.
    Redrive(Redrive),
}

/// What one transaction did with one input partition. Ranges of a partition chain: `next` of one is `first` of the
/// following.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerRange {
    /// Pipeline name.
    pub pipeline: String,
    /// Stable name of the stream thread that committed.
    pub instance: String,
    /// Input topic.
    pub topic: String,
    /// Input partition.
    pub partition: i32,
    /// First offset of the range (inclusive): the committed offset before this transaction.
    pub first: i64,
    /// Next offset after the range (exclusive): the committed offset after this transaction.
    pub next: i64,
    /// Messages of the range.
    pub messages: Counts,
    /// Rows in those messages that could be told apart.
    pub rows: Counts,
    /// Offsets of filtered messages, as inclusive ranges `[from, to]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filtered: Vec<(i64, i64)>,
    /// Why they were filtered: reason and number of messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<(String, u64)>,
    /// Digests of the models that scored the range (`name/version#digest`), sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Sum (wrapping) of [`position_hash`] over the messages, hexadecimal: independent of their order.
    pub checksum: String,
    /// True in an empty range that says where the account of a partition begins: its group started there, with what was
    /// still to come, and not with the first record. It counts as the first range of the partition only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started: bool,
}

/// How things ended. `input = results + filtered + dead` for messages; a message of which only some rows failed is
/// counted once, as a result, and its dead letter in `partial`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Read.
    #[serde(rename = "in")]
    pub input: u64,
    /// Ended as a result.
    pub results: u64,
    /// Ended as filtered.
    pub filtered: u64,
    /// Ended as a dead letter.
    pub dead: u64,
    /// Of the results: those that have a dead letter for some of their rows besides.
    #[serde(default)]
    pub partial: u64,
}

impl Counts {
    /// True where everything read ended in exactly one way.
    pub fn balanced(&self) -> bool {
        self.input == self.results + self.filtered + self.dead
    }

    /// Adds another account to this one.
    pub fn add(&mut self, other: &Counts) {
        self.input += other.input;
        self.results += other.results;
        self.filtered += other.filtered;
        self.dead += other.dead;
        self.partial += other.partial;
    }
}

/// A dead letter that went back to its topic, written in the same transaction as the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Redrive {
    /// Dead-letter topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The dead letter's offset.
    pub offset: i64,
    /// Topic that the event went back to.
    pub target: String,
}

/// Hash of a position for [`LedgerRange::checksum`]: splitmix64 over partition and offset.
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
pub fn position_hash(partition: i32, offset: i64) -> u64 {
    let mut z = (offset as u64).wrapping_add((partition as u64) << 48).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Appends an offset to ascending inclusive ranges.
pub fn push_offset(ranges: &mut Vec<(i64, i64)>, offset: i64) {
    match ranges.last_mut() {
        Some((_, to)) if *to + 1 == offset => *to = offset,
        _ => ranges.push((offset, offset)),
    }
}

/// True where some range holds the offset.
pub fn contains(ranges: &[(i64, i64)], offset: i64) -> bool {
    ranges.iter().any(|(from, to)| (*from..=*to).contains(&offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_kept_as_compact_ranges() {
        let mut ranges = Vec::new();
        [3, 4, 5, 9, 11, 12].into_iter().for_each(|offset| push_offset(&mut ranges, offset));
        assert_eq!(ranges, [(3, 5), (9, 9), (11, 12)]);
        assert!(contains(&ranges, 4) && contains(&ranges, 12) && !contains(&ranges, 10));
    }

    #[test]
    fn a_ledger_record_reads_back() {
        let range = LedgerRange { pipeline: "score".into(), filtered: vec![(1, 2)], ..Default::default() };
        let start = LedgerRange { first: 7, next: 7, started: true, ..range.clone() };
        for record in [
            LedgerRecord::Range(range),
            LedgerRecord::Range(start),
            LedgerRecord::Redrive(Redrive { topic: "d".into(), partition: 1, offset: 2, target: "t".into() }),
        ] {
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<LedgerRecord>(&text).unwrap(), record);
        }
    }
}
