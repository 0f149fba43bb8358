//! The encoder: a model's files in, vectors out.

use std::thread::available_parallelism;

use lunapark_schemas::Device;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::device::{self, ON_THE_CPU, OnDevice, Trial};
use crate::digest::Settings;
use crate::forward::Room;
use crate::groups::Groups;
use crate::kernel::Set;
use crate::modules::{self, Modules};
use crate::network::Network;
use crate::pooling::normalize;
use crate::threads::spread;
use crate::tokenizer::Tokens;
use crate::weights::WeightFiles;
use crate::{EmbedError, ModelFiles, Pooling, Prefixes, Role, Similarity, TextTokenizer, files};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// In which numbers the products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// Products of bfloat16 numbers, sums of 32-bit floats.
    Bf16,
}

/// Which precision is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// The fastest that the machine has kernels for.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// bfloat16; refused where no kernel has it.
    Bf16,
}

/// How a model is loaded.
#[derive(Clone, Debug, Default)]
pub struct EncoderOptions {
    /// The precision of the products.
    pub precision: PrecisionChoice,
    /// Where the network runs; one that is not there is an error.
    pub device: Device,
    /// Threads that one call may use; 0 for all that the machine has. Texts become tokens on them also where a device
    /// does the rest.
    pub threads: usize,
    /// In the place of the prefixes that the model's files give.
    pub prefixes: Option<Prefixes>,
    /// The model's name, such as `intfloat/multilingual-e5-base`: older e5 models are known by it alone.
    pub name: Option<String>,
}

/// A text encoder, ready to run.
#[derive(Debug)]
pub struct Encoder {
    place: Place,
    dimension: usize,
    tokenizer: TextTokenizer,
    pooling: Pooling,
    normalize: bool,
    similarity: Similarity,
    max_tokens: usize,
    threads: usize,
    digest: String,
}

/// Where the network is.
#[derive(Debug)]
pub(crate) enum Place {
    Cpu(Box<Network>),
    Device(OnDevice),
}

/// Vectors of some texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// Numbers of a vector.
    pub dimension: usize,
    /// Vector after vector, in the order of the texts.
    pub values: Vec<f32>,
    /// Tokens of each text that went into its vector, special tokens and prefix included.
    pub tokens: Vec<usize>,
    /// Whether a text was longer than the model takes, so that its end is not in the vector.
    pub truncated: Vec<bool>,
}

impl Embeddings {
    /// The vector of a text.
    pub fn row(&self, text: usize) -> &[f32] {
        &self.values[text * self.dimension..][..self.dimension]
    }
}

impl Encoder {
    /// Reads all files, checks them against each other, and packs the weights.
    pub fn load(files: &dyn ModelFiles, options: &EncoderOptions) -> Result<Self, EmbedError> {
        Self::load_on(Set::chosen()?, files, options)
    }

    pub(crate) fn load_on(set: Set, files: &dyn ModelFiles, options: &EncoderOptions) -> Result<Self, EmbedError> {
        Self::load_by(set, files, options, |trial| match options.device {
            Device::Cpu => Ok(Place::Cpu(Box::new(trial.network))),
            device => device::place(device, trial).map(Place::Device),
        })
    }

    /// The same, with a network that `put` puts in its place.
    pub(crate) fn load_by(
        set: Set,
        files: &dyn ModelFiles,
        options: &EncoderOptions,
        put: impl FnOnce(Trial) -> Result<Place, EmbedError>,
    ) -> Result<Self, EmbedError> {
        let modules = Modules::read(files)?;
        let name = files::inside(&modules.folder, CONFIG);
        let config = Config::parse(&name, &files::required(files, &name)?)?;
        modules.check(&config)?;
        let prefixes = prefixes(files, options, &config)?;
        modules.check_prefixes(&prefixes)?;
        let tokenizer_file = files::inside(&modules.folder, TOKENIZER);
        let tokenizer_bytes = files::required(files, &tokenizer_file)?;
        let tokenizer = TextTokenizer::parse(&tokenizer_file, &tokenizer_bytes, prefixes.clone())?;
        let weights = WeightFiles::read(files, &modules.folder)?;
        let precision = match options.device {
            Device::Cpu => precision(options.precision, set, &config)?,
            device => on_device(options.precision, device)?,
        };
        let network = Network::build(config, weights.open()?, set, precision)?;
        check_vocabulary(&tokenizer_file, &tokenizer, &network)?;
        let max_tokens = modules::max_tokens(files, &modules.folder, network.positions())?;
        check_length(&tokenizer_file, &tokenizer, max_tokens)?;
        let settings = Settings {
            config: &network.config,
            pooling: modules.pooling,
            normalize: modules.normalize,
            max_tokens,
            prefixes: &prefixes,
        };
        let digest = settings.digest(&tokenizer_bytes, &weights);
        let threads = match options.threads {
            0 => available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let (Modules { pooling, normalize, .. }, similarity) = (modules, Similarity::read(files)?);
        let dimension = network.config.hidden;
        let place = put(Trial { network, pooling, max_tokens })?;
        Ok(Self { place, dimension, tokenizer, pooling, normalize, similarity, max_tokens, threads, digest })
    }

    /// Numbers of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The most tokens of a text, special tokens and prefix included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// True where all vectors have length one.
    pub fn normalizes(&self) -> bool {
        self.normalize
    }

    /// What the model's authors compare its vectors by.
    pub fn similarity(&self) -> Similarity {
        self.similarity
    }

    /// SHA-256, in hexadecimal digits, over everything that decides a vector: weights, tokenizer, settings, prefixes.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The precision that it runs in.
    pub fn precision(&self) -> Precision {
        match &self.place {
            Place::Cpu(network) => network.precision,
            Place::Device(_) => Precision::F32,
        }
    }

    /// Where its network runs.
    pub fn device(&self) -> Device {
        match &self.place {
            Place::Cpu(_) => Device::Cpu,
            Place::Device(placed) => placed.device(),
        }
    }

    /// What it runs by: the instruction set on the CPU, `candle` on a device.
    pub fn kernel(&self) -> &'static str {
        match &self.place {
            Place::Cpu(network) => network.set.name(),
            Place::Device(_) => "candle",
        }
    }

