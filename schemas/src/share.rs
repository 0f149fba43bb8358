//! Which events a share of a stream takes: a hash of the key decides, so that anybody can recompute it.
//!
//! The hash is FNV-1a (64 bits) of the key's bytes, followed by the 64-bit finaliser of MurmurHash3. An event is taken where
//! the hash modulo 1,000,000 is below the share's millionths. An event without a key counts as one whose key is the text
//! `PARTITION/OFFSET`. A larger share takes every event that a smaller one takes.

use std::borrow::Cow;
use std::io::Write as _;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::messages::Message;

/// Steps of a share: finer ones would make no difference that anybody could measure.
const WHOLE: u32 = 1_000_000;

/// A part of a stream, from 0 to 1, in steps of a millionth; a number of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(u32);

/// A number that is no share.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is no share: write a number above 0 and up to 1, for example 0.2")]
pub struct NoShare(f64);

impl TryFrom<f64> for Share {
    type Error = NoShare;

    fn try_from(part: f64) -> Result<Self, NoShare> {
        let millionths = (part * f64::from(WHOLE)).round();
        match (1.0..=f64::from(WHOLE)).contains(&millionths) {
            true => Ok(Self(millionths as u32)),
            false => Err(NoShare(part)),
        }
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> f64 {
        f64::from(share.0) / f64::from(WHOLE)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", f64::from(*self))
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A part of a stream: above 0 and up to 1, in steps of a millionth.",
            "type": "number", "exclusiveMinimum": 0, "maximum": 1
        })
    }
}

impl Share {
    /// Whether this event belongs to the share.
    pub fn takes(self, message: &Message<'_>) -> bool {
        self.takes_event(message.key, message.partition, message.offset)
    }

    /// As [`takes`](Self::takes), of the event with this key at this place.
    pub fn takes_event(self, key: Option<&[u8]>, partition: i32, offset: i64) -> bool {
        key.map_or_else(|| self.takes_place(partition, offset), |key| self.takes_key(key))
    }

    fn takes_key(self, key: &[u8]) -> bool {
        hash(key) % u64::from(WHOLE) < u64::from(self.0)
    }

    fn takes_place(self, partition: i32, offset: i64) -> bool {
        // 11 characters, a stroke, 20 characters.
        let mut text = [0u8; 32];
        let mut rest = &mut text[..];
        let whole = write!(rest, "{partition}/{offset}").is_ok();
        let left = rest.len();
        whole && self.takes_key(&text[..text.len() - left])
    }
}

/// FNV-1a, then MurmurHash3's finaliser: FNV alone leaves the low digits of numbered keys in step.
fn hash(key: &[u8]) -> u64 {
    let fnv = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_documented_one() {
        // Made by ten lines of Python from the two definitions.
        for (key, expected) in [
            ("", 0xefd0_1f60_ba99_2926_u64),
            ("0", 0xc1e4_2af0_88ff_1b2c),
            ("event-1", 0xb9b8_7c5e_3bc8_39d2),
            ("3/17", 0x5ab6_9326_4256_4890),
        ] {
            assert_eq!(hash(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn a_share_takes_its_part_and_a_larger_one_all_of_it() {
        let [tenth, fifth] = [0.1, 0.2].map(|part| Share::try_from(part).unwrap());
        let taken = |share: Share| (0..100_000).filter(|n| share.takes_key(n.to_string().as_bytes())).count();
        assert_eq!(taken(tenth), 9_851);
        assert!((19_000..21_000).contains(&taken(fifth)));
        assert!((0..1000).all(|n| !tenth.takes_place(3, n) || fifth.takes_place(3, n)));
        assert_eq!(tenth.takes_place(3, 17), tenth.takes_key(b"3/17"));
        assert!(Share::try_from(1.0).unwrap().takes_place(i32::MIN, i64::MIN));
    }

    #[test]
    fn a_share_is_a_number_of_json_between_0_and_1() {
        assert_eq!(serde_json::to_string(&Share::try_from(0.2).unwrap()).unwrap(), "0.2");
        assert_eq!(serde_json::from_str::<Share>("1").unwrap(), Share(WHOLE));
        for bad in ["0", "1.1", "-0.5", "1e-9"] {
            assert!(serde_json::from_str::<Share>(bad).is_err(), "{bad}");
        }
    }
}
