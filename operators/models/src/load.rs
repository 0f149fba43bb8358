//! From bytes to a model: digest, format, summary.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::device::{self, Device};
use crate::{Model, ModelError, foreign, lightgbm, mlp, onnx, xgboost};

/// A model with what `model check` tells about it.
#[derive(Clone)]
pub struct Loaded {
    /// The model, ready to score.
    pub model: Arc<dyn Model>,
    /// SHA-256 of the file's bytes, 64 hex digits.
    pub digest: String,
    /// The file's format.
    pub format: Format,
    /// Size and make of the model.
    pub summary: Summary,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = self.model.signature();
        f.debug_struct("Loaded")
            .field("format", &self.format)
            .field("digest", &self.digest)
            .field("summary", &self.summary)
            .field("signature", signature)
            .finish()
    }
}

/// The file formats that [`load`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// XGBoost's JSON model, versions 1 to 3.
    XgboostJson,
    /// The same as UBJSON, which is XGBoost's own choice since version 2.1.
    XgboostUbjson,
    /// LightGBM's text model, file versions v2 to v4.
    LightgbmText,
    /// Lunapark's multilayer perceptron: safetensors with a JSON description ([`mlp`]).
    LunaparkMlp,
    /// An ONNX graph ([`onnx`]).
    Onnx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::XgboostJson => "XGBoost JSON",
            Format::XgboostUbjson => "XGBoost UBJSON",
            Format::LightgbmText => "LightGBM text",
            Format::LunaparkMlp => "Lunapark MLP (safetensors)",
            Format::Onnx => "ONNX",
        })
    }
}

/// Size and make of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What is particular to this sort of model.
    #[serde(flatten)]
    pub details: Details,
    /// What scores it: on the CPU the instruction set, `avx512`, `avx2`, `neon` or `portable`; on a device `candle`.
    pub kernel: &'static str,
    /// Bytes that the loaded model holds.
    pub memory_bytes: usize,
}

/// What is particular to a sort of model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Details {
    /// Boosted trees.
    Trees {
        /// The training objective, which decides the link function.
        objective: String,
        /// Number of trees.
        trees: usize,
        /// Most splits between a root and a leaf.
        depth: usize,
        /// Splits and leaves of all trees.
        nodes: usize,
    },
    /// A multilayer perceptron.
    Layers {
        /// Width of the input, then of each layer.
        widths: Vec<usize>,
        /// Activation of each layer.
        activations: Vec<&'static str>,
        /// Weights and biases.
        parameters: usize,
    },
    /// A graph of operators.
    Graph {
        /// The tool that wrote it.
        producer: String,
        /// The operator sets and their versions.
        opsets: Vec<String>,
        /// Each operator that it has.
        operators: Vec<String>,
        /// Trees on the tree evaluator.
        trees: usize,
        /// Layers on the perceptron kernel.
        layers: usize,
    },
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.details {
            Details::Trees { objective, trees, depth, nodes } => {
                write!(f, "{objective}, {trees} trees, depth {depth}, {nodes} nodes")?;
            }
            Details::Layers { widths, activations, parameters } => {
                let widths: Vec<_> = widths.iter().map(usize::to_string).collect();
                write!(f, "layers {} ({}), {parameters} parameters", widths.join("-"), activations.join(", "))?;
            }
            Details::Graph { producer, opsets, operators, trees, layers } => {
                write!(f, "from {}, {}; {}", producer.escape_debug(), opsets.join(", "), operators.join(" "))?;
                write!(f, "; {trees} trees, {layers} layers")?;
            }
        }
        write!(f, ", {} KiB, {} kernel", self.memory_bytes.div_ceil(1024), self.kernel)
    }
}

/// Reads a model from the bytes of its file, to run on the CPU. `file` names it in messages; where `expected_sha256` is
/// given (64 hex digits), other bytes are refused before anything is parsed.
pub fn load(bytes: &[u8], file: &str, expected_sha256: Option<&str>) -> Result<Loaded, ModelError> {
    load_on(Device::Cpu, bytes, file, expected_sha256)
}

