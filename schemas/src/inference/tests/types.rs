//! Integers, text and several dimensions, in every format.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Float64Array, Int64Array, UInt64Array};
use arrow_ipc::reader::StreamReader;

use super::arrow::stream;
use super::*;
use crate::inference::wire::{V1Answer, V1Prediction, V1Reply, V1Request, V2Answers, V2Reply, V2Request};
use crate::outcome::FailedRow;
use crate::rows::{Values, i64_values};

/// A count, and an image of 2 × 3; a label of each sort, and probabilities.
fn labelled() -> Arc<Signature> {
    let inputs =
        vec![TensorSpec::new("count", Datatype::Int64, 1), TensorSpec::with_shape("image", Datatype::Fp32, vec![2, 3])];
    let outputs = vec![
        TensorSpec::new("label", Datatype::Int64, 1),
        TensorSpec::new("name", Datatype::Bytes, 1),
        TensorSpec::with_shape("map", Datatype::Fp32, vec![2, 2]),
    ];
    Arc::new(Signature { inputs, outputs })
}

fn outputs() -> RecordBatch {
    let signature = labelled();
    let values = [
        Values::I64(vec![i64::MAX, -2]),
        Values::Strings(vec!["Iris \"setosa\"".into(), "größer\n".into()]),
        Values::F32((0..8).map(|value| value as f32 / 2.0).collect()),
    ];
    let columns = values.into_iter().zip(&signature.outputs).map(|(values, spec)| values.into_column(spec).unwrap());
    RecordBatch::try_new(signature.output_schema(), columns.collect()).unwrap()
}

/// Counts and images of what a request decodes to.
fn read(request: Result<Request, Rejection>, rows: RowsBuilder) -> (Request, Vec<i64>, Vec<f32>) {
    let request = request.unwrap();
    let batch = rows.finish().unwrap();
    let counts = i64_values(batch.column(0)).unwrap().to_vec();
    (request, counts, f32_values(batch.column(1)).unwrap().to_vec())
}

fn read_text(payload: &str) -> (Request, Vec<i64>, Vec<f32>) {
    let mut rows = builder(&labelled());
    let request = decode_text(payload, &mut rows);
    read(request, rows)
}

/// 2^53 + 1, the first integer that no double holds.
const ODD: i64 = 9_007_199_254_740_993;

