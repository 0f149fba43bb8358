//! What is put before a query or a passage, because the model was trained so.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::{EmbedError, ModelFiles, files};

pub(crate) const FILE: &str = "config_sentence_transformers.json";
/// The task that the authors of the e5-instruct models give for retrieval.
const RETRIEVAL: &str = "Given a web search query, retrieve relevant passages that answer the query";
/// Names under which models keep the prefix of what is searched, as sentence-transformers looks for them.
const PASSAGES: [&str; 3] = ["document", "passage", "corpus"];

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It asks.
    Query,
    /// It is searched.
    Passage,
}

/// What is put before each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prefixes {
    /// Before a query.
    pub query: String,
    /// Before a passage.
    pub passage: String,
}

#[derive(Debug, Default, Deserialize)]
struct Prompts {
    #[serde(default)]
    prompts: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    default_prompt_name: Option<String>,
}

impl Prefixes {
    /// The prefix of a role.
    pub fn of(&self, role: Role) -> &str {
        match role {
            Role::Query => &self.query,
            Role::Passage => &self.passage,
        }
    }

    /// Those that the model's own file gives; else those of the e5 models, known by one of the names.
    pub(crate) fn read(files: &dyn ModelFiles, names: &[&str]) -> Result<Self, EmbedError> {
        let prompts: Prompts = files::json(files, FILE)?.unwrap_or_default();
        let own = prompts.prefixes()?;
        if own != Self::default() {
            return Ok(own);
        }
        Ok(names.iter().find_map(|name| Self::of_e5(name)).unwrap_or_default())
    }

    /// The last part of the name decides: an organisation may be called e5, too.
    fn of_e5(name: &str) -> Option<Self> {
        let name = name.trim_end_matches('/').rsplit('/').next()?.to_lowercase();
        let mut words = name.split(['-', '_', '.', '@']);
        if !words.any(|word| word == "e5") {
            return None;
        }
        Some(match name.contains("instruct") {
            true => Self { query: format!("Instruct: {RETRIEVAL}\nQuery: "), passage: String::new() },
            false => Self { query: "query: ".to_owned(), passage: "passage: ".to_owned() },
        })
    }
}

impl Prompts {
    fn prefixes(&self) -> Result<Prefixes, EmbedError> {
        let of = |name: &str| self.prompts.as_ref()?.get(name)?.clone();
        let default = match self.default_prompt_name.as_deref() {
            None => None,
            Some(name) => Some(of(name).ok_or_else(|| {
                let what = format!("\"default_prompt_name\" is \"{}\", \"prompts\" lacks it", name.escape_debug());
                EmbedError::unreadable(FILE, what)
            })?),
        };
        Ok(Prefixes {
            query: of("query").or_else(|| default.clone()).unwrap_or_default(),
            passage: PASSAGES.iter().find_map(|name| of(name)).or(default).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn read(json: &str, names: &[&str]) -> Result<Prefixes, EmbedError> {
        let mut files = HashMap::new();
        if !json.is_empty() {
            files.insert(FILE.to_owned(), json.as_bytes().to_vec());
        }
        Prefixes::read(&files, names)
    }

    fn both(query: &str, passage: &str) -> Prefixes {
        Prefixes { query: query.to_owned(), passage: passage.to_owned() }
    }

    #[test]
    fn the_models_own_prompts_count_first() {
        let json = r#"{"prompts": {"query": "Q: ", "document": "D: "}}"#;
        assert_eq!(read(json, &["intfloat/e5-base"]).unwrap(), both("Q: ", "D: "));
        let json = r#"{"prompts": {"query": "Q: ", "other": "O: "}, "default_prompt_name": "other"}"#;
        assert_eq!(read(json, &[]).unwrap(), both("Q: ", "O: "));
        assert_eq!(read(r#"{"prompts": {"query": "", "document": ""}}"#, &[]).unwrap(), Prefixes::default());
    }

    #[test]
    fn e5_models_are_known_by_name() {
        let plain = both("query: ", "passage: ");
        assert_eq!(read("", &["intfloat/multilingual-e5-base"]).unwrap(), plain);
        assert_eq!(read("", &["somewhere", "hf://intfloat/e5-small-v2/"]).unwrap(), plain);
        let instruct = read("", &["intfloat/multilingual-e5-large-instruct"]).unwrap();
        assert!(instruct.query.starts_with("Instruct: ") && instruct.query.ends_with("\nQuery: "));
        assert_eq!(instruct.passage, "");
        assert_eq!(read("", &["e5/minilm", "line5-base"]).unwrap(), Prefixes::default());
    }

    #[test]
    fn a_default_prompt_that_is_not_there_is_named() {
        let error = read(r#"{"prompts": {}, "default_prompt_name": "sts"}"#, &[]).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("\"sts\""), "{error}");
    }
}
