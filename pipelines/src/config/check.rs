//! Checking: from a merged document to a [`Config`]; every refusal names its key, cross-field ones name both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lunapark_models::Device;
use lunapark_topics::Delivery;
use lunapark_topics::catalog::CatalogOptions;
use lunapark_topics::kafka::KafkaOptions;
use lunapark_topics::log::Start;
use toml::{Table, Value};

use super::{Config, ConfigError, DocumentsConfig, ModelConfig, ScoreConfig, SearchConfig, TrainConfig};

/// Keys with one of these in them have values that are never shown: what librdkafka calls sensitive (2.12.1,
/// `rdkafka_conf.c`), less the name of the user, certificates that everybody may see and the paths of files.
const SECRETS: [&str; 8] =
    ["password", "passphrase", "secret", "key.pem", "oauthbearer.config", "access_key_id", "token", "mongodb"];
/// What is done this often or more often is done all the time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Brokers and instances lose sight of each other for shorter times without any harm.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
/// A checkpoint is a file in the store.
const SHORTEST_CHECKPOINT: Duration = Duration::from_millis(10);
/// Our own keys of the section `kafka`; all others are librdkafka's.
const KAFKA_KEYS: [&str; 4] = ["bootstrap", "session_timeout", "transaction_timeout", "request_timeout"];

/// One section of the document, for reading typed values.
struct Section<'a> {
    name: &'a str,
    table: &'a Table,
}

impl<'a> Section<'a> {
    fn of(document: &'a Table, name: &'a str) -> Result<Self, ConfigError> {
        let table = document.get(name).and_then(Value::as_table);
        table.map(|table| Self { name, table }).ok_or_else(|| ConfigError(format!("section [{name}] is missing")))
    }

    fn refuse(&self, key: &str, what: &str) -> ConfigError {
        ConfigError(format!("`{}.{key}` {what}", self.name))
    }

    fn text(&self, key: &str) -> Result<&'a str, ConfigError> {
        self.table.get(key).and_then(Value::as_str).ok_or_else(|| self.refuse(key, "must be text"))
    }

    /// An integer of at least `least`.
    fn number<T: TryFrom<i64>>(&self, key: &str, least: i64) -> Result<T, ConfigError> {
        let value = self.table.get(key).and_then(Value::as_integer).filter(|n| *n >= least);
        let refused = || self.refuse(key, &format!("must be a whole number of at least {least}"));
        value.and_then(|n| T::try_from(n).ok()).ok_or_else(refused)
    }

    fn duration(&self, key: &str) -> Result<Duration, ConfigError> {
        let text = self.text(key)?;
        let refused = || self.refuse(key, &format!("is `{text}`: write a duration such as \"50ms\", \"10s\", \"7d\""));
        humantime::parse_duration(text).map_err(|_| refused())
    }

    /// A duration of at least `least`.
    fn at_least(&self, key: &str, least: Duration) -> Result<Duration, ConfigError> {
        let found = self.duration(key)?;
        let what = format!("is too short: write at least \"{}\"", humantime::format_duration(least));
        (found >= least).then_some(found).ok_or_else(|| self.refuse(key, &what))
    }

    fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.text(key)?;
        let names = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| *choice).ok_or_else(|| self.refuse(key, &format!("is `{text}`: write {names}")))
    }
}

/// The configuration, or the first thing that is wrong with it.
pub(super) fn checked(document: &Table) -> Result<Config, ConfigError> {
    let embedded = Section::of(document, "embedded")?;
    let listen = Section::of(document, "http")?.text("listen")?;
    let topics = topics(&Section::of(document, "topics")?)?;
    let artifacts = artifacts(&Section::of(document, "store")?, embedded.text("data")?, &topics.prefix)?;
    let config = Config {
        instance: instance(document)?,
        data: PathBuf::from(embedded.text("data")?),
        sync_os: embedded.choice("sync", &[("disk", false), ("os", true)])?,
        kafka: kafka(&Section::of(document, "kafka")?)?,
        topics,
        create_topics: create_topics(document)?,
        score: score(&Section::of(document, "score")?)?,
        train: train(&Section::of(document, "train")?)?,
        documents: documents(&Section::of(document, "documents")?)?,
        search: search(&Section::of(document, "search")?)?,
        store: store(&Section::of(document, "store")?),
        artifacts,
        mongodb: mongodb(&Section::of(document, "catalog")?)?,
        listen: (!listen.is_empty()).then(|| listen.to_owned()),
        metrics_interval: Section::of(document, "metrics")?.at_least("interval", SHORTEST_PAUSE)?,
        log_level: Section::of(document, "log")?.text("level")?.to_owned(),
        shown: masked(document).to_string(),
    };
    cross_checks(&config, &Section::of(document, "kafka")?)?;
    Ok(config)
}

