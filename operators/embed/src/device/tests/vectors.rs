//! Encoders on candle's CPU device and on a GPU, against torch's vectors and this crate's own kernels.

use std::collections::HashMap;
use std::sync::Arc;

use lunapark_schemas::Device;
use serde_json::json;

use super::super::Trial;
use super::super::backend::Backend;
use super::super::model::{check, place_on};
use super::super::owner::Owner;
use crate::encoder::Place;
use crate::kernel::Set;
use crate::tests::golden::{assert_close, expected, texts};
use crate::tests::{MODELS, cosine, exact, files};
use crate::{EmbedErrorKind, Encoder, Precision, Role};

/// An open device.
struct Ground {
    device: Device,
    owner: Arc<Owner<Trial>>,
}

impl Ground {
    fn open(device: Device) -> Self {
        Self::with(device, |backend| backend)
    }

    fn with(device: Device, change: impl FnOnce(Backend) -> Backend + Send + 'static) -> Self {
        let owner = Owner::start(&device.to_string(), move || Backend::open(device).map(change));
        let owner = owner.unwrap_or_else(|error| panic!("this test needs {device}: {error}"));
        Self { device, owner }
    }

    fn put(&self, files: &HashMap<String, Vec<u8>>) -> Encoder {
        let put = |trial| place_on(&self.owner, self.device, trial).map(Place::Device);
        Encoder::load_by(Set::chosen().unwrap(), files, &exact(), put).unwrap()
    }

    fn encoder(&self, model: &str) -> Encoder {
        self.put(&files(model))
    }
}

/// The same on this machine's own kernels.
fn own(files: &HashMap<String, Vec<u8>>) -> Encoder {
    Encoder::load(files, &exact()).unwrap()
}

/// Each of these runs on candle's CPU device, and on the first GPU where that is asked for.
macro_rules! on_both {
    ($($name:ident),*) => {
        mod on_the_cpu {
            $(#[test]
            fn $name() {
                super::$name(&super::Ground::open(lunapark_schemas::Device::Cpu));
            })*
        }
        #[cfg(feature = "cuda")]
        mod on_a_gpu {
            $(#[test]
            #[ignore = "needs a GPU: deploy/cuda --test"]
            fn $name() {
                super::$name(&super::Ground::open(lunapark_schemas::Device::Cuda(0)));
            })*
        }
    };
}

on_both!(
    vectors_are_those_of_torch,
    a_text_is_the_same_alone_and_in_any_batch,
    every_pooling_and_activation_answers_as_on_the_cpu,
    many_scores_go_in_strips,
    threads_get_the_vectors_of_their_texts,
    what_is_odd_answers_as_on_the_cpu
);

fn vectors_are_those_of_torch(ground: &Ground) {
    for name in MODELS {
        let (encoder, expected) = (ground.encoder(name), expected(name));
        assert_eq!((encoder.device(), encoder.kernel()), (ground.device, "candle"));
        assert_eq!(encoder.precision(), Precision::F32);
        for (role, answers) in [(Role::Query, &expected.query), (Role::Passage, &expected.passage)] {
            assert_close(name, answers, &encoder.embed(&texts(answers), role).unwrap());
        }
    }
}

/// To 1e-6 of the vector's length: candle, and cuBLAS below it, choose their products by their shape.
fn a_text_is_the_same_alone_and_in_any_batch(ground: &Ground) {
    for name in MODELS {
        let (encoder, expected) = (ground.encoder(name), expected(name));
        let all: Vec<&str> = texts(&expected.query).into_iter().cycle().take(60).collect();
        let together = encoder.embed(&all, Role::Passage).unwrap();
        for (at, text) in all.iter().enumerate().take(expected.query.len()) {
            let (alone, row) = (encoder.embed(&[text], Role::Passage).unwrap(), together.row(at));
            let length = row.iter().map(|number| number * number).sum::<f32>().sqrt();
            let farthest = alone.row(0).iter().zip(row).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(farthest <= 1e-6 * length, "{name}: {farthest} of {length} for {text:?}");
        }
    }
}

