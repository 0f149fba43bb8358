//! How large pieces are.

use super::Tokens;

/// The sizes of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkOptions {
    /// Tokens of a child, overhead included; the model's own limit where that is less.
    pub child_tokens: usize,
    /// Tokens that a child repeats of the one before, at most.
    pub child_overlap: usize,
    /// Tokens of a parent, at most, without any overhead.
    pub parent_tokens: usize,
}

impl Default for ChunkOptions {
    /// The retriever of INFN's AI Playground: 256 with 32 repeated, under parents of 500.
    fn default() -> Self {
        Self { child_tokens: 256, child_overlap: 32, parent_tokens: 500 }
    }
}

/// Why a document is not cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A size makes no sense.
    #[error("{field} = {value}: {advice}")]
    Option {
        /// The setting's name.
        field: &'static str,
        /// What it is.
        value: usize,
        /// What it should be.
        advice: String,
    },
    /// The tokenizer failed.
    #[error("the tokenizer fails at byte {at} of the text: {what}; check the model's tokenizer.json")]
    Tokenizer {
        /// Where the piece began.
        at: usize,
        /// What it says.
        what: String,
    },
    /// One character makes more tokens than a piece may have.
    #[error(
        "the character at byte {at} makes {tokens} tokens where {room} are left: raise child_tokens and parent_tokens"
    )]
    TooSmall {
        /// Where.
        at: usize,
        /// What it takes.
        tokens: usize,
        /// What there is.
        room: usize,
    },
}

/// Below this, children are no passages but words.
const MIN_TOKENS: usize = 8;
/// Far above any model's limit; keeps products of sizes small.
const MAX_TOKENS: usize = 1 << 16;

impl ChunkOptions {
    /// Refuses sizes that make no sense.
    pub fn check(&self) -> Result<(), ChunkError> {
        within("child_tokens", self.child_tokens, MIN_TOKENS, MAX_TOKENS)?;
        within("parent_tokens", self.parent_tokens, MIN_TOKENS, MAX_TOKENS)?;
        if self.parent_tokens < self.child_tokens {
            let advice = format!("write at least child_tokens, which is {}", self.child_tokens);
            return Err(ChunkError::Option { field: "parent_tokens", value: self.parent_tokens, advice });
        }
        within("child_overlap", self.child_overlap, 0, self.child_tokens / 2)
    }

    /// Tokens of text in a child.
    pub(super) fn room(&self, tokens: &dyn Tokens) -> Result<usize, ChunkError> {
        self.check()?;
        let (overhead, limit) = (tokens.overhead(), tokens.limit());
        let room = self.child_tokens.min(limit).saturating_sub(overhead);
        if room == 0 {
            let advice =
                format!("the model takes {limit} tokens and adds {overhead} of its own: nothing is left for text");
            return Err(ChunkError::Option { field: "child_tokens", value: self.child_tokens, advice });
        }
        Ok(room)
    }
}

fn within(field: &'static str, value: usize, from: usize, to: usize) -> Result<(), ChunkError> {
    match (from..=to).contains(&value) {
        true => Ok(()),
        false => Err(ChunkError::Option { field, value, advice: format!("write {from} to {to}") }),
    }
}