fn instance(document: &Table) -> Result<String, ConfigError> {
    let name = document.get("instance").and_then(Value::as_str).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && name.chars().all(plain) {
        true => Ok(name.to_owned()),
        false => Err(ConfigError(format!("`instance` is `{name}`: use letters, digits, `-`, `_` and `.`"))),
    }
}

fn create_topics(document: &Table) -> Result<bool, ConfigError> {
    let section = Section::of(document, "topics")?;
    let value = section.table.get("create").and_then(Value::as_bool);
    value.ok_or_else(|| section.refuse("create", "must be true or false"))
}

fn kafka(section: &Section<'_>) -> Result<Option<KafkaOptions>, ConfigError> {
    let bootstrap = section.text("bootstrap")?;
    let own = |key: &str| KAFKA_KEYS.contains(&key);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let options = KafkaOptions {
        properties: section.table.iter().filter(|(k, _)| !own(k)).map(|(k, v)| (k.clone(), text(v))).collect(),
        session_timeout: section.at_least("session_timeout", SHORTEST_TIMEOUT)?,
        transaction_timeout: section.at_least("transaction_timeout", SHORTEST_TIMEOUT)?,
        request_timeout: section.at_least("request_timeout", SHORTEST_PAUSE)?,
        ..KafkaOptions::new(bootstrap)
    };
    options.check().map_err(|e| ConfigError(e.message))?;
    Ok((!bootstrap.is_empty()).then_some(options))
}

fn topics(section: &Section<'_>) -> Result<CatalogOptions, ConfigError> {
    let kept = |key: &str| match section.text(key)? {
        "forever" => Ok(None),
        _ => section.duration(key).map(Some),
    };
    Ok(CatalogOptions {
        prefix: section.text("prefix")?.to_owned(),
        partitions: section.number("partitions", 1)?,
        ledger_partitions: section.number("ledger_partitions", 1)?,
        retention: kept("retention")?,
        jobs_retention: kept("jobs_retention")?,
        control_retention: kept("control_retention")?,
        max_message_bytes: section.number("max_message_bytes", 1024)?,
        replication: section.number("replication", 1)?,
    })
}

fn score(section: &Section<'_>) -> Result<ScoreConfig, ConfigError> {
    let share = section.table.get("reject_share").and_then(Value::as_float).filter(|s| (0.0..=1.0).contains(s));
    Ok(ScoreConfig {
        name: section.text("name")?.to_owned(),
        threads: section.number("threads", 0)?,
        delivery: section
            .choice("delivery", &[("exactly_once", Delivery::ExactlyOnce), ("at_least_once", Delivery::AtLeastOnce)])?,
        start: section.choice("start", &[("earliest", Start::Earliest), ("latest", Start::Latest)])?,
        commit_interval: section.duration("commit_interval")?,
        commit_messages: section.number("commit_messages", 1)?,
        commit_bytes: section.number("commit_bytes", 1024)?,
        batch_messages: section.number("batch_messages", 1)?,
        batch_bytes: section.number("batch_bytes", 1024)?,
        max_rows: section.number("max_rows", 1)?,
        max_payload_bytes: section.number("max_payload_bytes", 1024)?,
        drain_budget: section.duration("drain_budget")?,
        reject_share: share.ok_or_else(|| section.refuse("reject_share", "must be a number from 0 to 1"))?,
        reject_window: section.number("reject_window", 0)?,
        shadow_patience: section.duration("shadow_patience")?,
        models: models(section)?,
    })
}

fn train(section: &Section<'_>) -> Result<TrainConfig, ConfigError> {
    Ok(TrainConfig {
        name: section.text("name")?.to_owned(),
        threads: section.number("threads", 0)?,
        device: device(section)?,
        checkpoint_interval: section.at_least("checkpoint_interval", SHORTEST_CHECKPOINT)?,
        datasets: section.text("datasets")?.to_owned(),
        save: section.text("save")?.to_owned(),
        max_dataset_bytes: section.number("max_dataset_bytes", 1024)?,
        max_crashes: section.number("max_crashes", 1)?,
        project_jobs: section.number("project_jobs", 0)?,
    })
}

