//! Consumer groups: who reads what, and from where.

use std::time::{Duration, Instant};

use lunapark_schemas::{Position, Record, TopicPartition};
use lunapark_topics::{LogErrorKind, Polled, Start};

use super::backends::Backend;
use super::support::*;

pub fn splits_and_takes_over(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 4);
    context.fill(&topic, 4, 0..400);
    let mut first = context.join(&context.spec("a", &[&topic], &[]));
    first.until_owning(4);
    let mut second = context.join(&context.spec("b", &[&topic], &[]));
    until("two partitions each", || {
        first.step();
        second.step();
        (first.next.len() == 2 && second.next.len() == 2).then_some(())
    });
    assert!(first.next.keys().all(|at| !second.next.contains_key(at)));
    context.fill(&topic, 4, 400..800);
    until("800 messages", || {
        first.step();
        second.step();
        (first.got.len() + second.got.len() >= 800).then_some(())
    });
    assert!(second.got.len() >= 200, "the second one works too");
    first.stream.close().unwrap();
    context.fill(&topic, 4, 800..900);
    until("the rest goes to the second", || {
        second.step();
        (first.got.len() + second.got.len() >= 900).then_some(())
    });
    let mut all = std::mem::take(&mut first.got);
    all.append(&mut second.got);
    assert_eq!(numbers(&all), (0..900).collect::<Vec<_>>(), "nothing lost, nothing twice");
    assert_eq!(second.next.len(), 4);
}

/// Whatever a rebalance has come to: a close that waits for ever would stop no service.
pub fn closes_at_any_moment_of_joining(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 4);
    for moment in (0..60).step_by(2) {
        let mut spec = context.spec(&format!("m{moment}"), &[&topic], &[]);
        spec.group = context.name(&format!("group-{moment}")).to_string();
        let mut member = context.join(&spec);
        let joined = Instant::now();
        while joined.elapsed() < Duration::from_millis(moment) {
            member.step();
        }
        let (closed, answer) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || closed.send(member.stream.close()));
        answer.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("closed after {moment} ms: {e}")).unwrap();
    }
}

pub fn committed_offsets_survive(backend: &dyn Backend) {
    let mut context = Context::new(backend);
    let topic = context.topic("t", 2);
    context.fill(&topic, 2, 0..10);
    let spec = context.spec("m", &[&topic], &[]);
    let mut member = context.join(&spec);
    member.until_got(10);
    let at = |partition| TopicPartition::new(topic.clone(), partition);
    member.stream.commit(&[at(0).at(3)]).unwrap();
    member.stream.close().unwrap();
    drop(member);
    context.log = backend_reopened(backend, context.log);
    let committed = context.log.committed(&spec.group, &[at(1), at(0)]).unwrap();
    assert_eq!(committed, [None, Some(3)]);
    assert!(context.log.groups().unwrap().contains(&spec.group));
    let mut member = context.join(&spec);
    member.until_got(7);
    let first_of = |partition| member.got.iter().find(|got| got.at.partition == partition).unwrap().offset;
    assert_eq!((first_of(0), first_of(1)), (3, 0));
}

fn backend_reopened(
    backend: &dyn Backend,
    log: std::sync::Arc<dyn lunapark_topics::Log>,
) -> std::sync::Arc<dyn lunapark_topics::Log> {
    drop(log);
    backend.close();
    backend.log()
}

