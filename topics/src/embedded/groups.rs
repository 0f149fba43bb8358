//! Who reads what: consumer groups of the owner's process. Sticky and balanced; a partition changes hands only after
//! its old owner released it, or was found dead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::TopicPartition;

use crate::error::{LogError, LogErrorKind};

/// A member's place in its group; a later stream of the same name takes the place, and this one is fenced.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    group: Arc<str>,
    member: Arc<str>,
    instance: u64,
}

impl Seat {
    /// Name of the group.
    pub fn group(&self) -> &Arc<str> {
        &self.group
    }
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
}

/// All groups with members.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_name: BTreeMap<Arc<str>, Group>,
    instances: u64,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<Arc<str>, Member>,
    places: Places,
}

#[derive(Debug, Default)]
struct Places {
    /// Who holds a partition now.
    owners: BTreeMap<TopicPartition, Arc<str>>,
    /// Who shall hold it.
    wanted: BTreeMap<TopicPartition, Arc<str>>,
    /// Counts changes, so that a poll without news costs nothing.
    version: u64,
}

#[derive(Debug)]
struct Member {
    instance: u64,
    partitions: BTreeSet<TopicPartition>,
    timeout: Duration,
    seen: Instant,
    /// Inside a call, which proves that it lives, however long the disk takes.
    busy: bool,
    /// Expelled: until it has released what it lost, or, where that was nothing, until its next call.
    out: bool,
    owes: bool,
    lost: Vec<TopicPartition>,
    told: BTreeSet<TopicPartition>,
    version: u64,
}

impl Groups {
    /// Takes a place, or takes over the place of the same name.
    pub fn join(
        &mut self,
        group: &Arc<str>,
        member: &Arc<str>,
        partitions: BTreeSet<TopicPartition>,
        timeout: Duration,
    ) -> Seat {
        self.instances += 1;
        let instance = self.instances;
        let of_group = self.by_name.entry(group.clone()).or_default();
        of_group.free(member);
        let joined = Member {
            instance,
            partitions,
            timeout,
            seen: Instant::now(),
            busy: false,
            out: false,
            owes: false,
            lost: Vec::new(),
            told: BTreeSet::new(),
            version: 0,
        };
        of_group.members.insert(member.clone(), joined);
        of_group.balance();
        Seat { group: group.clone(), member: member.clone(), instance }
    }

    /// Gives the place up; others take over at once.
    pub fn leave(&mut self, seat: &Seat) {
        let Some(group) = self.by_name.get_mut(&seat.group) else { return };
        if group.members.get(&seat.member).is_some_and(|member| member.instance == seat.instance) {
            group.free(&seat.member);
            group.members.remove(&seat.member);
            group.balance();
        }
        self.by_name.retain(|_, group| !group.members.is_empty());
    }

    /// A call of this member begins: it lives.
    pub fn enter(&mut self, seat: &Seat) -> Result<(), LogError> {
        let (_, member) = self.member(seat)?;
        member.busy = true;
        let back = member.out && !member.owes;
        if back {
            member.out = false;
        }
        if let (true, Some(group)) = (back, self.by_name.get_mut(&seat.group)) {
            group.balance();
        }
        Ok(())
    }

    /// A call of this member ended: its time runs from now.
    pub fn exit(&mut self, seat: &Seat) {
        if let Ok((_, member)) = self.member(seat) {
            (member.busy, member.seen) = (false, Instant::now());
        }
    }

    /// The next thing that this member must know. Whether anybody was expelled is the second answer: then others
    /// have to be woken.
    pub fn poll(&mut self, seat: &Seat) -> Result<(Option<Event>, bool), LogError> {
        let expelled = match self.by_name.get_mut(&seat.group) {
            Some(group) => group.expel(Instant::now()),
            None => false,
        };
        let (group, member) = self.member(seat)?;
        if member.version == group.version {
            return Ok((None, expelled));
        }
        let event = group.event(&seat.member, member);
        if event.is_none() {
            member.version = group.version;
        }
        Ok((event, expelled))
    }

