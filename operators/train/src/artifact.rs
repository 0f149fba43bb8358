//! The model's file: what `lunapark_models::mlp` describes and reads.

use std::collections::HashMap;

use lunapark_schemas::{Datatype, Signature, TensorSpec};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::Refusal;
use crate::network::Shape;
use crate::prepare::{Prepared, Target};

/// Writes the network with its standardisation; the numbers of a regression are scaled back inside the last layer.
pub(crate) fn write(shape: &Shape, weights: &[f32], prepared: &Prepared) -> Result<Vec<u8>, Refusal> {
    let mut tensors = vec![
        ("standardize.mean".to_owned(), vec![prepared.mean.len()], bytes(&prepared.mean)),
        ("standardize.scale".to_owned(), vec![prepared.scale.len()], bytes(&prepared.scale)),
    ];
    let mut layers = Vec::new();
    for (index, layer) in shape.layers.iter().enumerate() {
        let last = index + 1 == shape.layers.len();
        let (mut weight, mut bias) = shape.unpadded(layer, weights);
        if let (true, Target::Number { mean, scale }) = (last, &prepared.target) {
            weight.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
            bias.iter_mut().for_each(|b| *b = (f64::from(*b) * scale + mean) as f32);
        }
        let activation = if last { last_activation(&prepared.target) } else { layer.activation.name() };
        let (w, b) = (format!("{index}.weight"), format!("{index}.bias"));
        layers.push(json!({ "weight": w, "bias": b, "activation": activation }));
        tensors.push((w, vec![layer.outputs, layer.inputs], bytes(&weight)));
        tensors.push((b, vec![layer.outputs], bytes(&bias)));
    }
    let description = describe(&signature(prepared), layers, &prepared.target)?;
    serialize(&tensors, HashMap::from([("lunapark".to_owned(), description)]))
}

fn last_activation(target: &Target) -> &'static str {
    match target {
        Target::Binary(_) => "sigmoid",
        Target::Classes(_) => "softmax",
        Target::Number { .. } | Target::Inputs(_) => "identity",
    }
}

/// What the model takes and gives.
pub(crate) fn signature(prepared: &Prepared) -> Signature {
    let mut input = TensorSpec::new("input", Datatype::Fp32, prepared.features.len());
    input.fields = prepared.features.clone();
    let output = match &prepared.target {
        Target::Binary(_) => TensorSpec::new("probability", Datatype::Fp32, 1),
        Target::Number { .. } => TensorSpec::new("prediction", Datatype::Fp32, 1),
        Target::Inputs(_) => TensorSpec::new("anomaly_score", Datatype::Fp32, 1),
        Target::Classes(classes) => TensorSpec {
            fields: classes.names.clone(),
            ..TensorSpec::new("probabilities", Datatype::Fp32, classes.names.len())
        },
    };
    Signature { inputs: vec![input], outputs: vec![output] }
}

fn describe(signature: &Signature, layers: Vec<Value>, target: &Target) -> Result<String, Refusal> {
    let mut description = json!({
        "format": "mlp",
        "version": 1,
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "standardize": { "mean": "standardize.mean", "scale": "standardize.scale" },
        "layers": layers,
    });
    if let Target::Inputs(_) = target {
        description["score"] = json!("reconstruction-error");
    }
    serde_json::to_string(&description).map_err(|error| Refusal::training(format!("the model is not JSON: {error}")))
}

/// Little-endian bytes.
pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A safetensors file of F32 tensors: name, shape, bytes.
pub(crate) fn serialize(
    tensors: &[(String, Vec<usize>, Vec<u8>)],
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, Refusal> {
    let wrong = |error| Refusal::training(format!("the tensors cannot be written: {error}"));
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in tensors {
        views.push((name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(wrong)?));
    }
    safetensors::serialize(views, Some(metadata)).map_err(wrong)
}
