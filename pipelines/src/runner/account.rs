//! The account of the open transaction: per input partition, what was read and how it ended.

use std::collections::BTreeMap;

use lunapark_schemas::ledger::{Counts, LedgerRange, position_hash, push_offset};
use lunapark_schemas::{ErrorClass, Message, Position, SkipReason, TopicPartition};

/// Rows of one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowCounts {
    /// Rows with a result.
    pub results: u64,
    /// Rows without.
    pub dead: u64,
}

/// How one message ended.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// With a result.
    Result(RowCounts),
    /// Left out on purpose.
    Filtered(SkipReason),
    /// As a dead letter.
    Dead,
}

/// Everything that the open transaction has done, ready to be written to the ledger.
#[derive(Debug, Default)]
pub struct Account {
    partitions: Vec<PartitionAccount>,
    last_used: usize,
    messages: u64,
    bytes: usize,
    dead_letters: BTreeMap<ErrorClass, u64>,
}

/// Why an ending cannot be taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The message's partition is not ours.
    NotAssigned,
    /// The message has ended before: the log gave it twice.
    Again {
        /// The offset that was due.
        next: i64,
    },
}

#[derive(Debug)]
struct PartitionAccount {
    at: TopicPartition,
    /// The committed offset: where the open range starts.
    first: i64,
    /// Where it ends so far.
    next: i64,
    messages: Counts,
    rows: Counts,
    filtered: Vec<(i64, i64)>,
    reasons: BTreeMap<SkipReason, u64>,
    checksum: u64,
    models: Vec<usize>,
}

impl PartitionAccount {
    fn new(start: &Position) -> Self {
        Self {
            at: start.topic_partition(),
            first: start.offset,
            next: start.offset,
            messages: Counts::default(),
            rows: Counts::default(),
            filtered: Vec::new(),
            reasons: BTreeMap::new(),
            checksum: 0,
            models: Vec::new(),
        }
    }

    fn moved(&self) -> bool {
        self.next > self.first
    }

    fn record(&mut self, offset: i64, ending: Ending) {
        self.next = offset + 1;
        self.messages.input += 1;
        self.checksum = self.checksum.wrapping_add(position_hash(self.at.partition, offset));
        match ending {
            Ending::Dead => self.messages.dead += 1,
            Ending::Filtered(reason) => {
                self.messages.filtered += 1;
                push_offset(&mut self.filtered, offset);
                *self.reasons.entry(reason).or_default() += 1;
            }
            Ending::Result(rows) => {
                self.messages.results += 1;
                self.messages.partial += u64::from(rows.dead > 0);
                self.rows.input += rows.results + rows.dead;
                self.rows.results += rows.results;
                self.rows.dead += rows.dead;
            }
        }
    }

    fn range<'m>(&self, pipeline: &str, instance: &str, tag: impl Fn(usize) -> Option<&'m str>) -> LedgerRange {
        let mut models: Vec<String> = self.models.iter().filter_map(|m| tag(*m)).map(str::to_owned).collect();
        models.sort();
        LedgerRange {
            pipeline: pipeline.to_owned(),
            instance: instance.to_owned(),
            topic: self.at.topic.to_string(),
            partition: self.at.partition,
            first: self.first,
            next: self.next,
            messages: self.messages,
            rows: self.rows,
            filtered: self.filtered.clone(),
            reasons: self.reasons.iter().map(|(reason, n)| (reason.as_str().to_owned(), *n)).collect(),
            models,
            checksum: format!("{:016x}", self.checksum),
            started: false,
        }
    }
}

/// The ledger's record of where the account of a partition begins.
pub(super) fn start(pipeline: &str, instance: &str, at: &Position) -> LedgerRange {
    LedgerRange { started: true, ..PartitionAccount::new(at).range(pipeline, instance, |_| None) }
}

impl Account {
    /// Partitions that are ours from now on, at their committed offsets.
    pub fn assign(&mut self, starts: &[Position]) {
        if starts.is_empty() {
            return;
        }
        self.forget(&starts.iter().map(Position::topic_partition).collect::<Vec<_>>());
        self.partitions.extend(starts.iter().map(PartitionAccount::new));
    }

