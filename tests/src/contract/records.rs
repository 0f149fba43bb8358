//! What a record is, comes back as, and how it is found again.

use std::time::Instant;

use lunapark_schemas::{Headers, HeadersBuf, Messages, Record, TopicPartition};
use lunapark_topics::{Limit, LogErrorKind, TopicSpec};

use super::backends::Backend;
use super::support::*;

pub fn ordering(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 3);
    context.fill(&topic, 3, 0..3000);
    let read = context.read(&topic, 3000);
    for partition in 0..3 {
        let of_partition: Vec<_> = read.iter().filter(|got| got.at.partition == partition).collect();
        assert_eq!(of_partition.len(), 1000);
        assert!(of_partition.windows(2).all(|two| two[0].number() + 3 == two[1].number()));
        assert!(of_partition.windows(2).all(|two| two[0].offset < two[1].offset));
    }
}

/// Hashes are those of Apache Kafka's own test of murmur2.
pub fn partitions_and_keys(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 7);
    let hashes =
        [("21", -973932308i32), ("foobar", -790332482), ("a-little-bit-long-string", -985981536), ("abc", 479470107)];
    let mut writer = context.log.writer().unwrap();
    for (key, _) in hashes {
        writer.produce(&Record { key: Some(key.as_bytes()), value: Some(b"by key"), ..plain(&topic) }).unwrap();
        writer
            .produce(&Record { key: Some(key.as_bytes()), partition: Some(6), value: Some(b"6"), ..plain(&topic) })
            .unwrap();
    }
    flush(&mut *writer);
    let read = context.read(&topic, 8);
    for (key, hash) in hashes {
        let home = (hash & 0x7fff_ffff) % 7;
        let of_key: Vec<_> = read.iter().filter(|got| got.key.as_deref() == Some(key.as_bytes())).collect();
        let at = |value: &[u8]| of_key.iter().find(|got| got.value.as_deref() == Some(value)).unwrap().at.partition;
        assert_eq!((at(b"by key"), at(b"6")), (home, 6), "{key}");
    }
}

pub fn headers(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 1);
    let mut headers = HeadersBuf::new();
    headers.push_str("b", "1").push("a", None).push_str("b", "2").push("empty", Some(b"")).push_str("grüße", "π");
    let mut writer = context.log.writer().unwrap();
    writer.produce(&Record { value: Some(b"v"), headers: headers.view(), ..plain(&topic) }).unwrap();
    writer.produce(&Record { value: Some(b"w"), ..plain(&topic) }).unwrap();
    flush(&mut *writer);
    let read = context.read(&topic, 2);
    let expected: Vec<_> = headers.view().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect();
    assert_eq!(read[0].headers, expected);
    assert_eq!(read[0].headers[1].1, None, "a null value is not an empty one");
    assert!(read[1].headers.is_empty());
}

pub fn nulls_and_empties(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 1);
    type Part = Option<&'static [u8]>;
    let parts: [(Part, Part); 5] =
        [(None, None), (Some(b""), Some(b"")), (None, Some(b"v")), (Some(b"k"), None), (Some(b"k"), Some(b""))];
    let mut writer = context.log.writer().unwrap();
    for (key, value) in parts {
        writer.produce(&Record { key, value, partition: Some(0), ..plain(&topic) }).unwrap();
    }
    flush(&mut *writer);
    for (got, (key, value)) in context.read(&topic, 5).iter().zip(parts) {
        assert_eq!((got.key.as_deref(), got.value.as_deref()), (key, value));
    }
}

pub fn timestamps(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 1);
    let before = now_millis();
    let given = before - 3_600_000;
    let mut writer = context.log.writer().unwrap();
    writer.produce(&Record { timestamp: Some(given), value: Some(b"given"), ..plain(&topic) }).unwrap();
    writer.produce(&Record { value: Some(b"now"), ..plain(&topic) }).unwrap();
    flush(&mut *writer);
    let read = context.read(&topic, 2);
    assert_eq!(read[0].timestamp, given);
    assert!((before..=now_millis()).contains(&read[1].timestamp), "{}", read[1].timestamp);
}

pub fn limits_and_fairness(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 2);
    context.fill(&topic, 2, 0..1000);
    let mut reader = context.log.reader(&start_of(&*context.log, &topic)).unwrap();
    let limit = Limit { messages: 10, bytes: 1 << 20 };
    let mut batch = Messages::new();
    let mut seen = [0, 0];
    until("1000 messages", || {
        batch.clear();
        let count = reader.poll(&mut batch, limit, WAIT).unwrap();
        assert!(count <= 10, "a poll brought {count}");
        batch.iter().for_each(|message| seen[message.partition as usize] += 1);
        (seen == [500, 500]).then_some(())
    });
    let mut reader = context.log.reader(&start_of(&*context.log, &topic)).unwrap();
    until("a first message", || {
        batch.clear();
        (reader.poll(&mut batch, Limit { messages: 1000, bytes: 1 }, WAIT).unwrap() > 0).then_some(())
    });
    assert_eq!(batch.len(), 1, "the message that passes the bound is the last");
}

