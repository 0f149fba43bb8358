//! What a try of a request leaves to the next one, beside the checkpoint.

use lunapark_schemas::training::TopicRange;
use lunapark_train::Refusal;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::shelf::{Folder, Shelf};

/// Name under which it is saved.
const CLAIM: &str = "claim";

/// The tries of a request so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// A worker is at it, or ended without a word.
    #[serde(default)]
    pub(super) open: bool,
    /// Workers that ended without a word since a checkpoint last got further.
    #[serde(default)]
    pub(super) crashes: u32,
    /// How often a checkpoint was gone on from.
    #[serde(default)]
    pub(super) resumed: u32,
    /// Which task a worker took first, and when, in milliseconds since 1970: the rungs of a trial share a claim.
    #[serde(default)]
    begun: Option<(String, i64)>,
    /// What an open `topic://` path means.
    #[serde(default)]
    range: Option<(String, TopicRange)>,
}

impl Claim {
    /// What the tries before left.
    pub(super) fn load(shelf: &Shelf, folder: &Folder) -> Result<Self, Fault> {
        let saved = shelf.saved(folder, CLAIM)?;
        Ok(saved.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default())
    }

    /// Takes the request up: one that nobody put down has ended a worker.
    pub(super) fn take_up(&mut self) {
        self.crashes = self.crashes.saturating_add(u32::from(self.open));
        self.open = true;
    }

    /// When a worker took this task first: now, unless a try before took it.
    pub(super) fn begun(&mut self, task_id: &str, now: i64) -> i64 {
        match &self.begun {
            Some((of, at)) if of == task_id => *at,
            _ => {
                self.begun = Some((task_id.to_owned(), now));
                now
            }
        }
    }

    /// Refuses a request that has ended too many workers.
    pub(super) fn check(&self, most: u32) -> Result<(), Refusal> {
        if self.crashes >= most { Err(too_often(self.crashes)) } else { Ok(()) }
    }

    pub(super) fn save(&self, shelf: &Shelf, folder: &Folder) -> Result<(), Fault> {
        // Numbers and text can always be written; an empty claim is as good as none.
        shelf.save(folder, CLAIM, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// The range that an earlier try decided on, where it was for this path.
    pub(super) fn range(&self, path: &str) -> Option<&TopicRange> {
        self.range.as_ref().filter(|(of, _)| of == path).map(|(_, range)| range)
    }

    pub(super) fn decide(&mut self, path: &str, range: &TopicRange) {
        self.range = Some((path.to_owned(), range.clone()));
    }
}

fn too_often(crashes: u32) -> Refusal {
    Refusal::training(format!(
        "{crashes} workers ended in the middle of this task without getting any further, as where memory runs out; make \
         the data set or the network smaller, or raise `train.max_crashes` of the worker and send it again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_begun_with_its_first_try() {
        let mut claim = Claim::default();
        assert_eq!(claim.begun("t/rung-0", 5), 5);
        let mut again: Claim = serde_json::from_slice(&serde_json::to_vec(&claim).unwrap()).unwrap();
        assert_eq!((again.begun("t/rung-0", 9), again.begun("t/rung-1", 11)), (5, 11));
    }

    #[test]
    fn a_range_holds_for_its_own_path_alone() {
        let range: TopicRange = serde_json::from_str(r#"{"topic":"t","partitions":[[1,2]]}"#).unwrap();
        let mut claim = Claim::default();
        claim.decide("topic://t?from=1", &range);
        let again: Claim = serde_json::from_slice(&serde_json::to_vec(&claim).unwrap()).unwrap();
        assert_eq!(again.range("topic://t?from=1"), Some(&range));
        assert_eq!(again.range("topic://t"), None);
    }
}
