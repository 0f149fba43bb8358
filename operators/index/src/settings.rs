//! What a collection is made with: fixed by its first manifest, carried by every other one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::IndexError;

/// A vector with more numbers than this is refused: no embedding model of ours comes near it.
pub const MAX_DIMENSION: u32 = 65_536;

/// How near two vectors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The inner product; more is nearer.
    #[default]
    InnerProduct,
    /// The cosine of the angle; more is nearer.
    Cosine,
    /// The square of the Euclidean distance, as FAISS gives it; less is nearer.
    L2,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::InnerProduct => "inner product",
            Metric::Cosine => "cosine",
            Metric::L2 => "L2",
        })
    }
}

/// How texts were cut, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunking {
    /// Of a child, special tokens and prefix included.
    pub child_tokens: u32,
    /// That a child shares with the next.
    pub child_overlap: u32,
    /// Of a parent, at most.
    pub parent_tokens: u32,
}

/// The constants of BM25. Collections of earlier versions have an `epsilon` beside them, which is not read any more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bm25 {
    /// How soon a repeated word counts no more.
    pub k1: f64,
    /// How much a long passage is held against it.
    pub b: f64,
}

impl Default for Bm25 {
    /// Those of `rank_bm25`'s BM25Okapi.
    fn default() -> Self {
        Self { k1: 1.5, b: 0.75 }
    }
}

/// What a collection is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the embedding model, for people.
    pub model: String,
    /// Digest of the embedding model.
    pub model_digest: String,
    /// Numbers of a vector.
    pub dimension: u32,
    /// In what the model computed, for people.
    pub precision: String,
    /// How texts were cut.
    pub chunking: Chunking,
    /// How near two vectors are.
    pub metric: Metric,
    /// The constants of BM25.
    pub bm25: Bm25,
    /// By which rule of its maker a passage's vector was made of its text and title; the first one where nothing is said.
    #[serde(default = "first_rule", skip_serializing_if = "is_first_rule")]
    pub passage_rule: u32,
}

/// What was written before rules had numbers.
pub(crate) fn first_rule() -> u32 {
    1
}

/// Written as it was then.
pub(crate) fn is_first_rule(rule: &u32) -> bool {
    *rule == first_rule()
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        let refused = |why: &str| Err(IndexError::refused("settings", why));
        let Bm25 { k1, b } = self.bm25;
        if !(1..=MAX_DIMENSION).contains(&self.dimension) {
            return refused("`dimension` must be 1 to 65536");
        }
        if !(k1.is_finite() && k1 >= 0.0 && (0.0..=1.0).contains(&b)) {
            return refused("`bm25` needs k1 ≥ 0, and b from 0 to 1");
        }
        Ok(())
    }

    /// Refuses vectors that cannot be compared with those of the collection. How texts are cut, the name of the model, its
    /// precision and the constants of BM25 are the collection's own, whatever is given.
    pub fn accept(&self, collection: &str, given: &Settings) -> Result<(), IndexError> {
        let fields = [
            ("the model digest", self.model_digest.clone(), given.model_digest.clone()),
            ("the dimension", self.dimension.to_string(), given.dimension.to_string()),
            ("the metric", self.metric.to_string(), given.metric.to_string()),
        ];
        match fields.into_iter().find(|(_, has, given)| has != given) {
            None => Ok(()),
            Some((field, has, given)) => {
                Err(IndexError::OtherSettings { collection: collection.to_owned(), field, has, given })
            }
        }
    }

    /// True where documents that are made with these settings are those of a collection that has the others.
    pub(crate) fn makes_the_same(&self, given: &Settings) -> bool {
        let of = |settings: &Settings| {
            let Settings { model_digest, dimension, precision, chunking, metric, passage_rule, .. } = settings;
            (model_digest.clone(), *dimension, precision.clone(), *chunking, *metric, *passage_rule)
        };
        of(self) == of(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_earlier_versions_are_read() {
        let read: Bm25 = serde_json::from_str(r#"{"k1":1.5,"b":0.75,"epsilon":0.25}"#).unwrap();
        assert_eq!(read, Bm25::default());
    }
}
