//! Configuration: what the user wrote is merged over the defaults, then checked once as a whole.

mod check;
mod environment;
mod merge;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lunapark_models::Device;
use lunapark_topics::Delivery;
use lunapark_topics::catalog::CatalogOptions;
use lunapark_topics::kafka::KafkaOptions;
use lunapark_topics::log::Start;

/// The documented defaults, as `lunapark config` prints them.
pub const DEFAULT: &str = include_str!("default.toml");
/// The text encoder that it names.
pub const DEFAULT_ENCODER: &str = "minilm";

/// A configuration that is not valid; the message names the key and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(pub String);

/// A checked configuration.
#[derive(Clone)]
pub struct Config {
    /// Stable instance name.
    pub instance: String,
    /// Folder of the embedded log.
    pub data: PathBuf,
    /// True where the embedded log leaves syncing to the operating system.
    pub sync_os: bool,
    /// The cluster; `None` is the embedded log.
    pub kafka: Option<KafkaOptions>,
    /// Sizes and prefix of the topics.
    pub topics: CatalogOptions,
    /// Create missing topics at start.
    pub create_topics: bool,
    /// The scoring pipeline.
    pub score: ScoreConfig,
    /// The training pipeline.
    pub train: TrainConfig,
    /// The pipeline that indexes documents.
    pub documents: DocumentsConfig,
    /// The pipeline that answers questions.
    pub search: SearchConfig,
    /// Object store settings.
    pub store: BTreeMap<String, String>,
    /// Where artifacts and checkpoints go.
    pub artifacts: String,
    /// Address of the MongoDB that gets a copy of the model catalog; `None` is no copy.
    pub mongodb: Option<String>,
    /// Address of the HTTP endpoints; `None` is off.
    pub listen: Option<String>,
    /// Period of reports to the topic `metrics`.
    pub metrics_interval: Duration,
    /// Log filter.
    pub log_level: String,
    /// The merged document, secrets masked.
    pub shown: String,
}

