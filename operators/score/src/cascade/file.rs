//! The description of a cascade, as it is written.

use std::collections::BTreeMap;

use lunapark_schemas::TensorSpec;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{CascadeError, Part, StepText};

/// A description is written by hand: a larger file is something else.
const MAX_BYTES: usize = 1 << 20;
/// More steps than anyone chains; bounds what one event can cost to load.
const MAX_STEPS: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    pub(super) inputs: Vec<TensorSpec>,
    pub(super) steps: Vec<Step>,
    pub(super) outputs: Vec<Output>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) name: String,
    model: String,
    sha256: Option<String>,
    pub(super) when: Option<String>,
    #[serde(default)]
    pub(super) inputs: BTreeMap<String, Sources>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) from: Sources,
}

/// One source or several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a source such as \"step.output\", or a list of them, belongs there")]
pub(super) enum Sources {
    One(String),
    Several(Vec<String>),
}

impl Sources {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Sources::One(source) => std::slice::from_ref(source),
            Sources::Several(sources) => sources,
        }
    }
}

impl Step {
    pub(super) fn text(&self) -> StepText {
        StepText {
            name: self.name.clone(),
            model: self.model.clone(),
            sha256: self.sha256.clone(),
            when: self.when.clone(),
        }
    }
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

/// Whether these bytes are the description of a cascade: JSON whose member `kind` says so, or text with a line
/// `kind = "cascade"`.
pub fn describes(bytes: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_BYTES) else { return false };
    if text.trim_start().starts_with('{') {
        return serde_json::from_str::<Kind>(text).is_ok_and(|kind| kind.kind == "cascade");
    }
    text.lines().any(|line| {
        let value = line.trim().strip_prefix("kind").and_then(|rest| rest.trim_start().strip_prefix('='));
        value.is_some_and(|value| value.trim_start().starts_with("\"cascade\""))
    })
}

pub(super) fn read(bytes: &[u8]) -> Result<Description, CascadeError> {
    let text = String::from_utf8_lossy(bytes);
    let description: Description = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text).map_err(|error| CascadeError(error.to_string()))?,
        false => toml::from_str(&text).map_err(|error| CascadeError(error.to_string().trim_end().to_owned()))?,
    };
    let (steps, outputs) = (description.steps.len(), description.outputs.len());
    if steps == 0 || steps > MAX_STEPS || outputs == 0 {
        let text =
            format!("{steps} steps and {outputs} outputs; describe 1 to {MAX_STEPS} steps and an output at least");
        return Err(CascadeError(text));
    }
    description.steps.iter().enumerate().try_for_each(|(at, step)| check_name(step, &description.steps[..at]))?;
    Ok(description)
}

/// A name stands before a point in sources, and in front of the terminal.
fn check_name(step: &Step, earlier: &[Step]) -> Result<(), CascadeError> {
    let name = &step.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let shown = name.escape_debug();
        return Err(CascadeError(format!("step `{shown}`: name it with a letter, then letters, digits, `_` and `-`")));
    }
    match earlier.iter().any(|other| other.name == *name) {
        true => Err(CascadeError(format!("two steps are called `{name}`; name them apart"))),
        false => Ok(()),
    }
}

pub(super) fn digest(bytes: &[u8], parts: &[Part]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"lunapark cascade\n");
    hasher.update(Sha256::digest(bytes));
    parts.iter().for_each(|part| hasher.update(part.digest.as_bytes()));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
