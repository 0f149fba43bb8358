//! Networks on candle's CPU device and on a GPU, against this crate's own kernels.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use lunapark_schemas::rows::{Values, f32_values};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::super::backend::Backend;
use super::super::model::{TOLERANCE, place_on};
use super::super::owner::Owner;
use super::super::plan::Plan;
use super::*;
use crate::mlp::MlpModel;
use crate::onnx::OnnxModel;
use crate::{Model, load};

/// An open device.
struct Ground {
    device: Device,
    owner: Arc<Owner<Plan>>,
}

impl Ground {
    fn open(device: Device) -> Self {
        let owner = Owner::start(&device.to_string(), move || Backend::open(device));
        let owner = owner.unwrap_or_else(|error| panic!("this test needs {device}: {error}"));
        Self { device, owner }
    }

    fn network(&self, bytes: &[u8]) -> Arc<dyn Model> {
        let model = MlpModel::parse(bytes, "net").unwrap();
        place_on(&self.owner, self.device, "net", &model, model.network()).unwrap()
    }

    /// `None` where the graph is no chain of layers.
    fn graph(&self, bytes: &[u8]) -> Option<Arc<dyn Model>> {
        let model = OnnxModel::parse(bytes, "graph").ok()?;
        Some(place_on(&self.owner, self.device, "graph", &model, model.chain()?).unwrap())
    }
}

/// Each of these runs on candle's CPU device, and on the first GPU where that is asked for.
macro_rules! on_both {
    ($($name:ident),*) => {
        mod on_the_cpu {
            $(#[test]
            fn $name() {
                super::$name(&super::Ground::open(crate::Device::Cpu));
            })*
        }
        #[cfg(feature = "cuda")]
        mod on_a_gpu {
            $(#[test]
            #[ignore = "needs a GPU: deploy/cuda --test"]
            fn $name() {
                super::$name(&super::Ground::open(crate::Device::Cuda(0)));
            })*
        }
    };
}

on_both!(
    the_shipped_network_answers_as_on_the_cpu,
    every_activation_answers_as_on_the_cpu,
    an_autoencoder_answers_as_on_the_cpu,
    onnx_chains_answer_as_on_the_cpu,
    eight_threads_get_the_answers_of_their_rows,
    a_missing_value_is_nan_and_leaves_the_neighbours_alone,
    no_rows_give_no_answers
);

fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
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

fn assert_near(ours: &[f32], expected: &[f32], name: &str) {
    assert_eq!(ours.len(), expected.len(), "{name}");
    for (at, (a, b)) in ours.iter().zip(expected).enumerate() {
        let near = (a - b).abs() <= TOLERANCE * b.abs().max(1.0);
        assert!(near || (!a.is_finite() && !b.is_finite()), "{name}: value {at} is {a} for {b}");
    }
}

/// On the device as on the CPU, and where the device promises it, the same bits in parts.
fn assert_same(device: &dyn Model, cpu: &dyn Model, rows: &RecordBatch, name: &str) {
    assert_eq!((device.signature(), device.accepts()), (cpu.signature(), cpu.accepts()), "{name}");
    let all = scores(device, rows);
    assert_near(&all, &scores(cpu, rows), name);
    let width = device.signature().outputs[0].width;
    for (start, len) in [(0, 1), (1, 1), (17, 64), (40, 90), (5, rows.num_rows() - 5)] {
        assert_part(device, &all[start * width..(start + len) * width], &rows.slice(start, len), name);
    }
}

fn assert_part(device: &dyn Model, expected: &[f32], rows: &RecordBatch, name: &str) {
    let part = scores(device, rows);
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    match device.same_bits_in_any_batch() {
        true => assert_eq!(bits(&part), bits(expected), "{name}"),
        false => assert_near(&part, expected, name),
    }
}

fn shipped() -> (Vec<u8>, Arc<dyn Model>, RecordBatch) {
    let bytes = asset("higgs-mlp.safetensors");
    let cpu = load(&bytes, "net", None).unwrap().model;
    let rows: Vec<f32> = fixture("higgs.rows.f32").as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let rows = batch(&*cpu, rows);
    (bytes, cpu, rows)
}

fn the_shipped_network_answers_as_on_the_cpu(ground: &Ground) {
    let (bytes, cpu, rows) = shipped();
    let placed = ground.network(&bytes);
    assert_eq!(placed.device(), ground.device);
    assert_same(&*placed, &*cpu, &rows, "higgs-mlp");
}

/// A file of Lunapark's own format, with random weights.
fn network(widths: &[usize], activations: &[&str], standardize: bool, reconstructs: bool) -> Vec<u8> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut layers = Vec::new();
    for (at, pair) in widths.windows(2).enumerate() {
        let scale = (pair[0] as f32).sqrt().recip();
        let weights = noise(at as u64 + 7, pair[0] * pair[1]).iter().map(|x| x * scale * 2.0).collect();
        tensors.push((format!("{at}.weight"), vec![pair[1], pair[0]], weights));
        tensors.push((format!("{at}.bias"), vec![pair[1]], noise(at as u64 + 70, pair[1])));
        let (weight, bias) = (format!("{at}.weight"), format!("{at}.bias"));
        layers.push(json!({"weight": weight, "bias": bias, "activation": activations[at]}));
    }
    let (inputs, last) = (widths[0], widths[widths.len() - 1]);
    let outputs = if reconstructs { 1 } else { last };
    let mut description = json!({
        "format": "mlp", "version": 1, "layers": layers,
        "inputs": [{"name": "x", "datatype": "FP32", "width": inputs}],
        "outputs": [{"name": "y", "datatype": "FP32", "width": outputs}],
    });
    if standardize {
        tensors.push(("mean".to_owned(), vec![inputs], noise(3, inputs).iter().map(|x| x * 100.0).collect()));
        tensors.push(("scale".to_owned(), vec![inputs], noise(4, inputs).iter().map(|x| x.abs() + 0.1).collect()));
        description["standardize"] = json!({"mean": "mean", "scale": "scale"});
    }
    if reconstructs {
        description["score"] = json!("reconstruction-error");
    }
    file(&tensors, &description.to_string())
}

