//! Cuts: where a piece ends, and how much of it the next one repeats.

use std::ops::Range;

use super::bounds::{Bound, Strength, bounds};
use super::{ChunkError, Tokens};
use crate::Extracted;

/// Bytes of text per token of a piece, at most. No tokenizer spends so few tokens on words; one that makes a single
/// *unknown* of a megabyte, or nothing of white space, would otherwise make passages that nobody can read.
const MAX_TOKEN_BYTES: usize = 64;
/// The text is tokenized in parts of about this size: tokenizers keep many bytes per byte of their input.
const PART_BYTES: usize = 64 << 10;

/// A piece of the text, and where its tokens begin when it stands alone.
pub(super) struct Piece {
    pub(super) span: Range<usize>,
    starts: Vec<usize>,
}

impl Piece {
    /// The earliest byte with at most so many tokens from it on.
    fn last_tokens(&self, count: usize) -> usize {
        let mut starts = self.starts.clone();
        starts.sort_unstable();
        match starts.len().checked_sub(count + 1) {
            // Behind the token before them.
            Some(before) => (starts[before] + 1).min(self.span.end),
            None => self.span.start,
        }
    }
}

/// Cuts one text.
pub(super) struct Cutter<'a> {
    text: &'a str,
    tokens: &'a dyn Tokens,
    bounds: Vec<Bound>,
    /// Where tokens begin, ascending.
    starts: Vec<usize>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(document: &'a Extracted, tokens: &'a dyn Tokens) -> Result<Self, ChunkError> {
        let bounds = bounds(document);
        let mut cutter = Self { text: &document.text, tokens, bounds, starts: Vec::new() };
        cutter.starts = cutter.token_starts()?;
        Ok(cutter)
    }

    /// Where the tokens of the whole text begin; parts end at paragraphs where there are some.
    fn token_starts(&self) -> Result<Vec<usize>, ChunkError> {
        let (mut starts, mut from) = (Vec::with_capacity(self.text.len() / 4), 0);
        while from < self.text.len() {
            let reach = self.floor(from.saturating_add(PART_BYTES)).max(self.after(from));
            let to = if reach == self.text.len() { reach } else { self.best(from, reach) };
            starts.extend(self.spans(from..to)?.into_iter().map(|span| self.word(from, &span).min(to)));
            from = to;
        }
        // In order, whatever a tokenizer that reorders or normalises says.
        starts.sort_unstable();
        Ok(starts)
    }

    fn spans(&self, piece: Range<usize>) -> Result<Vec<Range<usize>>, ChunkError> {
        let at = piece.start;
        self.tokens.spans(&self.text[piece]).map_err(|what| ChunkError::Tokenizer { at, what })
    }

    /// Where the word of a token begins, in a piece that begins at `piece`: many tokenizers count a word's space to it.
    fn word(&self, piece: usize, span: &Range<usize>) -> usize {
        let start = self.floor(piece.saturating_add(span.start));
        let end = self.floor(piece.saturating_add(span.end.min(span.start.saturating_add(MAX_TOKEN_BYTES))));
        let token = self.text.get(start..end).unwrap_or_default();
        start + token.find(|char: char| !char.is_whitespace()).unwrap_or(0)
    }

    /// Whether a piece has no words.
    pub(super) fn is_blank(&self, piece: Range<usize>) -> bool {
        self.text[piece].trim().is_empty()
    }

    /// The best piece that begins at `start`, goes to `stop` at most and has at most `room` tokens.
    pub(super) fn piece(&self, start: usize, stop: usize, room: usize) -> Result<Piece, ChunkError> {
        let smallest = self.after(start);
        let mut reach = self.reach(start, stop, room);
        loop {
            let end = if reach == stop { stop } else { self.best(start, reach) };
            let spans = self.spans(start..end)?;
            let tokens = spans.len();
            if tokens <= room {
                return Ok(Piece {
                    span: start..end,
                    starts: spans.iter().map(|span| self.word(start, span)).collect(),
                });
            }
            if end == smallest {
                return Err(ChunkError::TooSmall { at: start, tokens, room });
            }
            // In proportion, and always by a part that counts: a few rounds whatever the tokenizer does.
            let shorter = ((end - start) * room / tokens).min((end - start) * 15 / 16);
            reach = self.floor(start + shorter).max(smallest);
        }
    }

    /// How far `room` tokens of the whole text reach, if at most to `stop`.
    fn reach(&self, start: usize, stop: usize, room: usize) -> usize {
        let first = self.starts.partition_point(|at| *at < start);
        let by_tokens = self.starts.get(first + room).copied().unwrap_or(stop);
        let by_bytes = start.saturating_add(room * MAX_TOKEN_BYTES);
        self.floor(by_tokens.min(by_bytes).min(stop)).max(self.after(start))
    }

    /// The strongest bound that leaves the piece well filled, the last of equals; without one, the reach itself.
    fn best(&self, start: usize, reach: usize) -> usize {
        let within = self.between(start, reach);
        let filled = |bound: &&Bound| bound.at - start >= least(bound.strength, reach - start);
        within.iter().filter(filled).max_by_key(|bound| bound.strength).map_or(reach, |bound| bound.at)
    }

    /// The bounds behind `start`, `reach` included.
    fn between(&self, start: usize, reach: usize) -> &[Bound] {
        let from = self.bounds.partition_point(|bound| bound.at <= start);
        let to = self.bounds.partition_point(|bound| bound.at <= reach);
        &self.bounds[from..to.max(from)]
    }

    /// Where the piece after this one begins: whole sentences of at most `overlap` of its tokens before its end, else
    /// whole lines, else words.
    pub(super) fn overlap(&self, piece: &Piece, overlap: usize) -> usize {
        let earliest = piece.last_tokens(overlap).max(piece.span.start + 1);
        let bounds = self.between(earliest - 1, piece.span.end - 1);
        let first = |least: Strength| bounds.iter().find(|bound| bound.strength >= least);
        let bound = first(Strength::Sentence).or_else(|| first(Strength::Line)).or_else(|| first(Strength::Word));
        bound.map_or(piece.span.end, |bound| bound.at)
    }

    /// The greatest character boundary up to a byte.
    fn floor(&self, byte: usize) -> usize {
        self.text.floor_char_boundary(byte)
    }

    /// Behind the character that begins at a byte.
    fn after(&self, byte: usize) -> usize {
        self.text.ceil_char_boundary((byte + 1).min(self.text.len()))
    }
}

/// How much of its reach a piece must fill to end at a bound: better a short section than two halves of different ones,
/// but no crumbs.
fn least(strength: Strength, reach: usize) -> usize {
    match strength {
        Strength::Section => reach / 4,
        Strength::Paragraph | Strength::Sentence | Strength::Line => reach / 2,
        Strength::Word => reach / 8,
    }
}
