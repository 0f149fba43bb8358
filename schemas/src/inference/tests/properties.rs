//! Whatever comes in: no panic, and nothing left behind where it is refused.

use proptest::collection::vec;
use proptest::prelude::*;

use super::arrow::{lists, stream};
use super::*;

const ARROW: (&str, &str) = ("content-type", "application/vnd.apache.arrow.stream");

fn arrow_payload(compression: Option<arrow_ipc::CompressionType>) -> Vec<u8> {
    let column = lists(&[Some(&[0.5; 16]), None, Some(&[0.25; 16])], 16);
    stream(&[RecordBatch::try_from_iter_with_nullable([("input", column, true)]).unwrap()], compression)
}

/// A payload and its headers.
type Seed = (Vec<u8>, Vec<(&'static str, &'static str)>);

/// Valid payloads to damage, with the headers that announce them; the binary one ends in raw tensors.
fn seeds() -> Vec<Seed> {
    let ones = ["1.5"; 16].join(",");
    let json = format!(r#"{{"inputs":[{{"name":"input","shape":[1,16],"datatype":"FP32","data":[{ones}]}}]}}"#);
    let header = r#"{"inputs":[{"name":"i","shape":[1,16],"datatype":"FP32","parameters":{"binary_data_size":64}}]}"#;
    assert_eq!(header.len(), 95);
    vec![
        (format!(r#"{{"instances":[[{ones}],[{ones}]]}}"#).into_bytes(), vec![]),
        (json.into_bytes(), vec![]),
        ([header.as_bytes(), &[0; 64]].concat(), vec![("inference-header-content-length", "95")]),
        (arrow_payload(None), vec![ARROW]),
        (arrow_payload(Some(arrow_ipc::CompressionType::LZ4_FRAME)), vec![ARROW]),
        (arrow_payload(Some(arrow_ipc::CompressionType::ZSTD)), vec![ARROW]),
    ]
}

/// Decodes behind rows that are already there; they must stay as they are. Read without a model, it must not panic.
fn decode_behind(payload: &[u8], headers: &[(&str, &str)]) -> Result<Request, Rejection> {
    let mut buf = HeadersBuf::new();
    for (name, value) in headers {
        buf.push_str(name, value);
    }
    drop(with_message(payload, buf.view(), |message| own_columns(message, &Limits::default())));
    let mut rows = builder(&plain(16));
    let first = format!(r#"{{"instances":[[{}]]}}"#, ["7"; 16].join(","));
    decode_text(&first, &mut rows).unwrap();
    let decoded_message = decode_with(payload, headers, &mut rows);
    let added = decoded_message.as_ref().map_or(0, Request::decoded_rows);
    assert_eq!(rows.rows(), 1 + added);
    let values = decoded(rows);
    assert_eq!(values.len(), 16 * (1 + added));
    assert!(values[..16].iter().all(|value| *value == 7.0));
    decoded_message
}

#[test]
fn the_seeds_decode() {
    for (payload, headers) in seeds() {
        decode_behind(&payload, &headers).unwrap();
    }
}

/// Exhaustive where chance is too rare: each byte set to a few values that lengths and offsets dislike.
#[test]
fn single_byte_damage_never_panics() {
    for (payload, headers) in seeds() {
        for at in 0..payload.len() {
            for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut damaged = payload.clone();
                damaged[at] = byte;
                drop(decode_behind(&damaged, &headers));
            }
        }
    }
}

fn finite() -> impl Strategy<Value = f32> {
    use proptest::num::f32::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
}

fn json_number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,17})?([eE][-+]?[12]?[0-9])?",
        finite().prop_map(|value| format!("{value:?}")),
        (-1.0..1.0_f64, -60..38).prop_map(|(digits, power)| format!("{:?}", digits * 10_f64.powi(power))),
        "-?[0-9]\\.[0-9]{1,4}",
        Just("null".to_owned()),
    ]
}

fn spaced(values: &[String], space: &str) -> String {
    values.join(&format!(",{space}"))
}

