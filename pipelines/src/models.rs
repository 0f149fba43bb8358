//! Loading the models and cascades that a configuration or a command names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lunapark_models::{Device, Format, Model, Summary};
use lunapark_schemas::Signature;
use lunapark_score::cascade::{self, Cascade, Part};
use lunapark_score::{ModelEntry, ModelSet};
use lunapark_stores::{Address, S3Options};

use crate::catalog::library::{Library, SCHEME};
use crate::config::{Config, ModelConfig};
use crate::encoders;

/// Models that travel inside the binary, trained on HIGGS events by `operators/models/fixtures/make.py`.
const BUILTIN: [(&str, &[u8]); 2] = [
    ("higgs-xgb", include_bytes!("../assets/higgs-xgb.json")),
    ("higgs-mlp", include_bytes!("../assets/higgs-mlp.safetensors")),
];

/// A model that cannot be loaded, with its name and address.
#[derive(Debug, thiserror::Error)]
#[error("model {name}/{version} from `{path}`: {cause}")]
pub struct LoadError {
    name: String,
    version: String,
    path: String,
    cause: String,
}

/// The object store settings of the section `[store]`.
pub fn s3_options(store: &BTreeMap<String, String>) -> S3Options {
    let text = |key: &str| store.get(key).cloned().unwrap_or_default();
    S3Options {
        endpoint: text("s3_endpoint"),
        region: text("s3_region"),
        access_key_id: text("s3_access_key_id"),
        secret_access_key: text("s3_secret_access_key"),
    }
}

/// Where addresses of models lead.
#[derive(Clone)]
pub struct Places {
    /// Behind `s3://`.
    pub s3: S3Options,
    /// Behind `catalog:`.
    pub library: Library,
}

impl Places {
    /// Those of a configuration; its log is opened when a model of the catalog is asked for.
    pub fn of(config: &Config) -> Self {
        Self { s3: s3_options(&config.store), library: Library::of(config) }
    }
}

/// Without a catalog.
impl From<S3Options> for Places {
    fn from(s3: S3Options) -> Self {
        Self { s3, library: Library::none() }
    }
}

/// Loads every model, the default first.
pub fn load_all(models: &[ModelConfig], places: &Places) -> Result<ModelSet, LoadError> {
    models.iter().map(|model| load_entry(model, places)).collect::<Result<Vec<_>, _>>().map(ModelSet::new)
}

fn load_entry(model: &ModelConfig, places: &Places) -> Result<ModelEntry, LoadError> {
    let failed = |cause: String| LoadError {
        name: model.name.clone(),
        version: model.version.clone(),
        path: model.path.clone(),
        cause,
    };
    let loaded = load_on(model.device, &model.path, model.sha256.as_deref(), places).map_err(failed)?;
    let signature: &Signature = loaded.model.signature();
    tracing::info!(
        name = model.name,
        version = model.version,
        digest = loaded.digest,
        device = %model.device,
        inputs = signature.inputs.len(),
        "model loaded"
    );
    Ok(ModelEntry::new(&model.name, &model.version, &loaded.digest, loaded.model))
}

/// A loaded model or cascade.
pub struct Loaded {
    /// Ready to score.
    pub model: Arc<dyn Model>,
    /// SHA-256, 64 hex digits: of the file, or of a cascade and all its parts.
    pub digest: String,
    /// What it is made of.
    pub make: Make,
}

/// What a model is made of.
pub enum Make {
    /// One file.
    File {
        /// Its format.
        format: Format,
        /// Size and make.
        summary: Summary,
    },
    /// Several models, one after the other.
    Cascade {
        /// In the order in which they run.
        steps: Vec<Step>,
    },
}

/// A step of a cascade.
pub struct Step {
    /// Its name.
    pub name: String,
    /// Where its model is, as the description has it.
    pub path: String,
    /// When it runs; always, where nothing is said.
    pub when: Option<String>,
    /// Digest of its model.
    pub digest: String,
    /// What its model is made of.
    pub make: Make,
}

/// Cascades within cascades: more is a cascade that names itself.
const MAX_NESTING: usize = 4;

/// The same address, good in every folder: instances run in folders of their own.
pub fn absolute(address: &str) -> String {
    if address.contains("://") || address.starts_with("builtin:") || address.starts_with(SCHEME) {
        return address.to_owned();
    }
    let path = std::path::absolute(address).ok().and_then(|path| path.to_str().map(str::to_owned));
    path.unwrap_or_else(|| address.to_owned())
}

