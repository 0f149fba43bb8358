//! A device by way of candle.

use candle_core::{Device as Candle, Result, Tensor};

use super::Device;
use super::owner::Worker;
use super::plan::{Dense, Plan};
use crate::mlp::Activation;

/// A device that candle has opened.
pub(super) struct Backend(Candle);

/// Weights on the device.
pub(super) struct Network {
    inputs: usize,
    standardize: Option<(Tensor, Tensor)>,
    layers: Vec<Layer>,
    reconstructs: bool,
}

struct Layer {
    /// `[inputs, outputs]`.
    weights: Tensor,
    bias: Tensor,
    activation: Activation,
}

impl Backend {
    pub(super) fn open(device: Device) -> std::result::Result<Self, String> {
        open_device(device).map(Self)
    }

    fn tensor(&self, values: Vec<f32>, shape: impl candle_core::shape::ShapeWithOneHole) -> Result<Tensor> {
        Tensor::from_vec(values, shape, &self.0)
    }

    fn layer(&self, layer: Dense) -> Result<Layer> {
        let weights = self.tensor(layer.weights, (layer.outputs, layer.inputs))?.t()?.contiguous()?;
        Ok(Layer { weights, bias: self.tensor(layer.bias, (1, layer.outputs))?, activation: layer.activation })
    }

    fn network(&self, plan: Plan) -> Result<Network> {
        let Plan { inputs, standardize, layers, reconstructs } = plan;
        let row = |values| self.tensor(values, (1, inputs));
        let standardize = match standardize {
            Some((mean, by)) => Some((row(mean)?, row(by)?)),
            None => None,
        };
        let layers = layers.into_iter().map(|layer| self.layer(layer)).collect::<Result<_>>()?;
        Ok(Network { inputs, standardize, layers, reconstructs })
    }

    fn answers(&self, network: &Network, rows: &[f32], count: usize) -> Result<Vec<f32>> {
        let rows = Tensor::from_slice(rows, (count, network.inputs), &self.0)?;
        let input = match &network.standardize {
            Some((mean, by)) => rows.broadcast_sub(mean)?.broadcast_mul(by)?,
            None => rows,
        };
        let mut x = input.clone();
        for layer in &network.layers {
            x = activated(layer.activation, &x.matmul(&layer.weights)?.broadcast_add(&layer.bias)?)?;
        }
        if network.reconstructs {
            x = (x - input)?.sqr()?.mean(1)?;
        }
        x.flatten_all()?.to_vec1()
    }
}

impl Worker for Backend {
    type Plan = Plan;
    type Network = Network;

    fn place(&mut self, plan: Plan) -> std::result::Result<Network, String> {
        self.network(plan).map_err(|error| told(&error))
    }

    fn run(&mut self, network: &Network, rows: &[f32], count: usize) -> std::result::Result<Vec<f32>, String> {
        self.answers(network, rows, count).map_err(|error| told(&error))
    }
}

/// Opens a device, or says why it does not open; candle has one on the CPU as well, for tests. What is done there is in
/// order on each thread alone: who hands tensors to another thread waits for the device first.
pub fn open_device(device: Device) -> std::result::Result<Candle, String> {
    match device {
        Device::Cpu => Ok(Candle::Cpu),
        Device::Cuda(index) => Candle::new_cuda(index).map_err(|error| refused(&error)),
    }
}

/// The CPU's activations. candle's relu makes 0 of NaN, so its elu of slope 0 stands for it; and it has no logistic
/// function of its own. A softmax is left to the thread that wants the answer.
fn activated(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Identity | Activation::Softmax => Ok(x.clone()),
        Activation::Relu => x.elu(0.0),
        Activation::Sigmoid => x.affine(0.5, 0.0)?.tanh()?.affine(0.5, 0.5),
        Activation::Tanh => x.tanh(),
        Activation::Gelu => x.gelu_erf(),
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
