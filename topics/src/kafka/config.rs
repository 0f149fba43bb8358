//! Client configurations: what Lunapark needs to keep its promises, then whatever the user adds.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use super::properties::PROPERTIES;
use crate::error::{LogError, LogErrorKind};
use crate::log::{Delivery, StreamSpec};

/// The longest that a stream thread may work on one batch.
const LONGEST_BATCH: Duration = Duration::from_secs(6 * 3600);

/// How to reach a Kafka cluster.
#[derive(Clone)]
pub struct KafkaOptions {
    /// `host:port[,host:port]`.
    pub bootstrap: String,
    /// Any librdkafka property, as the user wrote it (TLS, SASL, sizes).
    pub properties: BTreeMap<String, String>,
    /// A member that is silent for so long loses its partitions.
    pub session_timeout: Duration,
    /// An open transaction of a dead instance holds readers back for at most so long.
    pub transaction_timeout: Duration,
    /// How long an administrative call may take before the cluster counts as unreachable.
    pub request_timeout: Duration,
}

impl fmt::Debug for KafkaOptions {
    /// The properties by name only: some are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.properties.keys().collect();
        f.debug_struct("KafkaOptions")
            .field("bootstrap", &self.bootstrap)
            .field("properties", &names)
            .finish_non_exhaustive()
    }
}

impl KafkaOptions {
    /// Defaults for the given cluster.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            properties: BTreeMap::new(),
            session_timeout: Duration::from_secs(10),
            transaction_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
        }
    }

    /// Whether librdkafka has a property of this name.
    pub fn knows(property: &str) -> bool {
        let mut config = ClientConfig::new();
        config.set(property, "");
        use rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
        !matches!(config.create_native_config(), Err(KafkaError::ClientConfig(RD_KAFKA_CONF_UNKNOWN, ..)))
    }

    /// Refuses properties on which the delivery guarantee rests, and those that our own keys set.
    pub fn check(&self) -> Result<(), LogError> {
        let governed = |key: &String| GOVERNED.iter().find(|(property, _)| *property == key.as_str());
        for key in self.properties.keys() {
            let why = match (RESERVED.contains(&key.as_str()), governed(key)) {
                (true, _) => "exactly-once delivery depends on it; remove it".to_owned(),
                (false, Some((_, own))) => format!("it follows {own}; set that instead"),
                (false, None) => continue,
            };
            return Err(LogError::new(LogErrorKind::Invalid, format!("kafka.\"{key}\" cannot be set: {why}")));
        }
        Ok(())
    }

    /// Names of librdkafka's properties.
    pub fn property_names() -> &'static [&'static str] {
        &PROPERTIES
    }

    /// What every client has in common.
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config.set("client.id", "lunapark");
        config.set("socket.nagle.disable", "true");
        config.set("reconnect.backoff.max.ms", "1000");
        config.set("topic.metadata.propagation.max.ms", "10000");
        let debug = self.properties.contains_key("debug");
        config.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        config
    }

    /// A client that only asks.
    pub(super) fn admin(&self) -> ClientConfig {
        self.apply_user(self.base())
    }

    /// The user's properties have the last word, where [`check`](Self::check) lets them pass.
    fn apply_user(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }

    /// A consumer that sees committed records only and never moves offsets by itself.
    pub fn consumer(&self) -> ClientConfig {
        let mut config = self.base();
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        config.set("allow.auto.create.topics", "false");
        // Offsets are always given explicitly; a jump must never happen silently.
        config.set("auto.offset.reset", "error");
        // 500 ms by default. A broker answers as soon as there is anything, so this is no latency; but partitions that are
        // assigned or whose queue had been full join with the next request. With 10 an idle service took a tenth of a core
        // of the broker's.
        config.set("fetch.wait.max.ms", "50");
        // 1000 ms by default: a consumer that outruns its queue bound would sleep for a second.
        config.set("fetch.queue.backoff.ms", "2");
        // A topic may permit messages of 100 MB; the default of 100,000,000 bytes would refuse them.
        config.set("receive.message.max.bytes", "1000000000");
        // 64 MiB: the bound of what is fetched ahead, and of this client's memory.
        config.set("queued.max.messages.kbytes", "65536");
        // 100,000 by default, each with some hundred bytes of bookkeeping: with fewer the memory stays in the caches.
        config.set("queued.min.messages", "20000");
        self.apply_user(config)
    }

    /// The group member of a stream thread: static, so that a restart under the same name moves no partition.
    pub fn stream_consumer(&self, spec: &StreamSpec) -> ClientConfig {
        let mut config = self.consumer();
        config.set("group.id", &spec.group);
        config.set("group.instance.id", &spec.member);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", millis(self.session_timeout));
        // A member learns of a rebalance with its next heartbeat, and a cooperative rebalance takes two of them.
        config.set("heartbeat.interval.ms", millis(self.session_timeout / 20));
        // Death is told by heartbeats. A batch of slow documents takes longer than the five minutes that are usual, and
        // a member that is sent away for it would begin the same batch again, for ever.
        if !self.properties.contains_key("max.poll.interval.ms") {
            config.set("max.poll.interval.ms", millis(LONGEST_BATCH));
        }
        config
    }

    /// A member without a lasting name, that joins the group of a stream thread and leaves it again.
    pub(super) fn guest_consumer(&self, spec: &StreamSpec) -> ClientConfig {
        let mut config = self.stream_consumer(spec);
        config.remove("group.instance.id");
        config
    }

    /// An idempotent producer with the Java clients' partitioner.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        config.set("enable.idempotence", "true");
        config.set("partitioner", "murmur2_random");
        config.set("linger.ms", "5");
        // Size limits are the topics' own, checked before producing; the client must not be a second, lower one.
        config.set("message.max.bytes", "1000000000");
        config.set("queue.buffering.max.messages", "1000000");
        // A flush waits for every record anyway: reports are only needed of those that failed.
        config.set("delivery.report.only.error", "true");
        self.apply_user(config)
    }

    /// A producer of what may come twice. Acknowledged by all replicas all the same.
    pub(super) fn announcer(&self) -> ClientConfig {
        let mut config = self.producer();
        config.set("enable.idempotence", "false");
        config.set("linger.ms", "0");
        config
    }

    /// The producer of a stream thread. No batch may exceed the smallest of its topics' limits.
    pub fn stream_producer(&self, spec: &StreamSpec, max_batch_bytes: usize) -> ClientConfig {
        let mut config = match spec.delivery {
            Delivery::ExactlyOnce => self.transactional(&spec.member),
            Delivery::AtLeastOnce => self.producer(),
        };
        // Who chooses it wants milliseconds; five of them would be seen. More, smaller requests are their price.
        if spec.delivery == Delivery::AtLeastOnce && !self.properties.contains_key("linger.ms") {
            config.set("linger.ms", "1");
        }
        if !self.properties.contains_key("batch.size") {
            config.set("batch.size", max_batch_bytes.clamp(1, 1_000_000).to_string());
        }
        config
    }

    /// A transactional producer.
    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let mut config = self.producer();
        config.set("transactional.id", id);
        config.set("transaction.timeout.ms", millis(self.transaction_timeout));
        config.set("message.timeout.ms", millis(self.transaction_timeout));
        config
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Properties that one of our own keys sets, by librdkafka's name and its alias.
const GOVERNED: [(&str, &str); 7] = [
    ("bootstrap.servers", "kafka.bootstrap"),
    ("metadata.broker.list", "kafka.bootstrap"),
    ("session.timeout.ms", "kafka.session_timeout"),
    ("heartbeat.interval.ms", "kafka.session_timeout"),
    ("transaction.timeout.ms", "kafka.transaction_timeout"),
    ("message.timeout.ms", "kafka.transaction_timeout"),
    ("delivery.timeout.ms", "kafka.transaction_timeout"),
];

