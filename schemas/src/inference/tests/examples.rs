//! Every payload under `schemas/examples` is decoded; what is refused is refused in the words kept beside it.

use std::path::{Path, PathBuf};

use super::*;

/// The example model: the 28 columns of the HIGGS data set (Baldi, Sadowski, Whiteson 2014), one score.
const FIELDS: [&str; 28] = [
    "lepton_pT",
    "lepton_eta",
    "lepton_phi",
    "missing_energy_magnitude",
    "missing_energy_phi",
    "jet_1_pt",
    "jet_1_eta",
    "jet_1_phi",
    "jet_1_b_tag",
    "jet_2_pt",
    "jet_2_eta",
    "jet_2_phi",
    "jet_2_b_tag",
    "jet_3_pt",
    "jet_3_eta",
    "jet_3_phi",
    "jet_3_b_tag",
    "jet_4_pt",
    "jet_4_eta",
    "jet_4_phi",
    "jet_4_b_tag",
    "m_jj",
    "m_jjj",
    "m_lv",
    "m_jlv",
    "m_bb",
    "m_wbb",
    "m_wwbb",
];

fn higgs() -> Arc<Signature> {
    let mut input = TensorSpec::new("input", Datatype::Fp32, FIELDS.len());
    input.fields = FIELDS.map(str::to_owned).to_vec();
    Arc::new(Signature { inputs: vec![input], outputs: vec![TensorSpec::new("score", Datatype::Fp32, 1)] })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn updating() -> bool {
    std::env::var_os("UPDATE_SCHEMAS").is_some()
}

/// All payload files, in order.
fn payloads() -> Vec<PathBuf> {
    let list = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let formats = list(folder()).filter(|path| path.is_dir() && !path.ends_with("training"));
    let is_payload = |path: &PathBuf| path.extension().is_some_and(|e| e == "json" || e == "bin" || e == "arrow");
    let mut found: Vec<_> = formats.flat_map(list).filter(is_payload).collect();
    found.sort();
    found
}

/// The headers beside a payload, else those that its file extension stands for.
fn headers(path: &Path) -> HeadersBuf {
    let mut headers = HeadersBuf::new();
    match std::fs::read_to_string(path.with_extension("headers")) {
        Ok(lines) => {
            for line in lines.lines() {
                let (name, value) = line.split_once(": ").unwrap();
                headers.push_str(name, value);
            }
        }
        Err(_) if path.extension().is_some_and(|extension| extension == "arrow") => {
            headers.push_str("content-type", "application/vnd.apache.arrow.stream");
        }
        Err(_) => {}
    }
    headers
}

#[test]
fn every_example_decodes_or_is_refused_as_its_name_says() {
    if updating() {
        write_binary_examples();
    }
    let (mut good, mut bad) = (0, 0);
    for path in payloads() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut rows = builder(&higgs());
        let payload = std::fs::read(&path).unwrap();
        let decoded = with_message(&payload, headers(&path).view(), |m| decode(m, &mut rows, &Limits::default()));
        match (name.split_once('-').unwrap().0, decoded) {
            ("ok", Ok(request)) => {
                assert_eq!(request.decoded_rows(), rows.rows(), "{name}");
                good += 1;
            }
            ("bad", Err(rejection)) => {
                assert_eq!(rows.rows(), 0, "{name}");
                compare(&path.with_extension("error"), &format!("{}: {}\n", rejection.class, rejection.message));
                bad += 1;
            }
            (_, decoded) => panic!("{}: {decoded:?}", path.display()),
        }
    }
    assert!(good >= 10 && bad >= 20, "{good} good and {bad} bad examples");
}

fn compare(path: &Path, text: &str) {
    if updating() {
        std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "{}: run UPDATE_SCHEMAS=1 cargo test -p lunapark-schemas", path.display());
}