#[test]
fn kserve_v1_takes_integers_exactly_and_nested_images() {
    let payload = format!(
        r#"{{"instances":[{{"count":{ODD},"image":[[1,2,3],[4,null,6]]}},{{"count":-7.0,"image":[6,5,4,3,2,1]}}]}}"#
    );
    let (_, counts, images) = read_text(&payload);
    assert_eq!(counts, [ODD, -7]);
    assert!(images[4].is_nan() && images[..4] == [1.0, 2.0, 3.0, 4.0] && images[6..] == [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
    assert!(serde_json::from_str::<V1Request>(&payload).is_ok());
}

#[test]
fn what_is_no_integer_and_wrong_nesting_fail_their_rows() {
    let good = r#"{"count":1,"image":[[1,2,3],[4,5,6]]}"#;
    let reason = |row: &str| {
        let (request, counts, _) = read_text(&format!(r#"{{"instances":[{row},{good}]}}"#));
        assert_eq!(counts, [1]);
        let rejection = request.failed()[0].rejection.clone();
        (rejection.class, rejection.message)
    };
    for count in ["1.5", "9223372036854775808", "1e300"] {
        let (class, text) = reason(&good.replace("1,\"i", &format!("{count},\"i")));
        assert_eq!(class, ErrorClass::Value);
        assert!(text.starts_with("row 0, input `count`: ") && text.contains("no whole number"), "{text}");
    }
    let (class, text) = reason(&good.replace("1,\"i", "null,\"i"));
    assert_eq!(
        (class, &*text),
        (ErrorClass::Missing, "row 0, input `count` is missing and INT64 has no missing values; send a number")
    );
    for image in ["[[1,2],[3,4],[5,6]]", "[[1,2,3],[4,5]]", "[[1,2,3],4]", "[[1,2,3]]", "[[1,2,3],[4,5,[6]]]", "[1,2]"]
    {
        let (class, text) = reason(&good.replace("[[1,2,3],[4,5,6]]", image));
        assert!(class == ErrorClass::Shape && text.starts_with("row 0"), "{image}: {text}");
    }
    let (_, text) = reason(&good.replace("[[1,2,3],[4,5,6]]", "[[1,2,3],[4,5]]"));
    assert!(text.contains("about value 3: input `image` has the shape [2, 3]"), "{text}");
}

fn v2(count: &str, shape: &str, image: &str) -> String {
    format!(
        r#"{{"inputs":[{{"name":"count","shape":[2],"datatype":"INT64","data":{count}}},
           {{"name":"image","shape":{shape},"datatype":"FP32","data":{image}}}]}}"#
    )
}

#[test]
fn open_inference_takes_the_models_shape_or_a_flat_one() {
    let flat = "[1,2,3,4,5,6,7,8,9,10,11,12]";
    let nested = "[[[1,2,3],[4,5,6]],[[7,8,9],[10,11,12]]]";
    let counts = format!("[{ODD},{}]", i64::MIN);
    for (shape, image) in [("[2,2,3]", flat), ("[2,2,3]", nested), ("[2,6]", flat)] {
        let payload = v2(&counts, shape, image);
        let (_, counts, images) = read_text(&payload);
        assert_eq!((counts, images.len(), images[11]), (vec![ODD, i64::MIN], 12, 12.0));
        assert!(serde_json::from_str::<V2Request>(&payload).is_ok());
    }
    for shape in ["[2,3,2]", "[2,1,6]", "[2,2,3,1]", "[2,12]"] {
        let rejection = decode_text(&v2("[1,2]", shape, flat), &mut builder(&labelled())).unwrap_err();
        assert_eq!(rejection.class, ErrorClass::Shape);
        assert!(rejection.message.contains("the model takes [rows, 2, 3] or [rows, 6]"), "{}", rejection.message);
    }
}

#[test]
fn open_inference_integers_fail_alone() {
    let (request, counts, _) = read_text(&v2("[3,null]", "[2,6]", "[1,2,3,4,5,6,7,8,9,10,11,12]"));
    assert_eq!((counts, request.failed()[0].rejection.class), (vec![3], ErrorClass::Missing));
    let (request, counts, _) = read_text(&v2("[0.5,4]", "[2,6]", "[1,2,3,4,5,6,7,8,9,10,11,12]"));
    assert_eq!((counts, request.failed()[0].rejection.class), (vec![4], ErrorClass::Value));
}

#[test]
fn raw_integers_of_any_width_arrive_exactly() {
    let raw = |datatype: &str, counts: &[u8]| {
        let json = format!(
            r#"{{"inputs":[{{"name":"count","shape":[2],"datatype":"{datatype}","parameters":{{"binary_data_size":{}}}}},
               {{"name":"image","shape":[2,6],"datatype":"FP32","parameters":{{"binary_data_size":48}}}}]}}"#,
            counts.len()
        );
        let payload = [json.as_bytes(), counts, &[0; 48]].concat();
        let mut rows = builder(&labelled());
        let length = json.len().to_string();
        let request = decode_with(&payload, &[("inference-header-content-length", &length)], &mut rows);
        let (request, counts, _) = read(request, rows);
        (counts, request.failed().to_vec())
    };
    let bytes = |values: [i64; 2]| values.map(i64::to_le_bytes).concat();
    assert_eq!(raw("INT64", &bytes([ODD, -ODD])), (vec![ODD, -ODD], vec![]));
    assert_eq!(raw("UINT64", &bytes([ODD, 5])).0, [ODD, 5]);
    let (counts, failed) = raw("UINT64", &bytes([-1, 5]));
    assert_eq!((counts, failed[0].rejection.class), (vec![5], ErrorClass::Value));
    assert_eq!(raw("INT16", &[1, 0, 0xff, 0xff]).0, [1, -1]);
    let (counts, failed) = raw("FP64", &[f64::NAN.to_le_bytes(), 4.0_f64.to_le_bytes()].concat());
    assert_eq!((counts, failed.len()), (vec![4], 1));
}

#[test]
fn arrow_integers_arrive_exactly_and_nulls_fail_their_rows() {
    let read_column = |counts: ArrayRef| {
        let image: ArrayRef = super::arrow::lists(&[Some(&[0.5; 6]), Some(&[0.25; 6])], 6);
        let columns = [("count", counts, true), ("image", image, true)];
        let payload = stream(&[RecordBatch::try_from_iter_with_nullable(columns).unwrap()], None);
        let mut rows = builder(&labelled());
        let request = decode_with(&payload, &[("content-type", "application/vnd.apache.arrow.stream")], &mut rows);
        let (request, counts, images) = read(request, rows);
        assert_eq!(images.len(), counts.len() * 6);
        (counts, request.failed().iter().map(|f| (f.row, f.rejection.class)).collect::<Vec<_>>())
    };
    assert_eq!(read_column(Arc::new(Int64Array::from(vec![ODD, i64::MIN]))), (vec![ODD, i64::MIN], vec![]));
    let nulls = Int64Array::from(vec![Some(ODD), None]);
    assert_eq!(read_column(Arc::new(nulls)), (vec![ODD], vec![(1, ErrorClass::Missing)]));
    let large = UInt64Array::from(vec![u64::MAX, 9]);
    assert_eq!(read_column(Arc::new(large)), (vec![9], vec![(0, ErrorClass::Value)]));
    let doubles = Float64Array::from(vec![2.0, 2.5]);
    assert_eq!(read_column(Arc::new(doubles)), (vec![2], vec![(1, ErrorClass::Value)]));
}

