//! From rows to what is found: a parent or a document, by its best row.
//!
//! Exact scores are computed in the order of what the rows can reach at best, and no further than until nothing that is
//! left can be among the first: each one reads a vector from somewhere in memory, and most are seen to be too far away by
//! their codes.

use std::sync::{Arc, OnceLock};

use super::Unit;
use super::best::Candidate;
use super::dense::{self, Hopeful, Questions};
use super::fuse::{Group, List};
use super::part::Part;
use crate::IndexError;
use crate::segment::blocks::Room;
use crate::segment::{Children, Documents, Parents};
use crate::snapshot::Snapshot;

/// Exact scores that are computed before it is asked whether more are needed.
const AT_LEAST: usize = 8;

/// The tables that tell whose a row is.
pub(super) struct Family {
    pub(super) children: Arc<Children>,
    pub(super) parents: Arc<Parents>,
    pub(super) documents: Arc<Documents>,
}

impl Family {
    /// Id of a parent's document.
    fn id(&self, parent: u32) -> &str {
        self.documents.id.value(self.parents.document.value(parent as usize) as usize)
    }
}

/// Whose the rows of a version are; the tables are looked up once for all questions of a search.
pub(super) struct Families<'a> {
    snapshot: &'a Snapshot,
    unit: Unit,
    held: Vec<OnceLock<Family>>,
}

impl<'a> Families<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, unit: Unit) -> Self {
        Self { snapshot, unit, held: snapshot.segments.iter().map(|_| OnceLock::new()).collect() }
    }

    /// The tables of a segment.
    pub(super) fn of(&self, segment: u32) -> Result<&Family, IndexError> {
        let number = segment as usize;
        if let Some(family) = self.held[number].get() {
            return Ok(family);
        }
        let (children, parents) = (self.snapshot.table(number)?, self.snapshot.table(number)?);
        let family = Family { children, parents, documents: self.snapshot.table(number)? };
        Ok(self.held[number].get_or_init(|| family))
    }

    /// The first `depth` groups of a question, equal scores in the order of the documents; and true where no row that is not
    /// among the hopeful ones can change them.
    pub(super) fn settle(
        &self,
        parts: &[Part],
        questions: &Questions,
        question: usize,
        hopeful: &Hopeful,
        depth: usize,
        room: &mut Room,
    ) -> Result<(bool, List), IndexError> {
        let mut list = List::default();
        let (mut rest, mut take) = (hopeful.rows.as_slice(), depth.max(AT_LEAST));
        while let Some(next) = rest.first()
            && !list.is_settled(depth, next.score)
        {
            let (some, others) = rest.split_at(take.min(rest.len()));
            let mut some = some.to_vec();
            dense::exact(parts, questions, question, &mut some, room)?;
            self.offer_children(&mut list, &some)?;
            // By so much more that rows which lie close together are not looked at again and again.
            let done = hopeful.rows.len() - others.len();
            (rest, take) = (others, (done / 4).max(AT_LEAST));
        }
        let settled = list.is_settled(depth, rest.first().map_or(hopeful.others, |next| next.score));
        Ok((settled, self.sorted(list, depth)?))
    }

    /// Adds rows to the groups that they are of.
    fn offer_children(&self, list: &mut List, children: &[Candidate]) -> Result<(), IndexError> {
        let mut parents = Vec::with_capacity(children.len());
        for child in children {
            parents.push(self.of(child.segment)?.children.parent.value(child.row as usize));
        }
        self.offer(list, children, &parents)
    }

    /// Adds rows of these parents. What tells whose each is lies somewhere in memory: it is looked up for all of them before
    /// anything is done with it, so that memory is waited for once.
    fn offer(&self, list: &mut List, rows: &[Candidate], parents: &[u32]) -> Result<(), IndexError> {
        let mut groups = Vec::with_capacity(rows.len());
        for (row, &parent) in rows.iter().zip(parents) {
            let found = match self.unit {
                Unit::Parent => parent,
                Unit::Document => self.of(row.segment)?.parents.document.value(parent as usize),
            };
            groups.push(Group { segment: row.segment, row: found });
        }
        list.reserve(groups.len());
        groups.into_iter().zip(rows).zip(parents).for_each(|((group, &row), &parent)| list.offer(group, row, parent));
        Ok(())
    }

    /// The groups of parents.
    pub(super) fn of_parents(&self, found: &[Candidate]) -> Result<List, IndexError> {
        let mut list = List::default();
        let parents: Vec<u32> = found.iter().map(|parent| parent.row).collect();
        self.offer(&mut list, found, &parents)?;
        Ok(list)
    }

    /// The first `depth` groups, equal scores in the order of the documents.
    pub(super) fn sorted(&self, mut list: List, depth: usize) -> Result<List, IndexError> {
        list.segments().try_for_each(|segment| self.of(segment).map(drop))?;
        list.sort(|segment, parent| self.id(segment, parent));
        list.truncate(depth);
        Ok(list)
    }

    /// Id of a parent's document, if the segment's tables were looked up.
    pub(super) fn id(&self, segment: u32, parent: u32) -> Option<&str> {
        self.held[segment as usize].get().map(|family| family.id(parent))
    }
}
