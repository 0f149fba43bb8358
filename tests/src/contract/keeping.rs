//! What is kept, and for how long.

use std::time::Duration;

use lunapark_schemas::{Record, TopicPartition};
use lunapark_topics::{Cleanup, LogErrorKind, TopicSpec};

use super::backends::Backend;
use super::support::*;
use crate::harness::TopicSettings;

const HOUR: Duration = Duration::from_secs(3600);

/// Writes records of these ages, a run of the file each.
fn write_aged(context: &Context, topic: &str, ages: &[Duration]) {
    let mut writer = context.log.writer().unwrap();
    for (number, age) in ages.iter().enumerate() {
        let timestamp = Some(now_millis() - age.as_millis() as i64);
        writer.produce(&Record { timestamp, value: Some(number.to_string().as_bytes()), ..plain(topic) }).unwrap();
        flush(&mut *writer);
    }
}

pub fn retention(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.create(TopicSpec { retention: Some(HOUR), ..TopicSpec::new(context.name("t"), 1) });
    let forever = context.topic("forever", 1);
    let ages = [3 * HOUR, 2 * HOUR, HOUR / 2, 3 * HOUR, Duration::ZERO];
    write_aged(&context, &topic, &ages);
    write_aged(&context, &forever, &ages);
    let at = TopicPartition::new(topic.clone(), 0);
    let bytes = context.log.topic(&topic).unwrap().bytes.expect("the embedded log knows");
    backend.maintain();
    let ends = context.log.watermarks(&at).unwrap();
    assert_eq!((ends.low, ends.high), (2, 5), "whole runs go from the front, up to the first young one");
    assert!(context.log.topic(&topic).unwrap().bytes.unwrap() < bytes);
    let mut reader = context.log.reader(&[at.at(0)]).unwrap();
    let mut got = Vec::new();
    until("the rest", || {
        poll_into(&mut *reader, &mut got);
        (got.len() >= 3).then_some(())
    });
    assert_eq!(numbers(&got), [2, 3, 4], "who asks for less than the low watermark begins there");
    let past = context
        .log
        .reader(&[at.at(6)])
        .and_then(|mut reader| reader.poll(&mut lunapark_schemas::Messages::new(), ALL, WAIT).map(drop));
    assert_eq!(past.unwrap_err().kind, LogErrorKind::OffsetOutOfRange);
    assert_eq!(context.log.offset_for_time(&at, 0).unwrap(), 2);
    context.read(&forever, 5);
}

pub fn compaction(backend: &dyn Backend) {
    let context = Context::new(backend);
    let spec = TopicSpec { cleanup: Cleanup::Compact, ..TopicSpec::new(context.name("t"), 1) };
    let topic = context.create(spec);
    let mut writer = context.log.writer().unwrap();
    let mut write = |key: &str, value: Option<&str>| {
        let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
        let timestamp = Some(now_millis() - 1000);
        writer.produce(&Record { key, value, timestamp, ..plain(&topic) }).unwrap();
        flush(&mut *writer);
    };
    for number in 0..10 {
        write("a", Some(&number.to_string()));
        write("b", Some("1"));
    }
    write("b", None);
    write("c", Some("7"));
    let bytes = context.log.topic(&topic).unwrap().bytes.unwrap();
    backend.maintain();
    let read = context.read(&topic, 2);
    let kept: Vec<_> = read.iter().map(|got| (got.key.clone().unwrap(), got.number(), got.offset)).collect();
    assert_eq!(kept, [(b"a".to_vec(), 9, 18), (b"c".to_vec(), 7, 21)], "offsets stay");
    assert!(context.log.topic(&topic).unwrap().bytes.unwrap() < bytes / 4);
    write("a", Some("10"));
    backend.maintain();
    assert_eq!(numbers(&context.read(&topic, 2)), [7, 10]);
    let keyless = writer.produce(&Record { value: Some(b"v"), ..plain(&topic) });
    assert_eq!(keyless.unwrap_err().kind, LogErrorKind::Invalid);
}