fn file(tensors: &[(String, Vec<usize>, Vec<f32>)], description: &str) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let metadata = HashMap::from([("lunapark".to_owned(), description.to_owned())]);
    safetensors::serialize(views, Some(metadata)).unwrap()
}

/// Rows around the mean of `network`.
fn rows_of(model: &dyn Model, standardize: bool, count: usize) -> RecordBatch {
    let inputs = model.signature().inputs[0].width;
    let mean: Vec<f32> = noise(3, inputs).iter().map(|x| if standardize { x * 100.0 } else { 0.0 }).collect();
    let values = noise(11, count * inputs).into_iter().enumerate().map(|(at, x)| mean[at % inputs] + x);
    batch(model, values.collect())
}

fn check(ground: &Ground, bytes: &[u8], standardize: bool, name: &str) {
    let cpu = load(bytes, name, None).unwrap().model;
    let placed = ground.network(bytes);
    assert_same(&*placed, &*cpu, &rows_of(&*cpu, standardize, 300), name);
}

fn every_activation_answers_as_on_the_cpu(ground: &Ground) {
    for activation in ["identity", "relu", "sigmoid", "tanh", "gelu"] {
        for last in ["identity", "relu", "sigmoid", "tanh", "gelu", "softmax"] {
            let bytes = network(&[29, 65, 33, 5], &[activation, activation, last], activation != "tanh", false);
            check(ground, &bytes, activation != "tanh", &format!("{activation}, {last}"));
        }
    }
    for widths in [&[1, 1][..], &[1, 130, 1], &[300, 4], &[784, 512, 10]] {
        let activations = ["relu", "sigmoid"];
        check(ground, &network(widths, &activations, false, false), false, &format!("{widths:?}"));
    }
}

fn an_autoencoder_answers_as_on_the_cpu(ground: &Ground) {
    for standardize in [true, false] {
        let bytes = network(&[24, 16, 4, 16, 24], &["relu", "relu", "relu", "identity"], standardize, true);
        check(ground, &bytes, standardize, "an autoencoder");
    }
}

fn onnx_chains_answer_as_on_the_cpu(ground: &Ground) {
    let mut chains = 0;
    for case in crate::tests::onnx::cases() {
        let bytes = case.bytes();
        let Some(placed) = ground.graph(&bytes) else { continue };
        let cpu = load(&bytes, &case.name, None).unwrap().model;
        assert_same(&*placed, &*cpu, &case.batch(&*cpu), &case.name);
        chains += 1;
    }
    assert!(chains > 0, "there is a chain among the fixtures");
}

fn eight_threads_get_the_answers_of_their_rows(ground: &Ground) {
    let (bytes, _, rows) = shipped();
    let placed = ground.network(&bytes);
    let other = ground.network(&network(&[28, 40, 1], &["tanh", "identity"], false, false));
    let models = [placed, other].map(|model| (scores(&*model, &rows), model));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (models, rows) = (&models, &rows);
            scope.spawn(move || {
                for round in 0..30 {
                    let (all, model) = &models[(thread + round) % 2];
                    let (start, len) = (thread * 700 + round * 13, 1 + round * 37 % 400);
                    assert_part(&**model, &all[start..start + len], &rows.slice(start, len), "a part");
                }
            });
        }
    });
}

fn a_missing_value_is_nan_and_leaves_the_neighbours_alone(ground: &Ground) {
    let (bytes, cpu, _) = shipped();
    let placed = ground.network(&bytes);
    let mut values = noise(5, 28 * 40);
    let before = scores(&*placed, &batch(&*cpu, values.clone()));
    values[13 * 28 + 5] = f32::NAN;
    let after = scores(&*placed, &batch(&*cpu, values));
    assert!(after[13].is_nan());
    for row in (0..40).filter(|&row| row != 13) {
        assert_eq!(after[row].to_bits(), before[row].to_bits(), "row {row}");
    }
}

fn no_rows_give_no_answers(ground: &Ground) {
    let (bytes, cpu, _) = shipped();
    assert_eq!(scores(&*ground.network(&bytes), &batch(&*cpu, Vec::new())), [0.0; 0]);
}

/// What the configuration names is opened once, whoever asks.
#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU: deploy/cuda --test"]
fn a_gpu_is_shared_by_the_models_on_it() {
    let (bytes, cpu, rows) = shipped();
    let placed = [0, 1].map(|_| load_on(Device::Cuda(0), &bytes, "net", None).unwrap());
    for loaded in &placed {
        assert_eq!((loaded.model.device(), loaded.summary.kernel), (Device::Cuda(0), "candle"));
        assert_same(&*loaded.model, &*cpu, &rows, "net");
    }
}
