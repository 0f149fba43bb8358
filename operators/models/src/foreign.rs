//! Files of other tools, named for what they are with the way out.
//!
//! Some (pickle, joblib, Keras archives) are programs rather than data: they are never opened, only recognised.

use crate::ModelError;

/// How far from either end of a file names are looked for: a zip's directory stands at its end.
const NEAR: usize = 1 << 16;

const BY_ONNX: &str = "convert it to ONNX with the tool that made it";
const XGBOOST: &str = "load it in the XGBoost that wrote it and call `save_model(\"model.ubj\")`";
const PICKLE: &str = "a pickle can run any program when it is opened and is never read here: load it in Python and save \
    the model itself (XGBoost and LightGBM: `save_model`; scikit-learn: skl2onnx; PyTorch: `torch.onnx.export`)";
const KERAS: &str = "convert it with tf2onnx or `model.export(\"model.onnx\", format=\"onnx\")`";

const SAVED_MODEL: &str = "convert its folder: `python -m tf2onnx.convert --saved-model FOLDER --output model.onnx`";

/// What the file is, where it is one of another tool.
pub(crate) fn recognise(bytes: &[u8]) -> Option<ModelError> {
    let (what, advice) = by_first_bytes(bytes).or_else(|| by_text(bytes.trim_ascii_start()))?;
    Some(ModelError::unsupported(format!("this is {what}"), advice))
}

fn by_first_bytes(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    Some(match bytes {
        [b'b', b'i', b'n', b'f', ..] => ("an XGBoost model in the old binary format (removed in XGBoost 3.1)", XGBOOST),
        [b'b', b's', b'6', b'4', ..] => ("an XGBoost model in the old base-64 format", XGBOOST),
        _ if is_raw_xgboost(bytes) => ("an XGBoost model in the old binary format (removed in XGBoost 3.1)", XGBOOST),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => zip(bytes),
        [0x80, 2..=5, ..] => pickle(bytes),
        [0x89, b'H', b'D', b'F', b'\r', b'\n', ..] => ("an HDF5 file (Keras `.h5`)", KERAS),
        [b'C', b'B', b'M', b'1', ..] => {
            ("a CatBoost model (cbm)", "save it with `save_model(\"model.onnx\", format=\"onnx\")`")
        }
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => ("zlib-compressed, as joblib writes it", PICKLE),
        [0x1f, 0x8b, ..] => ("gzip-compressed", "decompress it first"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => ("bzip2-compressed", "decompress it first"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("xz-compressed", "decompress it first"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd-compressed", "decompress it first"),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => ("a NumPy array (npy)", "give a model, not its weights alone"),
        [b'P', b'A', b'R', b'1', ..] => ("a Parquet table", "give a model; tables are inputs"),
        [b'G', b'G', b'U', b'F', ..] => ("a GGUF language model", BY_ONNX),
        [b'r', b'o', b'o', b't', 0, ..] => ("a ROOT file", BY_ONNX),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => ("a TensorFlow Lite model", "convert it with tf2onnx"),
        [0x08, 0x01, 0x12, rest @ ..] if is_meta_graph(rest) => {
            ("a TensorFlow SavedModel (saved_model.pb)", SAVED_MODEL)
        }
        _ => return None,
    })
}

/// A SavedModel starts as an ONNX file of the first version may: field 1 is 1, and field 2 has a length. But there is no
/// producer's name behind it, but a message whose first field is again one.
fn is_meta_graph(bytes: &[u8]) -> bool {
    let length = bytes.iter().take(10).position(|byte| *byte < 0x80);
    length.is_some_and(|length| bytes.get(length + 1) == Some(&0x0a))
}

/// The raw format has no magic: 136 bytes of parameters, then the objective's name with its length.
fn is_raw_xgboost(bytes: &[u8]) -> bool {
    let length = bytes.get(136..144).and_then(|b| b.first_chunk()).map(|b| u64::from_le_bytes(*b));
    let groups: [&[u8]; 6] = [b"binary:", b"reg:", b"multi:", b"rank:", b"count:", b"survival:"];
    let name = bytes.get(144..).unwrap_or_default();
    length.is_some_and(|length| length < 64) && groups.iter().any(|group| name.starts_with(group))
}

fn zip(bytes: &[u8]) -> (&'static str, &'static str) {
    match () {
        () if near(bytes, b"data.pkl") && near(bytes, b"constants.pkl") => {
            ("a TorchScript model (zip)", "export the module itself with `torch.onnx.export`")
        }
        () if near(bytes, b"data.pkl") => ("a PyTorch file (zip with a pickle inside)", PICKLE),
        () if near(bytes, b"model.weights.h5") => ("a Keras model (zip)", KERAS),
        () if near(bytes, b".npy") => ("a NumPy archive (npz)", "give a model, not its weights alone"),
        () => ("a zip archive", "unpack it and give the model inside"),
    }
}

fn pickle(bytes: &[u8]) -> (&'static str, &'static str) {
    let tools: [(&[u8], &str); 7] = [
        (b"xgboost", "a pickle of an XGBoost model"),
        (b"lightgbm", "a pickle of a LightGBM model"),
        (b"catboost", "a pickle of a CatBoost model"),
        (b"sklearn", "a pickle of a scikit-learn model"),
        (b"torch", "a pickle of a PyTorch model"),
        (b"joblib", "a joblib file (a pickle)"),
        (b"", "a Python pickle"),
    ];
    let found = tools.iter().find(|(word, _)| near(bytes, word));
    (found.map_or("a Python pickle", |(_, what)| what), PICKLE)
}

fn by_text(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let start = &bytes[..bytes.len().min(NEAR)];
    let has = |word: &[u8]| contains(start, word);
    Some(match bytes.first()? {
        b'{' if has(b"\"oblivious_trees\"") => {
            ("a CatBoost model (JSON)", "save it with `save_model(\"model.onnx\", format=\"onnx\")`")
        }
        b'{' if has(b"\"tree_structure\"") => {
            ("what LightGBM's `dump_model` writes", "save the model with `save_model(\"model.txt\")`")
        }
        b'[' if has(b"\"nodeid\"") => {
            ("what XGBoost's `dump_model` writes", "save the model with `save_model(\"model.json\")`")
        }
        b'b' if bytes.starts_with(b"booster[0]:") => {
            ("what XGBoost's `dump_model` writes", "save the model with `save_model(\"model.json\")`")
        }
        b'<' if has(b"<MethodSetup") => ("a TMVA weight file", "train again, or convert the trees to an XGBoost model"),
        b'<' if has(b"<PMML") => ("a PMML model", BY_ONNX),
        _ => return None,
    })
}

fn near(bytes: &[u8], word: &[u8]) -> bool {
    let (head, tail) = (bytes.len().min(NEAR), bytes.len().saturating_sub(NEAR));
    contains(&bytes[..head], word) || contains(&bytes[tail..], word)
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    word.is_empty() || bytes.windows(word.len()).any(|window| window == word)
}
