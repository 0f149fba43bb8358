//! Thrift's compact protocol, walked over without keeping anything: what Parquet's headers claim is held against the
//! bytes that are there.

/// Structures within structures: Parquet's own nest a handful deep.
const MAX_DEPTH: u32 = 32;
/// Entries of a list: a table has thousands of columns and row groups at most, and each takes memory when it is read.
const MAX_ENTRIES: u64 = 1 << 20;

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

const CUT: &str = "it is cut off";

/// A walk over bytes.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What comes after what was walked over.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Walks over a structure; `see` gets the numbers and values of its own whole numbers.
    pub(super) fn structure(&mut self, mut see: impl FnMut(i64, i64)) -> Result<(), &'static str> {
        self.fields(0, &mut see)
    }

    fn fields(&mut self, depth: u32, see: &mut dyn FnMut(i64, i64)) -> Result<(), &'static str> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply");
        }
        let mut number = 0_i64;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if head == 0 {
                return Ok(());
            }
            number = match head >> 4 {
                0 => self.whole()?,
                step => number.saturating_add(step.into()),
            };
            match kind {
                TRUE | FALSE => {}
                I16 | I32 | I64 => see(number, self.whole()?),
                _ => self.value(kind, depth)?,
            }
        }
    }

    /// A value as it stands in a list, or in a field that is no number.
    fn value(&mut self, kind: u8, depth: u32) -> Result<(), &'static str> {
        match kind {
            TRUE | FALSE | BYTE => self.skip(1),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.skip(8),
            UUID => self.skip(16),
            BINARY => {
                let length = self.varint()?;
                self.skip(length)
            }
            LIST | SET => self.list(depth),
            MAP => self.map(depth),
            STRUCT => self.fields(depth + 1, &mut |_, _| {}),
            _ => Err("it has a value of no known kind"),
        }
    }

    fn list(&mut self, depth: u32) -> Result<(), &'static str> {
        let head = self.byte()?;
        let entries = match head >> 4 {
            15 => self.varint()?,
            few => few.into(),
        };
        self.entries(entries, &[head & 0x0f], depth)
    }

    fn map(&mut self, depth: u32) -> Result<(), &'static str> {
        match self.varint()? {
            0 => Ok(()),
            entries => {
                let kinds = self.byte()?;
                self.entries(entries, &[kinds >> 4, kinds & 0x0f], depth)
            }
        }
    }

    /// Each entry takes a byte at least, so there are no more of them than bytes.
    fn entries(&mut self, entries: u64, kinds: &[u8], depth: u32) -> Result<(), &'static str> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply");
        }
        if entries > MAX_ENTRIES || entries > self.bytes.len() as u64 {
            return Err("a list claims more than there is");
        }
        (0..entries).try_for_each(|_| kinds.iter().try_for_each(|&kind| self.value(kind, depth + 1)))
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.bytes.split_first().ok_or(CUT)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn skip(&mut self, count: u64) -> Result<(), &'static str> {
        let count = usize::try_from(count).map_err(|_| CUT)?;
        self.bytes = self.bytes.get(count..).ok_or(CUT)?;
        Ok(())
    }

    /// A number without a sign, seven bits a byte.
    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number has too many bytes")
    }

    /// A number with a sign in its last bit.
    fn whole(&mut self) -> Result<i64, &'static str> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_seen_and_claims_are_held_against_the_bytes() {
        // Field 2: 300; field 3: -1; field 8: a list of two bytes; the end; one byte more.
        let mut thrift = Thrift::new(&[0x25, 0xd8, 0x04, 0x15, 0x01, 0x59, 0x23, 7, 8, 0, 42]);
        let mut seen = Vec::new();
        thrift.structure(|field, value| seen.push((field, value))).unwrap();
        assert_eq!((seen, thrift.rest()), (vec![(2, 300), (3, -1)], &[42][..]));
        for (bytes, what) in [
            (&[][..], CUT),
            (&[0x15][..], CUT),
            (&[0x18, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], CUT),
            (&[0x19, 0xf3, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], "a list claims more than there is"),
            (&[0x1e], "it has a value of no known kind"),
            (&[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a number has too many bytes"),
        ] {
            assert_eq!(Thrift::new(bytes).structure(|_, _| {}), Err(what), "{bytes:?}");
        }
        for deep in [[0x1c; 1000], [0x19; 1000]] {
            assert_eq!(Thrift::new(&deep).structure(|_, _| {}), Err("it is nested too deeply"));
        }
    }
}
