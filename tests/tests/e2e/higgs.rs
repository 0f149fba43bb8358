//! Real collision events as payloads of every format, and their scores by the model in this process.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field};
use lunapark_models::Loaded;
use lunapark_schemas::rows::Values;
use lunapark_tests::harness::{Event, OwnedRecord};

const TSV: &str = include_str!("../../../pipelines/assets/higgs-sample.tsv");
/// The trees that the default configuration scores with.
pub const TREES: &[u8] = include_bytes!("../../../pipelines/assets/higgs-xgb.json");
/// The perceptron that is shipped beside them.
pub const PERCEPTRON: &[u8] = include_bytes!("../../../pipelines/assets/higgs-mlp.safetensors");
/// Features of an event.
pub const FEATURES: usize = 28;

/// One event: its features as the file has them.
pub type Features = Vec<&'static str>;

/// The first `count` events of the sample; from its start again where it has fewer.
pub fn sample(count: usize) -> Vec<Features> {
    let features = |line: &'static str| line.split('\t').skip(1).collect();
    TSV.lines().cycle().take(count).map(features).collect()
}

/// Whether each of the first `count` events of the sample is signal.
pub fn signal(count: usize) -> Vec<bool> {
    TSV.lines().cycle().take(count).map(|line| line.starts_with('1')).collect()
}

/// The features as numbers.
pub fn numbers(features: &Features) -> impl Iterator<Item = f32> {
    features.iter().map(|text| text.parse().expect("a number"))
}

/// A loaded model.
pub fn model(bytes: &[u8]) -> Loaded {
    lunapark_models::load(bytes, "model", None).expect("a shipped model")
}

/// What the header `lunapark-model` says of a model's results.
pub fn tag(name_and_version: &str, bytes: &[u8]) -> String {
    format!("{name_and_version}#{}", &model(bytes).digest[..8])
}

/// The scores of the events by a model in this process.
pub fn scores(bytes: &[u8], events: &[Features]) -> Vec<f32> {
    let model = model(bytes).model;
    let signature = model.signature();
    let spec = &signature.inputs[0];
    let mut values = Values::with_capacity(spec.datatype, events.len() * FEATURES);
    events.iter().flatten().for_each(|text| values.push(text.parse().expect("a number")));
    let column = values.into_column(spec).expect("a column");
    let rows = RecordBatch::try_new(signature.input_schema(), vec![column]).expect("rows");
    let outputs = model.infer(&rows).expect("scores");
    outputs.column(0).as_primitive::<Float32Type>().values().to_vec()
}

/// How events travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"instances": …}`
    KserveV1,
    /// `{"inputs": …}`
    OpenInference,
    /// A JSON part and raw tensors.
    Binary,
    /// Arrow IPC stream.
    Arrow,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::KserveV1, Self::OpenInference, Self::Binary, Self::Arrow];

    /// The message that carries these events.
    pub fn message(self, events: &[Features]) -> Event {
        match self {
            Self::KserveV1 => Event::new(v1(events)),
            Self::OpenInference => Event::new(v2(events)).header("content-type", "application/json"),
            Self::Binary => binary(events),
            Self::Arrow => Event::new(arrow(events)).header("content-type", "application/vnd.apache.arrow.stream"),
        }
    }

    /// The scores in a result of this format.
    pub fn scores(self, result: &OwnedRecord) -> Vec<f32> {
        match self {
            Self::KserveV1 => floats(&result.json()["predictions"]),
            Self::OpenInference => floats(&result.json()["outputs"][0]["data"]),
            Self::Binary => binary_scores(result),
            Self::Arrow => arrow_scores(result.value.as_deref().expect("a value")),
        }
    }
}

/// KServe v1 JSON of these events.
pub fn v1(events: &[Features]) -> String {
    format!("{{\"instances\":[{}]}}", rows(events))
}

fn rows(events: &[Features]) -> String {
    events.iter().map(|features| format!("[{}]", features.join(","))).collect::<Vec<_>>().join(",")
}

fn v2(events: &[Features]) -> String {
    let (count, data) = (events.len(), events.iter().flatten().copied().collect::<Vec<_>>().join(","));
    let tensor = format!(r#"{{"name":"input","shape":[{count},{FEATURES}],"datatype":"FP64","data":[{data}]}}"#);
    format!(r#"{{"id":"run-7","inputs":[{tensor}]}}"#)
}

fn binary(events: &[Features]) -> Event {
    let raw: Vec<u8> = events.iter().flat_map(numbers).flat_map(f32::to_le_bytes).collect();
    let (count, size) = (events.len(), raw.len());
    let tensor = format!(
        r#"{{"name":"input","shape":[{count},{FEATURES}],"datatype":"FP32","parameters":{{"binary_data_size":{size}}}}}"#
    );
    let json = format!(r#"{{"inputs":[{tensor}]}}"#);
    let length = json.len().to_string();
    let event = Event::new([json.as_bytes(), &raw].concat()).header("content-type", "application/octet-stream");
    event.header("inference-header-content-length", &length)
}

/// An Arrow IPC stream of these events.
pub fn arrow(events: &[Features]) -> Vec<u8> {
    let values: ArrayRef = Arc::new(Float32Array::from_iter_values(events.iter().flat_map(numbers)));
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let column: ArrayRef = Arc::new(FixedSizeListArray::new(item, FEATURES as i32, values, None));
    let batch = RecordBatch::try_from_iter([("input", column)]).expect("a batch");
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
    writer.write(&batch).expect("a batch");
    writer.into_inner().expect("the end of the stream")
}

fn floats(values: &serde_json::Value) -> Vec<f32> {
    let float = |value: &serde_json::Value| value.as_f64().expect("a number") as f32;
    values.as_array().expect("an array of scores").iter().map(float).collect()
}

fn binary_scores(result: &OwnedRecord) -> Vec<f32> {
    let length: usize = result.header("inference-header-content-length").expect("the length").parse().unwrap();
    let (json, raw) = result.value.as_deref().expect("a value").split_at(length);
    let json: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    assert_eq!(json["outputs"][0]["datatype"], "FP32");
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], raw.len());
    let (words, rest) = raw.as_chunks::<4>();
    assert!(rest.is_empty());
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// The scores in an Arrow IPC stream.
pub fn arrow_scores(stream: &[u8]) -> Vec<f32> {
    let batches = StreamReader::try_new(stream, None).expect("a stream").map(Result::unwrap);
    batches.flat_map(|batch| batch.column(0).as_primitive::<Float32Type>().values().to_vec()).collect()
}
