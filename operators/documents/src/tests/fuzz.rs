//! Odd input: random, cut, flipped and spliced. Never a panic, never much more text than there were bytes.

use super::chunks::check;
use super::{extract, pdfs};
use crate::{ChunkOptions, Extracted, Limits, PdfReader};

const PAGE: &str = "<!DOCTYPE html><html><head><title>T &amp; t</title><script>a<b</script></head><body><nav>n</nav>\
    <h1>One</h1><p>Some &eacute; <b>text</b>.</p><ul><li>a<li>b</ul><table><tr><th>x</th><td>1</td></tr></table>\
    <pre>\n a\n  b</pre><!-- c --><svg/><h2 class='x'>Two</h2><img alt=\"p\" src=q><p>End.</body></html>";
const NOTES: &str = "---\ntitle: T\n---\n# One\n\nSome *text* and `code`, [a](b) $x_1$ ![i](j).\n\n- a\n- b\n  1. c\n\n\
    | a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n\n> q [^n]\n\n<p>html</p>\n\n## Two\n\nEnd.\n\n[^n]: note\n";
/// What parsers look at: pieces of it come out of place.
const TOKENS: [&str; 24] = [
    "<",
    ">",
    "</",
    "<!--",
    "-->",
    "<!DOCTYPE",
    "&#x110000;",
    "&amp",
    "<pre>",
    "</pre>",
    "<h1>",
    "</h6>",
    "<title>",
    "\0",
    "\u{c}",
    "\r\n\r\n",
    "```",
    "---\n",
    "| ",
    "[^n]: ",
    "$$",
    "- ",
    "999999999. ",
    "\u{feff}",
];

/// xorshift64*: the same cases each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).expect("31 bits") % bound.max(1)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let (length, alphabet) = (self.below(300), [256, 128, 40][self.below(3)]);
        (0..length).map(|_| u8::try_from(self.below(alphabet)).expect("a byte")).collect()
    }

    /// The bytes changed in a few places.
    fn mutated(&mut self, base: &[u8]) -> Vec<u8> {
        let mut bytes = base.to_vec();
        for _ in 0..=self.below(6) {
            let (from, to) = (self.below(bytes.len()), self.below(bytes.len()));
            let (from, to) = (from.min(to), from.max(to));
            match self.below(5) {
                0 => bytes.truncate(to),
                1 if !bytes.is_empty() => bytes[from] ^= 1 << self.below(8),
                2 => drop(bytes.drain(from..to)),
                3 => {
                    let piece = bytes[from..to].to_vec();
                    bytes.splice(from..from, piece.repeat(self.below(4)));
                }
                _ => drop(bytes.splice(from..from, TOKENS[self.below(TOKENS.len())].bytes())),
            }
        }
        bytes
    }
}

/// What holds for any extracted text.
fn assert_sound(bytes: &[u8], document: &Extracted, case: usize) {
    assert!(document.text.len() <= 16 * bytes.len() + 64, "case {case}");
    assert!(!document.text.chars().any(|char| char.is_control() && !"\t\r\n".contains(char)), "case {case}");
    assert!(document.sections.is_sorted_by_key(|section| section.start), "case {case}");
    for section in &document.sections {
        assert!(document.text.is_char_boundary(section.start), "case {case}");
        assert_eq!(document.place(section.start).heading.is_some(), section.heading.is_some(), "case {case}");
    }
}

fn run(cases: usize) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let options = ChunkOptions { child_tokens: 24, child_overlap: 6, parent_tokens: 50 };
    for case in 0..cases {
        let bytes = match case % 5 {
            0 => random.bytes(),
            1 | 2 => random.mutated(PAGE.as_bytes()),
            _ => random.mutated(NOTES.as_bytes()),
        };
        for name in ["a.html", "a.md", "a.txt", "a"] {
            let Ok(document) = extract(&bytes, name) else { continue };
            assert_sound(&bytes, &document, case);
            if case % 16 == 0 {
                check(&document, &super::tokenizers::Wordish, &options);
            }
        }
    }
}

/// How many cases: the short number, the promised one in the long form (LUNAPARK_TEST_LONG=1), or what LUNAPARK_FUZZ_CASES
/// says.
pub(super) fn cases(short: usize, long: usize) -> usize {
    let given = std::env::var("LUNAPARK_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    let usual = if std::env::var_os("LUNAPARK_TEST_LONG").is_some() { long } else { short };
    given.unwrap_or(usual)
}

#[test]
fn odd_input_does_no_harm() {
    run(cases(10_000, 1_000_000));
}

/// Each in a child of its own: it may die, but with a reason.
fn run_pdfs(cases: usize) {
    let (mut random, paper) = (Random(0x1234_5678_9ABC_DEF1), pdfs::paper());
    let reader = pdfs::reader("tests::pdfs::child");
    for case in 0..cases {
        if let Err(error) = reader.read(&random.mutated(&paper), &Limits::default()) {
            let known = ["encrypted", "empty", "scanned", "broken", "too-large"];
            assert!(known.contains(&error.reason()), "case {case}: {error}");
        }
    }
}

#[test]
fn odd_pdfs_do_no_harm() {
    run_pdfs(cases(60, 10_000));
}
