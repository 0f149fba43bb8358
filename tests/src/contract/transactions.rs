//! All or nothing, and nobody but the newest.

use std::time::Duration;

use lunapark_schemas::{Messages, Record};
use lunapark_topics::{Delivery, LogErrorKind, StreamSpec};

use super::backends::Backend;
use super::support::*;

pub fn atomic_across_topics(backend: &dyn Backend) {
    let context = Context::new(backend);
    let (left, right) = (context.topic("left", 2), context.topic("right", 1));
    let mut from = start_of(&*context.log, &left);
    from.extend(start_of(&*context.log, &right));
    let mut reader = context.log.reader(&from).unwrap();
    let mut transaction = context.log.transaction(&context.name("id")).unwrap();
    let mut got = Vec::new();
    for round in 1..=3 {
        for number in 0..100 {
            let topic = if number % 3 == 0 { &right } else { &left };
            let key = number.to_string();
            transaction.produce(&Record { key: Some(key.as_bytes()), value: Some(b"1"), ..plain(topic) }).unwrap();
        }
        let before = got.len();
        assert_eq!(poll_into(&mut *reader, &mut got), 0, "an open transaction is invisible");
        transaction.commit().unwrap();
        until("the whole transaction", || {
            poll_into(&mut *reader, &mut got);
            (got.len() >= before + 100).then_some(())
        });
        assert_eq!(got.len(), round * 100);
    }
    transaction.commit().expect("an empty commit is no error");
}

pub fn aborted_is_invisible_and_rewinds(backend: &dyn Backend) {
    let context = Context::new(backend);
    let (input, output) = (context.topic("in", 1), context.topic("out", 1));
    context.fill(&input, 1, 0..10);
    let mut member = context.join(&context.spec("m", &[&input], &[&output]));
    let start = start_of(&*context.log, &input);
    for attempt in ["aborted", "again", "committed"] {
        member.got.clear();
        member.until_got(10);
        assert_eq!(numbers(&member.got), (0..10).collect::<Vec<_>>(), "{attempt}");
        for offset in 0..10 {
            let record = Record { value: Some(attempt.as_bytes()), ..plain(&output) };
            member.stream.produce(&record, Some((0, offset))).unwrap();
        }
        if attempt != "committed" {
            member.stream.abort(&start).unwrap();
            member.next.insert(start[0].topic_partition(), 0);
        }
    }
    member.commit();
    let mut transaction = context.log.transaction(&context.name("id")).unwrap();
    transaction.produce(&Record { value: Some(b"aborted"), ..plain(&output) }).unwrap();
    transaction.abort().unwrap();
    transaction.produce(&Record { value: Some(b"committed"), ..plain(&output) }).unwrap();
    transaction.commit().unwrap();
    let read = context.read(&output, 11);
    assert!(read.iter().all(|got| got.value.as_deref() == Some(b"committed")));
}

pub fn stream_zombie_is_fenced(backend: &dyn Backend) {
    let context = Context::new(backend);
    let (input, output) = (context.topic("in", 2), context.topic("out", 1));
    context.fill(&input, 2, 0..10);
    let spec = context.spec("m", &[&input], &[&output]);
    let mut zombie = context.join(&spec);
    zombie.until_got(10);
    zombie.stream.produce(&Record { value: Some(b"zombie"), ..plain(&output) }, Some((0, 0))).unwrap();
    let positions = zombie.positions();
    let mut successor = context.join(&spec);
    successor.until_got(10);
    let refused = zombie.stream.commit(&positions).unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::Fenced, "{refused}");
    successor.stream.produce(&Record { value: Some(b"successor"), ..plain(&output) }, Some((0, 0))).unwrap();
    successor.commit();
    // Kafka tells the old member with the answer to its next heartbeat.
    let refused = until("the old stream learns it", || zombie.stream.poll(&mut Messages::new(), ALL, WAIT).err());
    assert_eq!(refused.kind, LogErrorKind::Fenced, "{refused}");
    drop(zombie);
    let read = context.read(&output, 1);
    assert_eq!(read[0].value.as_deref(), Some(&b"successor"[..]));
    successor.commit();
}

