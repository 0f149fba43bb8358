//! Tests over whole models: against XGBoost and double precision, across batches and kernels, against bad files.

mod agreement;
mod by_hand;
mod fuzz;
mod golden;
mod hostile_lightgbm;
mod hostile_mlp;
mod hostile_trees;
mod independence;
mod lightgbm_golden;
pub(crate) mod onnx;
mod onnx_by_hand;
mod onnx_hostile;
mod xgboost_golden;

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use lunapark_schemas::rows::{Values, f32_values};

use crate::{Loaded, Model, load};

const FEATURES: usize = 28;

/// This crate's folder: where it was built, or where the environment says that these tests were carried to.
fn folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    read(folder().join("fixtures").join(name))
}

pub(crate) fn asset(name: &str) -> Vec<u8> {
    read(folder().join("../../pipelines/assets").join(name))
}

fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// 7,500 HIGGS events, row by row.
fn higgs_rows() -> Vec<f32> {
    floats(&fixture("higgs.rows.f32"))
}

/// The same with one value in twenty missing.
fn higgs_rows_with_missing() -> Vec<f32> {
    let missing = fixture("higgs.missing.bits");
    let is_missing = |at: usize| missing[at / 8] >> (at % 8) & 1 == 1;
    higgs_rows().into_iter().enumerate().map(|(at, x)| if is_missing(at) { f32::NAN } else { x }).collect()
}

fn batch(model: &dyn Model, values: Vec<f32>) -> RecordBatch {
    let column = Values::F32(values).into_column(&model.signature().inputs[0]).unwrap();
    RecordBatch::try_new(model.signature().input_schema(), vec![column]).unwrap()
}

fn scores(model: &dyn Model, rows: &RecordBatch) -> Vec<f32> {
    let answer = model.infer(rows).unwrap();
    assert_eq!(answer.schema(), model.signature().output_schema());
    f32_values(answer.column(0)).unwrap().to_vec()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// FNV-1a of numbers' bits: what another machine must answer too.
pub(crate) fn digest(bits: impl IntoIterator<Item = u32>) -> u64 {
    let step = |hash: u64, bits| (hash ^ u64::from(bits)).wrapping_mul(0x0000_0100_0000_01b3);
    bits.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn loaded(bytes: &[u8], name: &str) -> Loaded {
    load(bytes, name, None).unwrap()
}

fn higgs_trees() -> Arc<dyn Model> {
    loaded(&asset("higgs-xgb.json"), "higgs-xgb.json").model
}

fn higgs_perceptron() -> Arc<dyn Model> {
    loaded(&asset("higgs-mlp.safetensors"), "higgs-mlp.safetensors").model
}
