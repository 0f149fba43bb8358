//! Whole trainings: what they refuse, what they give, and that they give it again.

mod device;
mod higgs;
mod measures;
mod physics;
mod refusals;
mod resume;
mod sorted;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use lunapark_models::Loaded;
use lunapark_schemas::rows::{Values, f32_values};
use lunapark_schemas::training::TrainingRequest;
use serde_json::{Value, json};

use crate::{Refusal, Tables, Trained, trainers};

/// Each of these takes an open device: candle's own on the CPU, and, where that is asked for, the first GPU.
#[cfg(feature = "candle")]
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_the_cpu {
            $(#[test]
            fn $name() {
                super::$name(&crate::device::Ground::candle(lunapark_models::Device::Cpu));
            })*
        }
        #[cfg(feature = "cuda")]
        mod on_a_gpu {
            $(#[test]
            #[ignore = "needs a GPU: deploy/cuda --test"]
            fn $name() {
                super::$name(&crate::device::Ground::candle(lunapark_models::Device::Cuda(0)));
            })*
        }
    };
}
#[cfg(feature = "candle")]
pub(crate) use on_both;

/// A request as JSON with these settings of training.
fn request(objective: &str, train: Value, dataset: Value) -> Value {
    json!({ "model": { "objective": objective, "name": "test" }, "model_train": train, "dataset": dataset })
}

fn parse(request: &Value) -> TrainingRequest {
    TrainingRequest::from_json(request.to_string().as_bytes()).unwrap()
}

/// A batch of named columns.
fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn floats(values: impl IntoIterator<Item = f32>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Float32Array>())
}

/// Trains to the end.
fn train(request: &Value, batches: &[RecordBatch]) -> Result<Trained, Refusal> {
    let request = parse(request);
    let tables = Tables::from_batches(batches, &request)?;
    let trainers = trainers();
    let trainer = trainers.iter().find(|trainer| trainer.accepts(&request)).unwrap_or(&trainers[0]);
    let mut job = trainer.start(&request, tables, None)?;
    while !job.step(Duration::from_millis(200))?.done {}
    job.finish()
}

fn load(trained: &Trained) -> Loaded {
    lunapark_models::load(&trained.artifact, "trained", None).unwrap()
}

/// Answers of a model for rows, row by row.
fn score(loaded: &Loaded, rows: &[f32]) -> Vec<f64> {
    let model = &loaded.model;
    let column = Values::F32(rows.to_vec()).into_column(&model.signature().inputs[0]).unwrap();
    let batch = RecordBatch::try_new(model.signature().input_schema(), vec![column]).unwrap();
    let answers = model.infer(&batch).unwrap();
    f32_values(&**answers.column(0)).unwrap().iter().map(|&x| f64::from(x)).collect()
}