/// As [`load`], to run on `device`. Where that is not there, or cannot run this model, there is an error and no model.
pub fn load_on(device: Device, bytes: &[u8], file: &str, expected_sha256: Option<&str>) -> Result<Loaded, ModelError> {
    let digest = hex(&Sha256::digest(bytes));
    let loaded = check_digest(&digest, expected_sha256).and_then(|()| match device {
        Device::Cpu => parse(bytes, file),
        device => parse_for(device, bytes, file),
    });
    let (model, format, summary) = loaded.map_err(|error| error.in_file(file))?;
    Ok(Loaded { model, digest, format, summary })
}

type Parsed = (Arc<dyn Model>, Format, Summary);

fn parse(bytes: &[u8], file: &str) -> Result<Parsed, ModelError> {
    let format = detect(bytes)?;
    match format {
        Format::XgboostJson | Format::XgboostUbjson => {
            let model = xgboost::XgboostModel::parse(bytes, format == Format::XgboostUbjson, file)?;
            let summary = model.summary();
            Ok((Arc::new(model), format, summary))
        }
        Format::LightgbmText => {
            let model = lightgbm::LightgbmModel::parse(bytes, file)?;
            let summary = model.summary();
            Ok((Arc::new(model), format, summary))
        }
        Format::LunaparkMlp => {
            let model = mlp::MlpModel::parse(bytes, file)?;
            let summary = model.summary();
            Ok((Arc::new(model), format, summary))
        }
        Format::Onnx => {
            let model = onnx::OnnxModel::parse(bytes, file)?;
            let summary = model.summary();
            Ok((Arc::new(model), format, summary))
        }
    }
}

/// Reads a model and puts it on a device.
fn parse_for(device: Device, bytes: &[u8], file: &str) -> Result<Parsed, ModelError> {
    let format = detect(bytes)?;
    let (model, mut summary) = match format {
        Format::LunaparkMlp => {
            let model = mlp::MlpModel::parse(bytes, file)?;
            (device::place(device, file, &model, model.network())?, model.summary())
        }
        Format::Onnx => {
            let model = onnx::OnnxModel::parse(bytes, file)?;
            let network = model.chain().ok_or_else(|| device::refused(format, device))?;
            (device::place(device, file, &model, network)?, model.summary())
        }
        _ => return Err(device::refused(format, device)),
    };
    summary.kernel = "candle";
    Ok((model, format, summary))
}

const READABLE: &str = "give an XGBoost JSON or UBJSON model (`save_model(\"model.ubj\")`), a LightGBM text model \
    (`save_model(\"model.txt\")`), an ONNX file or a Lunapark MLP (safetensors)";

/// Looks into the bytes. A safetensors file starts with the length of its JSON header, eight bytes, so its ninth
/// byte is `{`; the first eight bytes of a JSON text, read as such a length, exceed any file.
fn detect(bytes: &[u8]) -> Result<Format, ModelError> {
    let start = bytes.trim_ascii_start();
    match (start, bytes.get(8)) {
        ([], _) => Err(ModelError::truncated("the file is empty")),
        (_, Some(b'{')) if bytes.get(4..8) == Some(&[0; 4]) => Ok(Format::LunaparkMlp),
        ([b't', b'r', b'e', b'e', b'\r' | b'\n', ..], _) => Ok(Format::LightgbmText),
        ([b'{', b'L' | b'l' | b'i' | b'U' | b'I', 0, ..], _) => Ok(Format::XgboostUbjson),
        _ => match foreign::recognise(bytes) {
            Some(error) => Err(error),
            None if start[0] == b'{' => Ok(Format::XgboostJson),
            None if starts_as_onnx(bytes) => Ok(Format::Onnx),
            None => Err(unknown(start)),
        },
    }
}

/// An ONNX file is a protobuf message without a mark of its own. Every writer starts it with the version of the
/// format (field 1, a number of one byte) and goes on with another field of the model.
fn starts_as_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..=0x7f, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42 | 0x72 | 0xa2, ..])
}

fn unknown(bytes: &[u8]) -> ModelError {
    let start = bytes[..bytes.len().min(8)].escape_ascii();
    ModelError::unsupported(format!("unknown model format, the file starts with \"{start}\""), READABLE)
}

fn check_digest(actual: &str, expected: Option<&str>) -> Result<(), ModelError> {
    match expected {
        Some(expected) if !expected.eq_ignore_ascii_case(actual) => Err(ModelError::digest(expected, actual)),
        _ => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