/// Loads one model or cascade from a path, `file://`, `s3://`, `builtin:` or `catalog:` address, to run on the CPU.
pub fn load(path: &str, sha256: Option<&str>, places: &Places) -> Result<Loaded, String> {
    load_on(Device::Cpu, path, sha256, places)
}

/// The same, to run on `device`.
pub fn load_on(device: Device, path: &str, sha256: Option<&str>, places: &Places) -> Result<Loaded, String> {
    load_nested(device, path, sha256, places, 0)
}

/// Where the versions of a model run that were not there at the start: as those that are.
pub fn device_of(models: &ModelSet, name: &str) -> Device {
    let mut loaded = models.entries().filter(|entry| entry.name == name).filter_map(ModelEntry::model);
    loaded.next().map_or(Device::Cpu, |model| model.device())
}

fn load_nested(
    device: Device,
    path: &str,
    sha256: Option<&str>,
    places: &Places,
    nesting: usize,
) -> Result<Loaded, String> {
    if path.starts_with(SCHEME) {
        return load_listed(device, path, sha256, places, nesting);
    }
    let bytes = read(path, &places.s3)?;
    if cascade::describes(&bytes) {
        if device != Device::Cpu {
            return Err(format!(
                "{path}: a cascade cannot run on {device}; set its `device` to \"cpu\" (`--device cpu`)"
            ));
        }
        return load_cascade(&bytes, path, sha256, places, nesting).map_err(|error| format!("{path}: {error}"));
    }
    let loaded = lunapark_models::load_on(device, &bytes, path, sha256).map_err(|error| error.to_string())?;
    let make = Make::File { format: loaded.format, summary: loaded.summary };
    Ok(Loaded { model: loaded.model, digest: loaded.digest, make })
}

/// A version of the catalog: the artifact of its entry, whose digest must be the entry's.
fn load_listed(
    device: Device,
    path: &str,
    sha256: Option<&str>,
    places: &Places,
    nesting: usize,
) -> Result<Loaded, String> {
    let entry = places.library.find(path)?;
    if entry.artifact.starts_with(SCHEME) {
        return Err(format!("{path}: its entry names another entry, `{}`; register it again", entry.artifact));
    }
    if entry.format == encoders::FORMAT {
        return Err(format!("{path}: it is a text encoder, which scores no events; `documents.encoder` takes it"));
    }
    if let Some(expected) = sha256.filter(|expected| !expected.eq_ignore_ascii_case(&entry.digest)) {
        return Err(format!(
            "{path}: the catalog has digest {}, expected {expected}; correct one of them",
            entry.digest
        ));
    }
    load_nested(device, &entry.artifact, Some(&entry.digest), places, nesting)
        .map_err(|error| format!("{path}: {error}"))
}

/// The bytes of a model, without looking into them.
pub fn read(path: &str, s3: &S3Options) -> Result<Cow<'static, [u8]>, String> {
    if let Some(name) = path.strip_prefix("builtin:") {
        let known = || BUILTIN.map(|(n, _)| format!("builtin:{n}")).join(", ");
        let found = BUILTIN.iter().find(|(n, _)| *n == name);
        let bytes = found.map(|(_, bytes)| Cow::Borrowed(*bytes));
        return bytes.ok_or_else(|| format!("there is no such built-in model; there are: {}", known()));
    }
    let address = Address::parse(path, Path::new("")).map_err(|e| e.to_string())?;
    lunapark_stores::read(&address, s3).map(Cow::Owned).map_err(|e| e.to_string())
}

fn load_cascade(
    bytes: &[u8],
    path: &str,
    sha256: Option<&str>,
    places: &Places,
    nesting: usize,
) -> Result<Loaded, String> {
    if nesting >= MAX_NESTING {
        return Err(format!("more than {MAX_NESTING} cascades in each other; does one name itself?"));
    }
    let mut steps = Vec::new();
    let cascade = Cascade::read(bytes, |step| {
        let place = beside(path, &step.model)?;
        let loaded = load_nested(Device::Cpu, &place, step.sha256.as_deref(), places, nesting + 1)?;
        let (name, when) = (step.name.clone(), step.when.clone());
        let part = Part { model: loaded.model, digest: loaded.digest.clone() };
        steps.push(Step { name, path: step.model.clone(), when, digest: loaded.digest, make: loaded.make });
        Ok(part)
    });
    let cascade = cascade.map_err(|error| error.to_string())?;
    let digest = cascade.digest().to_owned();
    match sha256 {
        Some(expected) if !expected.eq_ignore_ascii_case(&digest) => Err(format!(
            "the digest of the cascade and its parts is {digest}, expected {expected}; correct one of them"
        )),
        _ => Ok(Loaded { model: Arc::new(cascade), digest, make: Make::Cascade { steps } }),
    }
}