/// Cosines with this machine's own kernels, of texts of all lengths.
#[track_caller]
fn assert_alike(name: &str, own: &Encoder, placed: &Encoder) {
    let expected = expected(name);
    let texts: Vec<&str> = texts(&expected.query).into_iter().chain(texts(&expected.passage)).collect();
    let (own, placed) = (own.embed(&texts, Role::Query).unwrap(), placed.embed(&texts, Role::Query).unwrap());
    assert_eq!((&own.tokens, &own.truncated), (&placed.tokens, &placed.truncated));
    for (at, text) in texts.iter().enumerate() {
        let cosine = cosine(own.row(at), placed.row(at));
        assert!(cosine >= 0.99999, "{name}: cosine {cosine} for {text:?}");
    }
}

fn every_pooling_and_activation_answers_as_on_the_cpu(ground: &Ground) {
    for name in ["bert", "mpnet-long"] {
        for mode in ["mean_tokens", "cls_token", "max_tokens", "mean_sqrt_len_tokens"] {
            for activation in ["gelu", "gelu_new", "relu"] {
                let mut files = files(name);
                let mut config: serde_json::Value = serde_json::from_slice(&files["config.json"]).unwrap();
                config["hidden_act"] = json!(activation);
                files.insert("config.json".to_owned(), config.to_string().into_bytes());
                let pooling = json!({ (format!("pooling_mode_{mode}")): true }).to_string();
                files.insert("1_Pooling/config.json".to_owned(), pooling.into_bytes());
                assert_alike(name, &own(&files), &ground.put(&files));
            }
        }
    }
}

/// As with texts of many thousands of tokens.
fn many_scores_go_in_strips(ground: &Ground) {
    let ground = Ground::with(ground.device, |backend| backend.with_scores(3000));
    for name in ["bert-long", "mpnet-long"] {
        assert_alike(name, &own(&files(name)), &ground.encoder(name));
    }
}

fn threads_get_the_vectors_of_their_texts(ground: &Ground) {
    let (encoder, expected) = (ground.encoder("xlm-roberta"), expected("xlm-roberta"));
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (encoder, answers) = (&encoder, &expected.query);
            scope.spawn(move || {
                for answer in answers.iter().cycle().skip(thread).take(20) {
                    let embeddings = encoder.embed(&[&answer.text], Role::Query).unwrap();
                    assert!(cosine(embeddings.row(0), &answer.vector) >= 0.99999, "{:?}", answer.text);
                }
            });
        }
    });
}

/// No texts, and texts without a token where the tokenizer puts none around them.
fn what_is_odd_answers_as_on_the_cpu(ground: &Ground) {
    assert!(ground.encoder("bert").embed(&[], Role::Query).unwrap().values.is_empty());
    let mut files = files("bert");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&files["tokenizer.json"]).unwrap();
    tokenizer["post_processor"] = serde_json::Value::Null;
    files.insert("tokenizer.json".to_owned(), tokenizer.to_string().into_bytes());
    let (own, placed) = (own(&files), ground.put(&files));
    for texts in [&["", "heat transfer", ""][..], &[""]] {
        let (own, placed) = (own.embed(texts, Role::Passage).unwrap(), placed.embed(texts, Role::Passage).unwrap());
        assert_eq!(own.tokens[0], 0);
        assert_eq!((own.row(0), placed.row(0)), (&[0.0; 32][..], &[0.0; 32][..]));
        let near = own.values.iter().zip(&placed.values).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near, "{texts:?}");
    }
}

#[test]
fn a_device_that_answers_otherwise_is_not_taken() {
    let (own, other) = ([1.0, 0.0, 0.6, 0.8], [1.0, 0.0, 0.8, 0.6]);
    check(Device::Cuda(3), 2, &own, &own).unwrap();
    let nothing = [f32::NAN, 0.0, 0.6, 0.8];
    for answers in [&other[..], &nothing, &own[..2]] {
        let error = check(Device::Cuda(3), 2, &own, answers).unwrap_err();
        assert_eq!(error.kind, EmbedErrorKind::Device);
        let text = error.to_string();
        assert!(text.contains("cuda:3 answers 1 of 2 texts otherwise") && text.contains("\"cpu\""), "{text}");
    }
}
