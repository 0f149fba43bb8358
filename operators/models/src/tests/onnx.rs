//! ONNX files against the answers of ONNX Runtime that `fixtures/onnx_models.py` recorded.

use arrow_array::Array;
use lunapark_schemas::Datatype;
use lunapark_schemas::rows::{f64_values, i64_values, string_values};
use serde_json::Value;

use super::*;
use crate::Format;

/// The entry of one model in `models.json`.
pub(crate) struct Case {
    pub name: String,
    pub rows: usize,
    entry: Value,
}

pub(crate) fn cases() -> Vec<Case> {
    let list: Vec<Value> = serde_json::from_slice(&fixture("onnx/models.json")).unwrap();
    let case = |entry: Value| Case {
        name: entry["name"].as_str().unwrap().to_owned(),
        rows: entry["rows"].as_u64().unwrap() as usize,
        entry,
    };
    list.into_iter().map(case).collect()
}

/// All numbers of the file are of single precision; the JSON parser's doubles may be off by their last bit.
fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| f64::from(x.as_f64().unwrap() as f32)).collect()
}

/// SplitMix64, as `onnx_answers.py` has it.
fn mix(seed: u64, index: u64) -> u64 {
    let mut z = (seed << 32).wrapping_add(index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Case {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        fixture(&format!("onnx/{}.onnx", self.name))
    }

    /// One number, by the formula of `input_values`.
    fn number(&self, bits: u64, input: &Value, column: usize) -> f64 {
        let (low, high) = (numbers(&input["low"])[column], numbers(&input["high"])[column]);
        if input["datatype"] == "INT64" {
            return low + ((bits >> 40) % (high as u64 - low as u64 + 1)) as f64;
        }
        let special = numbers(&input["special"][column]);
        let extremes = numbers(&self.entry["extremes"]);
        let pick = |list: &[f64], index: u64| list[(index % list.len() as u64) as usize];
        match bits & 15 {
            0 if !special.is_empty() => pick(&special, (bits >> 4) & 0xFFFF),
            1 if !extremes.is_empty() && (bits >> 4) & 7 == 0 => pick(&extremes, (bits >> 8) & 0xFF),
            2 if self.entry["missing"] == true && (bits >> 4) & 1 == 0 => f64::NAN,
            _ if input["datatype"] == "FP32" => {
                let (low, high) = (low as f32, high as f32);
                f64::from(low + (high - low) * ((bits >> 40) as f32 * 2f32.powi(-24)))
            }
            _ => low + (high - low) * ((bits >> 40) as f64 * 2f64.powi(-24)),
        }
    }

    /// The rows that the reference answers belong to.
    pub(crate) fn batch(&self, model: &dyn Model) -> RecordBatch {
        let inputs = self.entry["inputs"].as_array().unwrap();
        let widths: Vec<usize> = inputs.iter().map(|input| input["low"].as_array().unwrap().len()).collect();
        let total: usize = widths.iter().sum();
        let seed = self.entry["seed"].as_u64().unwrap();
        let mut start = 0;
        let columns = inputs.iter().zip(&widths).zip(&model.signature().inputs).map(|((input, &width), spec)| {
            assert_eq!((spec.name.as_str(), spec.width), (input["name"].as_str().unwrap(), width), "{}", self.name);
            let mut values = Values::with_capacity(spec.datatype, self.rows * width);
            for row in 0..self.rows {
                for column in 0..width {
                    let bits = mix(seed, (row * total + start + column) as u64);
                    values.push(self.number(bits, input, column));
                }
            }
            start += width;
            values.into_column(spec).unwrap()
        });
        let columns = columns.collect();
        RecordBatch::try_new(model.signature().input_schema(), columns).unwrap()
    }

    /// The answers of `model` against ONNX Runtime's.
    fn check(&self, model: &dyn Model) -> f64 {
        let answer = model.infer(&self.batch(model)).unwrap();
        assert_eq!(answer.schema(), model.signature().output_schema());
        let reference = fixture(&format!("onnx/{}.bin", self.name));
        let mut rest = &reference[..];
        let mut worst = 0.0f64;
        for (at, output) in self.entry["outputs"].as_array().unwrap().iter().enumerate() {
            let spec = &model.signature().outputs[at];
            assert_eq!(spec.name, output["name"].as_str().unwrap(), "{}", self.name);
            let width = output["width"].as_u64().unwrap() as usize;
            assert_eq!(spec.width, width, "{}: {}", self.name, spec.name);
            let (found, size) = expected(output, rest, self.rows * width);
            rest = &rest[size..];
            worst = worst.max(self.compare(answer.column(at), spec.datatype, &found, width));
        }
        assert!(rest.is_empty());
        worst
    }

    fn compare(&self, column: &dyn Array, datatype: Datatype, expected: &Expected, width: usize) -> f64 {
        let name = &self.name;
        match (datatype, expected) {
            (Datatype::Int64, Expected::Ints(expected)) => {
                let found = i64_values(column).unwrap();
                let wrong = found.iter().zip(expected).position(|(a, b)| a != b);
                assert!(found.len() == expected.len() && wrong.is_none(), "{name}: label of row {wrong:?}");
            }
            (Datatype::Bytes, Expected::Texts(expected)) => {
                let found = string_values(column).unwrap();
                assert!(found.iter().map(Option::unwrap).eq(expected.iter().map(String::as_str)), "{name}");
            }
            (Datatype::Fp32, Expected::Floats(expected)) => {
                let found: Vec<f64> = f32_values(column).unwrap().iter().map(|&x| f64::from(x)).collect();
                return self.distance(&found, expected, width);
            }
            (Datatype::Fp64, Expected::Floats(expected)) => {
                return self.distance(f64_values(column).unwrap(), expected, width);
            }
            (datatype, _) => panic!("{name}: answers {datatype:?}"),
        }
        0.0
    }

    fn distance(&self, found: &[f64], expected: &[f64], width: usize) -> f64 {
        assert_eq!(found.len(), expected.len());
        let tolerance = self.entry["tolerance"].as_f64().unwrap();
        let mut worst = 0.0f64;
        for (at, (&a, &b)) in found.iter().zip(expected).enumerate() {
            let same = a == b || (a.is_nan() && b.is_nan());
            let distance = if same { 0.0 } else { (a - b).abs() / b.abs().max(1.0) };
            assert!(distance <= tolerance, "{}: row {} is {a}, ONNX Runtime's {b}", self.name, at / width);
            worst = worst.max(distance);
        }
        worst
    }
}

enum Expected {
    Floats(Vec<f64>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

/// The reference answers of one output and how many bytes they take.
fn expected(output: &Value, bytes: &[u8], count: usize) -> (Expected, usize) {
    match output["kind"].as_str().unwrap() {
        "f32" => {
            let values = floats(&bytes[..4 * count]).iter().map(|&x| f64::from(x)).collect();
            (Expected::Floats(values), 4 * count)
        }
        "f64" => {
            let values = bytes[..8 * count].as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
            (Expected::Floats(values), 8 * count)
        }
        "int" => {
            let values = bytes[..2 * count].as_chunks().0.iter().map(|bytes| i64::from(i16::from_le_bytes(*bytes)));
            (Expected::Ints(values.collect()), 2 * count)
        }
        _ => {
            let label = |&code: &u8| output["labels"][usize::from(code)].as_str().unwrap().to_owned();
            (Expected::Texts(bytes[..count].iter().map(label).collect()), count)
        }
    }
}

#[test]
fn every_model_answers_as_onnx_runtime_does() {
    let cases = cases();
    assert!(cases.len() > 200);
    let mut failed = Vec::new();
    for case in cases {
        let checked = std::panic::catch_unwind(|| {
            let loaded = loaded(&case.bytes(), &case.name);
            assert_eq!(loaded.format, Format::Onnx);
            assert_eq!(loaded.model.accepts().missing, case.entry["missing"] == true, "{}", case.name);
            assert_eq!(case.entry["engine"] == "tract", loaded.summary.kernel == "tract", "{}", case.name);
            case.check(&*loaded.model)
        });
        match checked {
            Ok(worst) => println!("{}: {worst:e}", case.name),
            Err(_) => failed.push(case.name),
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// FORMATS.md lists every conversion that differs from its tool, as `models.json` recorded it, and no other.
#[test]
fn the_documentation_tells_the_distances_that_were_recorded() {
    let formats = String::from_utf8(read(folder().join("FORMATS.md"))).unwrap();
    let table = formats.lines().skip_while(|line| !line.starts_with("| model | rows of 10,000 beyond 1e-5 |"));
    let mut told: Vec<&str> = table.skip(2).take_while(|line| line.starts_with("| ")).collect();
    let line = |case: &Case| {
        let of = |key: &str| case.entry["original"][key].as_u64().unwrap_or(0);
        let [beyond, labels, nan] = [of("rows_above_1e-5"), of("labels_differ"), of("rows_not_finite")];
        (beyond + labels + nan > 0).then(|| format!("| `{}` | {beyond} | {labels} | {nan} |", case.name))
    };
    let mut recorded: Vec<String> = cases().iter().filter_map(line).collect();
    told.sort_unstable();
    recorded.sort_unstable();
    assert_eq!(told, recorded);
}

/// The cheap way to run each model on some of its rows.
fn part(case: &Case, model: &dyn Model, rows: usize) -> RecordBatch {
    case.batch(model).slice(0, rows.min(case.rows))
}

pub(super) fn same(a: &RecordBatch, b: &RecordBatch) -> bool {
    let bits = |column: &dyn Array| -> Vec<u64> {
        let single = f32_values(column).map(|v| v.iter().map(|x| u64::from(x.to_bits())).collect());
        single.or_else(|| f64_values(column).map(|v| v.iter().map(|x| x.to_bits()).collect())).unwrap_or_default()
    };
    let numbers = a.columns().iter().zip(b.columns()).all(|(a, b)| bits(a) == bits(b));
    let labels = a.columns().iter().zip(b.columns()).filter(|(a, _)| bits(a).is_empty()).all(|(a, b)| a == b);
    numbers && labels && a.num_rows() == b.num_rows()
}

#[test]
fn every_model_answers_a_row_alike_in_any_batch() {
    for case in cases().iter().filter(|case| !case.name.starts_with("rules-classes")) {
        let model = loaded(&case.bytes(), &case.name).model;
        let rows = part(case, &*model, 300);
        let whole = model.infer(&rows).unwrap();
        let parts = [(0, 1), (1, 1), (7, 1), (13, 4), (3, 31), (100, 64), (17, 130), (299, 1)];
        for (start, len) in parts.into_iter().filter(|(start, len)| start + len <= rows.num_rows()) {
            let found = model.infer(&rows.slice(start, len)).unwrap();
            assert!(same(&found, &whole.slice(start, len)), "{}: {len} rows from {start}", case.name);
        }
        assert_eq!(model.infer(&rows.slice(0, 0)).unwrap().num_rows(), 0);
    }
}
