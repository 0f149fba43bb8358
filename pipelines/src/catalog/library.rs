//! Models by their name in the catalog: `catalog:NAME/VERSION`.

use std::sync::Arc;

use lunapark_schemas::catalog::{ModelVersion, Stage};
use lunapark_stores::catalog::Catalog;
use lunapark_topics::Log;

use super::TopicCatalog;
use crate::config::Config;
use crate::service::reach_log;

/// What an address of the catalog begins with.
pub const SCHEME: &str = "catalog:";

/// Where models of the catalog are looked up.
#[derive(Clone)]
pub struct Library {
    catalog: Arc<dyn Fn() -> Result<Arc<dyn Catalog>, String> + Send + Sync>,
}

impl Library {
    /// On a log that is open already.
    pub fn on(log: Arc<dyn Log>, topics: &lunapark_topics::Catalog) -> Self {
        let catalog: Arc<dyn Catalog> = Arc::new(TopicCatalog::new(log, topics));
        Self { catalog: Arc::new(move || Ok(catalog.clone())) }
    }

    /// On the log of the configuration, which is opened when a model of the catalog is asked for and not before.
    pub fn of(config: &Config) -> Self {
        let config = config.clone();
        let open = move || {
            let log = reach_log(&config).map_err(|error| error.to_string())?;
            Ok(Arc::new(TopicCatalog::new(log, &lunapark_topics::Catalog::new(&config.topics))) as Arc<dyn Catalog>)
        };
        Self { catalog: Arc::new(open) }
    }

    /// Nowhere: addresses of the catalog are refused.
    pub fn none() -> Self {
        Self { catalog: Arc::new(|| Err("there is no catalog here".to_owned())) }
    }

    /// The version that an address such as `catalog:higgs/3` names. The number is part of it, so that what a
    /// configuration names never changes.
    pub fn find(&self, address: &str) -> Result<ModelVersion, String> {
        let refused = || format!("`{address}` names no version: write {SCHEME}NAME/VERSION, for example {SCHEME}higgs/3");
        let reference = address.strip_prefix(SCHEME).ok_or_else(refused)?;
        let (name, version) = reference.split_once('/').ok_or_else(refused)?;
        let version: u32 = version.parse().map_err(|_| refused())?;
        let found = (self.catalog)()?.get(name, Some(version)).map_err(|error| error.to_string())?;
        let found = found.ok_or_else(|| format!("the catalog has no {name}/{version}; `lunapark models list` shows all"))?;
        if found.stage == Stage::Retired {
            tracing::warn!(model = reference, "this version is retired; name another one");
        }
        Ok(found)
    }
}
