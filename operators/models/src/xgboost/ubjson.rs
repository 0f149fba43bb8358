//! The UBJSON spelling of a model file, as XGBoost writes it (`src/common/json.cc`): big-endian numbers, strings with
//! their length, arrays that state element type and count (`[$d#L…`), count alone (`[#L…`) or neither.
//!
//! A count is compared with the bytes that are left before anything is made of it, and containers nest no deeper than
//! in JSON, so a lying file costs nothing.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor, value::BorrowedStrDeserializer};
use serde::forward_to_deserialize_any;

use super::file::File;
use super::json::MAX_NESTING;
use crate::ModelError;

/// Parses the UBJSON.
pub(super) fn read(bytes: &[u8]) -> Result<File, ModelError> {
    let mut reader = Reader { bytes, at: 0, depth: 0 };
    let file = File::deserialize(&mut reader).and_then(|file| reader.end().map(|()| file));
    file.map_err(|fault| match fault {
        Fault::End => ModelError::truncated(format!("the UBJSON is not complete after its {} bytes", bytes.len())),
        Fault::Wrong(what) => ModelError::unreadable(format!("no XGBoost UBJSON model, byte {}: {what}", reader.at)),
    })
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it ends too early")]
    End,
    #[error("{0}")]
    Wrong(String),
}

impl serde::de::Error for Fault {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Fault::Wrong(message.to_string())
    }
}

struct Reader<'de> {
    bytes: &'de [u8],
    at: usize,
    depth: usize,
}

/// What is left of an array or object.
enum Left {
    /// This many elements, of this type where it is stated once for all.
    Counted(usize, Option<u8>),
    /// All up to the closing mark.
    Open(u8),
}

