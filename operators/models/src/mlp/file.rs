//! Reading and checking a perceptron's file.

use std::collections::BTreeSet;

use lunapark_schemas::{Datatype, Signature, TensorSpec};
use safetensors::tensor::{Metadata, SafeTensorError};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::activation::Activation;
use super::layer::Layer;
use super::network::{Network, Standardize};
use crate::ModelError;

/// Key of the description in the file's `__metadata__`.
const KEY: &str = "lunapark";
/// Widest layer: a block of activations of this width is 3 MiB, kept by each thread.
const MAX_WIDTH: usize = 1 << 14;
/// More layers than any perceptron has; bounds what one row can cost.
const MAX_LAYERS: usize = 256;
const READS: &str = "this version reads format \"mlp\", version 1";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: String,
    version: u32,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    #[serde(default)]
    standardize: Option<StandardizeNames>,
    layers: Vec<LayerNames>,
    #[serde(default)]
    score: Option<Score>,
}

/// What is answered instead of the last layer's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Score {
    ReconstructionError,
}

/// Format and version alone: they must be readable even where the rest is of a later version.
#[derive(Debug, Deserialize)]
struct Heading {
    format: String,
    version: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StandardizeNames {
    mean: String,
    scale: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerNames {
    weight: String,
    bias: String,
    activation: Activation,
}

/// Reads the whole file.
pub(super) fn read(bytes: &[u8]) -> Result<(Signature, Network), ModelError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
    let description = describe(&metadata)?;
    let input = one_tensor(&description.inputs, "inputs")?;
    let output = one_tensor(&description.outputs, "outputs")?;
    let mut reader = Reader { tensors, used: BTreeSet::new() };
    let standardize = description.standardize.map(|names| reader.standardize(names, input.width)).transpose()?;
    let reconstructs = description.score == Some(Score::ReconstructionError);
    let last = if reconstructs { ("inputs", input.width) } else { ("outputs", output.width) };
    if reconstructs && output.width != 1 {
        return Err(ModelError::unreadable(format!(
            "a reconstruction error is one number, outputs says {}",
            output.width
        )));
    }
    let layers = reader.layers(&description.layers, input.width, last)?;
    let signature = Signature { inputs: vec![input], outputs: vec![output] };
    let network = Network::new(standardize, layers);
    Ok((signature, if reconstructs { network.reconstructing() } else { network }))
}

fn unreadable(error: SafeTensorError) -> ModelError {
    let what = format!("no safetensors file: {error}");
    match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => ModelError::truncated(what),
        _ => ModelError::unreadable(what),
    }
}

fn describe(metadata: &Metadata) -> Result<Description, ModelError> {
    let text = metadata.metadata().as_ref().and_then(|entries| entries.get(KEY)).ok_or_else(|| {
        let what = format!("a safetensors file without \"{KEY}\" in its __metadata__");
        ModelError::unsupported(what, "write the description of the layers under that key")
    })?;
    let wrong = |error: serde_json::Error| ModelError::unreadable(format!("__metadata__ \"{KEY}\": {error}"));
    let heading: Heading = serde_json::from_str(text).map_err(wrong)?;
    if heading.format != "mlp" || heading.version != 1 {
        let what = format!("format \"{}\", version {}", heading.format.escape_debug(), heading.version);
        return Err(ModelError::unsupported(what, READS));
    }
    let description: Description = serde_json::from_str(text).map_err(wrong)?;
    debug_assert!(description.format == heading.format && description.version == heading.version);
    Ok(description)
}

fn one_tensor(specs: &[TensorSpec], key: &str) -> Result<TensorSpec, ModelError> {
    let [spec] = specs else {
        let what = format!("{} {key}", specs.len());
        return Err(ModelError::unsupported(what, format!("describe exactly one tensor under \"{key}\"")));
    };
    if spec.datatype != Datatype::Fp32 {
        let what = format!("{key} \"{}\" is {}", spec.name, spec.datatype.as_str());
        return Err(ModelError::unsupported(what, "describe it as FP32"));
    }
    check_width(spec.width, key)?;
    if !spec.shape.is_empty() && spec.shape != [spec.width] {
        let what = format!("{key} \"{}\" has the shape {:?}, width {}", spec.name, spec.shape, spec.width);
        return Err(ModelError::unsupported(what, "describe it as flat"));
    }
    if !spec.fields.is_empty() && spec.fields.len() != spec.width {
        let (fields, width) = (spec.fields.len(), spec.width);
        return Err(ModelError::unreadable(format!("{key} \"{}\" has {fields} fields, width {width}", spec.name)));
    }
    Ok(spec.clone())
}

