//! JSON and binary requests and replies, case by case.

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array};

use super::*;
use crate::inference::wire::{V1Reply, V2Answers, V2Reply, V2Request};
use crate::rows::f64_values;

fn rejected(payload: &str, signature: &Arc<Signature>) -> Rejection {
    let mut rows = builder(signature);
    let rejection = decode_text(payload, &mut rows).unwrap_err();
    assert!(rows.rows() == 0 && rows.columns_mut().iter().all(|column| column.is_empty()), "{payload}");
    rejection
}

#[test]
fn plain_rows_take_the_fast_path_and_keep_their_values() {
    let payloads = [
        r#"{"instances":[[1.5,-0.25],[3,4e0]]}"#,
        "{\"instances\": [[1.5, -0.25], [3, 4e0]]}\n",
        r#" { "instances" : [ [1.5,-0.25] , [3,4e0] ] } "#,
    ];
    for payload in payloads {
        let mut rows = builder(&plain(2));
        let fast = kserve_v1::decode_plain(payload.as_bytes(), &mut rows, &Limits::default());
        assert_eq!(fast.map(|request| request.rows), Some(2), "{payload}");
        assert_eq!(decoded(rows), [1.5, -0.25, 3.0, 4.0], "{payload}");
    }
}

#[test]
fn null_is_missing_and_members_beside_instances_are_ignored() {
    let mut rows = builder(&plain(2));
    let payload = r#"{"signature_name":"s","parameters":{"a":[{}]},"instances":[[1,null]],"id":7}"#;
    let request = decode_text(payload, &mut rows).unwrap();
    assert_eq!((request.format, request.rows, request.extra), (Format::KserveV1, 1, None));
    let values = decoded(rows);
    assert!(values[0] == 1.0 && values[1].is_nan());
}

