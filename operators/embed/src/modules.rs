//! What sentence-transformers puts around the network: pooling, normalisation, the longest text.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::files::{self, inside};
use crate::{EmbedError, ModelFiles, Prefixes};

const MODULES: &str = "modules.json";
const SENTENCES: &str = "sentence_bert_config.json";
const TOKENIZER: &str = "tokenizer_config.json";
const RUNS: &str = "this version runs Transformer, Pooling and Normalize, in this order";
/// transformers writes about 1e30 into `model_max_length` where it knows no limit.
const NO_LIMIT: f64 = 1e9;

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    Cls,
    /// The greatest number of each dimension.
    Max,
    /// Their sum by the root of their number.
    MeanSqrtLen,
}

/// What vectors are compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Similarity {
    /// The cosine of the angle, as sentence-transformers has it where the model does not say.
    #[default]
    Cosine,
    /// The inner product.
    Dot,
    /// The Euclidean distance.
    Euclidean,
}

#[derive(Debug, Default, Deserialize)]
struct Comparison {
    #[serde(default)]
    similarity_fn_name: Option<Similarity>,
}

impl Similarity {
    /// What the model's own file says.
    pub(crate) fn read(files: &dyn ModelFiles) -> Result<Self, EmbedError> {
        let said: Comparison = files::json(files, crate::prefixes::FILE)?.unwrap_or_default();
        Ok(said.similarity_fn_name.unwrap_or_default())
    }
}

/// The modules around the network.
#[derive(Clone, Debug)]
pub(crate) struct Modules {
    /// Folder of the network's files; empty for the model's own.
    pub folder: String,
    pub pooling: Pooling,
    /// The width that the pooling is configured for.
    pub dimension: Option<usize>,
    /// Name of the pooling's file.
    pub pooling_file: String,
    /// Whether a prefix is pooled with the text.
    pub include_prompt: bool,
    pub normalize: bool,
}

#[derive(Debug, Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Modules {
    /// A folder without modules is taken as sentence-transformers takes it: the mean, not normalised.
    pub(crate) fn read(files: &dyn ModelFiles) -> Result<Self, EmbedError> {
        let mut modules = Self {
            folder: String::new(),
            pooling: Pooling::Mean,
            dimension: None,
            pooling_file: MODULES.to_owned(),
            include_prompt: true,
            normalize: false,
        };
        let Some(list) = files::json::<Vec<Module>>(files, MODULES)? else { return Ok(modules) };
        let kinds: Vec<_> = list.iter().map(|module| module.kind.rsplit('.').next().unwrap_or_default()).collect();
        match kinds[..] {
            ["Transformer", "Pooling"] => {}
            ["Transformer", "Pooling", "Normalize"] => modules.normalize = true,
            _ => {
                let what = format!("the modules are {}", kinds.join(", ").escape_debug());
                return Err(EmbedError::unsupported(MODULES, what, RUNS));
            }
        }
        modules.folder.clone_from(&list[0].path);
        modules.pooling_file = inside(&list[1].path, "config.json");
        modules.read_pooling(files)?;
        Ok(modules)
    }

    fn read_pooling(&mut self, files: &dyn ModelFiles) -> Result<(), EmbedError> {
        let name = self.pooling_file.clone();
        let fields: Map<String, Value> = files::parse(&name, &files::required(files, &name)?)?;
        self.pooling = pooling(&name, &fields)?;
        self.include_prompt = fields.get("include_prompt").and_then(Value::as_bool).unwrap_or(true);
        let width = ["word_embedding_dimension", "embedding_dimension"].iter().find_map(|&key| fields.get(key));
        self.dimension = width.and_then(Value::as_u64).and_then(|width| usize::try_from(width).ok());
        Ok(())
    }
}

/// Older files have a switch for each mode, newer ones a name.
fn pooling(name: &str, fields: &Map<String, Value>) -> Result<Pooling, EmbedError> {
    let on = |(key, value): (&String, &Value)| {
        (value.as_bool() == Some(true)).then(|| key.strip_prefix("pooling_mode_")).flatten().map(str::to_owned)
    };
    let mut modes: Vec<String> = fields.iter().filter_map(on).collect();
    match fields.get("pooling_mode") {
        Some(Value::String(mode)) => modes.push(mode.clone()),
        Some(Value::Array(list)) => modes.extend(list.iter().filter_map(Value::as_str).map(str::to_owned)),
        _ => {}
    }
    match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["mean" | "mean_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::Cls),
        ["max" | "max_tokens"] => Ok(Pooling::Max),
        ["mean_sqrt_len_tokens"] => Ok(Pooling::MeanSqrtLen),
        _ => {
            let what = format!("\"pooling_mode\" is \"{}\"", modes.join(", ").escape_debug());
            Err(EmbedError::unsupported(name, what, "this version pools by exactly one of mean, cls, max"))
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Sentences {
    #[serde(default)]
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct TokenizerLimit {
    #[serde(default)]
    model_max_length: Option<f64>,
}

/// The most tokens of a text: the least of what the files and the network's positions allow.
pub(crate) fn max_tokens(files: &dyn ModelFiles, folder: &str, positions: usize) -> Result<usize, EmbedError> {
    let name = inside(folder, SENTENCES);
    let sentences: Sentences = files::json(files, &name)?.unwrap_or_default();
    if sentences.do_lower_case == Some(true) {
        let advice = "let the tokenizer's own normalizer do it, and set this to false";
        return Err(EmbedError::unsupported(&name, "\"do_lower_case\" is true", advice));
    }
    let tokenizer: TokenizerLimit = files::json(files, &inside(folder, TOKENIZER))?.unwrap_or_default();
    let tokenizer = tokenizer.model_max_length.filter(|limit| (1.0..NO_LIMIT).contains(limit));
    let limits = [sentences.max_seq_length, tokenizer.map(|limit| limit as usize)];
    Ok(limits.into_iter().flatten().fold(positions, usize::min))
}

impl Modules {
    /// The pooling must be made for the network.
    pub(crate) fn check(&self, config: &Config) -> Result<(), EmbedError> {
        match self.dimension {
            Some(width) if width != config.hidden => {
                let what = format!(
                    "\"word_embedding_dimension\" is {width}, the network's \"hidden_size\" is {}",
                    config.hidden
                );
                Err(EmbedError::unreadable(&self.pooling_file, what))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn check_prefixes(&self, prefixes: &Prefixes) -> Result<(), EmbedError> {
        if self.include_prompt || *prefixes == Prefixes::default() {
            return Ok(());
        }
        let what = "\"include_prompt\" is false: the model's vectors leave the prefix out";
        Err(EmbedError::unsupported(&self.pooling_file, what, "this version pools prefix and text together"))
    }
}
