//! Topics: create, delete, describe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;

use super::KafkaLog;
use super::error::{advice, kind_of_code};
use super::native::topic_id;
use crate::catalog::{Cleanup, DEFAULT_MAX_MESSAGE_BYTES, TopicSpec};
use crate::error::{LogError, LogErrorKind as Kind};
use crate::log::{Created, TopicInfo};

pub(super) fn create(log: &KafkaLog, spec: &TopicSpec) -> Result<Created, LogError> {
    // A start of an instance mostly finds its topics: looking costs the cluster less than asking for what is there.
    match existed(log, spec) {
        Err(missing) if missing.kind == Kind::TopicMissing => {}
        known => return known,
    }
    let deadline = Instant::now() + log.timeout();
    loop {
        match try_create(log, spec)? {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => return existed(log, spec),
            // Fewer live brokers than copies: while one restarts, this passes.
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) if Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            Some(Err((name, code))) => return Err(refused(&name, "cannot be created", code)),
            _ => return await_topic(log, &spec.name).map(|()| Created::New),
        }
    }
}

fn try_create(log: &KafkaLog, spec: &TopicSpec) -> Result<Option<TopicResult>, LogError> {
    let retention = spec.retention.map_or("-1".to_owned(), |r| r.as_millis().to_string());
    let max_bytes = spec.max_message_bytes.to_string();
    let new = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication))
        .set("retention.ms", &retention)
        .set("max.message.bytes", &max_bytes)
        .set("cleanup.policy", policy_name(spec.cleanup));
    let results = block_on(log.admin.create_topics([&new], &options(log))).map_err(|e| log.error("create", &e))?;
    Ok(results.into_iter().next())
}

/// A new topic is known to the controller before every broker answers for it; wait until it can be used.
fn await_topic(log: &KafkaLog, name: &str) -> Result<(), LogError> {
    let deadline = Instant::now() + log.timeout();
    loop {
        match describe(log, name) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    }
}

fn existed(log: &KafkaLog, spec: &TopicSpec) -> Result<Created, LogError> {
    let found = describe(log, &spec.name)?;
    spec.check_against(&found).map(|()| Created::Existed)
}

fn refused(topic: &str, what: &str, code: RDKafkaErrorCode) -> LogError {
    let kind = kind_of_code(code);
    LogError::new(kind, format!("topic `{topic}` {what}: {code}{}", advice(kind)))
}

fn options(log: &KafkaLog) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(log.timeout())).operation_timeout(Some(log.timeout()))
}

pub(super) fn delete(log: &KafkaLog, topic: &str) -> Result<(), LogError> {
    let results = block_on(log.admin.delete_topics(&[topic], &options(log))).map_err(|e| log.error("delete", &e))?;
    match results.into_iter().next() {
        Some(Err((name, code))) => Err(refused(&name, "cannot be deleted", code)),
        _ => Ok(()),
    }
}

pub(super) fn list(log: &KafkaLog) -> Result<Vec<TopicInfo>, LogError> {
    let metadata = log.metadata().fetch_metadata(None, log.timeout()).map_err(|e| log.error("list topics", &e))?;
    let users = metadata.topics().iter().filter(|t| !t.name().starts_with("__") && t.error().is_none());
    // One request each: who is deleted meanwhile is not there.
    let gone = |found: &Result<TopicInfo, LogError>| found.as_ref().is_err_and(|e| e.kind == Kind::TopicMissing);
    let mut topics = users.map(|t| with_config(log, t)).filter(|t| !gone(t)).collect::<Result<Vec<_>, _>>()?;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

pub(super) fn describe(log: &KafkaLog, topic: &str) -> Result<TopicInfo, LogError> {
    with_metadata(log, topic, |found| with_config(log, found))
}

/// The cluster's own id of a topic. Where it cannot be had, from an old broker for example, the topic is as good as it was.
pub(super) fn identity(log: &KafkaLog, topic: &str) -> Result<Option<String>, LogError> {
    require(log, topic)?;
    let found = topic_id(log.admin.inner(), topic, log.timeout());
    if let Err(what) = &found {
        tracing::warn!(topic, what, "the topic's id is not known: one that is made anew cannot be told from it");
    }
    Ok(found.ok().flatten())
}

/// Refuses a topic that does not exist or may not be seen.
pub(super) fn require(log: &KafkaLog, topic: &str) -> Result<(), LogError> {
    with_metadata(log, topic, |_| Ok(()))
}

fn with_metadata<T>(
    log: &KafkaLog,
    topic: &str,
    use_it: impl FnOnce(&MetadataTopic) -> Result<T, LogError>,
) -> Result<T, LogError> {
    let metadata = log.metadata().fetch_metadata(Some(topic), log.timeout()).map_err(|e| log.error(topic, &e))?;
    let missing = || {
        let bootstrap = &log.options.bootstrap;
        let message = format!("topic `{topic}` does not exist on {bootstrap}; create it with `lunapark topics create`");
        LogError::new(Kind::TopicMissing, message)
    };
    let found = metadata.topics().iter().find(|t| t.name() == topic).ok_or_else(missing)?;
    match found.error().map(RDKafkaErrorCode::from) {
        None if found.partitions().is_empty() => Err(missing()),
        None => use_it(found),
        Some(code) => match kind_of_code(code) {
            Kind::TopicMissing => Err(missing()),
            Kind::Unauthorised => Err(unauthorised(topic, &log.options.bootstrap)),
            _ => Err(refused(topic, "cannot be described", code)),
        },
    }
}

fn unauthorised(topic: &str, bootstrap: &str) -> LogError {
    let what = format!("not authorised for topic `{topic}` on {bootstrap}");
    LogError::new(
        Kind::Unauthorised,
        format!("{what}; grant the ACLs Describe, Read and Write to the user of kafka.\"sasl.username\""),
    )
}

fn with_config(log: &KafkaLog, topic: &MetadataTopic) -> Result<TopicInfo, LogError> {
    let asked = block_on(log.admin.describe_configs([&ResourceSpecifier::Topic(topic.name())], &options(log)));
    let resources = asked.map_err(|e| log.error(topic.name(), &e))?;
    let config = match resources.into_iter().next() {
        Some(Ok(config)) => Some(config),
        Some(Err(code)) if kind_of_code(code) != Kind::Unauthorised => {
            return Err(refused(topic.name(), "cannot be described", code));
        }
        _ => None,
    };
    let value = |key: &str| config.as_ref().and_then(|c| c.get(key)).and_then(|entry| entry.value.clone());
    let retention: Option<u64> = value("retention.ms").and_then(|v| v.parse().ok());
    Ok(TopicInfo {
        name: Arc::from(topic.name()),
        partitions: topic.partitions().len() as i32,
        max_message_bytes: value("max.message.bytes").and_then(|v| v.parse().ok()).unwrap_or(DEFAULT_MAX_MESSAGE_BYTES),
        retention: retention.map(Duration::from_millis),
        cleanup: value("cleanup.policy")
            .filter(|p| p.contains("compact"))
            .map_or(Cleanup::Delete, |_| Cleanup::Compact),
        bytes: None,
        described: config.is_some(),
    })
}

fn policy_name(cleanup: Cleanup) -> &'static str {
    match cleanup {
        Cleanup::Delete => "delete",
        Cleanup::Compact => "compact",
    }
}
