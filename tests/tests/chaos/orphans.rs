//! A static member replaced between the two rounds of a cooperative rebalance: the coordinator gives the newcomer what the
//! first round left it, and calls no second round. The partitions on their way would stand still for ever.

use std::collections::HashSet;
use std::time::Duration;

use lunapark_schemas::{Messages, TopicPartition};
use lunapark_tests::harness::{Workplace, until};
use lunapark_topics::log::Start;
use lunapark_topics::{Delivery, Limit, Polled, Stream, StreamSpec};

use super::alone;
use super::scene::{MOVES_AGAIN, PARTITIONS};

const LIMIT: Limit = Limit { messages: 10, bytes: 1 << 20 };
const WAIT: Duration = Duration::from_millis(10);

struct Member {
    stream: Box<dyn Stream>,
    owned: HashSet<TopicPartition>,
}

impl Member {
    fn open(work: &Workplace, name: &str) -> Self {
        let spec = StreamSpec {
            group: work.group(),
            member: format!("{}{name}", work.prefix()),
            topics: vec![work.topic("inference.events").into()],
            outputs: vec![work.topic("inference.results").into()],
            delivery: Delivery::ExactlyOnce,
            start: Start::Earliest,
        };
        Self { stream: work.log().stream(&spec).expect("a stream"), owned: HashSet::new() }
    }

    fn poll(&mut self) -> Polled {
        self.stream.poll(&mut Messages::new(), LIMIT, WAIT).expect("a poll")
    }

    /// Takes what is assigned and gives up what is revoked.
    fn step(&mut self) {
        match self.poll() {
            Polled::Assigned(starts) => self.owned.extend(starts.iter().map(|start| start.topic_partition())),
            Polled::Revoked(partitions) | Polled::Lost(partitions) => {
                self.owned.retain(|held| !partitions.contains(held));
                self.stream.release(&partitions).expect("a release");
            }
            Polled::Messages(_) => {}
        }
    }
}

#[test]
fn partitions_left_between_two_rounds_are_shared_out_again() {
    let _alone = alone();
    let work = Workplace::kafka().with("topics.partitions", PARTITIONS);
    work.create_topics();
    let all = PARTITIONS as usize;
    let mut old = Member::open(&work, "same");
    until(MOVES_AGAIN, "the first member owns all", || {
        old.step();
        (old.owned.len() == all).then_some(())
    });
    let mut other = Member::open(&work, "other");
    until(MOVES_AGAIN, "the first member is asked for some", || {
        other.step();
        matches!(old.poll(), Polled::Revoked(_)).then_some(())
    });
    // The first member never answers: it is as good as killed, and comes back under its own name.
    let mut new = Member::open(&work, "same");
    until(MOVES_AGAIN, "every partition has an owner", || {
        new.step();
        other.step();
        (new.owned.len() + other.owned.len() == all).then_some(())
    });
    assert!(new.owned.is_disjoint(&other.owned));
    // A fenced member with an unanswered rebalance must not hang as it goes.
    drop(old);
}
