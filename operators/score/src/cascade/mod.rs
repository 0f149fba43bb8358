//! Cascades: several models on one event, without topics in between, described by a small file.
//!
//! ```toml
//! kind = "cascade"
//!
//! [[steps]]
//! name = "gate"                            # cheap, on every event
//! model = "gate.json"                      # relative to this file; or file://, s3://, builtin:
//! sha256 = "9f2c…"                         # optional
//!
//! [[steps]]
//! name = "main"                            # expensive, on what passes
//! model = "s3://models/higgs.onnx"
//! when = "gate.probability >= 0.2 and (m_bb > 0.8 or m_wbb > 0.9)"
//!
//! [[steps]]
//! name = "calibrate"
//! model = "platt.json"
//! inputs = { score = "main.probability" }  # or several: ["main.probability", "m_bb", "gate.probability"]
//!
//! [[outputs]]
//! name = "probability"
//! from = ["calibrate.probability", "gate.probability"]   # the first of them that answered
//! ```
//!
//! The same in JSON. The rules:
//!
//! * **Inputs.** The cascade takes what its steps take and no other step gives. A step's input without a line in `inputs`
//!   is the event's input of that name and width, or else put together from the event's fields of the names that the
//!   model has for them. `[[inputs]]` (name, datatype, width, fields) declares the event's inputs where that is not enough.
//! * **Sources** are `step.output`, `step.output[2]`, an input or a field of the event.
//! * **`when`** compares sources with numbers or texts: `< <= > >= == !=`, `and`, `or`, parentheses. A missing value, and
//!   an answer that is not there, fulfils nothing. A step whose inputs are not there does not run for that row.
//! * **Every row has an answer.** A row that does not pass is answered by the steps that it did pass; the output `step`,
//!   added where any step has a condition, names the last one that answered. An output that nothing answers is NaN.
//! * **Refusals.** A missing value or an infinity among the event's values refuses the row if any step reading that very
//!   value takes none, whether or not it would have run: so that the same event is always refused or never. If a step is
//!   given one by an earlier step and takes none, it gives no answer.
//! * **Digest.** SHA-256 over the file's own bytes and the digests of all parts, in order.

mod bind;
mod condition;
mod file;
mod run;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use arrow_array::RecordBatch;
use lunapark_models::{Accepts, Model, ModelError};
use lunapark_schemas::Signature;

pub use file::describes;

/// A description that does not hold together; the message names the step and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CascadeError(pub String);

/// A model that a cascade is made of.
pub struct Part {
    /// The model.
    pub model: Arc<dyn Model>,
    /// Its digest, 64 hex digits.
    pub digest: String,
}

/// A step as the description has it, for those who show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepText {
    /// Name of the step.
    pub name: String,
    /// Where its model is, as written.
    pub model: String,
    /// Digest that is expected.
    pub sha256: Option<String>,
    /// Its condition.
    pub when: Option<String>,
}

/// Several models that answer as one.
pub struct Cascade {
    signature: Arc<Signature>,
    /// What every element of the event may be.
    accepts: Accepts,
    /// What each of them may be, by input.
    elements: Vec<Vec<Accepts>>,
    steps: Vec<bind::Step>,
    outputs: Vec<bind::Output>,
    /// Whether the last output names the step that answered.
    tells_step: bool,
    digest: String,
}

impl Cascade {
    /// Reads a description; `load` gives the model of each step, in order.
    pub fn read(bytes: &[u8], mut load: impl FnMut(&StepText) -> Result<Part, String>) -> Result<Self, CascadeError> {
        let description = file::read(bytes)?;
        let mut parts = Vec::new();
        for step in &description.steps {
            let part = load(&step.text());
            parts.push(part.map_err(|error| CascadeError(format!("step `{}`: {error}", step.name)))?);
        }
        let digest = file::digest(bytes, &parts);
        bind::bind(description, parts, digest)
    }

    /// SHA-256 over the description and the digests of its parts, 64 hex digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl Model for Cascade {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    fn accepts(&self) -> Accepts {
        self.accepts
    }

    fn accepts_element(&self, input: usize, element: usize) -> Accepts {
        self.elements.get(input).and_then(|elements| elements.get(element)).copied().unwrap_or(self.accepts)
    }

    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError> {
        run::run(self, rows)
    }
}
