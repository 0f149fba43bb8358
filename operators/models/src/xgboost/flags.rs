//! Flags that XGBoost writes as `true`/`false` (1.x) or `1`/`0` (2.x and later).

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// A vector of either spelling.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<bool>, D::Error> {
    deserializer.deserialize_seq(Flags)
}

struct Flags;

impl<'de> Visitor<'de> for Flags {
    type Value = Vec<bool>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of booleans, or of 0 and 1")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<bool>, A::Error> {
        let mut flags = Vec::new();
        while let Some(Flag(flag)) = items.next_element()? {
            flags.push(flag);
        }
        Ok(flags)
    }
}

struct Flag(bool);

impl<'de> serde::Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, 0 or 1")
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }

            fn visit_u64<E: Error>(self, flag: u64) -> Result<Flag, E> {
                match flag {
                    0 | 1 => Ok(Flag(flag == 1)),
                    other => Err(E::custom(format!("{other} is neither 0 nor 1"))),
                }
            }
        }
        deserializer.deserialize_any(One)
    }
}
