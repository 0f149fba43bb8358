//! Settings of Kafka topics that the product itself never touches.

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

/// An administrator of a broker.
pub struct TopicSettings {
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl TopicSettings {
    /// Of the broker at this address.
    #[track_caller]
    pub fn of(bootstrap: &str) -> Self {
        let admin = ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("an admin client");
        Self { admin, runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime") }
    }

    /// Creates a topic with these settings.
    #[track_caller]
    pub fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let made = self.runtime.block_on(self.admin.create_topics([&new], &AdminOptions::new())).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Gives a topic these settings and takes all others from it.
    #[track_caller]
    pub fn set(&self, topic: &str, settings: &[(&str, &str)]) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let change = settings.iter().fold(change, |change, (name, value)| change.set(name, value));
        let changed = self.runtime.block_on(self.admin.alter_configs([&change], &AdminOptions::new()));
        let changed = changed.expect("an answer");
        assert!(changed.iter().all(Result::is_ok), "{changed:?}");
    }
}
