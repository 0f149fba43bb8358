//! The engine: seeds per format, mutations, and what must hold for every input. A format is one line of [`TARGETS`].

use std::fmt;
use std::io::Error;
use std::ops::{AddAssign, Range};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use lunapark_models::{ModelErrorKind, load};
use lunapark_schemas::rows::Values;
use lunapark_schemas::{Datatype, TensorSpec};

/// A format: its valid files, and the words that its reader looks for.
pub struct Target {
    /// Name on the command line.
    pub name: &'static str,
    /// Paths below the crate's `fixtures`.
    seeds: &'static [&'static str],
    /// Set into the damaged files.
    words: &'static [&'static str],
}

/// The formats. Seeds are small, of every make that the reader knows.
pub const TARGETS: &[Target] = &[
    Target {
        name: "xgboost-json",
        seeds: &[
            "xgboost/1.7.6-categorical.json",
            "xgboost/1.7.6-dart.json",
            "xgboost/3.2.0-vectors.json",
            "xgboost/3.2.0-ndcg.json",
            "logistic-base.json",
        ],
        words: &["NaN", "null", "[", "]", "{", "}", "\"", ",", "-1", "true", "\"num_class\":\"3\"", "multi:softprob"],
    },
    Target {
        name: "xgboost-ubjson",
        seeds: &[
            "xgboost/1.7.6-softmax.ubj",
            "xgboost/2.1.4-vectors.ubj",
            "xgboost/3.2.0-categorical.ubj",
            "xgboost/3.2.0-gblinear.ubj",
            "xgboost/3.2.0-pseudohuber.ubj",
        ],
        words: &["[", "]", "{", "}", "[#L", "[$d#L", "[$l#L", "[$U#L", "[$D#L", "SL", "Z", "T", "F", "d", "i", "dart"],
    },
    Target {
        name: "onnx",
        seeds: &[
            "onnx/iris-logistic-zipmap.onnx",
            "onnx/pipeline.onnx",
            "onnx/pipeline-double.onnx",
            "onnx/bayes.onnx",
            "onnx/stochastic.onnx",
            "onnx/two-inputs.onnx",
            "onnx/perceptron-regressor.onnx",
            "onnx/rules-strings.onnx",
            "onnx/rules-double-regressor.onnx",
            "onnx/rules-v5-softmax.onnx",
            "onnx/torch-elu.onnx",
        ],
        words: ONNX_WORDS,
    },
    Target { name: "onnx-tract", seeds: &["onnx/layers-instance.onnx", "onnx/layers-volume.onnx"], words: ONNX_WORDS },
    Target {
        name: "onnx-networks",
        seeds: &[
            "onnx/torch-images.onnx",
            "onnx/torch-gru.onnx",
            "onnx/torch-autoencoder.onnx",
            "onnx/torch-series.onnx",
            "onnx/keras-images.onnx",
            "onnx/layers-conv.onnx",
            "onnx/layers-keras-both.onnx",
            "onnx/layers-gru-before.onnx",
            "onnx/layers-lstm-reverse.onnx",
        ],
        words: ONNX_WORDS,
    },
    Target {
        name: "lightgbm-text",
        seeds: &[
            "lightgbm/2.2.3-categorical.txt",
            "lightgbm/2.3.1-zero.txt",
            "lightgbm/3.3.5-linear.txt",
            "lightgbm/4.7.0-l1.txt",
            "lightgbm/4.7.0-categorical.txt",
        ],
        words: &[
            "\n",
            "=",
            " ",
            "Tree=",
            "end of trees",
            "num_cat=",
            "is_linear=1",
            "average_output\n",
            "binary sigmoid:1",
        ],
    },
    Target {
        name: "lunapark-mlp",
        seeds: &["../../../pipelines/assets/higgs-mlp.safetensors"],
        words: &["F32", "F64", "dtype", "shape", "[", "]", "}", "\"", "0", "relu", "sigmoid", "identity", "\\\"layers"],
    },
];

/// Operators, fields and lengths of a protobuf message.
const ONNX_WORDS: &[&str] = &[
    "Reshape",
    "Concat",
    "Expand",
    "Slice",
    "Gather",
    "MatMul",
    "ConstantOfShape",
    "Conv",
    "MaxPool",
    "GRU",
    "LSTM",
    "Transpose",
    "strides",
    "pads",
    "dilations",
    "group",
    "Add",
    "Softmax",
    "BRANCH_EQ",
    "LEAF",
    "axis",
    "\u{8}",
    "\u{10}",
    "\u{12}\u{2}",
    "\"",
    "*",
    ":",
    "B",
    "X",
    "label",
    "ai.onnx.ml",
    "location",
    "\0\0\0\0",
];

/// Numbers that readers get wrong.
const NUMBERS: [i64; 14] =
    [-1, 0, 1, 2, 7, 255, 256, 65_535, 65_536, 1_000_000_000, i32::MAX as i64, u32::MAX as i64, i64::MAX, i64::MIN];
const ROWS: usize = 3;
/// Longer than any honest file of a seed's size takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of the inputs.
#[derive(Debug, Default)]
pub struct Found {
    /// Loaded, and scored.
    pub accepted: u64,
    /// Refused, by the kind of the error: unreadable, truncated, unsupported.
    pub refused: [u64; 3],
    slowest: Duration,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [unreadable, truncated, unsupported] = self.refused;
        write!(f, "{} accepted, {unreadable} unreadable, {truncated} truncated, ", self.accepted)?;
        write!(f, "{unsupported} unsupported, slowest {:.1?}", self.slowest)
    }
}

