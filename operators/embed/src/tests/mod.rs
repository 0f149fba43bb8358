//! Whole models against torch, and files that are broken.

mod broken;
pub(crate) mod golden;
mod spans;

use std::collections::HashMap;
use std::path::PathBuf;

use crate::{EmbedError, Encoder, EncoderOptions, PrecisionChoice};

/// The small models that `tests/fixtures/make.py` makes; the long ones read 512 tokens.
pub(crate) const MODELS: [&str; 6] = ["bert", "xlm-roberta", "mpnet", "bert-long", "xlm-roberta-long", "mpnet-long"];

pub(crate) fn folder(model: &str) -> PathBuf {
    // Where the tests run without cargo, on the machine with a GPU, the variable is given by hand.
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    root.join("tests/fixtures").join(model)
}

/// All files of a small model, to be changed.
pub(crate) fn files(model: &str) -> HashMap<String, Vec<u8>> {
    let mut found = HashMap::new();
    let mut todo = vec![folder(model)];
    while let Some(next) = todo.pop() {
        for path in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                todo.push(path);
                continue;
            }
            let name = path.strip_prefix(folder(model)).unwrap().to_str().unwrap().to_owned();
            found.insert(name, std::fs::read(path).unwrap());
        }
    }
    found
}

fn load(files: &HashMap<String, Vec<u8>>) -> Result<Encoder, EmbedError> {
    Encoder::load(files, &exact())
}

/// The precision that torch's vectors were made in, whatever the machine has.
pub(crate) fn exact() -> EncoderOptions {
    EncoderOptions { precision: PrecisionChoice::F32, ..EncoderOptions::default() }
}

pub(crate) fn model(name: &str) -> Encoder {
    load(&files(name)).unwrap()
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}