#[test]
fn kserve_v1_replies_hold_integers_text_and_nested_arrays() {
    let request = Request::new(Format::KserveV1, 2, Extra::default());
    let text = encode_text(&request, &labelled(), &outputs(), 0..2);
    let first = r#"{"label":9223372036854775807,"name":"Iris \"setosa\"","map":[[0.0,0.5],[1.0,1.5]]}"#;
    assert!(text.starts_with(&format!(r#"{{"predictions":[{first},{{"label":-2,"name":"größer\n""#)), "{text}");
    let reply: V1Reply = serde_json::from_str(&text).unwrap();
    let Some(V1Prediction::Named(named)) = &reply.predictions[1] else { panic!("{reply:?}") };
    assert_eq!(named["name"], V1Answer::Text("größer\n".into()));
}

#[test]
fn one_label_alone_is_a_plain_prediction() {
    let all = labelled();
    for (index, expected) in [(0, "[9223372036854775807,-2]"), (1, "[\"Iris \\\"setosa\\\"\",\"größer\\n\"]")] {
        let signature = Signature { inputs: all.inputs.clone(), outputs: vec![all.outputs[index].clone()] };
        let request = Request::new(Format::KserveV1, 2, Extra::default());
        let text = encode_text(&request, &signature, &outputs().project(&[index]).unwrap(), 0..2);
        assert_eq!(text, format!(r#"{{"predictions":{expected}}}"#));
        assert!(serde_json::from_str::<V1Reply>(&text).is_ok());
    }
}

fn partly_failed(format: Format) -> Request {
    let failed = vec![FailedRow { row: 1, rejection: Rejection::new(ErrorClass::Shape, "row 1: why") }];
    Request::new(format, 3, Extra { failed, ..Extra::default() })
}

#[test]
fn open_inference_replies_hold_integers_text_and_shapes() {
    let text = encode_text(&partly_failed(Format::OpenInference), &labelled(), &outputs(), 0..2);
    let reply: V2Reply = serde_json::from_str(&text).unwrap();
    let shapes: Vec<_> = reply.outputs.iter().map(|output| output.shape.clone()).collect();
    assert_eq!(shapes, [vec![3], vec![3], vec![3, 2, 2]]);
    assert!(text.contains(r#""datatype":"INT64","data":[9223372036854775807,null,-2]"#), "{text}");
    let names = vec![Some("Iris \"setosa\"".to_owned()), None, Some("größer\n".to_owned())];
    assert_eq!((reply.outputs[1].datatype, &reply.outputs[1].data), (Datatype::Bytes, &Some(V2Answers::Texts(names))));
}

#[test]
fn binary_replies_put_the_length_before_each_text() {
    let (value, encoded) = encode_all(&partly_failed(Format::OpenInferenceBinary), &labelled(), &outputs(), 0..2);
    let (json, raw) = value.split_at(encoded.json_length.unwrap());
    let reply: V2Reply = serde_json::from_slice(json).unwrap();
    let sizes: Vec<_> = reply.outputs.iter().map(|o| o.parameters.clone().unwrap().binary_data_size.unwrap()).collect();
    assert_eq!((sizes[0], sizes[1], sizes.iter().sum::<u64>()), (24, 12 + 13 + 9, raw.len() as u64));
    assert_eq!(raw[..24], [i64::MAX, 0, -2].map(i64::to_le_bytes).concat());
    let texts = [&13_u32.to_le_bytes()[..], b"Iris \"setosa\"", &[0; 4], &9_u32.to_le_bytes(), "größer\n".as_bytes()];
    assert_eq!(raw[24..58], texts.concat());
}

#[test]
fn arrow_replies_hold_integers_and_text() {
    for (request, nulls) in [(Request::new(Format::Arrow, 2, Extra::default()), 0), (partly_failed(Format::Arrow), 1)] {
        let (value, _) = encode_all(&request, &labelled(), &outputs(), 0..2);
        let reply = StreamReader::try_new(&value[..], None).unwrap().next().unwrap().unwrap();
        let last = request.rows as usize - 1;
        assert_eq!(reply.column(0).as_primitive::<Int64Type>().value(last), -2);
        assert_eq!(reply.column(1).as_string::<i32>().value(last), "größer\n");
        assert_eq!([0, 1, 2].map(|column| reply.column(column).null_count()), [nulls; 3]);
    }
}

#[test]
fn an_output_of_several_texts_is_a_list() {
    let spec = TensorSpec::new("top", Datatype::Bytes, 2);
    let column = Values::Strings(["a", "b", "c", "d"].map(String::from).into()).into_column(&spec).unwrap();
    let signature = Signature { inputs: plain(1).inputs.clone(), outputs: vec![spec] };
    let batch = RecordBatch::try_new(signature.output_schema(), vec![column]).unwrap();
    let text = encode_text(&partly_failed(Format::KserveV1), &signature, &batch, 0..2);
    assert!(text.starts_with(r#"{"predictions":[["a","b"],null,["c","d"]]"#), "{text}");
    let (value, _) = encode_all(&partly_failed(Format::Arrow), &signature, &batch, 0..2);
    let reply = StreamReader::try_new(&value[..], None).unwrap().next().unwrap().unwrap();
    assert_eq!(reply.column(0).as_fixed_size_list().value(2).as_string::<i32>().value(1), "d");
    assert_eq!(reply.column(0).null_count(), 1);
}