impl<'de> Reader<'de> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize) -> Result<&'de [u8], Fault> {
        let bytes = self.bytes[self.at..].get(..count).ok_or(Fault::End)?;
        self.at += count;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.bytes[self.at..].first_chunk().ok_or(Fault::End)?;
        self.at += N;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.number().map(|[byte]| byte)
    }

    fn peek(&self) -> Result<u8, Fault> {
        self.bytes.get(self.at).copied().ok_or(Fault::End)
    }

    fn skip_if(&mut self, mark: u8) -> Result<bool, Fault> {
        let found = self.peek()? == mark;
        self.at += usize::from(found);
        Ok(found)
    }

    fn integer(&mut self, mark: u8) -> Result<i64, Fault> {
        Ok(match mark {
            b'i' => i64::from(i8::from_be_bytes(self.number()?)),
            b'U' | b'C' => i64::from(u8::from_be_bytes(self.number()?)),
            b'I' => i64::from(i16::from_be_bytes(self.number()?)),
            b'l' => i64::from(i32::from_be_bytes(self.number()?)),
            b'L' => i64::from_be_bytes(self.number()?),
            other => return Err(wrong_mark(other)),
        })
    }

    /// A count or length of things that take at least `size` bytes each.
    fn count(&mut self, size: usize) -> Result<usize, Fault> {
        let mark = self.byte()?;
        let claimed = self.integer(mark)?;
        let count = usize::try_from(claimed).map_err(|_| Fault::Wrong(format!("a count of {claimed}")))?;
        if count.checked_mul(size).is_some_and(|bytes| bytes <= self.left()) { Ok(count) } else { Err(Fault::End) }
    }

    fn text(&mut self) -> Result<&'de str, Fault> {
        let length = self.count(1)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Fault::Wrong("a string is not UTF-8".to_owned()))
    }

    /// The head of an array, after its `[`.
    fn array(&mut self) -> Result<Left, Fault> {
        if self.skip_if(b'$')? {
            let mark = self.byte()?;
            let size = element_size(mark)?;
            let counted = self.skip_if(b'#')?;
            return if counted {
                Ok(Left::Counted(self.count(size)?, Some(mark)))
            } else {
                Err(Fault::Wrong("an array states its type and not its length".to_owned()))
            };
        }
        if self.skip_if(b'#')? { Ok(Left::Counted(self.count(1)?, None)) } else { Ok(Left::Open(b']')) }
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == MAX_NESTING {
            return Err(Fault::Wrong(format!("it nests deeper than {MAX_NESTING}")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// Drives a visitor over an array or object, and on to its end where the visitor stopped early.
    fn value<V: Visitor<'de>>(&mut self, mark: u8, visitor: V) -> Result<V::Value, Fault> {
        match mark {
            b'Z' => visitor.visit_unit(),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'd' => visitor.visit_f32(f32::from_be_bytes(self.number()?)),
            b'D' => visitor.visit_f64(f64::from_be_bytes(self.number()?)),
            b'S' => visitor.visit_borrowed_str(self.text()?),
            b'[' => self.nested(|reader| {
                let left = reader.array()?;
                visitor.visit_seq(Items { reader, left })
            }),
            b'{' => self.nested(|reader| visitor.visit_map(Items { reader, left: Left::Open(b'}') })),
            mark => match self.integer(mark)? {
                negative @ ..0 => visitor.visit_i64(negative),
                positive => visitor.visit_u64(positive as u64),
            },
        }
    }

    fn end(&self) -> Result<(), Fault> {
        match self.left() {
            0 => Ok(()),
            more => Err(Fault::Wrong(format!("{more} bytes follow the model"))),
        }
    }
}

fn wrong_mark(mark: u8) -> Fault {
    Fault::Wrong(format!("'{}' is no type of value", mark.escape_ascii()))
}

/// Bytes of an element of a typed array; XGBoost types arrays of numbers only.
fn element_size(mark: u8) -> Result<usize, Fault> {
    match mark {
        b'i' | b'U' => Ok(1),
        b'I' => Ok(2),
        b'd' | b'l' => Ok(4),
        b'D' | b'L' => Ok(8),
        other => Err(wrong_mark(other)),
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let mark = self.byte()?;
        self.value(mark, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A value whose type was stated before, by its array.
struct Typed<'a, 'de> {
    reader: &'a mut Reader<'de>,
    mark: u8,
}

impl<'de> Deserializer<'de> for Typed<'_, 'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.reader.value(self.mark, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: Left,
}

impl Items<'_, '_> {
    /// Whether another element follows, and its type where the array stated it.
    fn more(&mut self) -> Result<Option<Option<u8>>, Fault> {
        match &mut self.left {
            Left::Counted(0, _) => Ok(None),
            Left::Counted(count, mark) => {
                *count -= 1;
                Ok(Some(*mark))
            }
            Left::Open(close) => Ok(if self.reader.skip_if(*close)? { None } else { Some(None) }),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        match self.more()? {
            None => Ok(None),
            Some(None) => seed.deserialize(&mut *self.reader).map(Some),
            Some(Some(mark)) => seed.deserialize(Typed { reader: self.reader, mark }).map(Some),
        }
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        match self.more()? {
            None => Ok(None),
            Some(_) => seed.deserialize(BorrowedStrDeserializer::new(self.reader.text()?)).map(Some),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        seed.deserialize(&mut *self.reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Fault> {
        let mut reader = Reader { bytes, at: 0, depth: 0 };
        T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value))
    }

    #[test]
    fn arrays_of_all_three_makes() {
        assert_eq!(values::<Vec<i32>>(b"[$l#L\0\0\0\0\0\0\0\x02\0\0\0\x07\xff\xff\xff\xff").unwrap(), [7, -1]);
        assert_eq!(values::<Vec<f32>>(b"[$d#i\x01\x3f\x80\0\0").unwrap(), [1.0]);
        assert_eq!(values::<Vec<i32>>(b"[#U\x02i\x05I\xff\xfe").unwrap(), [5, -2]);
        assert_eq!(values::<Vec<bool>>(b"[TF]").unwrap(), [true, false]);
        assert!(values::<Vec<u8>>(b"[]").unwrap().is_empty());
        assert_eq!(values::<String>(b"Si\x02ab").unwrap(), "ab");
    }

    #[test]
    fn lying_counts_are_refused_before_anything_is_made_of_them() {
        let lies: [&[u8]; 6] = [
            b"[$D#L\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"[$d#L\0\0\0\0\x40\0\0\0\0\0",
            b"[#L\0\0\0\x01\0\0\0\0",
            b"[$l#i\xffaaaaaaaa",
            b"SL\0\0\0\0\0\0\0\x09ab",
            b"[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        ];
        for lie in lies {
            assert!(values::<serde::de::IgnoredAny>(lie).is_err(), "{}", lie.escape_ascii());
        }
        assert!(values::<serde::de::IgnoredAny>(&[b'['; 1_000_000]).unwrap_err().to_string().contains("nests deeper"));
    }
}