pub fn space_is_given_back(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 2);
    let keep = context.topic("keep", 1);
    let value = vec![7u8; 100 << 10];
    let mut writer = context.log.writer().unwrap();
    for _ in 0..1500 {
        writer.produce(&Record { value: Some(&value), ..plain(&topic) }).unwrap();
    }
    flush(&mut *writer);
    context.fill(&keep, 1, 0..100);
    let file = || std::fs::metadata(backend.dir().join("log.redb")).unwrap().len();
    let full = file();
    assert!(full > 150 << 20, "{full}");
    context.log.delete_topic(&topic).unwrap();
    backend.maintain();
    assert!(file() < 16 << 20, "{} of {full} bytes are left", file());
    assert_eq!(numbers(&context.read(&keep, 100)), (0..100).collect::<Vec<_>>());
}

/// A broker begins to look for what is too old half a minute after its start, and then every five minutes by default,
/// every five seconds as `deploy/servers/kafka` has it.
const KAFKA_LOOKS: Duration = Duration::from_secs(90);
/// A segment takes records of one minute: the ages of this file are further apart.
const SEGMENT: (&str, &str) = ("segment.ms", "60000");

/// Kafka takes away what a group has not read yet: the group goes on at the first record still there, and is told where
/// that is.
pub fn expires_under_a_group(backend: &dyn Backend) {
    asked_retention_is_kept(backend);
    let (context, settings) = (Context::new(backend), TopicSettings::of(&backend.address()));
    let topic = context.name("t");
    settings.create(&topic, 1, &[("retention.ms", "-1"), SEGMENT]);
    until("the topic is there", || context.log.topic(&topic).ok());
    write_aged(&context, &topic, &[4 * HOUR, 3 * HOUR, 2 * HOUR, Duration::ZERO, Duration::ZERO]);
    let at = TopicPartition::new(topic.clone(), 0);
    let spec = context.spec("member", &[&topic], &[]);
    let mut member = context.join(&spec);
    member.until_got(5);
    member.stream.commit(&[at.at(1)]).expect("commit");
    member.stream.close().expect("close");
    drop(member);

    settings.set(&topic, &[("retention.ms", &HOUR.as_millis().to_string()), SEGMENT]);
    let ends = until_within(KAFKA_LOOKS, "the old segments go", || {
        context.log.watermarks(&at).ok().filter(|ends| ends.low > 1)
    });
    assert_eq!((ends.low, ends.high), (3, 5), "whole segments go from the front, up to the first young one");
    assert_eq!(
        context.log.committed(&spec.group, std::slice::from_ref(&at)).unwrap(),
        [Some(1)],
        "the offset stays where it was"
    );
    let mut member = context.join(&spec);
    member.until_owning(1);
    assert_eq!(member.positions(), [at.at(3)], "the assignment says where it goes on");
    until("the rest", || {
        member.step();
        (member.got.len() >= 2).then_some(())
    });
    assert_eq!(numbers(&member.got), [3, 4]);
    member.commit();
    assert_eq!(context.log.committed(&spec.group, std::slice::from_ref(&at)).unwrap(), [Some(5)]);
    let mut got = Vec::new();
    let mut reader = context.log.reader(&[at.at(0)]).unwrap();
    until("the rest", || {
        poll_into(&mut *reader, &mut got);
        (got.len() >= 2).then_some(())
    });
    assert_eq!(numbers(&got), [3, 4], "who asks for less than the low watermark begins there");
}

pub fn asked_retention_is_kept(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.create(TopicSpec { retention: Some(HOUR), ..TopicSpec::new(context.name("t"), 1) });
    let forever = context.topic("forever", 1);
    assert_eq!(context.log.topic(&topic).unwrap().retention, Some(HOUR));
    assert_eq!(context.log.topic(&forever).unwrap().retention, None);
}

pub fn asked_cleanup_is_kept(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.create(TopicSpec { cleanup: Cleanup::Compact, ..TopicSpec::new(context.name("t"), 1) });
    assert_eq!(context.log.topic(&topic).unwrap().cleanup, Cleanup::Compact);
}