/// Properties that Lunapark sets itself.
const RESERVED: [&str; 14] = [
    "auto.commit.enable",
    "message.max.bytes",
    "transactional.id",
    "enable.idempotence",
    "isolation.level",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "group.id",
    "group.instance.id",
    "partition.assignment.strategy",
    "partitioner",
    "delivery.report.only.error",
    "allow.auto.create.topics",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_names_are_librdkafkas() {
        assert!(["sasl.password", "debug", "acks", "ssl.ca.location"].into_iter().all(KafkaOptions::knows));
        assert!(!KafkaOptions::knows("sasl.pasword") && !KafkaOptions::knows("bootstrp"));
    }

    #[test]
    fn a_property_that_would_break_the_guarantee_is_refused() {
        let mut options = KafkaOptions::new("localhost:9092");
        options.properties.insert("linger.ms".into(), "7".into());
        assert!(options.check().is_ok());
        assert_eq!(options.producer().get("linger.ms"), Some("7"));
        options.properties.insert("isolation.level".into(), "read_uncommitted".into());
        assert!(options.check().unwrap_err().to_string().contains("isolation.level"));
    }

    #[test]
    fn a_property_that_a_key_of_ours_sets_is_refused_with_that_key() {
        for (property, own) in GOVERNED {
            assert!(KafkaOptions::knows(property), "{property}");
            let mut options = KafkaOptions::new("localhost:9092");
            options.properties.insert(property.into(), "7000".into());
            let refused = options.check().unwrap_err().to_string();
            assert!(refused.contains(property) && refused.contains(own), "{refused}");
        }
    }

    /// What passes the check is what the clients get, whatever Lunapark's own value is.
    #[test]
    fn the_user_has_the_last_word() {
        let spec = StreamSpec {
            group: "g".into(),
            member: "m".into(),
            topics: Vec::new(),
            outputs: Vec::new(),
            delivery: Delivery::ExactlyOnce,
            start: crate::log::Start::Earliest,
        };
        let mut options = KafkaOptions::new("localhost:9092");
        let own = [options.stream_consumer(&spec), options.stream_producer(&spec, 1_000_000)];
        let open = |key: &&&str| !RESERVED.contains(key) && GOVERNED.iter().all(|(governed, _)| governed != *key);
        let set = |key: &&&str| own.iter().any(|config| config.get(key).is_some());
        let keys: Vec<&str> = PROPERTIES.iter().filter(open).filter(set).copied().collect();
        assert!(keys.contains(&"max.poll.interval.ms") && keys.contains(&"batch.size"), "{keys:?}");
        options.properties.extend(keys.iter().map(|key| ((*key).to_owned(), "the user's".to_owned())));
        options.check().unwrap();
        let users = [options.stream_consumer(&spec), options.stream_producer(&spec, 1_000_000)];
        for key in keys {
            assert!(users.iter().all(|config| config.get(key) == Some("the user's")), "{key}");
        }
    }
}
