//! Loading the models that a configuration names.

use std::collections::BTreeMap;
use std::path::Path;

use lunapark_models::Loaded;
use lunapark_schemas::Signature;
use lunapark_score::{ModelEntry, ModelSet};
use lunapark_stores::{Address, S3Options};

use crate::config::ModelConfig;

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

/// Loads every model, the default first.
pub fn load_all(models: &[ModelConfig], s3: &S3Options) -> Result<ModelSet, LoadError> {
    models.iter().map(|model| load_entry(model, s3)).collect::<Result<Vec<_>, _>>().map(ModelSet::new)
}

fn load_entry(model: &ModelConfig, s3: &S3Options) -> Result<ModelEntry, LoadError> {
    let failed = |cause: String| LoadError {
        name: model.name.clone(),
        version: model.version.clone(),
        path: model.path.clone(),
        cause,
    };
    let loaded = load(&model.path, model.sha256.as_deref(), s3).map_err(failed)?;
    let signature: &Signature = loaded.model.signature();
    tracing::info!(
        name = model.name,
        version = model.version,
        digest = loaded.digest,
        inputs = signature.inputs.len(),
        "model loaded"
    );
    Ok(ModelEntry::new(&model.name, &model.version, &loaded.digest, loaded.model))
}

/// Loads one model from a path, `file://`, `s3://` or `builtin:` address.
pub fn load(path: &str, sha256: Option<&str>, s3: &S3Options) -> Result<Loaded, String> {
    if let Some(name) = path.strip_prefix("builtin:") {
        let known = || BUILTIN.map(|(n, _)| format!("builtin:{n}")).join(", ");
        let found = BUILTIN.iter().find(|(n, _)| *n == name);
        let (_, bytes) = found.ok_or_else(|| format!("there is no such built-in model; there are: {}", known()))?;
        return lunapark_models::load(bytes, path, sha256).map_err(|e| e.to_string());
    }
    let address = Address::parse(path, Path::new("")).map_err(|e| e.to_string())?;
    let bytes = lunapark_stores::read(&address, s3).map_err(|e| e.to_string())?;
    lunapark_models::load(&bytes, path, sha256).map_err(|e| e.to_string())
}
