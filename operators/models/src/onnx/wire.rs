//! The protobuf wire format: fields of one message, nothing copied.
//!
//! A field's length is checked against what is left of its message, so a lying length costs nothing.

use crate::ModelError;

/// The value of one field as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Reads the fields of one message in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Number and value of the next field.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, ModelError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.bytes()?),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(ModelError::unreadable(format!("no protobuf: field {} has type {other}", tag >> 3))),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, ModelError> {
        let mut value = 0;
        for (at, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        match self.rest.len() {
            0..10 => Err(cut("a number")),
            _ => Err(ModelError::unreadable("no protobuf: a number longer than 10 bytes")),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| cut("a number"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn bytes(&mut self) -> Result<&'a [u8], ModelError> {
        let claimed = self.varint()?;
        let length = usize::try_from(claimed).ok().filter(|&length| length <= self.rest.len());
        let length = length.ok_or_else(|| cut(&format!("a field of {claimed} bytes, {} are left", self.rest.len())))?;
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(bytes)
    }
}

fn cut(what: &str) -> ModelError {
    ModelError::truncated(format!("no whole ONNX file: it ends inside {what}"))
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self, field: &str) -> Result<&'a [u8], ModelError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(wrong(field)),
        }
    }

    pub(super) fn text(self, field: &str) -> Result<&'a str, ModelError> {
        std::str::from_utf8(self.bytes(field)?)
            .map_err(|_| ModelError::unreadable(format!("the field {field} is no UTF-8 text")))
    }

    /// Also for enums and booleans.
    pub(super) fn int(self, field: &str) -> Result<i64, ModelError> {
        match self {
            Value::Varint(value) => Ok(value.cast_signed()),
            _ => Err(wrong(field)),
        }
    }

    pub(super) fn float(self, field: &str) -> Result<f32, ModelError> {
        match self {
            Value::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err(wrong(field)),
        }
    }

    /// Appends a repeated integer, packed or not.
    pub(super) fn push_ints(self, field: &str, into: &mut Vec<i64>) -> Result<(), ModelError> {
        match self {
            Value::Varint(value) => into.push(value.cast_signed()),
            Value::Bytes(packed) => {
                let mut packed = Fields::new(packed);
                while !packed.rest.is_empty() {
                    into.push(packed.varint()?.cast_signed());
                }
            }
            _ => return Err(wrong(field)),
        }
        Ok(())
    }

    /// Appends a repeated float, packed or not.
    pub(super) fn push_floats(self, field: &str, into: &mut Vec<f32>) -> Result<(), ModelError> {
        match self {
            Value::Fixed32(bits) => into.push(f32::from_bits(bits)),
            Value::Bytes(packed) => {
                let (numbers, []) = packed.as_chunks() else { return Err(wrong(field)) };
                into.extend(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            _ => return Err(wrong(field)),
        }
        Ok(())
    }

    /// Appends a repeated double, packed or not.
    pub(super) fn push_doubles(self, field: &str, into: &mut Vec<f64>) -> Result<(), ModelError> {
        match self {
            Value::Fixed64(bits) => into.push(f64::from_bits(bits)),
            Value::Bytes(packed) => {
                let (numbers, []) = packed.as_chunks() else { return Err(wrong(field)) };
                into.extend(numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)));
            }
            _ => return Err(wrong(field)),
        }
        Ok(())
    }
}

fn wrong(field: &str) -> ModelError {
    ModelError::unreadable(format!("the field {field} has another type than in ONNX"))
}
