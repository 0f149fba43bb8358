//! Lunapark's multilayer perceptrons.
//!
//! # The file
//!
//! A [safetensors](https://github.com/huggingface/safetensors) file whose `__metadata__` has, under the key
//! `lunapark`, this JSON text:
//!
//! ```json
//! { "format": "mlp", "version": 1,
//!   "inputs":  [{"name": "input", "datatype": "FP32", "width": 28, "fields": ["lepton_pT", "…"]}],
//!   "outputs": [{"name": "probability", "datatype": "FP32", "width": 1}],
//!   "standardize": {"mean": "standardize.mean", "scale": "standardize.scale"},
//!   "layers": [{"weight": "0.weight", "bias": "0.bias", "activation": "relu"},
//!              {"weight": "1.weight", "bias": "1.bias", "activation": "sigmoid"}] }
//! ```
//!
//! * `inputs`, `outputs`: exactly one FP32 tensor each; `fields` (names of the elements) is optional.
//! * `standardize` is optional: the network sees `(x - mean) / scale`; both tensors have the shape `[inputs]`.
//! * `layers`: `activation(weight · x + bias)`, in order. `weight` names a tensor of the shape `[outputs, inputs]`, as
//!   PyTorch and Keras-to-PyTorch exports have it, `bias` one of the shape `[outputs]`. Activations are `identity`,
//!   `relu`, `sigmoid`, `tanh` and `gelu` (the exact one); in the last layer also `softmax`.
//! * `"score": "reconstruction-error"` is optional: the last layer has as many outputs as there are inputs, and the one
//!   answer is the mean squared difference between them and the standardised inputs.
//! * Tensors are F32 and finite, and each is used once. An unknown key is refused: it would change the answer.

mod activation;
mod chain;
mod file;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512;
#[cfg(target_arch = "aarch64")]
mod kernel_neon;
mod layer;
mod network;
#[cfg(feature = "candle")]
mod plan;
mod portable;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use lunapark_schemas::rows::Values;
use lunapark_schemas::{Signature, TensorSpec};

use crate::input::input_values;
use crate::{Accepts, Details, Model, ModelError, Summary};
pub(crate) use activation::Activation;
#[cfg(feature = "candle")]
pub(crate) use activation::softmax;
pub(crate) use chain::{MAX_CHAIN_WIDTH, Perceptron};
use kernel::Kernel;
pub(crate) use network::Network;

/// A multilayer perceptron. It takes no missing values: a row with NaN gets NaN for an answer.
#[derive(Debug)]
pub struct MlpModel {
    file: String,
    signature: Arc<Signature>,
    schema: SchemaRef,
    network: Network,
    kernel: Kernel,
}

impl MlpModel {
    /// Reads and checks a model; `file` names it in the errors of [`infer`](Model::infer).
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self, ModelError> {
        let (signature, network) = file::read(bytes)?;
        let schema = signature.output_schema();
        let kernel = Kernel::chosen()?;
        Ok(Self { file: file.to_owned(), signature: Arc::new(signature), schema, network, kernel })
    }

    /// The layers alone.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Size and make, for `model check`.
    pub fn summary(&self) -> Summary {
        let layers = self.network.layers();
        let widths = layers.iter().take(1).map(|l| l.inputs()).chain(layers.iter().map(|l| l.outputs())).collect();
        let activations = layers.iter().map(|layer| layer.activation().name()).collect();
        let parameters = layers.iter().map(|layer| (layer.inputs() + 1) * layer.outputs()).sum();
        let details = Details::Layers { widths, activations, parameters };
        Summary { details, kernel: self.kernel.name(), memory_bytes: self.network.memory_bytes() }
    }

    fn score(&self, batch: &RecordBatch) -> Result<RecordBatch, ModelError> {
        let values = input_values(&self.signature, batch)?;
        let spec: &TensorSpec = &self.signature.outputs[0];
        let mut answers = vec![0.0; batch.num_rows() * spec.width];
        self.network.answer(self.kernel, values, &mut answers);
        let column = Values::F32(answers).into_column(spec);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        column
            .and_then(|column| RecordBatch::try_new_with_options(self.schema.clone(), vec![column], &options))
            .map_err(|error| ModelError::shape(error.to_string()))
    }
}

impl Model for MlpModel {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    /// Neither: an infinity is NaN a layer later.
    fn accepts(&self) -> Accepts {
        Accepts { missing: false, infinite: false }
    }

    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError> {
        self.score(rows).map_err(|error| error.in_file(&self.file))
    }
}
