//! Tokenizers that chunks are tried with.

use std::ops::Range;

use crate::Tokens;

/// Four letters of a word, a digit or a sign each make a token.
pub(super) struct Wordish;

impl Tokens for Wordish {
    fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        let (mut spans, mut letters) = (Vec::<Range<usize>>::new(), 0);
        for (at, char) in text.char_indices() {
            let end = at + char.len_utf8();
            match spans.last_mut() {
                Some(last) if char.is_alphabetic() && letters % 4 != 0 && last.end == at => last.end = end,
                _ if char.is_whitespace() => {}
                _ => spans.push(at..end),
            }
            letters = if char.is_alphabetic() { letters + 1 } else { 0 };
        }
        Ok(spans)
    }
    fn overhead(&self) -> usize {
        2
    }
    fn limit(&self) -> usize {
        512
    }
}

/// Counts a text anew in other ways than before: tokens depend on the length of the text, come out of order, overlap,
/// reach out of it, and white space makes some.
pub(super) struct Nasty;

impl Tokens for Nasty {
    fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        let step = 1 + text.len() % 5;
        let mut spans: Vec<_> = (0..text.len()).step_by(step).map(|at| at..at + 7).collect();
        spans.reverse();
        Ok(spans)
    }
    fn overhead(&self) -> usize {
        3
    }
    fn limit(&self) -> usize {
        60
    }
}

/// A word is one token, however long; and nothing else is any.
pub(super) struct Unknowns;

impl Tokens for Unknowns {
    fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        Ok(text
            .split_whitespace()
            .map(|word| word.as_ptr() as usize - text.as_ptr() as usize)
            .map(|at| at..at + 1)
            .collect())
    }
    fn overhead(&self) -> usize {
        0
    }
    fn limit(&self) -> usize {
        128
    }
}

/// Has no vocabulary.
pub(super) struct Failing;
impl Tokens for Failing {
    fn spans(&self, _: &str) -> Result<Vec<Range<usize>>, String> {
        Err("no vocabulary".to_owned())
    }
    fn overhead(&self) -> usize {
        0
    }
    fn limit(&self) -> usize {
        512
    }
}

/// Spends 600 tokens on each character.
pub(super) struct Spending;
impl Tokens for Spending {
    fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        Ok(text.char_indices().flat_map(|(at, _)| std::iter::repeat_n(at..at + 1, 600)).collect())
    }
    fn overhead(&self) -> usize {
        0
    }
    fn limit(&self) -> usize {
        512
    }
}

/// A word with the space before it is a token, as with SentencePiece.
pub(super) struct Spaced;

impl Tokens for Spaced {
    fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        let words = Unknowns.spans(text)?;
        Ok(words.into_iter().map(|word| word.start.saturating_sub(1)..word.end).collect())
    }
    fn overhead(&self) -> usize {
        2
    }
    fn limit(&self) -> usize {
        514
    }
}
