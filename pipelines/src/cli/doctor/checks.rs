//! What the configuration names, tried one by one.

use std::path::Path;
use std::time::Duration;

use lunapark_index::probe;
use lunapark_models::Device;
use lunapark_stores::ArtifactStore;
use lunapark_stores::catalog::Catalog as _;
use lunapark_stores::catalog::mongo::MongoCatalog;

use super::{Check, State};
use crate::cli::output::size;
use crate::config::{Config, DEFAULT_ENCODER};
use crate::encoders::{Card, Place};
use crate::knowledge;
use crate::models::{self, Places};
use crate::pdf;
use crate::service::reach_log;

/// The embedded log.
const LOG: &str = "log.redb";

/// All of them, in the order in which a service meets them.
pub(super) fn all(config: &Config) -> Vec<Check> {
    vec![log(config), store(config), mongodb(config), scoring(config), encoder(config), pdf(config), gpu()]
}

/// Something that works or does not.
fn tried<E: std::fmt::Display>(what: &'static str, outcome: Result<String, E>, fix: &str) -> Check {
    match outcome {
        Ok(found) => Check::ok(what, found),
        Err(error) => Check::new(what, State::Failed, error.to_string(), fix),
    }
}

fn log(config: &Config) -> Check {
    if config.kafka.is_none() && !config.data.join(LOG).exists() {
        let found = format!("the embedded log; `lunapark run` makes its folder {}", config.data.display());
        return Check::ok("log", found);
    }
    let reached = reach_log(config).and_then(|log| Ok(format!("{}, {} topics", log.describe(), log.topics()?.len())));
    let fix = match config.kafka {
        Some(_) => "start the broker, or correct kafka.bootstrap and the security settings beside it",
        None => "stop the other process, or name another folder (embedded.data)",
    };
    tried("log", reached, fix)
}

fn store(config: &Config) -> Check {
    let opened = match knowledge::store_if_made(config) {
        Ok(None) => {
            return Check::ok("object store", format!("a folder; the first artifact makes it: {}", config.artifacts));
        }
        Ok(Some(store)) => Ok(store),
        Err(error) => Err(error),
    };
    let probed = opened.map_err(anyhow::Error::from).and_then(|store| {
        let store = store.with_patience(Duration::ZERO);
        probe(&store)?;
        Ok(format!("{}, puts if absent", store.describe()))
    });
    tried(
        "object store",
        probed,
        "correct [store]: address, s3_endpoint, keys; the server must honour If-None-Match: *",
    )
}

fn mongodb(config: &Config) -> Check {
    let Some(uri) = &config.mongodb else {
        return Check::new("MongoDB", State::Off, "no copy of the catalog is asked for (catalog.mongodb)", "");
    };
    let opened = MongoCatalog::open(uri, &config.topics.prefix).map(|copy| copy.with_patience(Duration::ZERO));
    let listed = opened.and_then(|copy| copy.list());
    let told = listed.map(|versions| format!("{} versions in the copy of the catalog", versions.len()));
    tried("MongoDB", told, "start it, or correct catalog.mongodb; nothing else waits for it")
}

fn scoring(config: &Config) -> Check {
    if config.score.threads == 0 {
        return Check::new("models", State::Off, "this instance scores nothing (score.threads)", "");
    }
    let loaded = models::load_all(&config.score.models, &Places::of(config));
    let named = config.score.models.iter().map(|model| format!("{}/{} ({})", model.name, model.version, model.path));
    let found = loaded.map(|_| named.collect::<Vec<_>>().join(", "));
    tried("models", found, "correct [[score.models]]; `lunapark model check FILE` looks into a file")
}

fn encoder(config: &Config) -> Check {
    let what = "text encoder";
    let name = &config.documents.encoder;
    let is_default = name == DEFAULT_ENCODER;
    // Whoever names another one than the default wants it, whatever this instance runs.
    let wanted = config.documents.threads + config.search.threads > 0 || !is_default;
    let state = if wanted { State::Failed } else { State::Missing };
    let opened = knowledge::store_if_made(config).ok().flatten();
    match knowledge::encoder(config, opened.as_ref()) {
        Ok((encoder, model)) => {
            let place = match encoder.device() {
                Device::Cpu => encoder.kernel().to_owned(),
                device => device.to_string(),
            };
            let found = format!(
                "{name}: {model}#{}{}, {} numbers, up to {} tokens, on {place}",
                &encoder.digest()[..8],
                bytes(name, opened.as_ref()),
                encoder.dimension(),
                encoder.max_tokens(),
            );
            Check::ok(what, found)
        }
        Err(error) => {
            let fix = match is_default {
                true => "`lunapark models pull minilm` gets it. Documents need it, and searches by meaning",
                false => {
                    "correct documents.encoder, or leave it out: the default is minilm, which `lunapark models pull minilm` \
                     gets. Documents need it, and searches by meaning"
                }
            };
            Check::new(what, state, error.to_string(), fix)
        }
    }
}

/// The size of an encoder, where it can be told without reading it again.
fn bytes(encoder: &str, store: Option<&ArtifactStore>) -> String {
    let bytes = || match Place::parse(encoder, store).ok()? {
        Place::Pulled(name) => Card::find(store?, &name).ok()?.map(|card| card.size()),
        Place::Folder(folder) => Some(std::fs::metadata(Path::new(&folder).join("model.safetensors")).ok()?.len()),
        Place::Bucket(_) => None,
    };
    bytes().map(|bytes| format!(", {}", size(bytes))).unwrap_or_default()
}

fn pdf(config: &Config) -> Check {
    let read = pdf::reader(config).map_err(|error| error.to_string()).and_then(|reader| {
        pdf::tried(&reader.child, config)?;
        Ok(reader.pdfium)
    });
    match read {
        Ok(Some(path)) => Check::ok("PDF", format!("pdfium ({}), in a child process", path.display())),
        Ok(None) => {
            let fix = match config.documents.pdfium.as_str() {
                "off" => "",
                _ => "pdfium reads more: pip install pypdfium2, or name its library in documents.pdfium",
            };
            Check::new("PDF", State::Ok, "the pure-Rust reader, in a child process", fix)
        }
        Err(error) => {
            let fix = "correct documents.pdfium, or raise documents.pdf_memory; /bin/sh must be there";
            Check::new("PDF", State::Failed, error, fix)
        }
    }
}

fn gpu() -> Check {
    if !cfg!(feature = "cuda") {
        let fix = "networks of dense layers and text encoders run on NVIDIA GPUs in a binary that `deploy/cuda` builds";
        return Check::new("GPU", State::Off, "this binary is built without CUDA", fix);
    }
    let loaded =
        models::load_on(Device::Cuda(0), "builtin:higgs-mlp", None, &lunapark_stores::S3Options::default().into());
    match loaded {
        Ok(_) => Check::ok("GPU", "cuda:0 scores networks; text encoders run there with documents.device"),
        Err(error) => Check::new("GPU", State::Missing, error, "install the NVIDIA driver (580 or later)"),
    }
}