pub fn start_earliest_and_latest(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 1);
    context.fill(&topic, 1, 0..5);
    let mut spec = context.spec("latest", &[&topic], &[]);
    (spec.start, spec.group) = (Start::Latest, context.name("latest").to_string());
    let mut latest = context.join(&spec);
    latest.until_owning(1);
    assert_eq!(latest.positions()[0].offset, 5);
    // Where it starts is settled by the first commit, and told once.
    let started = latest.stream.started();
    assert_eq!(started, latest.positions());
    assert!(latest.stream.started().is_empty());
    let at = [TopicPartition::new(topic.clone(), 0)];
    assert_eq!(context.log.committed(&spec.group, &at).unwrap(), [None]);
    latest.stream.commit(&started).unwrap();
    assert_eq!(context.log.committed(&spec.group, &at).unwrap(), [Some(5)]);
    let mut earliest = context.join(&context.spec("earliest", &[&topic], &[]));
    earliest.until_owning(1);
    assert!(earliest.stream.started().is_empty());
    context.fill(&topic, 1, 5..8);
    latest.until_got(3);
    earliest.until_got(8);
    assert_eq!(numbers(&latest.got), [5, 6, 7]);
    assert_eq!(numbers(&earliest.got), (0..8).collect::<Vec<_>>());
}

pub fn commit_after_revoke_refused(backend: &dyn Backend) {
    let context = Context::new(backend);
    let (input, output) = (context.topic("in", 2), context.topic("out", 1));
    context.fill(&input, 2, 0..10);
    let spec = context.spec("a", &[&input], &[&output]);
    let mut first = context.join(&spec);
    first.until_got(10);
    first.stream.produce(&Record { value: Some(b"1"), ..plain(&output) }, Some((0, 0))).unwrap();
    let mut second = context.join(&context.spec("b", &[&input], &[&output]));
    let revoked = until("a revocation", || {
        second.poll();
        match first.poll() {
            Polled::Revoked(revoked) => Some(revoked),
            _ => None,
        }
    });
    assert_eq!(revoked.len(), 1);
    let all = first.positions();
    first.stream.release(&revoked).unwrap();
    let refused = first.stream.commit(&all).unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::Rebalanced, "{refused}");
    first.stream.abort(&[]).unwrap();
    first.next.retain(|at, _| !revoked.contains(at));
    until("the other one's assignment", || {
        // A member that does not poll is not asked to join again.
        first.poll();
        second.step();
        (second.next.len() == 1).then_some(())
    });
    second.until_got(5);
    assert_eq!(second.positions()[0].topic_partition(), revoked[0]);
    first.commit();
    assert_eq!(context.log.committed(&spec.group, &revoked).unwrap(), [None]);
    context.read(&output, 0);
}

pub fn lost_assignment(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 2);
    context.fill(&topic, 2, 0..10);
    let spec = context.spec("silent", &[&topic], &[]);
    let mut silent = context.join(&spec);
    silent.until_got(10);
    let positions = silent.positions();
    let mut other = context.join(&context.spec("other", &[&topic], &[]));
    until("the silent one is expelled", || {
        other.step();
        (other.next.len() == 2).then_some(())
    });
    other.until_got(10);
    other.commit();
    let refused = silent.stream.commit(&positions).unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::Rebalanced, "{refused}");
    let Polled::Lost(lost) = silent.poll() else { panic!("a loss is told first") };
    assert_eq!(lost.len(), 2);
    silent.stream.abort(&[]).unwrap();
    silent.give_up(&lost);
    until("the silent one is back", || {
        other.step();
        silent.step();
        (silent.next.len() == 1 && other.next.len() == 1).then_some(())
    });
    let committed: Vec<_> = lost.iter().map(|_| Some(5)).collect();
    assert_eq!(context.log.committed(&spec.group, &lost).unwrap(), committed, "the other one's commits");
}

pub fn silent_member_stays(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 1);
    context.fill(&topic, 1, 0..5);
    let mut silent = context.join(&context.spec("silent", &[&topic], &[]));
    silent.until_got(5);
    let silence = std::time::Instant::now();
    until("longer than a session of silence", || {
        std::thread::park_timeout(WAIT);
        (silence.elapsed() > backend.session_timeout()).then_some(())
    });
    silent.commit();
    let at: Vec<_> = silent.positions().iter().map(Position::topic_partition).collect();
    assert_eq!(context.log.committed(&context.name("group"), &at).unwrap(), [Some(5)]);
}
