//! Partitions that nobody owns, found and put right.
//!
//! A cooperative rebalance moves a partition in two rounds: its owner gives it up and joins again, and only that second
//! round hands it on. A static member that is replaced between the two (killed and restarted under its own name, or
//! a stream thread that was reopened) gets what the first round left it, and no second round comes: the partition would
//! stand still until the membership next changes. So a member that has just been opened looks whether every partition
//! has an owner; where one has not, a guest joins the group and leaves it, which makes the group go round again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::TopicPartition;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::close::close_consumer;
use super::config::KafkaOptions;
use super::context::MemberContext;
use crate::log::StreamSpec;

/// A member looks so long after it was opened, and then once more: most second rounds are over by then.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks that could not be taken, or met a group in the middle of a rebalance, before a member leaves it at that.
const LOOKS: u32 = 60;
/// How long one look may hold its stream thread up.
const LOOK: Duration = Duration::from_millis(500);
/// How long a guest waits to be let in.
const GUEST_STAYS: Duration = Duration::from_secs(20);
const GUEST_POLL: Duration = Duration::from_millis(50);

/// What a newly opened member still has to look after.
pub(super) struct Orphans {
    guest: Guest,
    look_at: Instant,
    looks_left: u32,
    suspected: HashSet<TopicPartition>,
}

/// Who joins a group only to make it share out again.
#[derive(Clone)]
struct Guest {
    config: ClientConfig,
    group: String,
    topics: Vec<Arc<str>>,
}

/// What a look met.
enum Seen {
    /// No answer, or a rebalance under way.
    Nothing,
    /// These partitions have no owner.
    Unowned(HashSet<TopicPartition>),
}

impl Orphans {
    pub(super) fn new(options: &KafkaOptions, spec: &StreamSpec) -> Self {
        let config = options.guest_consumer(spec);
        let guest = Guest { config, group: spec.group.clone(), topics: spec.topics.clone() };
        Self { guest, look_at: Instant::now() + LOOK_EVERY, looks_left: LOOKS, suspected: HashSet::new() }
    }

    /// Looks where it is time to; false once nothing is left to do.
    pub(super) fn look_after(&mut self, member: &BaseConsumer<MemberContext>) -> bool {
        if Instant::now() < self.look_at {
            return true;
        }
        let seen = self.guest.look(member);
        self.look_at = Instant::now() + LOOK_EVERY;
        self.looks_left -= 1;
        match seen {
            Seen::Nothing => self.suspected.clear(),
            Seen::Unowned(unowned) if unowned.is_empty() => return false,
            // Twice in a row is not just a second round under way.
            Seen::Unowned(unowned) if unowned.intersection(&self.suspected).next().is_some() => {
                self.guest.invite(unowned.len());
                self.suspected.clear();
            }
            Seen::Unowned(unowned) => self.suspected = unowned,
        }
        self.looks_left > 0
    }
}

impl Guest {
    fn look(&self, member: &BaseConsumer<MemberContext>) -> Seen {
        let Ok(groups) = member.fetch_group_list(Some(&self.group), LOOK) else { return Seen::Nothing };
        let Some(info) = groups.groups().iter().find(|info| info.name() == self.group) else { return Seen::Nothing };
        if info.state() != "Stable" {
            return Seen::Nothing;
        }
        let assignments = info.members().iter().map(|member| partitions_of(member.assignment().unwrap_or_default()));
        match (assignments.collect::<Option<Vec<_>>>(), self.all_partitions(member)) {
            (Some(owned), Some(mut unowned)) => {
                unowned.retain(|partition| !owned.iter().flatten().any(|owned| owned == partition));
                Seen::Unowned(unowned)
            }
            _ => Seen::Nothing,
        }
    }

    fn all_partitions(&self, member: &BaseConsumer<MemberContext>) -> Option<HashSet<TopicPartition>> {
        let mut all = HashSet::new();
        for name in &self.topics {
            let metadata = member.fetch_metadata(Some(name), LOOK).ok()?;
            let topic = metadata.topics().iter().find(|topic| topic.name() == &**name)?;
            all.extend(topic.partitions().iter().map(|p| TopicPartition::new(name.clone(), p.id())));
        }
        Some(all)
    }

    /// Joins the group without a lasting name and leaves it, beside the stream thread, which must answer meanwhile.
    fn invite(&self, unowned: usize) {
        tracing::warn!(group = self.group, unowned, "partitions without an owner: the group shares out again");
        let guest = self.clone();
        let spawned = std::thread::Builder::new().name("group-guest".into()).spawn(move || guest.visit());
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a guest");
        }
    }

    fn visit(&self) {
        let created = self.config.create_with_context(MemberContext::default());
        let guest: BaseConsumer<MemberContext> = match created {
            Ok(guest) => guest,
            Err(error) => return tracing::warn!(%error, "no guest"),
        };
        let topics: Vec<&str> = self.topics.iter().map(|topic| &**topic).collect();
        let subscribed = guest.subscribe(&topics);
        let deadline = Instant::now() + GUEST_STAYS;
        // Once let in it has done its part; what it was given itself goes back as it leaves.
        while subscribed.is_ok() && Instant::now() < deadline && guest.context().group_events() == 0 {
            let _nothing = guest.poll(GUEST_POLL);
        }
        let left = close_consumer(&guest, Vec::new());
        tracing::debug!(?left, "the guest left");
    }
}

/// Kafka's `ConsumerProtocolAssignment`: version, then topics, each a name and partition numbers. `None` where the bytes
/// are not that.
fn partitions_of(mut bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let _version = i16::from_be_bytes(take(&mut bytes)?);
    let mut partitions = Vec::new();
    for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
        let length = usize::try_from(i16::from_be_bytes(take(&mut bytes)?)).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        let topic: Arc<str> = std::str::from_utf8(name).ok()?.into();
        bytes = rest;
        for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
            partitions.push(TopicPartition::new(topic.clone(), i32::from_be_bytes(take(&mut bytes)?)));
        }
    }
    Some(partitions)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_nonsense_is_refused() {
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 2, b'i', b'n', 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 7];
        bytes.extend([0, 0, 0, 0]);
        let expected = [4, 7].map(|number| TopicPartition::new("in", number));
        assert_eq!(partitions_of(&bytes), Some(expected.to_vec()));
        assert_eq!(partitions_of(&[]), Some(Vec::new()));
        for length in 1..bytes.len() - 4 {
            assert_eq!(partitions_of(&bytes[..length]), None, "{length}");
        }
        assert_eq!(partitions_of(&[0, 1, 127, 255, 255, 255]), None);
    }
}
