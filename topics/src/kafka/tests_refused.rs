//! What a broker refuses for good. librdkafka's mock broker answers with the errors that it is told, and no more is asked
//! of it: what transactions do is tested with Apache Kafka.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::Messages;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Refusal};

use super::config::KafkaOptions;
use super::producer::KafkaTransaction;
use super::stream::KafkaStream;
use crate::error::{LogError, LogErrorKind as Kind, Recovery};
use crate::log::{Delivery, Limit, Start, Stream, StreamSpec};

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A cluster that refuses so often that nobody gets past it.
fn refusing(api: Api, refusal: Refusal) -> (Cluster, KafkaOptions) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.request_errors(api, &[refusal; 50]);
    let options = KafkaOptions::new(cluster.bootstrap_servers());
    (cluster, options)
}

fn refused(api: Api, refusal: Refusal) -> LogError {
    let (_cluster, options) = refusing(api, refusal);
    KafkaTransaction::open(&options, "lab.score-one-0").err().unwrap()
}

#[test]
fn a_transactional_id_that_may_not_be_used_is_named_and_nobody_waits_for_it() {
    let refusal = Refusal::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    for api in [Api::FindCoordinator, Api::InitProducerId] {
        let error = refused(api, refusal);
        assert_eq!((error.kind, error.recovery()), (Kind::Unauthorised, Recovery::Stop), "{error}");
        let text = error.to_string();
        assert!(text.contains("`lab.score-one-0`") && text.contains("Describe and Write"), "{text}");
        assert!(!text.contains("another process"), "{text}");
    }
}

#[test]
fn a_transaction_longer_than_the_broker_permits_names_our_key() {
    let error = refused(Api::InitProducerId, Refusal::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT);
    assert_eq!((error.kind, error.recovery()), (Kind::Invalid, Recovery::Stop), "{error}");
    assert!(error.message.contains("kafka.transaction_timeout is longer than the broker permits"), "{error}");
}

#[test]
fn a_group_that_lets_nobody_in_is_named_and_nobody_waits_for_it() {
    let (_cluster, options) = refusing(Api::FindCoordinator, Refusal::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    let spec = StreamSpec {
        group: "lab.score".into(),
        member: "lab.score-one-0".into(),
        topics: vec![Arc::from("lab.inference.events")],
        outputs: Vec::new(),
        delivery: Delivery::AtLeastOnce,
        start: Start::Earliest,
    };
    let mut stream = KafkaStream::open(&options, &spec, Vec::new()).unwrap();
    let (began, mut messages) = (Instant::now(), Messages::new());
    let error = loop {
        let limit = Limit { messages: 10, bytes: 1 << 20 };
        match stream.poll(&mut messages, limit, Duration::from_millis(50)) {
            Err(error) => break error,
            Ok(polled) => assert!(began.elapsed() < Duration::from_secs(20), "{polled:?}"),
        }
    };
    assert_eq!((error.kind, error.recovery()), (Kind::NotAdmitted, Recovery::Stop), "{error}");
    assert!(error.message.contains("group `lab.score`") && error.message.contains("the ACL Read"), "{error}");
}
