//! Small files that ask for much: a stream that unpacks to gigabytes, and ten thousand pages. Each is read in a child process
//! with the memory that a service gives it.

use std::time::Duration;

use super::pdfs::{objects, pdf, pdfium, reader, with_reader, words};
use crate::pdf::ChildReader;

/// What the stream unpacks to, again and again: text to be shown.
const UNIT: &[u8] = b"(x) Tj ";
/// The longest copy that deflate has.
const COPY: usize = 258;
const UNPACKED: u64 = 4 << 30;

/// A zlib stream under construction: one block, with the codes that deflate gives by itself (RFC 1951, 3.2.6).
struct Deflated {
    bytes: Vec<u8>,
    held: u64,
    bits: u32,
}

impl Deflated {
    fn new() -> Self {
        let mut stream = Self { bytes: vec![0x78, 0x01], held: 0, bits: 0 };
        stream.put(0b011, 3);
        stream
    }

    /// So many bits, the lowest first.
    fn put(&mut self, value: u64, bits: u32) {
        self.held |= value << self.bits;
        self.bits += bits;
        while self.bits >= 8 {
            self.bytes.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.bits -= 8;
        }
    }

    /// A code: its highest bit comes first.
    fn code(&mut self, code: u32, bits: u32) {
        self.put(u64::from(code.reverse_bits() >> (32 - bits)), bits);
    }

    fn literal(&mut self, byte: u8) {
        match byte {
            0..144 => self.code(0x30 + u32::from(byte), 8),
            144.. => self.code(0x190 + u32::from(byte - 144), 9),
        }
    }

    /// A copy of what lies seven bytes before: length 258, then the distances 7 and 8, of which it is the first.
    fn copy(&mut self) {
        self.code(0b1100_0101, 8);
        self.code(5, 5);
        self.put(0, 1);
    }

    /// The end, with a checksum.
    fn end(mut self, sum: u32) -> Vec<u8> {
        self.put(0, 7);
        self.put(0, (8 - self.bits) % 8);
        self.bytes.extend(sum.to_be_bytes());
        self.bytes
    }
}

/// Adler's checksum, as zlib has it.
fn adler(bytes: &[u8]) -> u32 {
    let next = |(a, b): (u32, u32), byte: &u8| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    };
    let (a, b) = bytes.iter().fold((1, 0), next);
    b << 16 | a
}

/// The unit again and again; nobody comes so far that a wrong checksum would show.
fn unit_again_and_again() -> Vec<u8> {
    let mut stream = Deflated::new();
    UNIT.iter().for_each(|&byte| stream.literal(byte));
    (0..UNPACKED / COPY as u64).for_each(|_| stream.copy());
    stream.end(0)
}

/// Bytes that repeat after seven of them for the most part: four copies are as many bits.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let (mut stream, mut at) = (Deflated::new(), 0);
    while at < bytes.len() {
        let before = at.checked_sub(UNIT.len());
        if before.is_some_and(|before| bytes.get(at..at + COPY) == bytes.get(before..before + COPY)) {
            stream.copy();
            at += COPY;
        } else {
            stream.literal(bytes[at]);
            at += 1;
        }
    }
    stream.end(adler(bytes))
}

/// A page whose content is packed twice.
fn bomb() -> Vec<u8> {
    let content = packed(&unit_again_and_again());
    let mut objects: Vec<Vec<u8>> = objects(&[""], "null").into_iter().map(String::into_bytes).collect();
    let head = format!("<< /Length {} /Filter [/FlateDecode /FlateDecode] >>\nstream\n", content.len());
    objects[5] = [head.as_bytes(), &content, b"\nendstream"].concat();
    pdf(&objects, "")
}

fn many_pages(count: usize) -> Vec<u8> {
    let pages: Vec<String> = (1..=count).map(|number| words(&format!("This is page {number}"))).collect();
    pdf(&objects(&pages, "null"), "")
}

/// The readers that are there.
fn readers() -> Vec<ChildReader> {
    let tests = [Some("tests::pdfs::child"), pdfium().map(|_| "tests::pdfs::child_with_pdfium")];
    let limited = |test| ChildReader { memory: 1 << 30, time: Duration::from_secs(30), ..reader(test) };
    tests.into_iter().flatten().map(limited).collect()
}

#[test]
fn a_stream_that_unpacks_to_gigabytes_costs_no_more_than_the_reader_may_have() {
    let bomb = bomb();
    assert!(bomb.len() < 300_000, "{} bytes", bomb.len());
    for reader in readers() {
        let refused = with_reader(&bomb, &reader).unwrap_err();
        assert!(["too-large", "broken"].contains(&refused.reason()), "{reader:?}: {refused}");
        assert!(refused.to_string().contains("1024 MiB"), "{reader:?}: {refused}");
    }
}

#[test]
fn ten_thousand_pages_are_refused_and_a_thousand_are_read() {
    let (many, some) = (many_pages(10_000), many_pages(1000));
    for reader in readers() {
        let refused = with_reader(&many, &reader).unwrap_err();
        assert_eq!(refused.reason(), "too-large");
        assert!(refused.to_string().contains("10000") && refused.to_string().contains("5000"), "{refused}");
        let read = with_reader(&some, &reader).expect("pages");
        let last = read.text.find("This is page 1000").expect("the last page");
        assert_eq!((read.sections.len(), read.place(last).page), (1000, Some(1000)));
    }
}