/// The examples that no editor writes.
fn write_binary_examples() {
    let values: Vec<f32> = (0..56).map(|index| index as f32 / 8.0 - 2.0).collect();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let json = |shape: &str, size: usize| {
        let parameters = format!(r#""parameters":{{"binary_data_size":{size}}}"#);
        format!(r#"{{"id":"e1","inputs":[{{"name":"input","shape":{shape},"datatype":"FP32",{parameters}}}]}}"#)
    };
    let binary = |name: &str, json: String, raw: &[u8], length: usize| {
        let path = folder().join("open-inference-binary").join(name);
        let announce = format!("content-type: application/octet-stream\ninference-header-content-length: {length}\n");
        std::fs::write(path.with_extension("headers"), announce).unwrap();
        std::fs::write(path.with_extension("bin"), [json.as_bytes(), raw].concat()).unwrap();
    };
    let good = json("[2,28]", 224);
    let length = good.len();
    binary("ok-two-rows", good.clone(), &raw, length);
    binary("bad-trailing-bytes", good.clone(), &[&raw[..], &[0; 3]].concat(), length);
    binary("bad-truncated-tensor", good.clone(), &raw[..200], length);
    binary("bad-json-length", good, &raw, 100_000);
    binary("bad-wrong-shape", json("[2,27]", 216), &raw[..216], json("[2,27]", 216).len());
    binary("bad-lying-shape", json("[1000000000000,28]", 224), &raw, json("[1000000000000,28]", 224).len());
    write_arrow_examples(&values);
}

fn write_arrow_examples(values: &[f32]) {
    use arrow_ipc::CompressionType;
    let rows: Vec<_> = values.chunks(28).map(Some).collect();
    let named = |name: &str, column| RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap();
    let list = named("input", super::arrow::lists(&rows, 28));
    let write = |name: &str, payload: &[u8]| std::fs::write(folder().join("arrow").join(name), payload).unwrap();
    let good = super::arrow::stream(&[list.clone(), list.clone()], None);
    write("ok-fixed-size-list.arrow", &good);
    write("ok-zstd.arrow", &super::arrow::stream(std::slice::from_ref(&list), Some(CompressionType::ZSTD)));
    write("ok-lz4.arrow", &super::arrow::stream(&[list], Some(CompressionType::LZ4_FRAME)));
    let column = |index: usize| -> arrow_array::ArrayRef {
        Arc::new(arrow_array::Float64Array::from(vec![f64::from(values[index]), f64::from(values[index + 28])]))
    };
    let columns = FIELDS.iter().enumerate().map(|(index, field)| (*field, column(index), true));
    let by_field = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    write("ok-columns-by-field.arrow", &super::arrow::stream(&[by_field], None));
    let narrow: Vec<_> = values[..54].chunks(27).map(Some).collect();
    write("bad-27-features.arrow", &super::arrow::stream(&[named("input", super::arrow::lists(&narrow, 27))], None));
    let strings = Arc::new(arrow_array::StringArray::from(vec!["1.5", "2.5"]));
    write("bad-strings.arrow", &super::arrow::stream(&[named("input", strings)], None));
    write("bad-truncated.arrow", &good[..good.len() / 2]);
    write("bad-trailing-bytes.arrow", &[&good[..], b"more"].concat());
    let mut lying = good.clone();
    lying[4..8].copy_from_slice(&0x7fff_fff0_u32.to_le_bytes());
    write("bad-lying-metadata-length.arrow", &lying);
    write("bad-lying-buffer-length.arrow", &with_lying_buffer(&good, 224));
    write("bad-lying-row-count.arrow", &with_lying_buffer(&good, 2));
    write("bad-empty.arrow", b"");
}

/// Replaces the last 64-bit number `length` in the stream's metadata by one that no payload can hold.
fn with_lying_buffer(stream: &[u8], length: i64) -> Vec<u8> {
    let mut lying = stream.to_vec();
    let found = lying.windows(8).rposition(|window| window == length.to_le_bytes()).unwrap();
    lying[found..found + 8].copy_from_slice(&(i64::MAX / 8).to_le_bytes());
    lying
}
