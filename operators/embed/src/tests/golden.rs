//! The small models give the vectors of torch and sentence-transformers, in any batch and on every instruction set.

use serde::Deserialize;

use super::*;
use crate::kernel::{Set, Unit};
use crate::{Embeddings, Folder, Precision, Prefixes, Role, Similarity};

#[derive(Deserialize)]
pub(crate) struct Expected {
    max_tokens: usize,
    pub(crate) query: Vec<Answer>,
    pub(crate) passage: Vec<Answer>,
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    pub(crate) text: String,
    count: usize,
    truncated: bool,
    pub(crate) vector: Vec<f32>,
}

pub(crate) fn expected(model: &str) -> Expected {
    serde_json::from_slice(&std::fs::read(folder(model).join("expected.json")).unwrap()).unwrap()
}

pub(crate) fn texts(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.text.as_str()).collect()
}

pub(crate) fn assert_close(name: &str, answers: &[Answer], embeddings: &Embeddings) {
    for (at, answer) in answers.iter().enumerate() {
        let cosine = cosine(embeddings.row(at), &answer.vector);
        assert!(cosine >= 0.99999, "{name}: cosine {cosine} for {:?}", answer.text);
        let farthest = embeddings.row(at).iter().zip(&answer.vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(farthest < 2e-4, "{name}: {farthest} away for {:?}", answer.text);
    }
}

#[test]
fn vectors_are_those_of_torch() {
    for name in MODELS {
        let (encoder, expected) = (Encoder::load(&Folder::new(folder(name)), &exact()).unwrap(), expected(name));
        for (role, answers) in [(Role::Query, &expected.query), (Role::Passage, &expected.passage)] {
            let embeddings = encoder.embed(&texts(answers), role).unwrap();
            assert_close(name, answers, &embeddings);
        }
    }
}

#[test]
fn every_instruction_set_gives_them() {
    for name in MODELS {
        let expected = expected(name);
        for set in Set::available() {
            let encoder = Encoder::load_on(set, &files(name), &exact()).unwrap();
            let embeddings = encoder.embed(&texts(&expected.query), Role::Query).unwrap();
            assert_close(&format!("{name} on {}", encoder.kernel()), &expected.query, &embeddings);
        }
    }
}

#[test]
fn tokens_are_counted_and_a_cut_is_told() {
    for name in MODELS {
        let (encoder, expected) = (model(name), expected(name));
        assert_eq!(encoder.max_tokens(), expected.max_tokens, "{name}");
        for (role, answers) in [(Role::Query, &expected.query), (Role::Passage, &expected.passage)] {
            let embeddings = encoder.embed(&texts(answers), role).unwrap();
            for (at, answer) in answers.iter().enumerate() {
                assert_eq!(
                    encoder.tokenizer().count(&answer.text, role).unwrap(),
                    answer.count,
                    "{name} {:?}",
                    answer.text
                );
                assert_eq!(embeddings.truncated[at], answer.truncated, "{name} {:?}", answer.text);
                assert_eq!(embeddings.tokens[at], answer.count.min(expected.max_tokens), "{name} {:?}", answer.text);
            }
        }
        assert!(expected.query.iter().any(|answer| answer.truncated));
    }
}

#[test]
fn a_text_has_the_same_bits_alone_and_in_any_batch() {
    for name in MODELS {
        let expected = expected(name);
        let (files, mut options) = (files(name), EncoderOptions { threads: 1, ..exact() });
        let one = Encoder::load(&files, &options).unwrap();
        options.threads = 3;
        let many = Encoder::load(&files, &options).unwrap();
        let all: Vec<&str> = texts(&expected.query).into_iter().cycle().take(150).collect();
        let together = one.embed(&all, Role::Passage).unwrap();
        assert_eq!(together, many.embed(&all, Role::Passage).unwrap(), "{name}");
        for (at, text) in all.iter().enumerate() {
            let alone = one.embed(&[text], Role::Passage).unwrap();
            assert_eq!(alone.row(0), together.row(at), "{name} {text:?}");
        }
    }
}

#[test]
fn no_texts_give_no_vectors() {
    let embeddings = model("bert").embed(&[], Role::Query).unwrap();
    assert_eq!((embeddings.values.len(), embeddings.dimension), (0, 32));
}

#[test]
fn prefixes_can_be_given_and_decide_the_digest() {
    let files = files("bert");
    let prefixes = Prefixes { query: "Instruct: heat\nQuery: ".to_owned(), passage: String::new() };
    let options = EncoderOptions { prefixes: Some(prefixes.clone()), ..exact() };
    let (plain, prefixed) = (load(&files).unwrap(), Encoder::load(&files, &options).unwrap());
    let text = "a blunt body";
    let whole = format!("{}{text}", prefixes.query);
    let direct = plain.embed(&[&whole, text], Role::Query).unwrap();
    assert_eq!(prefixed.embed(&[text], Role::Query).unwrap().row(0), direct.row(0));
    assert_eq!(prefixed.embed(&[text], Role::Passage).unwrap().row(0), direct.row(1));
    assert_ne!(plain.digest(), prefixed.digest());
}

type Edit = fn(&mut Vec<u8>);

#[test]
fn the_digest_is_of_the_weights_tokenizer_and_settings() {
    let untouched = files("bert");
    let digest = load(&untouched).unwrap().digest().to_owned();
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(digest, load(&untouched).unwrap().digest());
    let edits: [(&str, Edit); 4] = [
        ("model.safetensors", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("tokenizer.json", |bytes| bytes.push(b' ')),
        ("sentence_bert_config.json", |bytes| *bytes = br#"{"max_seq_length": 47}"#.to_vec()),
        ("modules.json", |bytes| *bytes = String::from_utf8_lossy(bytes).replace("models.N", "base.N").into_bytes()),
    ];
    for (name, edit) in &edits[..3] {
        let mut files = untouched.clone();
        edit(files.get_mut(*name).unwrap());
        assert_ne!(digest, load(&files).unwrap().digest(), "{name}");
    }
    // Another spelling of the same settings decides nothing.
    let mut files = untouched.clone();
    edits[3].1(files.get_mut("modules.json").unwrap());
    assert_eq!(digest, load(&files).unwrap().digest());
}

#[test]
fn the_precision_is_what_the_machine_has_kernels_for() {
    for set in Set::available() {
        let on = |precision| Encoder::load_on(set, &files("bert"), &EncoderOptions { precision, ..exact() });
        let exact = on(PrecisionChoice::F32).unwrap();
        assert_eq!((exact.precision(), exact.kernel()), (Precision::F32, set.vectors().name()));
        let auto = on(PrecisionChoice::Auto).unwrap().precision();
        if set.has_bf16() {
            assert_eq!((auto, on(PrecisionChoice::Bf16).unwrap().precision()), (Precision::Bf16, Precision::Bf16));
            continue;
        }
        assert_eq!(auto, Precision::F32);
        let error = on(PrecisionChoice::Bf16).unwrap_err().to_string();
        assert!(error.contains("bf16") && error.contains("\"auto\""), "{error}");
    }
}

#[test]
fn bf16_is_near_and_has_the_same_bits_in_any_batch() {
    let there = Set::available().into_iter().filter(|set| set.has_bf16());
    for set in there.chain([Set::Tiles(Unit::Soft)]) {
        for name in MODELS {
            let expected = expected(name);
            let options = EncoderOptions { precision: PrecisionChoice::Bf16, threads: 1, ..exact() };
            let encoder = Encoder::load_on(set, &files(name), &options).unwrap();
            let texts = texts(&expected.query);
            let together = encoder.embed(&texts, Role::Query).unwrap();
            for (at, answer) in expected.query.iter().enumerate() {
                let cosine = cosine(together.row(at), &answer.vector);
                assert!(cosine >= 0.9999, "{name} on {}: cosine {cosine} for {:?}", encoder.kernel(), answer.text);
                assert_eq!(encoder.embed(&[texts[at]], Role::Query).unwrap().row(0), together.row(at), "{name}");
            }
        }
    }
}

/// The small models have small heads and few layers; here rounding has all layers of a real one to add up in.
#[test]
#[ignore = "LUNAPARK_TEST_ENCODER names the folder of a real encoder; slow"]
fn a_real_encoder_in_bf16_is_near_its_own_f32() {
    let words = "the boundary layer of a heated flat plate in supersonic flow was measured with a thin wire , and its \
                 transition to turbulence was found to move upstream when the wall is warmer than the gas , as theory \
                 says for small disturbances ; Perché la velocità non è costante? E = ½mv² 漢字";
    let of = |count: usize| words.split_whitespace().cycle().skip(count % 7).take(count).collect::<Vec<_>>().join(" ");
    let texts: Vec<String> = [1, 2, 5, 11, 23, 60, 110].map(of).to_vec();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let folder = Folder::new(std::env::var("LUNAPARK_TEST_ENCODER").unwrap());
    let expected = Encoder::load(&folder, &exact()).unwrap().embed(&texts, Role::Passage).unwrap();
    let options = EncoderOptions { precision: PrecisionChoice::Bf16, ..EncoderOptions::default() };
    for set in Set::available().into_iter().filter(|set| set.has_bf16()).chain([Set::Tiles(Unit::Soft)]) {
        let rounded = Encoder::load_on(set, &folder, &options).unwrap().embed(&texts, Role::Passage).unwrap();
        let cosines = (0..texts.len()).map(|text| cosine(rounded.row(text), expected.row(text)));
        let least = cosines.fold(f64::INFINITY, f64::min);
        println!("{}: 1 - cosine of {:.1e} at most", set.name(), 1.0 - least);
        assert!(least >= 0.9999, "{}: {least}", set.name());
    }
}

#[test]
fn what_vectors_are_compared_by_is_the_models_own_word() {
    let said = |json: &str| {
        let mut files = files("bert");
        files.insert("config_sentence_transformers.json".to_owned(), json.as_bytes().to_vec());
        load(&files).map(|encoder| encoder.similarity())
    };
    assert_eq!(said("{}").unwrap(), Similarity::Cosine);
    assert_eq!(said(r#"{"similarity_fn_name": null}"#).unwrap(), Similarity::Cosine);
    assert_eq!(said(r#"{"similarity_fn_name": "dot"}"#).unwrap(), Similarity::Dot);
    assert_eq!(said(r#"{"similarity_fn_name": "euclidean"}"#).unwrap(), Similarity::Euclidean);
    let error = said(r#"{"similarity_fn_name": "manhattan"}"#).unwrap_err().to_string();
    assert!(error.contains("similarity_fn_name") && error.contains("manhattan"), "{error}");
}
