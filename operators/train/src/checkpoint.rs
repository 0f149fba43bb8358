//! A job's checkpoint: a safetensors file of weights and moments, with the rest as JSON beside them.
//!
//! The order of an epoch's rows follows from seed and epoch, so the numbers of both are all of the generator's state.
//! Numbers in double precision travel as their bits: a parser's rounding would change the bytes of what follows.

use std::collections::HashMap;

use lunapark_schemas::training::Epoch;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::Refusal;
use crate::artifact::{bytes, serialize};
use crate::device::{Position, State};

/// Key of the JSON in the file's metadata.
const KEY: &str = "lunapark-checkpoint";
/// Of this description and of what its history means: since 2 the rows that judge an epoch are drawn.
const VERSION: u32 = 2;

/// The best epoch so far, by the loss on the rows held out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Best {
    pub loss: f64,
    pub weights: Vec<f32>,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    /// Of request, table, and instruction set or GPU.
    pub fingerprint: u64,
    /// Epoch being trained, from 0.
    pub epoch: u32,
    pub at: Position,
    pub history: Vec<Epoch>,
    pub best: Option<Best>,
    /// Epochs since the best.
    pub stale: u32,
    pub done: bool,
    pub state: State,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    fingerprint: u64,
    epoch: u32,
    step: u64,
    row: usize,
    loss: u64,
    history: Vec<SavedEpoch>,
    best: Option<u64>,
    stale: u32,
    done: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedEpoch {
    epoch: u32,
    numbers: [u64; 3],
    scores: [Option<u64>; 2],
}

impl SavedEpoch {
    fn of(epoch: &Epoch) -> Self {
        let numbers = [epoch.loss, epoch.val_loss, epoch.learning_rate].map(f64::to_bits);
        let scores = [epoch.val_accuracy, epoch.val_auc].map(|score| score.map(f64::to_bits));
        Self { epoch: epoch.epoch, numbers, scores }
    }

    fn read(&self) -> Epoch {
        let [loss, val_loss, learning_rate] = self.numbers.map(f64::from_bits);
        let [val_accuracy, val_auc] = self.scores.map(|score| score.map(f64::from_bits));
        Epoch { epoch: self.epoch, loss, val_loss, val_accuracy, val_auc, learning_rate }
    }
}

impl Checkpoint {
    pub(crate) fn write(&self) -> Result<Vec<u8>, Refusal> {
        let saved = Saved {
            version: VERSION,
            fingerprint: self.fingerprint,
            epoch: self.epoch,
            step: self.at.step,
            row: self.at.row,
            loss: self.at.loss.to_bits(),
            history: self.history.iter().map(SavedEpoch::of).collect(),
            best: self.best.as_ref().map(|best| best.loss.to_bits()),
            stale: self.stale,
            done: self.done,
        };
        let json = serde_json::to_string(&saved).map_err(|error| Refusal::checkpoint(error.to_string()))?;
        let mut tensors: Vec<_> = [("first", &self.state.first), ("second", &self.state.second)]
            .into_iter()
            .chain([("weights", &self.state.weights)])
            .chain(self.best.as_ref().map(|best| ("best", &best.weights)))
            .map(|(name, values)| (name.to_owned(), vec![values.len()], bytes(values)))
            .collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        serialize(&tensors, HashMap::from([(KEY.to_owned(), json)]))
    }

    /// Reads a checkpoint of a job with this fingerprint, so many parameters, epochs and rows.
    pub(crate) fn read(file: &[u8], fingerprint: u64, parameters: usize, rows: usize) -> Result<Self, Refusal> {
        let (_, metadata) = SafeTensors::read_metadata(file).map_err(|error| damaged(error.to_string()))?;
        let tensors = SafeTensors::deserialize(file).map_err(|error| damaged(error.to_string()))?;
        let json = metadata.metadata().as_ref().and_then(|entries| entries.get(KEY));
        let json = json.ok_or_else(|| damaged("its description is missing".to_owned()))?;
        let saved: Saved = serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
        if saved.version != VERSION || saved.fingerprint != fingerprint {
            let what = "the checkpoint is of another request, table, version, instruction set or device";
            return Err(Refusal::checkpoint(format!("{what}; start again without it")));
        }
        let tensor = |name: &str| read_tensor(&tensors, name, parameters);
        if saved.row > rows {
            return Err(damaged("it is further than the table".to_owned()));
        }
        let state = State { weights: tensor("weights")?, first: tensor("first")?, second: tensor("second")? };
        let best = saved.best.map(|loss| tensor("best").map(|weights| Best { loss: f64::from_bits(loss), weights }));
        Ok(Self {
            fingerprint,
            epoch: saved.epoch,
            at: Position { step: saved.step, row: saved.row, loss: f64::from_bits(saved.loss) },
            history: saved.history.iter().map(SavedEpoch::read).collect(),
            best: best.transpose()?,
            stale: saved.stale,
            done: saved.done,
            state,
        })
    }
}

fn read_tensor(tensors: &SafeTensors<'_>, name: &str, parameters: usize) -> Result<Vec<f32>, Refusal> {
    let tensor = tensors.tensor(name).map_err(|error| damaged(error.to_string()))?;
    let values: Vec<_> = tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if values.len() == parameters { Ok(values) } else { Err(damaged(format!("\"{name}\" has another length"))) }
}

fn damaged(what: String) -> Refusal {
    Refusal::checkpoint(format!("the checkpoint is damaged ({what}); start again without it"))
}