fn documents(section: &Section<'_>) -> Result<DocumentsConfig, ConfigError> {
    let precisions = [("auto", "auto"), ("f32", "f32"), ("bf16", "bf16")];
    Ok(DocumentsConfig {
        name: section.text("name")?.to_owned(),
        threads: section.number("threads", 0)?,
        encoder: section.text("encoder")?.to_owned(),
        precision: section.choice("precision", &precisions)?.to_owned(),
        device: device(section)?,
        encoder_threads: section.number("encoder_threads", 1)?,
        child_tokens: section.number("child_tokens", 8)?,
        child_overlap: section.number("child_overlap", 0)?,
        parent_tokens: section.number("parent_tokens", 8)?,
        sources: section.text("sources")?.to_owned(),
        max_document_bytes: section.number("max_document_bytes", 1024)?,
        max_text_bytes: section.number("max_text_bytes", 1024)?,
        max_pages: section.number("max_pages", 1)?,
        pdf_timeout: section.at_least("pdf_timeout", SHORTEST_PAUSE)?,
        pdf_memory: section.number("pdf_memory", 64 << 20)?,
        pdfium: pdfium(section)?,
        batch_messages: section.number("batch_messages", 1)?,
        batch_bytes: section.number("batch_bytes", 1024)?,
        batch_interval: section.duration("batch_interval")?,
        compact_every: compact_every(section)?,
        compact_segments: section.number("compact_segments", 2)?,
        compact_bytes: section.number("compact_bytes", 1 << 20)?,
        keep_versions: section.at_least("keep_versions", KEPT_AT_LEAST)?,
    })
}

fn device(section: &Section<'_>) -> Result<Device, ConfigError> {
    section.text("device")?.parse().map_err(|error: String| refused_device(section, "device", &error))
}

/// A writer that was held up for minutes finds out whether its version counts by those that came after it: they must still
/// be there.
const KEPT_AT_LEAST: Duration = Duration::from_secs(300);

/// Zero is never.
fn compact_every(section: &Section<'_>) -> Result<Duration, ConfigError> {
    match section.duration("compact_every")? {
        Duration::ZERO => Ok(Duration::ZERO),
        _ => section.at_least("compact_every", SHORTEST_PAUSE),
    }
}

/// A path of its own, or a word: an empty text means neither.
fn pdfium(section: &Section<'_>) -> Result<String, ConfigError> {
    match section.text("pdfium")? {
        "" => Err(section.refuse("pdfium", "is empty: write \"auto\", \"off\" or the path of pdfium's library")),
        text => Ok(text.to_owned()),
    }
}

fn search(section: &Section<'_>) -> Result<SearchConfig, ConfigError> {
    Ok(SearchConfig {
        name: section.text("name")?.to_owned(),
        threads: section.number("threads", 0)?,
        cache_bytes: section.number("cache_bytes", 1 << 20)?,
        batch_messages: section.number("batch_messages", 1)?,
        batch_bytes: section.number("batch_bytes", 1024)?,
    })
}

fn models(section: &Section<'_>) -> Result<Vec<ModelConfig>, ConfigError> {
    let list = section.table.get("models").and_then(Value::as_array).filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| section.refuse("models", "needs at least one entry: write [[score.models]]"))?;
    list.iter().map(|entry| model(section, entry)).collect()
}

fn model(section: &Section<'_>, entry: &Value) -> Result<ModelConfig, ConfigError> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let [name, version, path, sha256] = ["name", "version", "path", "sha256"].map(text);
    for (key, value) in [("name", &name), ("version", &version), ("path", &path)] {
        if value.is_empty() {
            return Err(section.refuse(&format!("models.{key}"), "is missing: every model needs name, version, path"));
        }
    }
    let device = entry
        .get("device")
        .map_or(Ok(Device::Cpu), device_of_entry)
        .map_err(|error| refused_device(section, "models.device", &error))?;
    Ok(ModelConfig { name, version, path, sha256: Some(sha256).filter(|digest| !digest.is_empty()), device })
}

fn refused_device(section: &Section<'_>, key: &str, error: &str) -> ConfigError {
    section.refuse(key, &format!("is refused: {error}"))
}

fn device_of_entry(value: &Value) -> Result<Device, String> {
    value.as_str().map_or_else(|| value.to_string().parse(), str::parse)
}

fn store(section: &Section<'_>) -> BTreeMap<String, String> {
    let filled = section.table.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    filled.filter(|(_, value)| !value.is_empty()).collect()
}