    /// When the first member of this group that is not inside a call will have been silent for too long.
    pub fn next_expiry(&self, seat: &Seat) -> Option<Instant> {
        let group = self.by_name.get(&seat.group)?;
        group
            .members
            .values()
            .filter(|member| !member.busy && !member.out)
            .map(|member| member.seen + member.timeout)
            .min()
    }

    /// Gives partitions up.
    pub fn release(&mut self, seat: &Seat, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let (group, member) = self.member(seat)?;
        for partition in partitions {
            member.told.remove(partition);
            if group.owners.get(partition) == Some(&seat.member) {
                group.owners.remove(partition);
            }
        }
        let back = std::mem::take(&mut member.out);
        member.owes = false;
        if back {
            member.lost.clear();
        }
        group.version += 1;
        if let (true, Some(group)) = (back, self.by_name.get_mut(&seat.group)) {
            group.balance();
        }
        Ok(())
    }

    /// Whether this member may commit offsets of these partitions.
    pub fn may_commit<'p>(
        &mut self,
        seat: &Seat,
        mut partitions: impl Iterator<Item = &'p TopicPartition>,
    ) -> Result<(), LogError> {
        let (group, member) = self.member(seat)?;
        if member.out {
            let message =
                format!("`{}` was silent for too long and lost its partitions; abort and release them", seat.member);
            return Err(LogError::new(LogErrorKind::Rebalanced, message));
        }
        match partitions.find(|partition| group.owners.get(partition) != Some(&seat.member)) {
            Some(partition) => {
                let message = format!("belongs no longer to `{}`; abort and go on with the rest", seat.member);
                Err(LogError::new(LogErrorKind::Rebalanced, message).at(partition.clone()))
            }
            None => Ok(()),
        }
    }

    /// Groups with members.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    fn member(&mut self, seat: &Seat) -> Result<(&mut Places, &mut Member), LogError> {
        let group = self.by_name.get_mut(&seat.group);
        group
            .and_then(|group| group.members.get_mut(&seat.member).map(|member| (&mut group.places, member)))
            .filter(|(_, member)| member.instance == seat.instance)
            .ok_or_else(|| fenced(&seat.member))
    }
}

impl Group {
    /// Takes everything from this member.
    fn free(&mut self, name: &Arc<str>) -> Vec<TopicPartition> {
        let owned = self.places.owned(name);
        owned.iter().for_each(|partition| drop(self.places.owners.remove(partition)));
        self.places.version += 1;
        owned
    }

    /// Takes everything from members that are silent for too long.
    fn expel(&mut self, now: Instant) -> bool {
        let silent = |member: &Member| !member.busy && !member.out && now > member.seen + member.timeout;
        let names: Vec<_> =
            self.members.iter().filter(|(_, member)| silent(member)).map(|(name, _)| name.clone()).collect();
        for name in &names {
            let lost = self.free(name);
            if let Some(member) = self.members.get_mut(name) {
                tracing::warn!(member = %name, "a stream did not poll within its session timeout and is expelled");
                (member.out, member.owes, member.lost) = (true, !lost.is_empty(), lost);
                member.told.clear();
            }
        }
        if !names.is_empty() {
            self.balance();
        }
        !names.is_empty()
    }