    /// The tokenizer, which counts as the encoder does.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Does other work for a batch, such as cutting its documents, on the threads that embed it; answers in order.
    pub fn spread<I: Send, T: Send>(&self, pieces: Vec<I>, work: impl Fn(I) -> T + Sync) -> Vec<T> {
        spread(self.threads, pieces.into_iter(), |_: &mut (), piece| work(piece))
    }

    /// The vectors of texts. On the CPU a text's vector has the same bits alone and in any company. On a device, which
    /// chooses its products by their shape, its numbers are the same to 1e-6 of its length.
    pub fn embed(&self, texts: &[&str], role: Role) -> Result<Embeddings, EmbedError> {
        let tokenize = |_: &mut (), text: usize| self.tokenizer.tokens(texts[text], role, self.max_tokens);
        let tokens: Vec<Tokens> =
            spread(self.threads, 0..texts.len(), tokenize).into_iter().collect::<Result<_, _>>()?;
        let ids: Vec<&[u32]> = tokens.iter().map(|text| &text.ids[..]).collect();
        let mut values = match &self.place {
            Place::Cpu(network) => self.packed(network, &ids),
            Place::Device(placed) => placed.vectors(&ids)?,
        };
        if self.normalize {
            values.chunks_exact_mut(self.dimension).for_each(normalize);
        }
        Ok(Embeddings {
            dimension: self.dimension,
            values,
            tokens: ids.iter().map(|text| text.len()).collect(),
            truncated: tokens.iter().map(|text| text.truncated).collect(),
        })
    }

    /// The vectors of texts by this machine's own kernels, not normalised.
    fn packed(&self, network: &Network, texts: &[&[u32]]) -> Vec<f32> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let groups = Groups::of(&lengths, self.threads);
        let run = |room: &mut Room, part: usize| network.pooled(&groups.texts(part, texts), self.pooling, room);
        groups.gathered(self.dimension, spread(self.threads, 0..groups.parts.len(), run))
    }
}

/// bfloat16 where the machine has instructions for it and it is wanted, or nothing else is.
fn precision(choice: PrecisionChoice, set: Set, config: &Config) -> Result<Precision, EmbedError> {
    let even = config.hidden.is_multiple_of(2) && config.intermediate.is_multiple_of(2);
    match choice {
        PrecisionChoice::F32 => Ok(Precision::F32),
        _ if set.has_bf16() && even => Ok(Precision::Bf16),
        PrecisionChoice::Auto => Ok(Precision::F32),
        PrecisionChoice::Bf16 => Err(EmbedError::machine(
            "the precision is \"bf16\", for which there is no kernel on this machine",
            "choose \"f32\", or \"auto\" for the fastest that there is",
        )),
    }
}

/// Devices compute in 32-bit floats.
fn on_device(choice: PrecisionChoice, device: Device) -> Result<Precision, EmbedError> {
    match choice {
        PrecisionChoice::Auto | PrecisionChoice::F32 => Ok(Precision::F32),
        PrecisionChoice::Bf16 => Err(EmbedError::machine(
            format!("the precision is \"bf16\", and {device} runs encoders in 32-bit floats alone"),
            format!("choose \"f32\" or \"auto\", or {ON_THE_CPU}"),
        )),
    }
}

fn prefixes(files: &dyn ModelFiles, options: &EncoderOptions, config: &Config) -> Result<Prefixes, EmbedError> {
    if let Some(prefixes) = &options.prefixes {
        return Ok(prefixes.clone());
    }
    let names: Vec<&str> = [&options.name, &config.origin].into_iter().flatten().map(String::as_str).collect();
    Prefixes::read(files, &names)
}

fn check_vocabulary(file: &str, tokenizer: &TextTokenizer, network: &Network) -> Result<(), EmbedError> {
    let (greatest, rows) = (tokenizer.greatest_id() as usize, network.vocabulary());
    if greatest < rows {
        return Ok(());
    }
    Err(EmbedError::unreadable(file, format!("it has a token {greatest}, the weights have vectors of {rows} tokens")))
}

fn check_length(file: &str, tokenizer: &TextTokenizer, max_tokens: usize) -> Result<(), EmbedError> {
    let overhead = tokenizer.overhead(Role::Query).max(tokenizer.overhead(Role::Passage));
    if overhead < max_tokens {
        return Ok(());
    }
    let what = format!("special tokens and prefix are {overhead} tokens, the model takes {max_tokens}");
    Err(EmbedError::unreadable(file, what))
}