/// The address of a part: as it is where it says where, else beside the cascade's own file. A cascade from a bucket may
/// not reach into this machine's files.
fn beside(cascade: &str, part: &str) -> Result<String, String> {
    let local = part.starts_with('/') || part.starts_with("file://");
    if cascade.starts_with("s3://") && local {
        return Err(format!("`{part}` is a file of this machine and the cascade is not; put the model beside it"));
    }
    Ok(address(cascade, part))
}

fn address(cascade: &str, part: &str) -> String {
    let (scheme, own) = match cascade.split_once("://") {
        Some((scheme, own)) => (format!("{scheme}://"), own),
        None => (String::new(), cascade),
    };
    if part.contains("://") || part.starts_with("builtin:") || part.starts_with(SCHEME) || part.starts_with('/') {
        return part.to_owned();
    }
    match own.rsplit_once('/') {
        Some((folder, _)) => format!("{scheme}{folder}/{part}"),
        None => format!("{scheme}{part}"),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::RecordBatch;
    use lunapark_models::{Accepts, ModelError};

    use super::*;

    /// As a model on a GPU says of itself.
    struct Elsewhere(Arc<Signature>);

    impl Model for Elsewhere {
        fn signature(&self) -> &Arc<Signature> {
            &self.0
        }

        fn accepts(&self) -> Accepts {
            Accepts { missing: false, infinite: false }
        }

        fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError> {
            Ok(rows.clone())
        }

        fn device(&self) -> Device {
            Device::Cuda(1)
        }
    }

    #[test]
    fn promoted_versions_run_where_the_configured_one_does() {
        let signature = Arc::new(Signature { inputs: Vec::new(), outputs: Vec::new() });
        let set = ModelSet::new(vec![ModelEntry::new("net", "1", "0123456789", Arc::new(Elsewhere(signature)))]);
        assert_eq!((device_of(&set, "net"), device_of(&set, "other")), (Device::Cuda(1), Device::Cpu));
    }

    #[test]
    fn nothing_runs_elsewhere_than_it_was_told_to() {
        let s3 = s3_options(&BTreeMap::new());
        let folder = tempfile::tempdir().unwrap();
        let cascade = folder.path().join("cascade.toml");
        let steps = "[[steps]]\nname = \"net\"\nmodel = \"builtin:higgs-mlp\"\n";
        std::fs::write(&cascade, format!("kind = \"cascade\"\n{steps}")).unwrap();
        let cascade = cascade.to_str().unwrap();
        let refused = |path: &str| load_on(Device::Cuda(255), path, None, &s3.clone().into()).err().unwrap();
        assert!(refused(cascade).contains("a cascade cannot run on cuda:255"), "{}", refused(cascade));
        assert!(refused("builtin:higgs-xgb").contains("trees run on the CPU"));
        assert!(refused("builtin:higgs-mlp").contains("cuda:255 is asked for"));
    }

    #[test]
    fn the_parts_of_a_cascade_lie_beside_it() {
        for (cascade, part, place) in [
            ("c.toml", "m.json", "m.json"),
            ("models/c.toml", "m.json", "models/m.json"),
            ("/srv/c.toml", "../m.json", "/srv/../m.json"),
            ("file:///srv/c.toml", "sub/m.json", "file:///srv/sub/m.json"),
            ("s3://bucket/deep/c.toml", "m.json", "s3://bucket/deep/m.json"),
            ("models/c.toml", "/abs/m.json", "/abs/m.json"),
            ("models/c.toml", "s3://b/m.json", "s3://b/m.json"),
            ("models/c.toml", "builtin:higgs-xgb", "builtin:higgs-xgb"),
            ("models/c.toml", "catalog:higgs/3", "catalog:higgs/3"),
        ] {
            assert_eq!(beside(cascade, part).as_deref(), Ok(place));
        }
        for part in ["/etc/passwd", "file:///etc/passwd"] {
            assert!(beside("s3://bucket/c.toml", part).is_err());
        }
    }
}