impl AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused.iter_mut().zip(other.refused).for_each(|(all, more)| *all += more);
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// Runs inputs `from` to `from + count`, a share on each core; an error names an input that broke a promise.
pub fn run(target: &Target, from: u64, count: u64) -> Result<Found, Error> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let seeds = target.seeds.iter().map(|seed| std::fs::read(folder.join(seed))).collect::<Result<Vec<_>, _>>()?;
    let (seeds, end) = (&seeds[..], from + count);
    let share = count.div_ceil(thread::available_parallelism()?.get() as u64).max(1);
    thread::scope(|scope| {
        let starts = (0..).map(|at| from + at * share).take_while(|start| *start < end);
        let shares = starts.map(|start| scope.spawn(move || share_of(target, seeds, start..end.min(start + share))));
        let mut found = Found::default();
        for share in shares.collect::<Vec<_>>() {
            found += share.join().map_err(|_| Error::other(format!("{}: the harness panicked", target.name)))??;
        }
        Ok(found)
    })
}

fn share_of(target: &Target, seeds: &[Vec<u8>], numbers: Range<u64>) -> Result<Found, Error> {
    let mut found = Found::default();
    for number in numbers {
        let input = damaged(target, seeds, number);
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(|| check(&input));
        let outcome = outcome.unwrap_or_else(|_| Err("a panic".to_owned()));
        let kind = outcome.map_err(|what| Error::other(format!("{} input {number}: {what}", target.name)))?;
        found.slowest = found.slowest.max(start.elapsed());
        if start.elapsed() > PATIENCE {
            return Err(Error::other(format!("{} input {number} took {:?}", target.name, start.elapsed())));
        }
        match kind {
            None => found.accepted += 1,
            Some(ModelErrorKind::Unreadable) => found.refused[0] += 1,
            Some(ModelErrorKind::Truncated) => found.refused[1] += 1,
            Some(_) => found.refused[2] += 1,
        }
    }
    Ok(found)
}

/// Loads and scores: a file is refused with words, or its model answers every row.
fn check(bytes: &[u8]) -> Result<Option<ModelErrorKind>, String> {
    let model = match load(bytes, "fuzz", None) {
        Ok(loaded) => loaded.model,
        Err(error) if error.what.is_empty() || error.advice.is_empty() => {
            return Err("an error without words".to_owned());
        }
        Err(error) => return Ok(Some(error.kind)),
    };
    let signature = model.signature();
    let columns = signature.inputs.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatch::try_new(signature.input_schema(), columns).map_err(|error| error.to_string())?;
    let answers = model.infer(&rows).map_err(|error| error.to_string())?;
    match answers.num_rows() == ROWS && answers.schema() == signature.output_schema() {
        true => Ok(None),
        false => Err(format!("{} rows of {:?}", answers.num_rows(), answers.schema())),
    }
}

/// A few rows of ordinary and odd values.
fn column(spec: &TensorSpec) -> Result<arrow_array::ArrayRef, String> {
    let odd = [0.0, -1.5, f64::NAN, 3.0, 1e-40, -0.5, 1e30, f64::INFINITY, 7.0, -1e300, 0.5];
    let cells = (0..ROWS * spec.width).map(|at| odd[at % odd.len()]);
    let values = match spec.datatype {
        Datatype::Fp32 => Values::F32(cells.map(|x| x as f32).collect()),
        Datatype::Fp64 => Values::F64(cells.collect()),
        Datatype::Int64 => Values::I64(cells.map(|x| x as i64).collect()),
        Datatype::Bytes => return Err("an input of text".to_owned()),
    };
    values.into_column(spec).map_err(|error| error.to_string())
}

/// Input number `number`: a seed after one to four changes.
fn damaged(target: &Target, seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6c75_6e61);
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        if !bytes.is_empty() {
            change(&mut bytes, target, seeds, &mut random);
        }
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, target: &Target, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..at + random.below((bytes.len() - at).min(64)))),
        4 => {
            let copy = bytes[at..at + random.below((bytes.len() - at).min(4_096))].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, copy);
        }
        5 => overwrite(bytes, at, target.words[random.below(target.words.len())].as_bytes()),
        6 => replace_digits(bytes, at, random),
        7 => {
            let number = NUMBERS[random.below(NUMBERS.len())];
            let size = 1 << random.below(4);
            match random.below(2) {
                0 => overwrite(bytes, at, &number.to_be_bytes()[8 - size..]),
                _ => overwrite(bytes, at, &number.to_le_bytes()[..size]),
            }
        }
        _ => {
            let other = &seeds[random.below(seeds.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[at.min(other.len())..]);
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes[at..].iter_mut().zip(with).for_each(|(byte, with)| *byte = *with);
}

/// Another number in place of the next one in a text.
fn replace_digits(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else { return };
    let end = bytes[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |len| start + len);
    let words = ["1e309", "-1e-320", "nan", "00", "0.5", "4294967296"];
    let text = match random.below(3) {
        0 => words[random.below(words.len())].to_owned(),
        1 => random.below(40).to_string(),
        _ => NUMBERS[random.below(NUMBERS.len())].to_string(),
    };
    bytes.splice(start..end, text.into_bytes());
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; 0 where that is 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
