//! What is broken, contradicts itself or is not known is refused, by file and field.

use serde_json::{Value, json};

use super::*;
use crate::{EmbedErrorKind, Folder, ModelFiles, Role};

fn edited(model: &str, name: &str, edit: impl Fn(&mut Value)) -> HashMap<String, Vec<u8>> {
    let mut files = files(model);
    let mut value: Value = serde_json::from_slice(&files[name]).unwrap();
    edit(&mut value);
    files.insert(name.to_owned(), value.to_string().into_bytes());
    files
}

#[track_caller]
fn refused(files: &HashMap<String, Vec<u8>>, kind: EmbedErrorKind, file: &str, words: &[&str]) {
    let error = load(files).unwrap_err();
    let text = error.to_string();
    assert_eq!((error.kind, error.file.as_str()), (kind, file), "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let unknown = [
        ("model_type", json!("deberta-v2"), "deberta-v2"),
        ("hidden_act", json!("silu"), "silu"),
        ("position_embedding_type", json!("relative_key"), "relative_key"),
        ("quantization_config", json!({"bits": 4}), "quantised"),
        ("is_decoder", json!(true), "is_decoder"),
    ];
    for (field, value, word) in unknown {
        let files = edited("bert", "config.json", |config| config[field] = value.clone());
        refused(&files, EmbedErrorKind::Unsupported, "config.json", &[field, word]);
    }
    let files =
        edited("bert", "modules.json", |modules| modules[2]["type"] = json!("sentence_transformers.models.Dense"));
    refused(&files, EmbedErrorKind::Unsupported, "modules.json", &["Dense"]);
    let pooling = "1_Pooling/config.json";
    let files = edited("bert", pooling, |config| config["pooling_mode_lasttoken"] = json!(true));
    refused(&files, EmbedErrorKind::Unsupported, pooling, &["lasttoken"]);
    let files = edited("xlm-roberta", pooling, |config| config["include_prompt"] = json!(false));
    refused(&files, EmbedErrorKind::Unsupported, pooling, &["include_prompt"]);
    let files = edited("bert", "sentence_bert_config.json", |config| config["do_lower_case"] = json!(true));
    refused(&files, EmbedErrorKind::Unsupported, "sentence_bert_config.json", &["do_lower_case"]);
}

#[test]
fn a_broken_configuration_names_file_and_field() {
    let wrong = [
        ("hidden_size", json!("wide")),
        ("hidden_size", json!(0)),
        ("num_attention_heads", json!(5)),
        ("num_hidden_layers", json!(0)),
        ("layer_norm_eps", json!(-1.0)),
        ("relative_attention_num_buckets", json!(2)),
    ];
    for (field, value) in wrong {
        let files = edited("mpnet", "config.json", |config| config[field] = value.clone());
        refused(&files, EmbedErrorKind::Unreadable, "config.json", &[field]);
    }
    let files = edited("bert", "1_Pooling/config.json", |config| config["word_embedding_dimension"] = json!(33));
    refused(&files, EmbedErrorKind::Unreadable, "1_Pooling/config.json", &["word_embedding_dimension", "33", "32"]);
    let files = edited("bert", "sentence_bert_config.json", |config| config["max_seq_length"] = json!(2));
    refused(&files, EmbedErrorKind::Unreadable, "tokenizer.json", &["2 tokens"]);
}

#[test]
fn files_that_are_missing_are_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"] {
        let mut files = files("bert");
        files.remove(name);
        refused(&files, EmbedErrorKind::Missing, name, &[name]);
    }
}

#[test]
fn weights_that_do_not_fit_name_their_tensor() {
    let weights = "model.safetensors";
    let files = edited("bert", "config.json", |config| config["num_hidden_layers"] = json!(3));
    refused(&files, EmbedErrorKind::Unreadable, weights, &["encoder.layer.2.attention.self.query.weight", "missing"]);
    let files = edited("bert", "config.json", |config| config["intermediate_size"] = json!(48));
    refused(
        &files,
        EmbedErrorKind::Unreadable,
        weights,
        &["encoder.layer.0.intermediate.dense.weight", "[64, 32]", "[48, 32]"],
    );
    for (kind, word) in [("I32", "I32"), ("F8_E4M3", "safetensors")] {
        let mut files = super::files("bert");
        let text = files[weights].iter().map(|&byte| byte as char).collect::<String>();
        let replaced = text.replacen("\"F32\"", &format!("\"{kind}\""), 1);
        let mut bytes: Vec<u8> = replaced.chars().map(|c| c as u8).collect();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) + kind.len() as u64 - 3;
        bytes[..8].copy_from_slice(&header.to_le_bytes());
        files.insert(weights.to_owned(), bytes);
        let text = load(&files).unwrap_err().to_string();
        assert!(text.contains(weights) && text.contains(word), "{text}");
    }
    let mut files = super::files("bert");
    let bytes = files.get_mut(weights).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(&files, EmbedErrorKind::Unreadable, weights, &["not finite"]);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let mut files = files("mpnet");
    files.insert("tokenizer.json".to_owned(), super::files("bert")["tokenizer.json"].clone());
    refused(&files, EmbedErrorKind::Unreadable, "tokenizer.json", &["219", "150"]);
}

#[test]
fn files_cut_anywhere_are_refused() {
    for name in ["config.json", "tokenizer.json", "model.safetensors", "modules.json", "1_Pooling/config.json"] {
        let whole = files("xlm-roberta");
        let bytes = &whole[name];
        for part in 0..40 {
            let mut files = whole.clone();
            files.insert(name.to_owned(), bytes[..(bytes.len() - 2) * part / 40].to_vec());
            let error = load(&files).unwrap_err();
            assert_eq!(error.file, name, "{error}");
        }
    }
}

#[test]
fn weights_in_several_files_are_one_model() {
    let mut files = files("bert");
    let bytes = files.remove("model.safetensors").unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for (half, part) in [("one.safetensors", 0), ("two.safetensors", 1)] {
        let tensors: Vec<_> = whole.tensors().into_iter().filter(|(name, _)| name.len() % 2 == part).collect();
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), json!(half))));
        files.insert(half.to_owned(), safetensors::serialize(tensors, None).unwrap());
    }
    files.insert("model.safetensors.index.json".to_owned(), json!({ "weight_map": map }).to_string().into_bytes());
    let text = ["heat transfer"];
    let split = load(&files).unwrap().embed(&text, Role::Query).unwrap();
    assert_eq!(split, model("bert").embed(&text, Role::Query).unwrap());
    files.remove("two.safetensors");
    refused(&files, EmbedErrorKind::Missing, "two.safetensors", &["no such file"]);
}

#[test]
fn no_name_leads_out_of_the_folder() {
    for name in ["../bert/config.json", "/etc/passwd", "a/../../b"] {
        let error = Folder::new(folder("mpnet")).read(name).unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
    }
    assert_eq!(Folder::new(folder("mpnet")).read("nothing/here.json").unwrap(), None);
}
