//! The trainers of this crate.

use lunapark_models::Device;
use lunapark_schemas::training::TrainingRequest;

use crate::job::TableJob;
use crate::settings::Objective;
use crate::{Job, Refusal, Tables, Trainer};

/// Multilayer perceptrons for classification and regression.
#[derive(Clone, Copy, Debug, Default)]
pub struct Perceptrons {
    /// Threads of a job; all processors where absent. The bytes do not depend on it.
    pub threads: Option<usize>,
    /// Where jobs run; the bytes are those of this device.
    pub device: Device,
}

/// Autoencoders for anomaly detection: a row's score is the mean squared error of its reconstruction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Autoencoders {
    /// Threads of a job; all processors where absent. The bytes do not depend on it.
    pub threads: Option<usize>,
    /// Where jobs run; the bytes are those of this device.
    pub device: Device,
}

impl Trainer for Perceptrons {
    fn accepts(&self, request: &TrainingRequest) -> bool {
        matches!(Objective::of(request), Some(Objective::Classification | Objective::Regression))
    }

    fn start(&self, request: &TrainingRequest, tables: Tables, resume: Option<&[u8]>) -> Result<Box<dyn Job>, Refusal> {
        TableJob::start(request, &tables, resume, (self.threads, self.device)).map(|job| Box::new(job) as Box<dyn Job>)
    }
}

impl Trainer for Autoencoders {
    fn accepts(&self, request: &TrainingRequest) -> bool {
        Objective::of(request) == Some(Objective::AnomalyDetection)
    }

    fn start(&self, request: &TrainingRequest, tables: Tables, resume: Option<&[u8]>) -> Result<Box<dyn Job>, Refusal> {
        TableJob::start(request, &tables, resume, (self.threads, self.device)).map(|job| Box::new(job) as Box<dyn Job>)
    }
}
