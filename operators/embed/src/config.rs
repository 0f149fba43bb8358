//! What `config.json` says of the network, checked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kernel::Map;
use crate::{EmbedError, files};

/// The padding token of the RoBERTa family where nothing else is said; MPNet's is fixed.
const PADDING: u32 = 1;
/// Distances beyond this share MPNet's last bucket; no published configuration can change it.
pub(crate) const MAX_DISTANCE: usize = 128;
/// A bucket for near and one for far distances, on either side.
const MIN_BUCKETS: usize = 4;
const RUNS: &str = "this version runs BERT, XLM-RoBERTa (RoBERTa) and MPNet encoders with absolute positions";

/// A family of networks that differ in names, positions and biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Positions count from zero; token types.
    Bert,
    /// Positions count from `padding_idx + 1`; token types.
    XlmRoberta,
    /// Positions count as in RoBERTa; attention has a bias by distance.
    Mpnet,
}

/// The network's description.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Config {
    pub architecture: Architecture,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub epsilon: f32,
    /// Token whose positions are not counted; none in BERT.
    pub padding: Option<u32>,
    /// Buckets of distances; none but in MPNet.
    pub buckets: Option<usize>,
    #[serde(skip)]
    pub activation: Map,
    /// The activation's name as configured.
    pub activation_name: String,
    /// Where the model says that it comes from.
    #[serde(skip)]
    pub origin: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Raw {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    layer_norm_eps: Option<f32>,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default)]
    relative_attention_num_buckets: Option<usize>,
    #[serde(default)]
    quantization_config: Option<Value>,
    #[serde(default)]
    is_decoder: Option<bool>,
    #[serde(default, rename = "_name_or_path")]
    origin: Option<String>,
}

impl Config {
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, EmbedError> {
        let raw: Raw = files::parse(name, bytes)?;
        let architecture = raw.architecture(name)?;
        raw.refuse_unknown(name)?;
        raw.check_sizes(name)?;
        let activation_name = raw.hidden_act.unwrap_or_else(|| "gelu".to_owned());
        let activation = activation(name, &activation_name)?;
        Ok(Self {
            architecture,
            hidden: raw.hidden_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            intermediate: raw.intermediate_size,
            epsilon: raw.layer_norm_eps.unwrap_or(1e-12),
            padding: match architecture {
                Architecture::Bert => None,
                Architecture::XlmRoberta => Some(raw.pad_token_id.unwrap_or(PADDING)),
                Architecture::Mpnet => Some(PADDING),
            },
            buckets: (architecture == Architecture::Mpnet).then_some(raw.relative_attention_num_buckets.unwrap_or(32)),
            activation,
            activation_name,
            origin: raw.origin,
        })
    }

    /// The position of a text's first token.
    pub(crate) fn first_position(&self) -> usize {
        self.padding.map_or(0, |padding| padding as usize + 1)
    }

    /// The position of each token of a text; padding tokens are not counted where there are any.
    pub(crate) fn places<'a>(&self, text: &'a [u32]) -> impl Iterator<Item = usize> + use<'a> {
        let (padding, mut counted) = (self.padding, 0);
        text.iter().map(move |&token| {
            counted += usize::from(padding != Some(token));
            match padding {
                None => counted - 1,
                Some(padding) if token == padding => padding as usize,
                Some(padding) => padding as usize + counted,
            }
        })
    }
}

impl Raw {
    fn architecture(&self, name: &str) -> Result<Architecture, EmbedError> {
        match self.model_type.as_str() {
            "bert" => Ok(Architecture::Bert),
            "xlm-roberta" | "roberta" | "camembert" => Ok(Architecture::XlmRoberta),
            "mpnet" => Ok(Architecture::Mpnet),
            other => Err(unknown(name, "model_type", other)),
        }
    }

    fn refuse_unknown(&self, name: &str) -> Result<(), EmbedError> {
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(other) => return Err(unknown(name, "position_embedding_type", other)),
        }
        if self.quantization_config.is_some() {
            let what = "\"quantization_config\": the weights are quantised";
            return Err(EmbedError::unsupported(name, what, "give the model in float32, float16 or bfloat16"));
        }
        if self.is_decoder == Some(true) {
            return Err(unknown(name, "is_decoder", "true"));
        }
        Ok(())
    }

    /// Numbers that no tensor could have; the others are held against the tensors.
    fn check_sizes(&self, name: &str) -> Result<(), EmbedError> {
        let heads = self.num_attention_heads;
        if self.hidden_size == 0 || heads == 0 || !self.hidden_size.is_multiple_of(heads) {
            let what = format!("\"num_attention_heads\": {heads} do not divide \"hidden_size\" {}", self.hidden_size);
            return Err(EmbedError::unreadable(name, what));
        }
        if self.num_hidden_layers == 0 || self.intermediate_size == 0 {
            let what = "\"num_hidden_layers\" and \"intermediate_size\" must be above zero";
            return Err(EmbedError::unreadable(name, what));
        }
        if self.relative_attention_num_buckets.is_some_and(|buckets| buckets < MIN_BUCKETS) {
            let what = format!("\"relative_attention_num_buckets\" is less than {MIN_BUCKETS}");
            return Err(EmbedError::unreadable(name, what));
        }
        match self.layer_norm_eps {
            Some(epsilon) if !(epsilon.is_finite() && epsilon >= 0.0) => {
                Err(EmbedError::unreadable(name, format!("\"layer_norm_eps\" is {epsilon}")))
            }
            _ => Ok(()),
        }
    }
}

fn activation(name: &str, activation: &str) -> Result<Map, EmbedError> {
    match activation {
        "gelu" | "gelu_python" => Ok(Map::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Map::TanhGelu),
        "relu" => Ok(Map::Relu),
        other => Err(unknown(name, "hidden_act", other)),
    }
}

fn unknown(name: &str, field: &str, value: &str) -> EmbedError {
    EmbedError::unsupported(name, format!("\"{field}\" is \"{}\"", value.escape_debug()), RUNS)
}