pub fn transaction_zombie_is_fenced(backend: &dyn Backend) {
    let context = Context::new(backend);
    let output = context.topic("out", 1);
    let id = context.name("id");
    let mut zombie = context.log.transaction(&id).unwrap();
    zombie.produce(&Record { value: Some(b"zombie"), ..plain(&output) }).unwrap();
    let mut successor = context.log.transaction(&id).unwrap();
    successor.produce(&Record { value: Some(b"successor"), ..plain(&output) }).unwrap();
    successor.commit().unwrap();
    let refused = zombie.commit().unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::Fenced, "{refused}");
    let read = context.read(&output, 1);
    assert_eq!(read[0].value.as_deref(), Some(&b"successor"[..]));
}

pub fn at_least_once_is_visible_before_commit(backend: &dyn Backend) {
    let context = Context::new(backend);
    let (input, output) = (context.topic("in", 1), context.topic("out", 1));
    context.fill(&input, 1, 0..10);
    let mut spec = context.spec("m", &[&input], &[&output]);
    spec.delivery = Delivery::AtLeastOnce;
    let mut member = context.join(&spec);
    member.until_got(10);
    for offset in 0..10 {
        let value = offset.to_string();
        member.stream.produce(&Record { value: Some(value.as_bytes()), ..plain(&output) }, Some((0, offset))).unwrap();
    }
    member.poll();
    assert_eq!(numbers(&context.read(&output, 10)), (0..10).collect::<Vec<_>>());
    let at = start_of(&*context.log, &input)[0].topic_partition();
    let committed = || context.log.committed(&spec.group, std::slice::from_ref(&at)).unwrap();
    assert_eq!(committed(), [None]);
    member.commit();
    assert_eq!(committed(), [Some(10)]);
}

/// What is read while a commit is under way comes once, in order, is not part of that commit, and is read again after an
/// abort.
pub fn reads_on_during_a_commit(backend: &dyn Backend) {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let context = Context::new(backend);
        let (input, output) = (context.topic("in", 1), context.topic("out", 1));
        context.fill(&input, 1, 0..100);
        let spec = StreamSpec { delivery, ..context.spec("m", &[&input], &[&output]) };
        let mut member = context.join(&spec);
        member.until_got(100);
        let at = start_of(&*context.log, &input)[0].topic_partition();
        let committed = || context.log.committed(&spec.group, std::slice::from_ref(&at)).unwrap();

        context.fill(&input, 1, 100..200);
        let ahead = commit_reading_on(&mut member, &output);
        assert_eq!(committed(), [Some(100)], "{delivery:?}");
        member.take(&ahead);
        member.until_got(200);
        assert_eq!(numbers(&member.got), (0..200).collect::<Vec<_>>(), "{delivery:?}");

        context.fill(&input, 1, 200..300);
        commit_reading_on(&mut member, &output);
        assert_eq!(committed(), [Some(200)], "{delivery:?}");
        member.stream.abort(&[at.at(200)]).unwrap();
        member.until_got(300);
        assert_eq!(numbers(&member.got), (0..300).collect::<Vec<_>>(), "{delivery:?}");
        context.read(&output, 2);
    }
}

/// Commits a record and everything that was read; what came meanwhile.
fn commit_reading_on(member: &mut Member, output: &str) -> Messages {
    let (next, mut ahead) = (member.positions(), Messages::new());
    let source = Some((0, next[0].offset - 1));
    member.stream.produce(&Record { value: Some(b"1"), ..plain(output) }, source).unwrap();
    let committed = member.stream.commit_while(&next, &mut |log| {
        while log.committing() {
            if log.poll(&mut ahead, ALL)? == 0 {
                std::thread::park_timeout(Duration::from_micros(200));
            }
        }
        Ok(())
    });
    committed.unwrap();
    ahead
}
