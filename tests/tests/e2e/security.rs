//! TLS, SASL/SCRAM and permissions, against a broker that has them; secrets stay secret.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lunapark_tests::harness::{Event, Outcome, Workplace, variable};

use super::{assert_proven, higgs, wait_ends};

/// A refusal must come within this.
const SECONDS: Duration = Duration::from_secs(30);

/// A workplace of a user who comes with TLS and SCRAM.
fn scram(user: &str, password: &str) -> Workplace {
    let certificate = variable("KAFKA_CA_PEM");
    let properties = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", user),
        ("sasl.password", password),
        ("ssl.ca.location", &certificate),
    ];
    Workplace::on_cluster(&variable("KAFKA_SASL_BOOTSTRAP"), &properties).with("kafka.request_timeout", "\"5s\"")
}

#[test]
fn a_user_with_tls_and_scram_scores_and_the_password_appears_nowhere() {
    let password = variable("KAFKA_PASSWORD");
    let place = scram(&variable("KAFKA_ALICE_USER"), &password);
    let events: Vec<_> =
        higgs::sample(100).iter().map(|event| Event::new(higgs::v1(std::slice::from_ref(event)))).collect();
    place.create_topics();
    place.produce("inference.events", &events);
    let service = place.service("one", &[("log.level", "\"debug\""), ("kafka.\"debug\"", "\"security,conf\"")]);
    let (results, _) = wait_ends(&place, 100, 0);
    assert_eq!(results.len(), 100);
    assert_proven(&place, 100);
    let log = service.terminate().ok().stderr;
    assert!(log.contains("running") && !log.contains(&password), "{log}");
    let shown = place.cli(&["config"]).ok().stdout;
    assert!(shown.contains("sasl.password") && !shown.contains(&password), "{shown}");
}

#[test]
fn a_user_with_a_client_certificate_scores() {
    let [ca, certificate, key] = ["KAFKA_CA_PEM", "KAFKA_ALICE_CERT_PEM", "KAFKA_ALICE_KEY_PEM"].map(variable);
    let properties = [
        ("security.protocol", "SSL"),
        ("ssl.ca.location", ca.as_str()),
        ("ssl.certificate.location", certificate.as_str()),
        ("ssl.key.location", key.as_str()),
    ];
    let place = Workplace::on_cluster(&variable("KAFKA_SSL_BOOTSTRAP"), &properties);
    place.create_topics();
    place.produce("inference.events", &[Event::new(higgs::v1(&higgs::sample(1)))]);
    let service = place.service("one", &[]);
    assert_eq!(wait_ends(&place, 1, 0).0.len(), 1);
    service.terminate().ok();
}

#[test]
fn a_user_without_permission_is_told_which_topic_and_what_to_do() {
    let alice = scram(&variable("KAFKA_ALICE_USER"), &variable("KAFKA_PASSWORD"));
    alice.create_topics();
    let mallory = scram(&variable("KAFKA_MALLORY_USER"), &variable("KAFKA_PASSWORD"));
    for create in ["true", "false"] {
        let began = Instant::now();
        let prefix = format!("\"{}\"", alice.prefix());
        let outcome = mallory.run_to_end(&[("topics.prefix", &prefix), ("topics.create", create)]).failed();
        // What it may not create, and what it may not even see.
        let advice = if create == "true" { "ACLs" } else { "grant" };
        outcome.says(&[&alice.topic("inference.events"), advice]);
        assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    }
}

/// What a service of alice's names is told that runs as another user.
fn refused_as(user: &str, alice: &Workplace, settings: &[(&str, &str)]) -> Outcome {
    let began = Instant::now();
    let place = scram(&variable(user), &variable("KAFKA_PASSWORD"));
    let prefix = format!("\"{}\"", alice.prefix());
    let settings = [&[("topics.prefix", prefix.as_str())][..], settings].concat();
    let outcome = place.run_to_end(&settings).failed();
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    assert!(!outcome.stderr.contains("another process"), "{}", outcome.stderr);
    outcome
}

#[test]
fn a_user_who_may_not_use_the_transactional_id_is_told_which_and_what_to_grant() {
    let alice = scram(&variable("KAFKA_ALICE_USER"), &variable("KAFKA_PASSWORD"));
    alice.create_topics();
    let id = format!("transactional id `{}-ends-0`", alice.group());
    refused_as("KAFKA_CAROL_USER", &alice, &[]).says(&[&id, "Describe and Write"]);
}

#[test]
fn a_user_who_may_not_use_the_group_is_told_which_and_what_to_grant() {
    let alice = scram(&variable("KAFKA_ALICE_USER"), &variable("KAFKA_PASSWORD"));
    alice.create_topics();
    let group = format!("group `{}`", alice.group());
    refused_as("KAFKA_DAVE_USER", &alice, &[]).says(&[&group, "the ACL Read"]);
}

#[test]
fn a_transaction_that_is_longer_than_the_broker_permits_is_refused_by_our_key() {
    let alice = scram(&variable("KAFKA_ALICE_USER"), &variable("KAFKA_PASSWORD"));
    alice.create_topics();
    // Kafka's transaction.max.timeout.ms is 15 minutes.
    let longer = [("kafka.transaction_timeout", "\"16m\"")];
    refused_as("KAFKA_ALICE_USER", &alice, &longer).says(&["kafka.transaction_timeout is longer"]);
}

#[test]
fn a_wrong_password_is_said_and_not_shown() {
    let place = scram(&variable("KAFKA_ALICE_USER"), "hunter2-is-wrong");
    let began = Instant::now();
    let outcome = place.run_to_end(&[]).failed().says(&["uthentication", "SASL user and password"]);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
}

#[test]
fn a_client_that_speaks_another_protocol_is_told_so() {
    let began = Instant::now();
    let plain = Workplace::on_cluster(&variable("KAFKA_SASL_BOOTSTRAP"), &[]).with("kafka.request_timeout", "\"3s\"");
    plain.run_to_end(&[]).failed().says(&[&variable("KAFKA_SASL_BOOTSTRAP"), "security.protocol"]);
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
}

#[test]
fn a_broker_whose_certificate_nobody_vouches_for_is_refused() {
    // The certificate of a client is no authority.
    let other: PathBuf = variable("KAFKA_MALLORY_CERT_PEM").into();
    let properties = [("security.protocol", "SSL"), ("ssl.ca.location", other.to_str().unwrap())];
    let place = Workplace::on_cluster(&variable("KAFKA_SSL_BOOTSTRAP"), &properties);
    let place = place.with("kafka.request_timeout", "\"3s\"");
    place.run_to_end(&[]).failed().says(&["certificate"]);
}
