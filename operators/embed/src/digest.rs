//! One number for everything that decides a vector, so that vectors of different models are never mixed.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::weights::WeightFiles;
use crate::{Pooling, Prefixes};

/// All that decides a vector besides the tokenizer and the weights.
#[derive(Serialize)]
pub(crate) struct Settings<'a> {
    pub config: &'a Config,
    pub pooling: Pooling,
    pub normalize: bool,
    pub max_tokens: usize,
    pub prefixes: &'a Prefixes,
}

impl Settings<'_> {
    /// Each part with its length before it, so that no two sets of parts are the same bytes.
    pub(crate) fn digest(&self, tokenizer: &[u8], weights: &WeightFiles) -> String {
        let settings = serde_json::json!(self).to_string();
        let parts = [settings.as_bytes(), tokenizer].into_iter().chain(weights.0.iter().map(|(_, bytes)| &bytes[..]));
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