pub fn waiting_reader_wakes(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 1);
    let mut reader = context.log.reader(&start_of(&*context.log, &topic)).unwrap();
    let mut batch = Messages::new();
    assert_eq!(reader.poll(&mut batch, ALL, WAIT).unwrap(), 0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let mut batch = Messages::new();
            let began = Instant::now();
            while reader.poll(&mut batch, ALL, PATIENCE).unwrap() == 0 {
                assert!(began.elapsed() < PATIENCE, "nothing came");
            }
            batch.len()
        });
        context.fill(&topic, 1, 0..1);
        assert_eq!(waiting.join().unwrap(), 1);
    });
}

pub fn replay_from_offset(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 1);
    context.fill(&topic, 1, 0..100);
    let at = TopicPartition::new(topic.clone(), 0);
    for from in [0, 1, 50, 99] {
        let mut reader = context.log.reader(&[at.at(from)]).unwrap();
        let mut got = Vec::new();
        until("the end", || {
            poll_into(&mut *reader, &mut got);
            (reader.position(&at).unwrap() >= 100).then_some(())
        });
        assert_eq!(numbers(&got), (from as usize..100).collect::<Vec<_>>());
        assert_eq!(got[0].offset, from);
    }
}

pub fn replay_from_time(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 1);
    let begin = now_millis() - 1_000_000;
    let mut writer = context.log.writer().unwrap();
    for number in 0..100 {
        let timestamp = Some(begin + number * 1000);
        writer.produce(&Record { timestamp, value: Some(number.to_string().as_bytes()), ..plain(&topic) }).unwrap();
        if number % 10 == 9 {
            flush(&mut *writer);
        }
    }
    let at = TopicPartition::new(topic.clone(), 0);
    let offset = |millis| context.log.offset_for_time(&at, millis).unwrap();
    assert_eq!(offset(0), 0);
    assert_eq!(offset(begin + 42_000), 42);
    assert_eq!(offset(begin + 42_001), 43);
    assert_eq!(offset(begin + 99_001), context.log.watermarks(&at).unwrap().high, "past the newest record");
}

const MIB: usize = 1 << 20;

pub fn large_messages(backend: &dyn Backend) {
    let context = Context::new(backend);
    let wide = context.create(TopicSpec { max_message_bytes: 10 * MIB, ..TopicSpec::new(context.name("wide"), 1) });
    let narrow = context.create(TopicSpec::new(context.name("narrow"), 1));
    // Not to be compressed: the limit counts bytes on the wire.
    let large: Vec<u8> = (0..8 * MIB as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut writer = context.log.writer().unwrap();
    writer.produce(&Record { value: Some(&large), ..plain(&wide) }).unwrap();
    flush(&mut *writer);
    let read = context.read(&wide, 1);
    assert!(read[0].value.as_deref() == Some(&large), "8 MiB come back as they went in");
    let refused = writer.produce(&Record { value: Some(&large), ..plain(&narrow) });
    let refused = refused.and_then(|()| writer.flush(PATIENCE)).unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::TooLarge, "{refused}");
    writer.produce(&Record { value: Some(b"small"), ..plain(&narrow) }).unwrap();
    flush(&mut *writer);
    context.read(&narrow, 1);
}

pub fn too_large_names_its_source(backend: &dyn Backend) {
    let context = Context::new(backend);
    let (input, output) = (context.topic("in", 1), context.topic("out", 1));
    context.fill(&input, 1, 0..2);
    let mut member = context.join(&context.spec("m", &[&input], &[&output]));
    member.until_got(2);
    assert_eq!(member.stream.max_message_bytes(&output), Some(TopicSpec::new("", 1).max_message_bytes));
    assert_eq!(member.stream.max_message_bytes("another"), None);
    let small = Record { value: Some(b"0"), headers: Headers::default(), ..plain(&output) };
    let large = vec![7u8; 2 * MIB];
    member.stream.produce(&small, Some((0, 0))).unwrap();
    let refused = member.stream.produce(&Record { value: Some(&large), ..small }, Some((0, 1)));
    let refused = refused.and_then(|()| member.stream.commit(&member.positions())).unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::TooLarge, "{refused}");
    assert_eq!(member.stream.refused(), [(0, 1)]);
    assert_eq!(member.stream.refused(), []);
    let at = TopicPartition::new(input.clone(), 0);
    member.stream.abort(&[at.at(0)]).unwrap();
    member.next.insert(at, 0);
    member.got.clear();
    member.until_got(2);
    member.stream.produce(&small, Some((0, 0))).unwrap();
    member.commit();
    context.read(&output, 1);
}
