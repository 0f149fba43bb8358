//! Where the jobs of a worker run: on the processor, or on a GPU by way of candle.

use lunapark_models::Device as Place;

use super::Device;
use super::cpu::Cpu;
#[cfg(feature = "candle")]
use super::gpu::{Gpu, Opened};
use crate::Refusal;
use crate::kernel::Kernel;
use crate::loss::Loss;
use crate::network::Shape;

/// What to do where there is no such device.
const ON_THE_CPU: &str = "set `train.device` to \"cpu\"";

/// A device that is there.
#[derive(Clone, Debug)]
pub(crate) enum Ground {
    Cpu(Kernel),
    #[cfg(feature = "candle")]
    Gpu(Opened),
}

impl Ground {
    /// Opens a device. One that is not there is an error: nothing is trained elsewhere than it was told to.
    pub(crate) fn open(place: Place) -> Result<Self, Refusal> {
        match place {
            Place::Cpu => Ok(Ground::Cpu(Kernel::fastest())),
            Place::Cuda(_) => gpu(place),
        }
    }

    /// A device by way of candle, which has one on the CPU as well.
    #[cfg(all(test, feature = "candle"))]
    pub(crate) fn candle(place: Place) -> Self {
        Ground::Gpu(Opened::open(place).unwrap_or_else(|error| panic!("this test needs {place}: {error}")))
    }

    /// What the bits of a training depend on: the instruction set, or the GPU.
    pub(crate) fn name(&self) -> &str {
        match self {
            Ground::Cpu(kernel) => kernel.name(),
            #[cfg(feature = "candle")]
            Ground::Gpu(opened) => opened.name(),
        }
    }

    /// A network with its first weights.
    pub(crate) fn network(
        &self,
        shape: &Shape,
        loss: Loss,
        seed: u64,
        threads: usize,
    ) -> Result<Box<dyn Device>, Refusal> {
        Ok(match self {
            Ground::Cpu(kernel) => Box::new(Cpu::new(*kernel, shape.clone(), loss, seed, threads)),
            #[cfg(feature = "candle")]
            Ground::Gpu(opened) => Box::new(Gpu::new(opened.clone(), shape.clone(), loss, &shape.first_weights(seed))?),
        })
    }

    /// Lets a device show that it trains as the processor does.
    pub(crate) fn prove(&self) -> Result<(), Refusal> {
        match self {
            Ground::Cpu(_) => Ok(()),
            #[cfg(feature = "candle")]
            Ground::Gpu(opened) => super::gpu::prove(opened),
        }
    }
}

#[cfg(feature = "candle")]
fn gpu(place: Place) -> Result<Ground, Refusal> {
    if !cfg!(feature = "cuda") {
        return Err(not_built(place));
    }
    Opened::open(place).map(Ground::Gpu).map_err(|what| {
        let advice = format!("see which devices `nvidia-smi` lists and that its driver is loaded, or {ON_THE_CPU}");
        Refusal::device(format!("the device {place} is asked for and cannot be used: {what}; {advice}"))
    })
}

#[cfg(not(feature = "candle"))]
fn gpu(place: Place) -> Result<Ground, Refusal> {
    Err(not_built(place))
}

/// A binary without the backend.
fn not_built(place: Place) -> Refusal {
    let what = format!("the device {place} is asked for, and this lunapark was built without CUDA");
    Refusal::device(format!("{what}; build it with `deploy/cuda`, or {ON_THE_CPU}"))
}
