//! Vectors that XGBoost's versions spell differently.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Flags: `true`/`false` (1.x) or `1`/`0` (2.x and later).
pub(super) fn flags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<bool>, D::Error> {
    deserializer.deserialize_seq(Items::<Flag, bool>(PhantomData))
}

/// Floats, among which `null` is NaN: versions before 3.1 write NaN where a node has no threshold.
pub(super) fn floats<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    deserializer.deserialize_seq(Items::<Float, f32>(PhantomData))
}

/// Reads items of type `I` into a vector of `T`.
struct Items<I, T>(PhantomData<(I, T)>);

impl<'de, I: Deserialize<'de> + Into<T>, T> Visitor<'de> for Items<I, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(item) = items.next_element::<I>()? {
            values.push(item.into());
        }
        Ok(values)
    }
}

struct Flag(bool);

impl From<Flag> for bool {
    fn from(flag: Flag) -> bool {
        flag.0
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor)
    }
}

struct FlagVisitor;

impl Visitor<'_> for FlagVisitor {
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

struct Float(f32);

impl From<Float> for f32 {
    fn from(float: Float) -> f32 {
        float.0
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FloatVisitor)
    }
}

struct FloatVisitor;

impl Visitor<'_> for FloatVisitor {
    type Value = Float;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or null")
    }

    fn visit_unit<E: Error>(self) -> Result<Float, E> {
        Ok(Float(f32::NAN))
    }

    fn visit_f32<E: Error>(self, value: f32) -> Result<Float, E> {
        Ok(Float(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Float, E> {
        Ok(Float(value as f32))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Float, E> {
        Ok(Float(value as f32))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Float, E> {
        Ok(Float(value as f32))
    }
}
