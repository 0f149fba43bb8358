//! Pausing: partitions that stay ours and bring nothing while long work goes on beside the stream.

use lunapark_schemas::{Messages, TopicPartition};
use lunapark_topics::{Limit, Polled};

use super::backends::Backend;
use super::support::*;

/// So few that most of what was fetched is still waiting when the pause comes.
const FEW: Limit = Limit { messages: 10, bytes: 1 << 20 };
/// Polls that must bring nothing: long enough for a fetch that was under way to come in.
const SILENT_POLLS: usize = 10;

/// One poll of a few messages; how many came of each partition.
fn poll_few(member: &mut Member) -> usize {
    let mut batch = Messages::new();
    let polled = member.stream.poll(&mut batch, FEW, WAIT).expect("poll");
    match polled {
        Polled::Assigned(positions) => member.next.extend(positions.iter().map(|at| (at.topic_partition(), at.offset))),
        Polled::Messages(_) => {}
        other => panic!("{other:?}"),
    }
    for got in batch.iter().map(Got::of) {
        let next = member.next.get_mut(&got.at).expect("messages come from assigned partitions");
        assert_eq!(got.offset, *next, "without a gap");
        *next = got.offset + 1;
        member.got.push(got);
    }
    batch.len()
}

fn of(member: &Member, at: &TopicPartition) -> usize {
    member.got.iter().filter(|got| got.at == *at).count()
}

fn assert_silent(member: &mut Member) {
    for _ in 0..SILENT_POLLS {
        assert_eq!(poll_few(member), 0, "a paused partition brings nothing");
    }
}

pub fn bring_nothing(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 2);
    context.fill(&topic, 2, 0..1000);
    let mut both = [0, 1].map(|partition| TopicPartition::new(topic.clone(), partition));
    let mut member = context.join(&context.spec("m", &[&topic], &[]));
    until("an assignment", || {
        poll_few(&mut member);
        (member.next.len() == 2).then_some(())
    });
    until("messages of both", || {
        poll_few(&mut member);
        both.iter().all(|at| of(&member, at) > 0).then_some(())
    });
    // A log may bring all of one before the other.
    both.sort_by_key(|at| of(&member, at));
    let [paused, other] = both;
    let before = of(&member, &paused);
    assert!(before < 500, "much of it is still to come");
    member.stream.pause(std::slice::from_ref(&paused)).unwrap();
    context.fill(&topic, 2, 1000..1200);
    until("the other partition goes on", || {
        poll_few(&mut member);
        (of(&member, &other) == 600).then_some(())
    });
    assert_silent(&mut member);
    assert_eq!(of(&member, &paused), before);
    member.commit();
    member.stream.pause(std::slice::from_ref(&other)).unwrap();
    context.fill(&topic, 2, 1200..1220);
    assert_silent(&mut member);
    member.stream.resume(&[paused, other]).unwrap();
    until("the rest", || {
        poll_few(&mut member);
        (member.got.len() == 1220).then_some(())
    });
    assert_eq!(numbers(&member.got), (0..1220).collect::<Vec<_>>(), "no gap, nothing twice");
}

pub fn moves(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 2);
    let spec = context.spec("first", &[&topic], &[]);
    let mut first = context.join(&spec);
    until("an assignment", || {
        poll_few(&mut first);
        (first.next.len() == 2).then_some(())
    });
    let all: Vec<_> = first.next.keys().cloned().collect();
    first.stream.pause(&all).unwrap();
    context.fill(&topic, 2, 0..20);
    assert_silent(&mut first);
    let mut second = context.join(&context.spec("second", &[&topic], &[]));
    until("one partition each", || {
        first.step();
        second.step();
        (first.next.len() == 1 && second.next.len() == 1).then_some(())
    });
    until("the second reads what was paused at the first", || {
        first.step();
        second.step();
        (second.got.len() == 10).then_some(())
    });
    assert!(first.got.is_empty(), "what the first kept is still paused");
    let (kept, moved) = (first.next.keys().next().unwrap().clone(), second.next.keys().next().unwrap().clone());
    second.stream.close().unwrap();
    until("it comes back", || {
        first.step();
        (first.next.len() == 2).then_some(())
    });
    context.fill(&topic, 2, 20..40);
    until("it is paused no longer", || {
        first.step();
        (of(&first, &moved) == 10).then_some(())
    });
    assert_eq!(of(&first, &kept), 0);
    first.stream.resume(std::slice::from_ref(&kept)).unwrap();
    until("the rest", || {
        first.step();
        (of(&first, &kept) == 20).then_some(())
    });
    let mut got = std::mem::take(&mut first.got);
    got.append(&mut second.got);
    assert_eq!(numbers(&got), (0..40).collect::<Vec<_>>());
}

/// Whoever has to prepare for a partition pauses it before its first message.
pub fn at_once(backend: &dyn Backend) {
    let context = Context::new(backend);
    let topic = context.topic("t", 2);
    context.fill(&topic, 2, 0..200);
    let mut member = context.join(&context.spec("m", &[&topic], &[]));
    let mut paused = Vec::new();
    until("both are assigned and paused", || {
        assert_eq!(poll_few(&mut member), 0);
        let new: Vec<_> = member.next.keys().filter(|at| !paused.contains(*at)).cloned().collect();
        if !new.is_empty() {
            member.stream.pause(&new).unwrap();
        }
        paused.extend(new);
        (paused.len() == 2).then_some(())
    });
    assert_silent(&mut member);
    let (first, second) = (paused[0].clone(), paused[1].clone());
    member.stream.resume(std::slice::from_ref(&first)).unwrap();
    until("all of the first", || {
        poll_few(&mut member);
        (of(&member, &first) == 100).then_some(())
    });
    assert_eq!(of(&member, &second), 0);
    member.stream.resume(std::slice::from_ref(&second)).unwrap();
    until("the rest", || {
        poll_few(&mut member);
        (member.got.len() == 200).then_some(())
    });
    assert_eq!(numbers(&member.got), (0..200).collect::<Vec<_>>(), "no gap, nothing twice");
}