/// Lunaparks that share a store are told apart by the prefix of their topics: each sweeps and resumes its own alone.
fn artifacts(section: &Section<'_>, data: &str, prefix: &str) -> Result<String, ConfigError> {
    let root = match section.text("url")? {
        "" => format!("{}/store", data.trim_end_matches('/')),
        url if url.starts_with("file:///") || url.starts_with("s3://") => url.to_owned(),
        url => return Err(section.refuse("url", &format!("is `{url}`: write file:///folder or s3://bucket/prefix"))),
    };
    match prefix {
        "" => Ok(root),
        prefix => Ok(format!("{}/topics-{prefix}", root.trim_end_matches('/'))),
    }
}

fn mongodb(section: &Section<'_>) -> Result<Option<String>, ConfigError> {
    match section.text("mongodb")? {
        "" => Ok(None),
        uri if uri.starts_with("mongodb://") => Ok(Some(uri.to_owned())),
        _ => Err(section.refuse("mongodb", "is no address of MongoDB: write mongodb://host:port/database")),
    }
}

fn cross_checks(config: &Config, kafka: &Section<'_>) -> Result<(), ConfigError> {
    let threads = [config.score.threads, config.train.threads, config.documents.threads, config.search.threads];
    if threads.iter().sum::<usize>() == 0 {
        let what = "`score.threads`, `train.threads`, `documents.threads` and `search.threads` are all 0: nothing would \
                    run; set one of them";
        return Err(ConfigError(what.to_owned()));
    }
    distinct_names(config)?;
    documents_fit(&config.documents, config.search.threads)?;
    let session = kafka.duration("session_timeout")?;
    let transaction = kafka.duration("transaction_timeout")?;
    let (budget, interval) = (config.score.drain_budget, config.score.commit_interval);
    if budget >= session {
        let what = format!("`score.drain_budget` ({budget:?}) must be below `kafka.session_timeout` ({session:?})");
        return Err(ConfigError(format!("{what}: work must end before the group gives the partitions away")));
    }
    if config.documents.threads > 0 && config.documents.batch_interval >= budget {
        let (gather, budget) = (config.documents.batch_interval, humantime::format_duration(budget));
        let what = format!("`documents.batch_interval` ({gather:?}) must be below `score.drain_budget` ({budget})");
        return Err(ConfigError(format!("{what}: nothing is heard of the group meanwhile")));
    }
    if interval * 2 > transaction {
        let what = format!("`score.commit_interval` ({interval:?}) must be below half of `kafka.transaction_timeout`");
        return Err(ConfigError(format!("{what} ({transaction:?}): a transaction must end before the broker ends it")));
    }
    Ok(())
}

/// Two pipelines of one name would share a consumer group, and read past each other.
fn distinct_names(config: &Config) -> Result<(), ConfigError> {
    let names = [
        ("score", &config.score.name),
        ("train", &config.train.name),
        ("documents", &config.documents.name),
        ("search", &config.search.name),
    ];
    for (number, (section, name)) in names.iter().enumerate() {
        if let Some((other, _)) = names[..number].iter().find(|(_, earlier)| earlier == name) {
            let what = format!("`{section}.name` is that of `{other}.name`: each pipeline needs a name of its own");
            return Err(ConfigError(what));
        }
    }
    Ok(())
}

fn documents_fit(documents: &DocumentsConfig, search_threads: usize) -> Result<(), ConfigError> {
    let refused = |what: &str| Err(ConfigError(what.to_owned()));
    if documents.threads + search_threads > 0 && documents.encoder.is_empty() {
        return refused(
            "`documents.encoder` is empty: write \"minilm\", which `lunapark models pull minilm` gets, or name the \
             folder of a text encoder",
        );
    }
    match documents.child_overlap * 2 > documents.child_tokens || documents.child_tokens > documents.parent_tokens {
        true => refused(
            "`documents.child_overlap` may be half of `documents.child_tokens`, and that no more than \
             `documents.parent_tokens`",
        ),
        false => Ok(()),
    }
}

fn masked(table: &Table) -> Table {
    let secret = |key: &str| SECRETS.iter().any(|s| key.contains(s));
    let mask = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::Table(inner) => Value::Table(masked(inner)),
            Value::String(text) if secret(key) && !text.is_empty() => Value::String("********".to_owned()),
            other => other.clone(),
        };
        (key.clone(), value)
    };
    table.iter().map(mask).collect()
}