fn check_width(width: usize, what: &str) -> Result<(), ModelError> {
    if width == 0 || width > MAX_WIDTH {
        let advice = format!("use layers of 1 to {MAX_WIDTH}");
        return Err(ModelError::unsupported(format!("{what} has the width {width}"), advice));
    }
    Ok(())
}

/// Hands out each tensor once: a small file that names a tensor many times would otherwise take memory without bound.
struct Reader<'a> {
    tensors: SafeTensors<'a>,
    used: BTreeSet<String>,
}

impl Reader<'_> {
    fn layers(
        &mut self,
        names: &[LayerNames],
        input: usize,
        (says, output): (&str, usize),
    ) -> Result<Vec<Layer>, ModelError> {
        if names.is_empty() || names.len() > MAX_LAYERS {
            let advice = format!("use 1 to {MAX_LAYERS} layers");
            return Err(ModelError::unsupported(format!("{} layers", names.len()), advice));
        }
        let mut width = input;
        let mut layers = Vec::with_capacity(names.len());
        for layer in names {
            let layer = self.layer(layer, width)?;
            width = layer.outputs();
            layers.push(layer);
        }
        if width != output {
            return Err(ModelError::unreadable(format!("the last layer has {width} outputs, {says} says {output}")));
        }
        if names[..names.len() - 1].iter().any(|layer| layer.activation == Activation::Softmax) {
            return Err(ModelError::unsupported("softmax before the last layer", "use it in the last layer only"));
        }
        Ok(layers)
    }

    fn layer(&mut self, names: &LayerNames, inputs: usize) -> Result<Layer, ModelError> {
        let bias = self.values(&names.bias, |shape| matches!(shape, [_]), "[outputs]")?;
        check_width(bias.len(), &names.bias)?;
        let expected = format!("[{}, {inputs}]", bias.len());
        let weights = self.values(&names.weight, |shape| *shape == [bias.len(), inputs], &expected)?;
        Ok(Layer::new(inputs, weights, bias, names.activation))
    }

    fn standardize(&mut self, names: StandardizeNames, inputs: usize) -> Result<Standardize, ModelError> {
        let expected = format!("[{inputs}]");
        let mean = self.values(&names.mean, |shape| *shape == [inputs], &expected)?;
        let scale = self.values(&names.scale, |shape| *shape == [inputs], &expected)?;
        let inverse_scale: Vec<_> = scale.iter().map(|scale| 1.0 / scale).collect();
        match inverse_scale.iter().position(|inverse| !inverse.is_finite()) {
            None => Ok(Standardize { mean, inverse_scale }),
            Some(at) => Err(ModelError::unreadable(format!("{}[{at}] is {}: no scale", names.scale, scale[at]))),
        }
    }

    /// The values of an F32 tensor whose shape `fits`. The library has compared shape and length.
    fn values(&mut self, name: &str, fits: impl Fn(&[usize]) -> bool, expected: &str) -> Result<Vec<f32>, ModelError> {
        if !self.used.insert(name.to_owned()) {
            return Err(ModelError::unreadable(format!("tensor \"{}\" is used twice", name.escape_debug())));
        }
        let tensor = self.tensors.tensor(name);
        let tensor = tensor.map_err(|_| ModelError::unreadable(format!("no tensor \"{}\"", name.escape_debug())))?;
        if tensor.dtype() != Dtype::F32 || !fits(tensor.shape()) {
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            return Err(ModelError::unreadable(format!(
                "tensor \"{name}\" is {dtype:?} {shape:?}, not F32 {expected}"
            )));
        }
        let values: Vec<_> = tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => Err(ModelError::unreadable(format!("tensor \"{name}\" holds {} at {at}", values[at]))),
        }
    }
}