    /// Says anew who shall hold what: whoever was meant to hold a partition keeps it, the rest goes to those with
    /// the fewest, then one at a time moves from the fullest to the emptiest until they differ by one at most.
    fn balance(&mut self) {
        let live: BTreeMap<_, _> = self.members.iter().filter(|(_, member)| !member.out).collect();
        let all: BTreeSet<_> = live.values().flat_map(|member| member.partitions.iter().cloned()).collect();
        let mut shares: BTreeMap<Arc<str>, BTreeSet<TopicPartition>> =
            live.keys().map(|name| ((*name).clone(), BTreeSet::new())).collect();
        let reads = |name: &Arc<str>, partition: &TopicPartition| {
            live.get(name).is_some_and(|member| member.partitions.contains(partition))
        };
        let (kept, homeless): (Vec<_>, Vec<_>) = all
            .into_iter()
            .map(|partition| (self.places.wanted.get(&partition).filter(|name| reads(name, &partition)), partition))
            .partition(|(name, _)| name.is_some());
        for (name, partition) in kept {
            if let Some(share) = name.and_then(|name| shares.get_mut(name)) {
                share.insert(partition);
            }
        }
        for (_, partition) in homeless {
            let emptiest = shares.iter_mut().filter(|(name, _)| reads(name, &partition));
            if let Some((_, share)) = emptiest.min_by_key(|(_, share)| share.len()) {
                share.insert(partition);
            }
        }
        while let Some((from, to, partition)) = unfair(&shares, reads) {
            shares.entry(from).or_default().remove(&partition);
            shares.entry(to).or_default().insert(partition);
        }
        let wanted = shares.into_iter().flat_map(|(name, share)| share.into_iter().map(move |p| (p, name.clone())));
        self.places.wanted = wanted.collect();
        self.places.version += 1;
    }
}

type Shares = BTreeMap<Arc<str>, BTreeSet<TopicPartition>>;

/// A partition whose move makes two members more equal.
fn unfair(
    shares: &Shares,
    reads: impl Fn(&Arc<str>, &TopicPartition) -> bool,
) -> Option<(Arc<str>, Arc<str>, TopicPartition)> {
    let mut by_size: Vec<_> = shares.iter().collect();
    by_size.sort_by_key(|(_, share)| share.len());
    for (to, few) in &by_size {
        for (from, many) in by_size.iter().rev().filter(|(_, many)| many.len() > few.len() + 1) {
            if let Some(partition) = many.iter().rev().find(|partition| reads(to, partition)) {
                return Some(((*from).clone(), (*to).clone(), partition.clone()));
            }
        }
    }
    None
}

impl Places {
    fn owned(&self, name: &Arc<str>) -> Vec<TopicPartition> {
        self.owners.iter().filter(|(_, owner)| *owner == name).map(|(partition, _)| partition.clone()).collect()
    }

    /// What this member must know next: losses, then what to give up, then what is new.
    fn event(&mut self, name: &Arc<str>, member: &mut Member) -> Option<Event> {
        if member.out {
            let lost = std::mem::take(&mut member.lost);
            return (!lost.is_empty()).then_some(Event::Lost(lost));
        }
        let mut revoked = self.owned(name);
        revoked.retain(|partition| self.wanted.get(partition) != Some(name) && member.told.insert(partition.clone()));
        if !revoked.is_empty() {
            return Some(Event::Revoked(revoked));
        }
        let free = |partition: &&TopicPartition| !self.owners.contains_key(*partition);
        let mine = self.wanted.iter().filter(|(_, wanted)| *wanted == name).map(|(partition, _)| partition);
        let assigned: Vec<_> = mine.filter(free).cloned().collect();
        self.owners.extend(assigned.iter().map(|partition| (partition.clone(), name.clone())));
        (!assigned.is_empty()).then_some(Event::Assigned(assigned))
    }
}