impl fmt::Debug for Config {
    /// With its secrets masked: it may end in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// Settings of the scoring pipeline.
#[derive(Clone, Debug)]
pub struct ScoreConfig {
    /// Pipeline and group name.
    pub name: String,
    /// Stream threads.
    pub threads: usize,
    /// Delivery mode.
    pub delivery: Delivery,
    /// Where a new group begins.
    pub start: Start,
    /// Commit after so long.
    pub commit_interval: Duration,
    /// Commit at so many messages.
    pub commit_messages: u64,
    /// Commit at so many bytes.
    pub commit_bytes: usize,
    /// Messages of a batch.
    pub batch_messages: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// Rows of a message.
    pub max_rows: usize,
    /// Bytes of a payload.
    pub max_payload_bytes: usize,
    /// Time for work in flight to end.
    pub drain_budget: Duration,
    /// Breaker share.
    pub reject_share: f64,
    /// Breaker window.
    pub reject_window: usize,
    /// A shadow that takes longer than this for one batch is ended.
    pub shadow_patience: Duration,
    /// Models, the default first.
    pub models: Vec<ModelConfig>,
}

/// Settings of the training pipeline.
#[derive(Clone, Debug)]
pub struct TrainConfig {
    /// Pipeline and group name.
    pub name: String,
    /// Stream threads, a job each; 0 trains nothing.
    pub threads: usize,
    /// Where jobs compute.
    pub device: Device,
    /// A checkpoint is written this often.
    pub checkpoint_interval: Duration,
    /// Folders and `s3://` prefixes in which data sets may lie, with commas.
    pub datasets: String,
    /// Folders and `s3://` prefixes below which copies of models may be written, with commas; empty is nowhere.
    pub save: String,
    /// Bytes of a data set in memory, at most.
    pub max_dataset_bytes: u64,
    /// Workers that a job may take with it, before it fails.
    pub max_crashes: u32,
    /// Jobs of one project at once, over all instances; 0 is any number.
    pub project_jobs: usize,
}

/// Settings of the pipeline that indexes documents.
#[derive(Clone, Debug)]
pub struct DocumentsConfig {
    /// Pipeline and group name.
    pub name: String,
    /// Stream threads; 0 indexes nothing.
    pub threads: usize,
    /// Where the text encoder is.
    pub encoder: String,
    /// Precision of the encoder: `auto`, `f32` or `bf16`.
    pub precision: String,
    /// Where the encoder runs.
    pub device: Device,
    /// Threads of the encoder.
    pub encoder_threads: usize,
    /// Tokens of a child, special tokens included.
    pub child_tokens: usize,
    /// Tokens that a child repeats of the one before.
    pub child_overlap: usize,
    /// Tokens of a parent.
    pub parent_tokens: usize,
    /// Folders and `s3://` prefixes that a record's `uri` may name, with commas; empty is nowhere.
    pub sources: String,
    /// Bytes of a document, at most.
    pub max_document_bytes: usize,
    /// Bytes of a document's text, at most.
    pub max_text_bytes: usize,
    /// Pages of a document, at most.
    pub max_pages: u32,
    /// Time for one PDF.
    pub pdf_timeout: Duration,
    /// Memory for one PDF, in bytes.
    pub pdf_memory: u64,
    /// The library of pdfium: a path, `auto` or `off`.
    pub pdfium: String,
    /// Documents of a batch.
    pub batch_messages: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// Between a small batch and the next one; zero for none.
    pub batch_interval: Duration,
    /// Between two looks at the collections; zero for never.
    pub compact_every: Duration,
    /// Segments that have to come before merges are looked for.
    pub compact_segments: usize,
    /// Bytes of one merge, at most.
    pub compact_bytes: u64,
    /// How long an old version of a collection can be read.
    pub keep_versions: Duration,
}

/// Settings of the pipeline that answers questions.
#[derive(Clone, Debug)]
pub struct SearchConfig {
    /// Pipeline and group name.
    pub name: String,
    /// Stream threads; 0 answers nothing.
    pub threads: usize,
    /// Memory for segments, in bytes.
    pub cache_bytes: u64,
    /// Requests of a batch.
    pub batch_messages: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
}

/// One model of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// Model name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Where its file is.
    pub path: String,
    /// Expected digest, where given.
    pub sha256: Option<String>,
    /// Where it runs.
    pub device: Device,
}

impl ModelConfig {
    /// Name and number of a version that is a number, as those of the catalog are.
    pub fn number(&self) -> Option<(String, u32)> {
        Some((self.name.clone(), self.version.parse().ok()?))
    }
}