    /// Partitions that are not ours any more. Their open ranges must have been committed or aborted.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.partitions.retain(|p| !partitions.contains(&p.at));
        self.last_used = 0;
    }

    /// Partitions held.
    pub fn assigned(&self) -> usize {
        self.partitions.len()
    }

    /// Numbers of the partitions held.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.iter().map(|p| p.at.partition)
    }

    /// Messages of the open transaction.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes read and written by the open transaction.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Ranges of filtered offsets of the open transaction.
    pub fn filtered_ranges(&self) -> usize {
        self.partitions.iter().map(|p| p.filtered.len()).sum()
    }

    /// Dead letters of the open transaction by reason, those of single rows included.
    pub fn dead_letters(&self) -> &BTreeMap<ErrorClass, u64> {
        &self.dead_letters
    }

    /// Takes a dead letter down.
    pub fn rejected(&mut self, class: ErrorClass) {
        *self.dead_letters.entry(class).or_default() += 1;
    }

    /// Adds to the size of the open transaction.
    pub fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Takes a message's ending down.
    pub fn record(&mut self, message: &Message<'_>, ending: Ending, model: Option<usize>) -> Result<(), Unfit> {
        let partition = self.find(message).ok_or(Unfit::NotAssigned)?;
        if message.offset < partition.next {
            return Err(Unfit::Again { next: partition.next });
        }
        partition.record(message.offset, ending);
        if let Some(model) = model.filter(|m| !partition.models.contains(m)) {
            partition.models.push(model);
        }
        self.messages += 1;
        Ok(())
    }

    /// Consecutive messages mostly share a partition: look at the last one first.
    fn find(&mut self, message: &Message<'_>) -> Option<&mut PartitionAccount> {
        let fits = |p: &PartitionAccount| p.at.partition == message.partition && p.at.topic == *message.topic;
        if !self.partitions.get(self.last_used).is_some_and(fits) {
            self.last_used = self.partitions.iter().position(fits)?;
        }
        self.partitions.get_mut(self.last_used)
    }

    /// One ledger entry for each partition that moved, or for all of them.
    pub fn ranges<'m>(
        &self,
        pipeline: &str,
        instance: &str,
        all: bool,
        tag: impl Fn(usize) -> Option<&'m str>,
    ) -> Vec<LedgerRange> {
        self.partitions.iter().filter(|p| all || p.moved()).map(|p| p.range(pipeline, instance, &tag)).collect()
    }

    /// The next offset of each partition that moved: what is committed.
    pub fn next(&self) -> Vec<Position> {
        self.moved().map(|p| p.at.at(p.next)).collect()
    }

    /// The first offset of each partition that moved.
    pub fn begun(&self) -> Vec<Position> {
        self.moved().map(|p| p.at.at(p.first)).collect()
    }

    /// The next offset of every partition, moved or not.
    pub fn ends(&self) -> Vec<Position> {
        self.partitions.iter().map(|p| p.at.at(p.next)).collect()
    }

    /// The committed offset of each partition: where an abort goes back to. All of them, because what was polled
    /// before the abort need not have been recorded yet.
    pub fn firsts(&self) -> Vec<Position> {
        self.partitions.iter().map(|p| p.at.at(p.first)).collect()
    }

    fn moved(&self) -> impl Iterator<Item = &PartitionAccount> {
        self.partitions.iter().filter(|p| p.moved())
    }

    /// The transaction is committed: ranges start where they ended.
    pub fn committed(&mut self) {
        self.restart(|p| p.next);
    }

    /// The transaction is aborted: ranges start where they started.
    pub fn aborted(&mut self) {
        self.restart(|p| p.first);
    }

    fn restart(&mut self, from: impl Fn(&PartitionAccount) -> i64) {
        for partition in &mut self.partitions {
            *partition = PartitionAccount::new(&partition.at.at(from(partition)));
        }
        self.messages = 0;
        self.bytes = 0;
        self.dead_letters.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunapark_schemas::Messages;
    use lunapark_schemas::messages::At;

    fn messages(offsets: &[i64]) -> Messages {
        let mut messages = Messages::new();
        for &offset in offsets {
            messages.push(At { topic: "t", partition: 1, offset, timestamp: 0 }, None, None, std::iter::empty());
        }
        messages
    }

    fn account() -> Account {
        let mut account = Account::default();
        account.assign(&[TopicPartition::new("t", 1).at(5)]);
        account
    }

    #[test]
    fn ranges_chain_over_holes_in_the_offsets() {
        let mut account = account();
        let batch = messages(&[6, 9]);
        let ends = [Ending::Result(RowCounts { results: 2, dead: 1 }), Ending::Filtered(SkipReason::Expired)];
        batch.iter().zip(ends).for_each(|(m, e)| account.record(&m, e, Some(0)).unwrap());
        let range = account.ranges("score", "a-0", false, |_| Some("m/1#00")).remove(0);
        assert_eq!((range.first, range.next), (5, 10));
        assert_eq!(range.messages, Counts { input: 2, results: 1, filtered: 1, dead: 0, partial: 1 });
        assert_eq!(range.rows, Counts { input: 3, results: 2, dead: 1, ..Default::default() });
        assert_eq!(range.filtered, [(9, 9)]);
        account.committed();
        assert!(account.ranges("score", "a-0", false, |_| None).is_empty());
        let batch = messages(&[10]);
        account.record(&batch.get(0), Ending::Dead, None).unwrap();
        assert_eq!(account.ranges("score", "a-0", false, |_| None)[0].first, 10);
    }

    #[test]
    fn an_abort_goes_back_to_the_committed_offset() {
        let mut account = account();
        account.record(&messages(&[7]).get(0), Ending::Dead, None).unwrap();
        assert_eq!(account.firsts()[0].offset, 5);
        account.aborted();
        assert_eq!(account.messages(), 0);
        assert!(account.next().is_empty());
    }

    #[test]
    fn a_message_that_comes_twice_is_not_taken_down_twice() {
        let mut account = account();
        let batch = messages(&[7, 8]);
        batch.iter().for_each(|message| account.record(&message, Ending::Dead, None).unwrap());
        assert_eq!(account.record(&batch.get(1), Ending::Dead, None), Err(Unfit::Again { next: 9 }));
        assert_eq!((account.messages(), account.next()[0].offset), (2, 9));
    }

    #[test]
    fn an_abort_goes_back_in_partitions_whose_messages_were_polled_but_not_recorded() {
        let account = account();
        assert_eq!(account.firsts(), [TopicPartition::new("t", 1).at(5)]);
    }

    /// Otherwise an audit would wait for the account of a committed offset.
    #[test]
    fn where_all_offsets_are_committed_all_have_an_account() {
        let account = account();
        assert!(account.ranges("score", "a-0", false, |_| None).is_empty());
        let ranges = account.ranges("score", "a-0", true, |_| None);
        assert_eq!((ranges.len(), ranges[0].first, ranges[0].next, ranges[0].messages.input), (1, 5, 5, 0));
    }

    #[test]
    fn a_message_of_a_partition_that_is_not_ours_is_not_taken_down() {
        let mut account = account();
        account.forget(&[TopicPartition::new("t", 1)]);
        assert_eq!(account.record(&messages(&[7]).get(0), Ending::Dead, None), Err(Unfit::NotAssigned));
    }
}
