//! Training of models on tables: no topics, no object store.
//!
//! A [`Trainer`] turns a request and its [`Tables`] into a [`Job`]; whoever holds the job lets it work in slices, looks
//! after cancels, checkpoints and heartbeats in between, and gets a [`Trained`] model in the end.
//!
//! Jobs run on the processor, or on an NVIDIA GPU in a build with the feature `cuda`; the feature `candle` has the GPU's
//! code on candle's own CPU device, for its tests. The same request, table, seed, device and build give the same bytes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod artifact;
mod checkpoint;
mod classes;
mod delong;
mod device;
mod draw;
pub mod evaluate;
mod fingerprint;
mod job;
mod judge;
mod kernel;
mod loss;
mod mlp;
mod moments;
mod network;
pub mod picture;
mod prepare;
mod random;
mod refusal;
mod schedule;
mod search;
mod settings;
mod shares;
pub mod simulate;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use lunapark_models::Device;
use lunapark_schemas::Signature;
use lunapark_schemas::training::{DatasetReport, Epoch, TrainingRequest};

use device::Ground;
pub use mlp::{Autoencoders, Perceptrons};
pub use refusal::{Refusal, RefusalKind};
pub use search::Ladder;
pub use tables::Tables;

/// Trains one family of models.
pub trait Trainer: Send + Sync {
    /// Whether it trains what the request asks for.
    fn accepts(&self, request: &TrainingRequest) -> bool;

    /// Checks request and table and starts. With the checkpoint of a job of the same request and table, the new job
    /// goes on from there and ends with the same bytes as one that was never stopped. Of a checkpoint from another device
    /// it is said that it does not fit: what would come of it are the bytes of neither.
    fn start(&self, request: &TrainingRequest, tables: Tables, resume: Option<&[u8]>) -> Result<Box<dyn Job>, Refusal>;
}

/// A training that has begun.
pub trait Job: Send {
    /// Works for about `slice` and comes back.
    fn step(&mut self, slice: Duration) -> Result<Progress, Refusal>;

    /// Losses and scores of the epochs that are done.
    fn history(&self) -> &[Epoch];

    /// Everything that it takes to go on elsewhere: weights, optimizer, schedule, order of the rows, history.
    fn checkpoint(&self) -> Result<Vec<u8>, Refusal>;

    /// The model and what it can do. Called when a step said `done`.
    fn finish(self: Box<Self>) -> Result<Trained, Refusal>;
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Epoch being trained, from 1.
    pub epoch: u32,
    /// All epochs.
    pub epochs: u32,
    /// Steps done.
    pub step: u64,
    /// All steps.
    pub steps: u64,
    /// Steps that the job had behind it when it was started: those of the tries before, by its checkpoint.
    pub steps_before: u64,
    /// Rows a second in the last slice.
    pub samples_per_second: f64,
    /// Larger is better: validation AUC where there is one, else the negative validation loss, of the last epoch.
    pub metric: Option<f64>,
    /// Nothing is left to do.
    pub done: bool,
}

/// A trained model.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model's file, as `lunapark_models::load` reads it.
    pub artifact: Vec<u8>,
    /// Its format: `lunapark-mlp`.
    pub format: &'static str,
    /// What it takes and gives.
    pub signature: Signature,
    /// What it does on the test part, under scikit-learn's names.
    pub evaluation: BTreeMap<String, f64>,
    /// Each epoch.
    pub history: Vec<Epoch>,
    /// What it was trained on.
    pub dataset: DatasetReport,
    /// Its ROC curve on the test part; empty where there is none.
    pub roc: Vec<RocPoint>,
    /// Pictures as SVG: file name and text.
    pub pictures: Vec<(String, String)>,
}

/// A point of a ROC curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// Share of the background's weight at or above the threshold.
    pub false_positive_rate: f64,
    /// Share of the signal's weight at or above the threshold.
    pub true_positive_rate: f64,
    /// Score from which on a row counts as signal.
    pub threshold: f64,
}

/// All trainers, on the processor; the first that accepts a request trains it.
pub fn trainers() -> Vec<Box<dyn Trainer>> {
    vec![Box::new(Perceptrons::default()), Box::new(Autoencoders::default())]
}

/// All trainers, on this device. One that is not there, or that does not train as the processor does, is an error.
pub fn trainers_on(device: Device) -> Result<Vec<Box<dyn Trainer>>, Refusal> {
    Ground::open(device)?.prove()?;
    let threads = None;
    Ok(vec![Box::new(Perceptrons { threads, device }), Box::new(Autoencoders { threads, device })])
}
