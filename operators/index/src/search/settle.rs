//! From rows to what is found: a parent or a document, by its best row.
//!
//! Exact scores are computed in the order of what the rows can reach at best, and no further than until nothing that is
//! left can be among the first: each one reads a vector from somewhere in memory, and most are seen to be too far away by
//! their codes.

use std::sync::Arc;

use super::Unit;
use super::best::Candidate;
use super::dense::{self, Hopeful, Questions};
use super::fuse::{Found, Group, List};
use super::part::Part;
use crate::IndexError;
use crate::segment::{Children, Documents, Parents};
use crate::snapshot::Snapshot;

/// Exact scores that are computed before it is asked whether more are needed.
const AT_LEAST: usize = 8;

impl Snapshot {
    /// The first `depth` groups of a question, equal scores in the order of the documents; and true where no row that is not
    /// among the hopeful ones can change them.
    pub(super) fn settle(
        &self,
        unit: Unit,
        parts: &[Part],
        questions: &Questions,
        question: usize,
        hopeful: &Hopeful,
        depth: usize,
    ) -> Result<(bool, List), IndexError> {
        let (mut families, mut list) = (Families::new(self, unit), List::default());
        let (mut rest, mut take) = (hopeful.rows.as_slice(), depth.max(AT_LEAST));
        while let Some(next) = rest.first()
            && !list.is_settled(depth, next.score)
        {
            let (some, others) = rest.split_at(take.min(rest.len()));
            let mut some = some.to_vec();
            dense::exact(parts, questions, question, &mut some)?;
            some.into_iter().try_for_each(|child| families.offer_child(&mut list, child))?;
            // By so much more that rows which lie close together are not looked at again and again.
            let done = hopeful.rows.len() - others.len();
            (rest, take) = (others, (done / 4).max(AT_LEAST));
        }
        let settled = list.is_settled(depth, rest.first().map_or(hopeful.others, |next| next.score));
        Ok((settled, families.sorted(list, depth)?))
    }
}

/// The tables that tell whose a row is.
pub(super) struct Family {
    pub(super) children: Arc<Children>,
    pub(super) parents: Arc<Parents>,
    pub(super) documents: Arc<Documents>,
}

/// Whose the rows of a version are.
pub(super) struct Families<'a> {
    snapshot: &'a Snapshot,
    unit: Unit,
    held: Vec<Option<Family>>,
}

impl<'a> Families<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, unit: Unit) -> Self {
        Self { snapshot, unit, held: snapshot.segments.iter().map(|_| None).collect() }
    }

    /// The tables of a segment, looked up once.
    pub(super) fn of(&mut self, segment: u32) -> Result<&Family, IndexError> {
        let number = segment as usize;
        match &mut self.held[number] {
            Some(family) => Ok(family),
            empty => {
                let snapshot = self.snapshot;
                let (children, parents) = (snapshot.table(number)?, snapshot.table(number)?);
                Ok(empty.insert(Family { children, parents, documents: snapshot.table(number)? }))
            }
        }
    }

    fn offer_child(&mut self, list: &mut List, child: Candidate) -> Result<(), IndexError> {
        let parent = self.of(child.segment)?.children.parent.value(child.row as usize);
        self.offer(list, child, parent)
    }

    fn offer(&mut self, list: &mut List, candidate: Candidate, parent: u32) -> Result<(), IndexError> {
        let row = match self.unit {
            Unit::Parent => parent,
            Unit::Document => self.of(candidate.segment)?.parents.document.value(parent as usize),
        };
        list.offer(Group { segment: candidate.segment, row }, candidate, parent);
        Ok(())
    }

    /// The groups of parents.
    pub(super) fn of_parents(&mut self, found: &[Candidate]) -> Result<List, IndexError> {
        let mut list = List::default();
        found.iter().try_for_each(|&parent| self.offer(&mut list, parent, parent.row))?;
        Ok(list)
    }

    /// The first `depth` groups, equal scores in the order of the documents.
    pub(super) fn sorted(&mut self, mut list: List, depth: usize) -> Result<List, IndexError> {
        list.name(|found| self.id(found))?;
        list.sort();
        list.truncate(depth);
        Ok(list)
    }

    /// Id of a group's document.
    fn id(&mut self, found: &Found) -> Result<String, IndexError> {
        let family = self.of(found.candidate.segment)?;
        Ok(family.documents.id.value(family.parents.document.value(found.parent as usize) as usize).to_owned())
    }
}
