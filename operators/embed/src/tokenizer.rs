//! Texts become tokens, with the model's own tokenizer.

use std::ops::Range;

use tokenizers::Tokenizer;

use crate::{EmbedError, Prefixes, Role};

/// Shown to the tokenizer once, to see what it puts around a text.
const PROBE: &str = "a";

/// The model's tokenizer: counts, spans, and the numbers that the network takes.
#[derive(Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
    prefixes: Prefixes,
    /// Special tokens before a text, and behind it.
    before: Vec<u32>,
    behind: Vec<u32>,
    /// Special tokens and prefix of a query, and of a passage.
    overheads: [usize; 2],
}

/// A text's tokens, as the network takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub ids: Vec<u32>,
    pub truncated: bool,
}

impl TextTokenizer {
    /// Padding and truncation that the file sets are switched off: what is cut is decided and told here.
    pub(crate) fn parse(name: &str, bytes: &[u8], prefixes: Prefixes) -> Result<Self, EmbedError> {
        let wrong = |error: tokenizers::Error| EmbedError::unreadable(name, format!("no tokenizer: {error}"));
        let mut inner = Tokenizer::from_bytes(bytes).map_err(wrong)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(wrong)?;
        let mut tokenizer = Self { inner, prefixes, before: vec![], behind: vec![], overheads: [0; 2] };
        tokenizer.find_special_tokens(name)?;
        for (overhead, role) in [(0, Role::Query), (1, Role::Passage)] {
            let prefix = tokenizer.prefixes.of(role).to_owned();
            tokenizer.overheads[overhead] = tokenizer.special() + tokenizer.ids(&prefix)?.len();
        }
        Ok(tokenizer)
    }

    fn find_special_tokens(&mut self, name: &str) -> Result<(), EmbedError> {
        let bare = self.ids(PROBE)?;
        let whole = self.inner.encode_fast(PROBE, true).map_err(refused)?;
        let at = whole.get_ids().windows(bare.len().max(1)).position(|window| window == bare);
        let (Some(at), true) = (at, whole.get_type_ids().iter().all(|&id| id == 0)) else {
            let what = "\"post_processor\" changes the tokens of a text";
            return Err(EmbedError::unsupported(
                name,
                what,
                "this version takes special tokens around a text, of type 0",
            ));
        };
        self.before = whole.get_ids()[..at].to_vec();
        self.behind = whole.get_ids()[at + bare.len()..].to_vec();
        Ok(())
    }

    fn special(&self) -> usize {
        self.before.len() + self.behind.len()
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>, EmbedError> {
        Ok(self.inner.encode_fast(text, false).map_err(refused)?.get_ids().to_vec())
    }

    fn prefixed_ids(&self, text: &str, role: Role) -> Result<Vec<u32>, EmbedError> {
        match self.prefixes.of(role) {
            "" => self.ids(text),
            prefix => self.ids(&format!("{prefix}{text}")),
        }
    }

    /// The network's input of at most so many tokens.
    pub(crate) fn tokens(&self, text: &str, role: Role, most: usize) -> Result<Tokens, EmbedError> {
        let own = self.prefixed_ids(text, role)?;
        let kept = own.len().min(most.saturating_sub(self.special()));
        let ids = [&self.before[..], &own[..kept], &self.behind[..]].concat();
        Ok(Tokens { ids, truncated: kept < own.len() })
    }

    /// Tokens of a text, special tokens and prefix included.
    pub fn count(&self, text: &str, role: Role) -> Result<usize, EmbedError> {
        Ok(self.prefixed_ids(text, role)?.len() + self.special())
    }

    /// The bytes of every token of the bare text, ascending, without special tokens.
    ///
    /// Bounds lie between characters: where tokens share a character, each has the whole of it.
    pub fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, EmbedError> {
        let encoding = self.inner.encode(text, false).map_err(refused)?;
        let mut last = 0..0;
        let span = |&(start, end): &(usize, usize)| {
            let start = text.floor_char_boundary(start).max(last.start);
            let end = text.ceil_char_boundary(end.min(text.len())).max(last.end).max(start);
            last = start..end;
            start..end
        };
        Ok(encoding.get_offsets().iter().map(span).collect())
    }

    /// Tokens that a text costs besides its own: special tokens and prefix.
    pub fn overhead(&self, role: Role) -> usize {
        match role {
            Role::Query => self.overheads[0],
            Role::Passage => self.overheads[1],
        }
    }

    /// The greatest number that a token can have.
    pub(crate) fn greatest_id(&self) -> u32 {
        self.inner
            .get_vocab(true)
            .into_values()
            .chain(self.before.iter().chain(&self.behind).copied())
            .max()
            .unwrap_or(0)
    }
}

fn refused(error: tokenizers::Error) -> EmbedError {
    EmbedError::text(format!("the tokenizer refuses it: {error}"))
}