#[test]
fn a_bad_row_fails_alone_and_the_reply_says_so() {
    let signature = plain(2);
    let mut rows = builder(&signature);
    let payload = r#"{"instances":[[1,2],[3],["a",4],[5,1e400],[7,8]]}"#;
    let request = decode_text(payload, &mut rows).unwrap();
    assert_eq!(decoded(rows), [1.0, 2.0, 7.0, 8.0]);
    let failed: Vec<_> = request.failed().iter().map(|f| (f.row, f.rejection.class)).collect();
    assert_eq!(failed, [(1, ErrorClass::Shape), (2, ErrorClass::Shape), (3, ErrorClass::Value)]);
    let text = encode_text(&request, &signature, &scores(&[9.0, 0.25, 0.75]), 1..3);
    assert!(
        text.starts_with(r#"{"predictions":[0.25,null,null,null,0.75],"failed":[{"row":1,"class":"shape","#),
        "{text}"
    );
    let reply: V1Reply = serde_json::from_str(&text).unwrap();
    assert_eq!((reply.predictions.len(), reply.failed.len()), (5, 3));
}

#[test]
fn a_message_without_a_good_row_is_rejected_with_its_first_reason() {
    let text = |payload| rejected(payload, &plain(3)).message;
    assert_eq!(
        text(r#"{"instances":[[1,2],[3]]}"#),
        "row 0: 2 values where the model's input `input` takes 3; send 3 numbers per instance"
    );
    assert_eq!(
        text(r#"{"instances":[[1,"2.5",3]]}"#),
        "row 0, value 1 of input `input`: a string (\"2.5\") where a number belongs; send a number, or null if missing"
    );
    assert!(text(r#"{"instances":[[1,2,-1e400]]}"#).contains("-1e400 is beyond the range of FP32"));
    assert!(text(r#"{"instances":[[1,2,1e39]]}"#).contains("1e39 is beyond the range of FP32"));
}

#[test]
fn requests_that_are_no_requests_are_rejected_whole() {
    let class = |payload| rejected(payload, &plain(2)).class;
    assert_eq!(class(""), ErrorClass::Empty);
    assert_eq!(class(r#"{"instances":[]}"#), ErrorClass::Empty);
    assert_eq!(class(r#"{"instances":{}}"#), ErrorClass::Shape);
    for malformed in [
        r#"{"instances":[[1,2]],"instances":[[1,2]]}"#,
        r#"{"instances":[[1,2]],"inputs":[]}"#,
        r#"{"instances":[[1,NaN]]}"#,
        r#"{"instances":[[1,2]}"#,
        r#"{"instances":[[1,02]]}"#,
        r#"{"instances":[[1,2]]} x"#,
        "[[1,2]]",
        "{}",
        " ",
    ] {
        assert_eq!(class(malformed), ErrorClass::Malformed, "{malformed}");
    }
}

#[test]
fn rows_and_bytes_beyond_the_limits_are_rejected() {
    let limits = Limits { max_rows: 2, max_payload_bytes: 40 };
    let class = |payload: &str| {
        let mut rows = builder(&plain(1));
        with_message(payload.as_bytes(), Headers::default(), |message| decode(message, &mut rows, &limits))
            .map(|request| request.rows)
            .map_err(|rejection| rejection.class)
    };
    assert_eq!(class(r#"{"instances":[[1],[2]]}"#), Ok(2));
    assert_eq!(class(r#"{"instances":[[1],[2],[3]]}"#), Err(ErrorClass::TooLarge));
    assert_eq!(class(r#"{"instances":[1,2,null]}"#), Err(ErrorClass::TooLarge));
    assert_eq!(class(&format!("{}{}", r#"{"instances":[[1]]}"#, " ".repeat(40))), Err(ErrorClass::TooLarge));
    let v2 = r#"{"inputs":[{"name":"input","shape":[3],"datatype":"FP32","data":[1,2,3]}]}"#;
    let limits = Limits { max_rows: 2, ..Limits::default() };
    let mut rows = builder(&plain(1));
    let rejection = with_message(v2.as_bytes(), Headers::default(), |message| decode(message, &mut rows, &limits));
    assert_eq!(rejection.unwrap_err().class, ErrorClass::TooLarge);
}

#[test]
fn instances_may_name_inputs_or_fields() {
    let signature = rich();
    for payload in [
        r#"{"instances":[{"hits":[1.5,2],"energy":3},{"energy":[4],"hits":[5,null]}]}"#,
        r#"{"instances":[{"y":2,"energy":3,"x":1.5},{"energy":4,"x":5,"y":null}]}"#,
    ] {
        let mut rows = builder(&signature);
        assert_eq!(decode_text(payload, &mut rows).unwrap().rows, 2);
        let batch = rows.finish().unwrap();
        let hits = f64_values(batch.column(0)).unwrap();
        assert!(hits[..3] == [1.5, 2.0, 5.0] && hits[3].is_nan(), "{hits:?}");
        assert_eq!(f32_values(batch.column(1)), Some(&[3.0, 4.0][..]));
    }
    let text = |payload| rejected(payload, &signature).message;
    assert!(text(r#"{"instances":[{"x":1,"energy":3}]}"#).starts_with("row 0: `y` is not there"));
    assert!(text(r#"{"instances":[{"hits":[1,2]}]}"#).starts_with("row 0: `energy` is not there"));
    assert!(text(r#"{"instances":[{"x":1,"x":1,"energy":3}]}"#).starts_with("row 0: `x` is there twice"));
    assert!(text(r#"{"instances":[{"hits":[1,2],"x":1,"energy":3}]}"#).contains("there twice"));
    assert!(text(r#"{"instances":[{"x":1,"hits":[1,2],"energy":3}]}"#).contains("there twice"));
    assert!(
        text(r#"{"instances":[{"mass":1}]}"#).contains("no input or field `mass`; its inputs are `hits`, `energy`")
    );
    assert!(text(r#"{"instances":[[1,2,3]]}"#).contains("an array where an object"));
    assert!(text(r#"{"instances":[{"hits":[1,"a"],"energy":3}]}"#).starts_with("row 0, field `y`: a string"));
}

fn rich_outputs() -> RecordBatch {
    let score: ArrayRef = Arc::new(Float32Array::from(vec![0.5, f32::NAN]));
    let flat = Arc::new(Float64Array::from(vec![1.0, 2.5, f64::INFINITY, 1e-7]));
    let item = Arc::new(arrow_schema::Field::new("item", arrow_schema::DataType::Float64, false));
    let shape = Arc::new(FixedSizeListArray::try_new(item, 2, flat, None).unwrap());
    RecordBatch::try_new(rich().output_schema(), vec![score, shape]).unwrap()
}

#[test]
fn several_outputs_are_objects_and_what_json_lacks_is_null() {
    let request = Request::new(Format::KserveV1, 2, Extra::default());
    let text = encode_text(&request, &rich(), &rich_outputs(), 0..2);
    let expected = r#"{"predictions":[{"score":0.5,"shape":[1.0,2.5]},{"score":null,"shape":[null,1e-7]}]}"#;
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_str::<V1Reply>(&text).unwrap().predictions.len(), 2);
}

const V2: &str = r#"{"id":"e1","inputs":[
    {"name":"hits","shape":[2,2],"datatype":"FP64","data":[[1.5,2],[null,4]]},
    {"name":"energy","shape":[2],"datatype":"INT64","data":[7,-8]}],
    "outputs":[{"name":"shape"}]}"#;

#[test]
fn open_inference_json_round_trips() {
    let signature = rich();
    let mut rows = builder(&signature);
    let request = decode_text(V2, &mut rows).unwrap();
    let batch = rows.finish().unwrap();
    let hits = f64_values(batch.column(0)).unwrap();
    assert!(hits[0] == 1.5 && hits[1] == 2.0 && hits[2].is_nan() && hits[3] == 4.0, "{hits:?}");
    assert_eq!(f32_values(batch.column(1)), Some(&[7.0, -8.0][..]));
    let text = encode_text(&request, &signature, &rich_outputs(), 0..2);
    let reply: V2Reply = serde_json::from_str(&text).unwrap();
    assert_eq!((reply.id.as_deref(), reply.outputs.len()), (Some("e1"), 1));
    assert_eq!((reply.outputs[0].name.as_str(), &*reply.outputs[0].shape), ("shape", &[2, 2][..]));
    assert_eq!(reply.outputs[0].data, Some(V2Answers::Numbers(vec![Some(1.0), Some(2.5), None, Some(1e-7)])));
    assert!(serde_json::from_str::<V2Request>(V2).is_ok());
}

#[test]
fn open_inference_takes_fields_any_single_name_and_flat_data() {
    let by_field = r#"{"inputs":[
        {"name":"y","shape":[2,1],"datatype":"FP32","data":[[2],[4]]},
        {"name":"energy","shape":[2,1],"datatype":"BOOL","data":[true,false]},
        {"name":"x","shape":[2],"datatype":"FP32","data":[1,3]}]}"#;
    let mut rows = builder(&rich());
    decode_text(by_field, &mut rows).unwrap();
    let batch = rows.finish().unwrap();
    assert_eq!(f64_values(batch.column(0)), Some(&[1.0, 2.0, 3.0, 4.0][..]));
    assert_eq!(f32_values(batch.column(1)), Some(&[1.0, 0.0][..]));
    let single = r#"{"inputs":[{"name":"input-0","shape":[2,2],"datatype":"UINT8","data":[1,2,3,4]}]}"#;
    let mut rows = builder(&plain(2));
    decode_text(single, &mut rows).unwrap();
    assert_eq!(decoded(rows), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn open_inference_shapes_must_be_true() {
    let text = |shape: &str, data: &str| {
        let payload = format!(r#"{{"inputs":[{{"name":"input","shape":{shape},"datatype":"FP32","data":{data}}}]}}"#);
        let rejection = rejected(&payload, &plain(2));
        assert_eq!(rejection.class, ErrorClass::Shape, "{shape} {data}");
        rejection.message
    };
    assert!(text("[2,3]", "[1,2,3,4,5,6]").contains("shape [2, 3] where the model takes [rows, 2]"));
    assert!(text("[2,2]", "[1,2,3]").contains("send 4 values in all"));
    assert!(text("[2,2]", "[1,2,3,4,5]").contains("send 4 values in all"));
    assert!(text("[2,2]", "[[1,2,3],[4]]").contains("send 4 values in all"));
    assert!(text("[2,2]", "[[1,2],3,4]").contains("send 4 values in all"));
    assert!(text("[500000,2]", "[1]").contains("`data` has fewer"));
    for shape in ["[2,-2]", "[2.0,2]", "[]", "7", "[1,1,1,1,1,1,1,1,1]", "[9223372036854775807,3,0]", "[1e3,2]"] {
        assert!(text(shape, "[1,2,3,4]").contains("is not [rows, …]"), "{shape}");
    }
}

#[test]
fn open_inference_inputs_must_be_the_models() {
    let text = |inputs: &str| rejected(&format!(r#"{{"inputs":{inputs}}}"#), &rich()).message;
    let energy = r#"{"name":"energy","shape":[1],"datatype":"FP32","data":[1]}"#;
    let x = r#"{"name":"x","shape":[1],"datatype":"FP32","data":[1]}"#;
    let hits = r#"{"name":"hits","shape":[1,2],"datatype":"FP32","data":[1,2]}"#;
    assert!(text(&format!("[{energy}]")).contains("`hits` is not there"));
    assert!(text(&format!("[{energy},{x}]")).contains("`y` is not there"));
    assert!(text(&format!("[{energy},{hits},{x}]")).contains("`x` is there twice"));
    assert!(text(&format!("[{energy},{hits},{hits}]")).contains("`hits` is there twice"));
    assert!(text(&format!("[{energy},{}]", hits.replace("hits", "mass"))).contains("no input or field `mass`"));
    assert!(text(&format!("[{energy},{}]", hits.replace("FP32", "BYTES"))).contains("datatype `BYTES` is not one of"));
    assert!(text(&format!("[{},{hits}]", energy.replace("[1]", "[2]"))).contains("1 rows, the first input has 2"));
    assert!(text("[3]").contains("a number where an object"));
    assert!(text("{}").contains("no array"));
    let unknown_output = V2.replace("\"shape\"}]", "\"mass\"}]");
    assert!(rejected(&unknown_output, &rich()).message.contains("output `mass` is unknown"));
}

#[test]
fn a_bad_value_in_a_tensor_fails_its_row_alone() {
    let signature = plain(2);
    let mut rows = builder(&signature);
    decode_text(r#"{"instances":[[0,0]]}"#, &mut rows).unwrap();
    let payload = r#"{"inputs":[{"name":"input","shape":[4,2],"datatype":"FP64","data":[1,"a",3,4,{},1e39,5,6]}]}"#;
    let request = decode_text(payload, &mut rows).unwrap();
    assert_eq!(decoded(rows), [0.0, 0.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(request.failed().iter().map(|failed| failed.row).collect::<Vec<_>>(), [0, 2]);
    let text = encode_text(&request, &signature, &scores(&[0.1, 0.2, 0.3]), 1..3);
    let reply: V2Reply = serde_json::from_str(&text).unwrap();
    assert_eq!(reply.outputs[0].data, Some(V2Answers::Numbers(vec![None, Some(0.2), None, Some(0.3)])));
    assert_eq!(reply.parameters.unwrap().failed_rows.len(), 2);
}

fn binary(json: &str, raw: &[u8]) -> (Vec<u8>, String) {
    ([json.as_bytes(), raw].concat(), json.len().to_string())
}

fn decode_binary(json: &str, raw: &[u8], signature: &Arc<Signature>) -> Result<(Request, RowsBuilder), Rejection> {
    let (payload, length) = binary(json, raw);
    let headers = [("content-type", "application/octet-stream"), ("inference-header-content-length", length.as_str())];
    let mut rows = builder(signature);
    decode_with(&payload, &headers, &mut rows).map(|request| (request, rows))
}

const BINARY: &str = r#"{"inputs":[
    {"name":"hits","shape":[2,2],"datatype":"FP64","parameters":{"binary_data_size":32}},
    {"name":"energy","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}}]}"#;

fn raw_tensors() -> Vec<u8> {
    let hits = [1.0_f64, 2.0, 3.0, 4.5].into_iter().flat_map(f64::to_le_bytes);
    hits.chain([-5_i16, 6].into_iter().flat_map(i16::to_le_bytes)).collect()
}

#[test]
fn binary_tensors_round_trip() {
    let signature = rich();
    let (request, rows) = decode_binary(BINARY, &raw_tensors(), &signature).unwrap();
    let batch = rows.finish().unwrap();
    assert_eq!(f64_values(batch.column(0)), Some(&[1.0, 2.0, 3.0, 4.5][..]));
    assert_eq!(f32_values(batch.column(1)), Some(&[-5.0, 6.0][..]));
    let (value, encoded) = encode_all(&request, &signature, &rich_outputs(), 0..2);
    let (json, raw) = value.split_at(encoded.json_length.unwrap());
    let reply: V2Reply = serde_json::from_slice(json).unwrap();
    let sizes: Vec<_> = reply.outputs.iter().map(|o| o.parameters.clone().unwrap().binary_data_size).collect();
    assert_eq!((encoded.content_type, sizes), ("application/octet-stream", vec![Some(8), Some(32)]));
    assert_eq!(raw[..4], 0.5_f32.to_le_bytes());
    assert_eq!(raw[8..16], 1.0_f64.to_le_bytes());
    assert_eq!(raw.len(), 40);
}

#[test]
fn binary_lengths_must_be_exact() {
    let signature = rich();
    let raw = raw_tensors();
    let text = |json: &str, raw: &[u8]| decode_binary(json, raw, &signature).unwrap_err().message;
    assert!(text(BINARY, &raw[..35]).contains("4 bytes of raw data are announced and 3 are left"));
    assert!(text(BINARY, &[&raw[..], &[0]].concat()).contains("1 bytes follow the last tensor"));
    assert!(text(&BINARY.replace(":32", ":31"), &raw).contains("binary_data_size 31 is not 4 values of 8 bytes"));
    assert!(text(&BINARY.replace(":32", ":-1"), &raw).contains("one number of bytes"));
    let both = BINARY.replace("\"FP64\"", "\"FP64\",\"data\":[1]");
    assert!(text(&both, &raw).contains("both `data` and `binary_data_size`"));
    let mut rows = builder(&signature);
    let beyond = decode_with(b"{}", &[("inference-header-content-length", "3")], &mut rows).unwrap_err();
    assert_eq!(beyond.class, ErrorClass::Header);
}

#[test]
fn all_raw_datatypes_are_converted() {
    let cases: [(&str, Vec<u8>, f32); 11] = [
        ("BOOL", vec![1], 1.0),
        ("UINT8", vec![200], 200.0),
        ("UINT16", 40_000_u16.to_le_bytes().into(), 40_000.0),
        ("UINT32", 7_u32.to_le_bytes().into(), 7.0),
        ("UINT64", u64::MAX.to_le_bytes().into(), u64::MAX as f32),
        ("INT8", vec![0xff], -1.0),
        ("INT32", (-7_i32).to_le_bytes().into(), -7.0),
        ("INT64", i64::MIN.to_le_bytes().into(), i64::MIN as f32),
        ("FP16", 0x3e00_u16.to_le_bytes().into(), 1.5),
        ("BF16", 0xbfc0_u16.to_le_bytes().into(), -1.5),
        ("FP32", 0.1_f32.to_le_bytes().into(), 0.1),
    ];
    for (datatype, raw, expected) in cases {
        let size = raw.len();
        let json = format!(
            r#"{{"inputs":[{{"name":"i","shape":[1],"datatype":"{datatype}","parameters":{{"binary_data_size":{size}}}}}]}}"#
        );
        let (_, rows) = decode_binary(&json, &raw, &plain(1)).unwrap();
        assert_eq!(decoded(rows), [expected], "{datatype}");
    }
}

#[test]
fn a_reply_that_does_not_fit_its_request_is_refused_and_leaves_no_bytes() {
    let signature = plain(1);
    let context = ReplyContext { model_name: "m", model_version: "1", signature: &signature };
    let request = Request::new(Format::KserveV1, 2, Extra::default());
    let mut value = b"kept".to_vec();
    for range in [0..1, 0..3, 1..4] {
        let refused = encode(&request, &context, &scores(&[1.0, 2.0, 3.0]), range, &[], &mut value);
        assert_eq!(refused.unwrap_err().class, ErrorClass::Operator);
    }
    let wrong = RecordBatch::new_empty(rich().output_schema());
    assert!(encode(&Request { rows: 0, ..request }, &context, &wrong, 0..0, &[], &mut value).is_err());
    assert_eq!(value, b"kept");
}

/// Names, each with its values.
type Columns = Vec<(String, Vec<f64>)>;

/// The columns of a payload read without a model.
fn own(payload: &[u8], headers: &[(&str, &str)]) -> Result<Option<Columns>, Rejection> {
    let mut buf = HeadersBuf::new();
    for (name, value) in headers {
        buf.push_str(name, value);
    }
    let read = with_message(payload, buf.view(), |message| own_columns(message, &Limits::default()))?;
    let columns = |batch: RecordBatch| {
        let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let values = batch.columns().iter().map(|column| f64_values(column).unwrap().to_vec());
        names.into_iter().zip(values).collect()
    };
    Ok(read.map(columns))
}

#[test]
fn columns_are_read_without_a_model_as_the_request_names_them() {
    let own = |payload: &str, headers: &[(&str, &str)]| own(payload.as_bytes(), headers);
    let tensors = r#"{"outputs":[{"name":"any"}],"inputs":[{"name":"pt","shape":[2],"datatype":"FP32","data":[1,2.5]},
        {"name":"hits","shape":[2,2],"datatype":"INT64","data":[[3,4],[5,6]]}]}"#;
    let expected = [("pt", vec![1.0, 2.5]), ("hits", vec![3.0, 4.0, 5.0, 6.0])];
    let expected = expected.map(|(name, values)| (name.to_owned(), values)).to_vec();
    assert_eq!(own(tensors, &[]), Ok(Some(expected)));
    let header = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
    let binary = [header.as_bytes(), &1.5_f32.to_le_bytes(), &(-2.0_f32).to_le_bytes()].concat();
    let length = header.len().to_string();
    let found = super::formats::own(&binary, &[("inference-header-content-length", &length)]);
    assert_eq!(found, Ok(Some(vec![("x".to_owned(), vec![1.5, -2.0])])));
    for other in [r#"{"instances":[[1,2]]}"#, r#"{"pt":1,"inputs":[3]}"#, r#"{"inputs":[{"name":"x"}]}"#, "no JSON"] {
        assert_eq!(own(other, &[]), Ok(None), "{other}");
    }
}

#[test]
fn columns_without_a_model_are_refused_where_they_contradict_themselves() {
    let text = |payload: &str| own(payload.as_bytes(), &[]).unwrap_err().message;
    let tensor = |name: &str, shape: &str, data: &str| {
        format!(r#"{{"name":"{name}","shape":{shape},"datatype":"FP32","data":{data}}}"#)
    };
    let inputs = |tensors: &[String]| format!(r#"{{"inputs":[{}]}}"#, tensors.join(","));
    let twice = inputs(&[tensor("x", "[1]", "[1]"), tensor("x", "[1]", "[2]")]);
    assert_eq!(text(&twice), "two columns are named `x`; name them apart");
    assert!(text(&inputs(&[tensor("x", "[1,0]", "[]")])).contains("column `x` has rows of [0] values"));
    assert!(text(&inputs(&[tensor("x", "[1,4294967295]", "[1]")])).contains("send 1 to 1048576 per row"));
    assert!(text(&inputs(&[tensor("x", "[2]", "[1]")])).contains("values of shape [2]"));
    assert!(text(&inputs(&[tensor("x", "[2]", r#"[1,"a"]"#)])).contains("row 1"));
}