impl Config {
    /// Defaults, then the file, then the environment.
    pub fn load(file: Option<&Path>, variables: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|e| ConfigError(format!("cannot read {}: {e}; check --config", path.display())))?,
        };
        Self::from_texts(&text, variables)
    }

    /// As [`load`](Self::load), from text.
    pub fn from_texts(text: &str, variables: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut merged = merge::defaults()?;
        merge::user(&mut merged, text)?;
        environment::environment(&mut merged, variables)?;
        check::checked(&merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::from_texts(text, env).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.score.models[0].path, "builtin:higgs-xgb");
        assert!(config.kafka.is_none());
        assert_eq!(config.documents.encoder, DEFAULT_ENCODER);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        let error = load("[score]\ncomit_interval = \"1s\"", &[]).unwrap_err();
        assert!(error.contains("score.comit_interval") && error.contains("score.commit_interval"), "{error}");
        let error = load("", &[("LUNAPARK_SCORE_THREDS", "2")]).unwrap_err();
        assert!(error.contains("LUNAPARK_SCORE_THREADS"), "{error}");
        let error = load("[[score.models]]\nname = \"a\"\nversion = \"1\"\npaht = \"x\"", &[]).unwrap_err();
        assert!(error.contains("paht") && error.contains("path"), "{error}");
    }

    #[test]
    fn a_key_that_librdkafka_does_not_know_is_refused_and_only_a_likely_one_suggested() {
        for (key, hint) in [
            ("\"sasl.pasword\"", "did you mean `kafka.\"sasl.password\"`?"),
            ("bootstrp", "did you mean `kafka.bootstrap`?"),
            ("\"ssl.ca.locaton\"", "did you mean `kafka.\"ssl.ca.location\"`?"),
            ("\"ssl.client.auth\"", "CONFIGURATION.md"),
            ("\"max.block.ms\"", "CONFIGURATION.md"),
        ] {
            let error = load(&format!("[kafka]\n{key} = \"x\""), &[]).unwrap_err();
            assert!(error.contains(&key.replace('"', "")) && error.contains(hint), "{error}");
            assert_eq!(error.matches("did you mean").count(), usize::from(hint.contains("mean")), "{error}");
        }
        let error = load("", &[("LUNAPARK_KAFKA_SASL_PASWORD", "x")]).unwrap_err();
        assert!(error.contains("did you mean `LUNAPARK_KAFKA_SASL_PASSWORD`?"), "{error}");
    }

    #[test]
    fn what_kubernetes_says_of_services_and_other_programs_of_themselves_is_no_setting() {
        let services = [
            ("LUNAPARK_SERVICE_HOST", "10.0.0.1"),
            ("LUNAPARK_SERVICE_PORT", "9464"),
            ("LUNAPARK_SERVICE_PORT_METRICS", "9464"),
            ("LUNAPARK_PORT", "tcp://10.0.0.1:9464"),
            ("LUNAPARK_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("LUNAPARK_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("LUNAPARK_PORT_8080_TCP_PORT", "8080"),
            ("LUNAPARK_KAFKA_SERVICE_HOST", "10.0.0.2"),
            ("LUNAPARK_KAFKA_PORT", "tcp://10.0.0.2:9092"),
            ("LUNAPARK_KAFKA_PORT_9092_TCP_PROTO", "tcp"),
            ("LUNAPARK_STORE_SERVICE_PORT", "7070"),
        ];
        load("", &services).unwrap();
        let others = [("LUNAPARK_KERNEL", "avx2"), ("LUNAPARK_INSTANCES", "/x"), ("LUNAPARK_KAFKA_HEAP", "1g")];
        load("", &others).unwrap();
        for name in ["LUNAPARK_VENUE", "LUNAPARK_BOOTSTRAP", "LUNAPARK_INSTANCES_", "LUNAPARK_KAFKA_HEAPS"] {
            assert!(load("", &[(name, "x")]).unwrap_err().contains(name));
        }
    }

    #[test]
    fn a_variable_that_is_nearly_a_setting_is_refused() {
        for (name, nearest) in [
            ("LUNAPARK_SCROE_THREADS", "LUNAPARK_SCORE_THREADS"),
            ("LUNAPARK_TOPIC_PREFIX", "LUNAPARK_TOPICS_PREFIX"),
            ("LUNAPARK_INSTANSE", "LUNAPARK_INSTANCE"),
            ("LUNAPARK_METRIC_INTERVAL", "LUNAPARK_METRICS_INTERVAL"),
        ] {
            let error = load("", &[(name, "8080")]).unwrap_err();
            assert!(error.contains(&format!("did you mean `{nearest}`?")), "{error}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let env = [("LUNAPARK_SCORE_THREADS", "3"), ("LUNAPARK_DATA", "/x"), ("LUNAPARK_KAFKA_SASL_USERNAME", "u")];
        let config = load("[score]\nthreads = 2\n[kafka]\nbootstrap = \"b:1\"", &env).unwrap();
        assert_eq!((config.score.threads, config.data), (3, PathBuf::from("/x")));
        assert_eq!(config.kafka.unwrap().properties["sasl.username"], "u");
    }

    #[test]
    fn lunaparks_that_share_a_store_have_folders_of_their_own() {
        let artifacts = |text: &str| load(text, &[]).unwrap().artifacts;
        assert_eq!(artifacts("[store]\nurl = \"s3://b/k/\""), "s3://b/k/");
        assert_eq!(artifacts("[store]\nurl = \"s3://b/k/\"\n[topics]\nprefix = \"cms.\""), "s3://b/k/topics-cms.");
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = "[kafka]\nbootstrap = \"b:1\"\n\"sasl.password\" = \"hunter2\"\nssl.key.password = \"hunter2\"\n";
        let text = format!("{text}[catalog]\nmongodb = \"mongodb://user:hunter2@host/db\"\n");
        let config = load(&text, &[("LUNAPARK_STORE_S3_SECRET_ACCESS_KEY", "hunter2")]).unwrap();
        assert_eq!(config.kafka.as_ref().unwrap().properties["ssl.key.password"], "hunter2");
        assert!(!config.shown.contains("hunter2"), "{}", config.shown);
        let error = load("[kafka]\n\"sasl.password\" = \"hunter2", &[]).unwrap_err();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    }

    /// What librdkafka marks as sensitive, less what is none here (see `SECRETS`).
    #[test]
    fn no_secret_of_librdkafka_is_shown() {
        let keys = [
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.password",
            "sasl.password",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.private.key.pem",
        ];
        for key in keys {
            let config = load(&format!("[kafka]\nbootstrap = \"b:1\"\n\"{key}\" = \"hunter2\""), &[]).unwrap();
            assert!(config.shown.contains(key) && !config.shown.contains("hunter2"), "{}", config.shown);
            assert!(!format!("{config:?}").contains("hunter2"), "{key} in a log");
        }
    }

    #[test]
    fn wrong_values_name_their_key() {
        for (text, key) in [
            ("[score]\nthreads = 0", "train.threads"),
            ("[train]\nname = \"score\"", "train.name"),
            ("[train]\ncheckpoint_interval = \"often\"", "train.checkpoint_interval"),
            ("[train]\ncheckpoint_interval = \"0s\"", "train.checkpoint_interval"),
            ("[metrics]\ninterval = \"0s\"", "metrics.interval"),
            ("[kafka]\nsession_timeout = \"1ms\"", "kafka.session_timeout"),
            ("[kafka]\ntransaction_timeout = \"0s\"", "kafka.transaction_timeout"),
            ("[kafka]\nrequest_timeout = \"0s\"", "kafka.request_timeout"),
            ("[kafka]\n\"session.timeout.ms\" = 9000", "kafka.session_timeout"),
            ("[kafka]\n\"transaction.timeout.ms\" = 9000", "kafka.transaction_timeout"),
            ("[documents]\npdf_timeout = \"0s\"", "documents.pdf_timeout"),
            ("[documents]\ncompact_every = \"1ms\"", "documents.compact_every"),
            ("[documents]\nkeep_versions = \"1m\"", "documents.keep_versions"),
            ("[score]\nthreads = \"two\"", "score.threads"),
            ("[score]\ncommit_interval = \"fast\"", "score.commit_interval"),
            ("[score]\ndelivery = \"maybe\"", "score.delivery"),
            ("[score]\ndrain_budget = \"11s\"", "kafka.session_timeout"),
            ("[kafka]\nbootstrap = \"b:1\"\n\"group.id\" = \"x\"", "group.id"),
            ("instance = \"\"", "instance"),
            ("[score]\nmodels = []", "score.models"),
            ("[[score.models]]\nname = \"a\"\nversion = \"1\"\npath = \"x\"\ndevice = \"gpu\"", "score.models.device"),
            ("[store]\nurl = \"relative\"", "store.url"),
            ("[catalog]\nmongodb = \"http://host\"", "catalog.mongodb"),
            ("[train]\nmax_crashes = 0", "train.max_crashes"),
            ("[train]\ndevice = \"gpu\"", "train.device"),
            ("[documents]\npdfium = \"\"", "documents.pdfium"),
            ("[documents]\ndevice = \"gpu\"", "documents.device"),
            ("[documents]\nthreads = 1\nencoder = \"\"", "documents.encoder"),
        ] {
            let error = load(text, &[]).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
