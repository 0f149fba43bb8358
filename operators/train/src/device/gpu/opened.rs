//! A device that candle has opened.

use candle_core::{Device as Candle, Error, Result, Tensor};
use lunapark_models::Device as Place;

use crate::Refusal;

/// What the driver and cuBLAS say where there is no room.
const NO_ROOM: [&str; 2] = ["OUT_OF_MEMORY", "ALLOC_FAILED"];

/// Each job has its own: the products of one never meet the workspace of another.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    candle: Candle,
    place: Place,
    name: String,
}

impl Opened {
    /// Candle has a device on the CPU as well, for tests.
    pub(crate) fn open(place: Place) -> std::result::Result<Self, String> {
        let candle = lunapark_models::open_device(place)?;
        let name = match place {
            Place::Cpu => "candle".to_owned(),
            Place::Cuda(_) => name(&candle).map_err(|error| told(&error))?,
        };
        Ok(Self { candle, place, name })
    }

    pub(super) fn candle(&self) -> &Candle {
        &self.candle
    }

    /// The name of the GPU: another one of the same name gives the same bits with the same libraries.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A row of numbers, there.
    pub(super) fn tensor(&self, values: Vec<f32>) -> Result<Tensor> {
        let count = values.len();
        Tensor::from_vec(values, count, &self.candle)
    }

    /// Why a job does not go on. What does not fit is the job's, what the driver or cuBLAS says is the device's; anything
    /// else would come again with each try.
    pub(super) fn refusal(&self, error: &Error) -> Refusal {
        let (place, what) = (self.place, told(error));
        if NO_ROOM.iter().any(|code| what.contains(code)) {
            let advice = "train on fewer rows, in smaller batches, or by a worker with `train.device = \"cpu\"`";
            return Refusal::training(format!(
                "table and network do not fit on {place} beside what is there; {advice}"
            ));
        }
        if !is_the_devices(&what) {
            let advice = "let a worker with `train.device = \"cpu\"` train it, and report this";
            return Refusal::training(format!("{place} does not do what this training needs: {what}; {advice}"));
        }
        let advice =
            "the task waits: look at `nvidia-smi` and the kernel's log, and restart this worker where the fault stays";
        Refusal::device(format!("{place} does not answer: {what}; {advice}"))
    }
}

/// Whether a fault lies with the device, and not with what it was asked.
fn is_the_devices(what: &str) -> bool {
    let says = |codes: &[&str]| codes.iter().any(|code| what.contains(code));
    says(&["CUDA_ERROR_", "CUBLAS_STATUS_"]) && !says(&["INVALID_VALUE", "NOT_SUPPORTED"])
}

/// The first line: candle adds a backtrace.
fn told(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(feature = "cuda")]
fn name(candle: &Candle) -> Result<String> {
    let stream = candle.as_cuda_device()?.cuda_stream();
    stream.context().name().map(|name| format!("cuda {name}")).map_err(Error::wrap)
}

#[cfg(not(feature = "cuda"))]
fn name(_: &Candle) -> Result<String> {
    Err(Error::NotCompiledWithCudaSupport)
}