/// The error of a stream or transaction whose name somebody else uses now.
pub(crate) fn fenced(name: &str) -> LogError {
    let message =
        format!("`{name}` was opened again elsewhere; this one must stop, its open transaction is thrown away");
    LogError::new(LogErrorKind::Fenced, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn partitions(count: i32) -> BTreeSet<TopicPartition> {
        (0..count).map(|partition| TopicPartition::new("t", partition)).collect()
    }

    fn join(groups: &mut Groups, member: &str, count: i32, timeout: Duration) -> Seat {
        groups.join(&"g".into(), &member.into(), partitions(count), timeout)
    }

    fn assigned(groups: &mut Groups, seat: &Seat) -> Vec<TopicPartition> {
        match groups.poll(seat).unwrap().0 {
            Some(Event::Assigned(partitions)) => partitions,
            None => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_partition_moves_only_after_its_release() {
        let mut groups = Groups::default();
        let a = join(&mut groups, "a", 4, SECOND);
        assert_eq!(assigned(&mut groups, &a).len(), 4);
        let b = join(&mut groups, "b", 4, SECOND);
        assert_eq!(groups.poll(&b).unwrap().0, None);
        let Some(Event::Revoked(moving)) = groups.poll(&a).unwrap().0 else { panic!("nothing revoked") };
        assert_eq!(moving.len(), 2);
        assert_eq!(groups.poll(&b).unwrap().0, None);
        assert!(groups.may_commit(&a, moving.iter()).is_ok());
        groups.release(&a, &moving).unwrap();
        assert_eq!(groups.may_commit(&a, moving.iter()).unwrap_err().kind, LogErrorKind::Rebalanced);
        assert_eq!(assigned(&mut groups, &b), moving);
        assert_eq!(groups.poll(&a).unwrap().0, None);
    }

    #[test]
    fn who_leaves_hands_over_at_once() {
        let mut groups = Groups::default();
        let a = join(&mut groups, "a", 3, SECOND);
        let b = join(&mut groups, "b", 3, SECOND);
        assert_eq!(assigned(&mut groups, &a).len() + assigned(&mut groups, &b).len(), 3);
        groups.leave(&a);
        groups.leave(&a);
        assert!(!assigned(&mut groups, &b).is_empty());
        assert!(groups.may_commit(&b, partitions(3).iter()).is_ok());
        groups.leave(&b);
        assert_eq!(groups.names().count(), 0);
    }

    #[test]
    fn the_same_name_takes_over_and_fences() {
        let mut groups = Groups::default();
        let old = join(&mut groups, "a", 2, SECOND);
        assert_eq!(assigned(&mut groups, &old).len(), 2);
        let new = join(&mut groups, "a", 2, SECOND);
        assert_eq!(groups.poll(&old).unwrap_err().kind, LogErrorKind::Fenced);
        groups.leave(&old);
        assert_eq!(assigned(&mut groups, &new).len(), 2);
    }

    #[test]
    fn the_silent_are_expelled_and_come_back() {
        let mut groups = Groups::default();
        let a = join(&mut groups, "a", 2, Duration::ZERO);
        groups.enter(&a).unwrap();
        assert_eq!(assigned(&mut groups, &a).len(), 2);
        let b = join(&mut groups, "b", 2, SECOND);
        assert_eq!(groups.poll(&b).unwrap(), (None, false));
        groups.exit(&a);
        let (event, expelled) = groups.poll(&b).unwrap();
        assert!(expelled, "a is silent for longer than no time");
        assert_eq!(event, Some(Event::Assigned(partitions(2).into_iter().collect())));
        groups.enter(&a).unwrap();
        let refused = groups.may_commit(&a, partitions(1).iter()).unwrap_err();
        assert_eq!(refused.kind, LogErrorKind::Rebalanced);
        let Some(Event::Lost(lost)) = groups.poll(&a).unwrap().0 else { panic!("nothing lost") };
        assert_eq!(lost.len(), 2);
        groups.release(&a, &lost).unwrap();
        assert!(matches!(groups.poll(&b).unwrap().0, Some(Event::Revoked(_))));
    }

    #[test]
    fn shares_differ_by_one_at_most_and_few_move() {
        let mut groups = Groups::default();
        let seats: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| join(&mut groups, name, 12, SECOND)).into();
        let shares: Vec<_> = seats.iter().map(|seat| assigned(&mut groups, seat).len()).collect();
        assert_eq!(shares.iter().sum::<usize>(), 12);
        assert!(shares.iter().all(|share| (2..=3).contains(share)), "{shares:?}");
        groups.leave(&seats[4]);
        let more: usize = seats[..4].iter().map(|seat| assigned(&mut groups, seat).len()).sum();
        assert_eq!(more, shares[4], "only what the leaver had moves");
    }
}
