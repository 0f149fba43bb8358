//! A device by way of candle, and a network's weights on it.

use candle_core::{Device as Candle, Result, Tensor};
use lunapark_schemas::Device;

use super::Trial;
use super::forward::sorted;
use super::owner::{Answer, Worker};
use crate::Pooling;
use crate::config::Config;
use crate::network;

/// Scores of queries and keys that are on the device at once: 128 MiB, of which a softmax needs four.
const SCORES: usize = 1 << 25;

/// A device that candle has opened.
pub(super) struct Backend {
    device: Candle,
    /// Scores at once.
    scores: usize,
}

/// An encoder's network on the device.
pub(super) struct Network {
    pub(super) device: Candle,
    pub(super) scores: usize,
    pub(super) config: Config,
    pub(super) pooling: Pooling,
    /// `[tokens, hidden]`.
    pub(super) words: Tensor,
    /// `[positions, hidden]`, the token type's added.
    pub(super) positions: Tensor,
    pub(super) norm: Norm,
    pub(super) layers: Vec<Layer>,
    /// `[heads, distances]`, the most negative first; MPNet alone has them.
    pub(super) distances: Option<Tensor>,
}

pub(super) struct Layer {
    /// Queries, keys and values side by side; the queries are scaled already.
    pub(super) attention_in: Linear,
    pub(super) attention_out: Linear,
    pub(super) attention_norm: Norm,
    pub(super) wide: Linear,
    pub(super) narrow: Linear,
    pub(super) norm: Norm,
}

pub(super) struct Linear {
    /// `[inputs, outputs]`.
    pub(super) weights: Tensor,
    /// `[1, outputs]`.
    pub(super) bias: Tensor,
}

pub(super) struct Norm {
    /// `[1, hidden]`, as the shift.
    pub(super) gain: Tensor,
    pub(super) shift: Tensor,
    pub(super) epsilon: f64,
}

impl Backend {
    /// Opens a device; candle has one on the CPU as well, for tests.
    pub(super) fn open(device: Device) -> std::result::Result<Self, String> {
        let device = match device {
            Device::Cpu => Candle::Cpu,
            Device::Cuda(index) => Candle::new_cuda(index).map_err(|error| refused(&error))?,
        };
        Ok(Self { device, scores: SCORES })
    }

    /// The same with room for fewer scores.
    #[cfg(test)]
    pub(super) fn with_scores(self, scores: usize) -> Self {
        Self { scores, ..self }
    }

    fn table(&self, values: &[f32], columns: usize) -> Result<Tensor> {
        Tensor::from_slice(values, (values.len() / columns, columns), &self.device)
    }

    fn row(&self, values: &[f32]) -> Result<Tensor> {
        self.table(values, values.len())
    }

    fn linear(&self, linear: &network::Linear) -> Result<Linear> {
        let missing = || candle_core::Error::Msg("the network is not in 32-bit floats".to_owned());
        let panels = linear.weights.floats().ok_or_else(missing)?;
        let weights = self.table(&panels.unpacked(), panels.columns)?;
        Ok(Linear { weights, bias: self.row(&linear.bias)? })
    }

    fn norm(&self, norm: &network::Norm, epsilon: f32) -> Result<Norm> {
        Ok(Norm { gain: self.row(&norm.gain)?, shift: self.row(&norm.shift)?, epsilon: epsilon.into() })
    }

    fn layer(&self, layer: &network::Layer, epsilon: f32) -> Result<Layer> {
        Ok(Layer {
            attention_in: self.linear(&layer.attention_in)?,
            attention_out: self.linear(&layer.attention_out)?,
            attention_norm: self.norm(&layer.attention_norm, epsilon)?,
            wide: self.linear(&layer.wide)?,
            narrow: self.linear(&layer.narrow)?,
            norm: self.norm(&layer.norm, epsilon)?,
        })
    }

    fn network(&self, Trial { network, pooling, .. }: Trial) -> Result<Network> {
        let (hidden, epsilon) = (network.config.hidden, network.config.epsilon);
        let distances = match network.distances.first() {
            Some(first) => Some(self.table(&network.distances.concat(), first.len())?),
            None => None,
        };
        Ok(Network {
            device: self.device.clone(),
            scores: self.scores,
            words: self.table(&network.words, hidden)?,
            positions: self.table(&network.positions, hidden)?,
            norm: self.norm(&network.norm, epsilon)?,
            layers: network.layers.iter().map(|layer| self.layer(layer, epsilon)).collect::<Result<_>>()?,
            distances,
            config: network.config,
            pooling,
        })
    }
}

impl Worker for Backend {
    type Plan = Trial;
    type Network = Network;

    fn place(&mut self, plan: Trial) -> std::result::Result<Network, String> {
        self.network(plan).map_err(|error| told(&error))
    }

    /// A text without tokens has a vector of zeros, as on the CPU.
    fn run(&mut self, network: &Network, texts: &[&[u32]]) -> Answer {
        let (order, in_order) = sorted(texts);
        let width = network.config.hidden;
        let mut answers = vec![0.0; texts.len() * width];
        let vectors = network.vectors(&in_order).map_err(|error| told(&error))?;
        for (text, vector) in order.into_iter().zip(vectors.chunks_exact(width)) {
            answers[text * width..][..width].copy_from_slice(vector);
        }
        Ok(answers)
    }
}

/// Why a GPU does not open.
fn refused(error: &candle_core::Error) -> String {
    match told(error) {
        // What `deploy/gpu/driver-door` answers.
        told if told.contains("STUB_LIBRARY") => "there is no NVIDIA driver (libcuda.so.1) on this machine".to_owned(),
        told => told,
    }
}

/// The first line: candle adds a backtrace.
fn told(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