proptest! {
    #[test]
    fn random_bytes_are_refused_without_a_panic(payload in vec(any::<u8>(), 0..300), kind in 0..3_usize) {
        let headers = [vec![], vec![("inference-header-content-length", "95")], vec![ARROW]];
        prop_assert!(decode_behind(&payload, &headers[kind]).is_err());
    }

    #[test]
    fn damaged_payloads_never_panic(
        kind in 0..6_usize,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (mut payload, headers) = seeds().swap_remove(kind);
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        if let Some(cut) = cut {
            payload.truncate(cut.index(payload.len()));
        }
        drop(decode_behind(&payload, &headers));
    }

    #[test]
    fn the_fast_path_has_the_bits_of_the_standard_library_and_of_the_general_path(
        values in vec(vec(json_number(), 3), 1..5),
        space in "[ \n]{0,2}",
    ) {
        let rows: Vec<_> = values.iter().map(|row| format!("[{}]", spaced(row, &space))).collect();
        let payload = format!("{{\"instances\":{space}[{}]}}", spaced(&rows, &space));
        let expected: Vec<f32> = values.iter().flatten()
            .map(|text| if text == "null" { f32::NAN } else { text.parse::<f64>().unwrap() as f32 })
            .collect();
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let expected = bits(expected);

        let mut rows = builder(&plain(3));
        let instances = json::Members::of(json::document(payload.as_bytes(), &[]).unwrap()).unwrap().instances.unwrap();
        kserve_v1::decode(instances, &mut rows, &Limits::default()).unwrap();
        prop_assert_eq!(&bits(decoded(rows)), &expected);

        let mut rows = builder(&plain(3));
        prop_assert!(kserve_v1::decode_plain(payload.as_bytes(), &mut rows, &Limits::default()).is_some());
        prop_assert_eq!(bits(decoded(rows)), expected);
    }

    #[test]
    fn the_fast_path_accepts_only_what_the_general_path_accepts(
        payload in "\\{\"instances\":\\[\\[[-+0-9.,e \\[\\]]{1,12}\\]\\]\\}"
    ) {
        let mut rows = builder(&plain(2));
        if let Some(request) = kserve_v1::decode_plain(payload.as_bytes(), &mut rows, &Limits::default()) {
            let document = json::document(payload.as_bytes(), &[]).unwrap();
            let mut again = builder(&plain(2));
            let instances = json::Members::of(document).unwrap().instances.unwrap();
            let general = kserve_v1::decode(instances, &mut again, &Limits::default()).unwrap();
            prop_assert_eq!(request, general);
            prop_assert_eq!(decoded(rows), decoded(again));
        }
    }

    #[test]
    fn scores_read_back_as_they_were(scores in vec(any::<f32>(), 1..20)) {
        let request = Request::new(Format::KserveV1, scores.len() as u32, Extra::default());
        let text = encode_text(&request, &plain(1), &super::scores(&scores), 0..scores.len());
        let reply: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (score, read) in scores.iter().zip(reply["predictions"].as_array().unwrap()) {
            match read.as_f64() {
                Some(read) => prop_assert_eq!((read as f32).to_bits(), score.to_bits()),
                None => prop_assert!(!score.is_finite() && read.is_null()),
            }
        }
    }

    /// A model that gives back its input: the reply, sent as a request again, decodes to the same values.
    #[test]
    fn encode_undoes_decode(values in vec(finite(), 1..20), v2: bool) {
        let list = values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(",");
        let count = values.len();
        let payload = match v2 {
            false => format!(r#"{{"instances":[{list}]}}"#),
            true => format!(r#"{{"inputs":[{{"name":"x","shape":[{count}],"datatype":"FP32","data":[{list}]}}]}}"#),
        };
        let mut rows = builder(&plain(1));
        let request = decode_text(&payload, &mut rows).unwrap();
        let outputs = super::scores(&decoded(rows));
        let reply = encode_text(&request, &plain(1), &outputs, 0..count);
        let again = reply.replace("\"predictions\"", "\"instances\"").replace("\"outputs\"", "\"inputs\"");
        let mut rows = builder(&plain(1));
        decode_text(&again, &mut rows).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&decoded(rows)), bits(&values));
    }
}
