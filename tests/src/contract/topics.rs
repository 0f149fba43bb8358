//! Topics: created on purpose, found, deleted.

use std::time::{Duration, Instant};

use lunapark_schemas::{Messages, Record, TopicPartition};
use lunapark_topics::{Cleanup, Created, LogError, LogErrorKind, Reader, TopicSpec};

use super::backends::Backend;
use super::support::*;

pub fn exists_or_differs(backend: &dyn Backend) {
    let context = Context::new(backend);
    let spec = TopicSpec {
        retention: Some(Duration::from_secs(3600)),
        max_message_bytes: 2 << 20,
        ..TopicSpec::new(context.name("t"), 3)
    };
    assert_eq!(context.log.create_topic(&spec).unwrap(), Created::New);
    assert_eq!(context.log.create_topic(&spec).unwrap(), Created::Existed);
    let found = context.log.topic(&spec.name).unwrap();
    assert_eq!((found.partitions, found.max_message_bytes), (3, 2 << 20));
    assert_eq!((found.retention, found.cleanup), (spec.retention, Cleanup::Delete));
    assert!(context.log.topics().unwrap().iter().any(|topic| topic.name == spec.name));
    let wider = TopicSpec { partitions: 4, ..spec.clone() };
    let differs = context.log.create_topic(&wider).unwrap_err();
    assert_eq!(differs.kind, LogErrorKind::TopicMismatch, "{differs}");
    for part in [&*spec.name, "3", "4"] {
        assert!(differs.to_string().contains(part), "`{differs}` names {part}");
    }
    let compacted = TopicSpec { cleanup: Cleanup::Compact, ..spec.clone() };
    assert_eq!(context.log.create_topic(&compacted).unwrap_err().kind, LogErrorKind::TopicMismatch);
}

pub fn missing_says_what_to_do(backend: &dyn Backend) {
    let context = Context::new(backend);
    let name = context.name("nowhere");
    let at = TopicPartition::new(name.clone(), 0);
    let spec = context.spec("m", &[&name], &[]);
    let refusals = [
        context.log.topic(&name).map(drop),
        context.log.watermarks(&at).map(drop),
        context.log.delete_topic(&name),
        context.log.reader(&[at.at(0)]).and_then(first_failure),
        context.log.stream(&spec).map(drop),
    ];
    for (call, refusal) in ["topic", "watermarks", "delete", "reader", "stream"].iter().zip(refusals) {
        let error = refusal.expect_err(call);
        assert_eq!(error.kind, LogErrorKind::TopicMissing, "{call}: {error}");
        assert!(error.to_string().contains(&*name), "{call}: `{error}` names the topic");
    }
    let error = context.log.topic(&name).unwrap_err().to_string();
    assert!(error.contains("create"), "`{error}` says what to do");
}

/// Kafka tells a reader at its first poll, not when it opens.
fn first_failure(mut reader: Box<dyn Reader>) -> Result<(), LogError> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        reader.poll(&mut Messages::new(), ALL, WAIT)?;
    }
    Ok(())
}

pub fn deleted_is_gone(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 1);
    context.fill(&topic, 1, 0..10);
    let spec = context.spec("m", &[&topic], &[]);
    let mut member = context.join(&spec);
    member.until_got(10);
    member.commit();
    member.stream.close().unwrap();
    drop(member);
    context.log.delete_topic(&topic).unwrap();
    until("the topic is gone", || {
        context.log.topic(&topic).is_err_and(|error| error.kind == LogErrorKind::TopicMissing).then_some(())
    });
    let again = TopicSpec { retention: None, ..TopicSpec::new(topic.clone(), 1) };
    until("a topic of the same name", || context.log.create_topic(&again).ok());
    until("writing to it", || {
        let mut writer = context.log.writer().ok()?;
        writer.produce(&Record { value: Some(b"0"), ..plain(&topic) }).ok()?;
        writer.flush(PATIENCE).ok()
    });
    let read = context.read(&topic, 1);
    assert_eq!(read[0].offset, 0, "a new topic begins anew");
    let at = read[0].at.clone();
    assert_eq!(context.log.committed(&spec.group, &[at]).unwrap(), [None], "offsets go with their topic");
}
