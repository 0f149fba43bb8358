//! The cuts of one partition as its owner holds them: with the models that they name.

use std::collections::BTreeSet;

use lunapark_operator::VersionName;
use lunapark_schemas::Share;
use lunapark_schemas::cuts::{CutRecord, Role};
use lunapark_score::{Cut, Cuts, Kept, Named, ShadowCut, Taker, Version};

/// A cut, and what keeps its models loaded.
#[derive(Clone)]
pub(super) struct HeldCut {
    pub(super) cut: CutRecord,
    /// None for a cut of the configuration, whose model the set keeps, for the end of a shadow, and where only events
    /// that name it could want it and none has come.
    pub(super) model: Option<Kept>,
    pub(super) canary: Option<Kept>,
}

/// The effective cuts of one partition, ascending.
#[derive(Clone, Default)]
pub(super) struct Held {
    pub(super) live: Vec<HeldCut>,
    pub(super) shadow: Vec<HeldCut>,
}

impl HeldCut {
    /// A cut without a model of its own.
    pub(super) fn bare(cut: CutRecord) -> Self {
        Self { cut, model: None, canary: None }
    }

    fn live(&self) -> Option<Cut> {
        let model = self.model.as_ref()?.index;
        let canary = match &self.cut.canary {
            Some(canary) => Some(Taker { model: self.canary.as_ref()?.index, share: canary.share }),
            None => None,
        };
        Some(Cut { from: self.cut.next_offset, model, canary })
    }

    /// Name, version and share of what a promotion has named here, and what is loaded of it.
    fn named(&self) -> impl Iterator<Item = (&str, &str, Option<Share>, Option<&Kept>)> {
        let Self { cut, model, canary } = self;
        let base = (cut.model.as_str(), cut.version.as_str(), None, model.as_ref());
        let tried = cut.canary.as_ref();
        let tried = tried.map(|c| (c.model.as_str(), c.version.as_str(), Some(c.share), canary.as_ref()));
        [Some(base), tried].into_iter().flatten().filter(|_| cut.promotion > 0)
    }

    fn shadow(&self) -> ShadowCut {
        let taker = self.model.as_ref().zip(self.cut.share).map(|(kept, share)| Taker { model: kept.index, share });
        ShadowCut { from: self.cut.next_offset, taker }
    }
}

impl Held {
    /// What the codec looks at. Cuts of the configuration are left out: where no other governs, the default scores.
    pub(super) fn table(&self) -> Cuts {
        let shadow = self.shadow.iter().map(HeldCut::shadow).collect();
        let live = self.live.iter().filter_map(HeldCut::live).collect();
        let named = self.live.iter().flat_map(|held| {
            let from = held.cut.next_offset;
            held.named().map(move |(name, version, share, kept)| {
                let loaded = kept.map(|kept| kept.index).or_else(|| self.loaded(name, version));
                let away = || VersionName { name: name.to_owned(), version: version.to_owned() };
                Named { from, share, version: loaded.map_or_else(|| Version::Away(away()), Version::Loaded) }
            })
        });
        Cuts { named: named.collect(), live, shadow, ..Cuts::default() }
    }

    /// Where any of the cuts has this version loaded.
    fn loaded(&self, name: &str, version: &str) -> Option<usize> {
        let mut all = self.live.iter().flat_map(HeldCut::named);
        all.find_map(|(n, v, _, kept)| kept.filter(|_| (n, v) == (name, version)).map(|kept| kept.index))
    }

    /// The versions that are loaded.
    pub(super) fn versions(&self) -> BTreeSet<VersionName> {
        let loaded = self.live.iter().flat_map(HeldCut::named).filter(|(.., kept)| kept.is_some());
        loaded.map(|(n, v, ..)| VersionName { name: n.to_owned(), version: v.to_owned() }).collect()
    }

    /// The cut that says whose scores are the results at this offset.
    pub(super) fn governing(&self, offset: i64) -> Option<&HeldCut> {
        self.live[..self.live.partition_point(|held| held.cut.next_offset <= offset)].last()
    }

    /// The shadow that scores at the end of what is known.
    pub(super) fn shadowed(&self) -> Option<&HeldCut> {
        self.shadow.last().filter(|held| held.cut.share.is_some())
    }

    /// Cuts of one role.
    pub(super) fn of(&self, role: Role) -> &[HeldCut] {
        match role {
            Role::Live => &self.live,
            Role::Shadow => &self.shadow,
        }
    }

    /// Adds the cut that was made last: it undoes what was planned behind it.
    pub(super) fn add(&mut self, made: HeldCut) {
        let cuts = match made.cut.role {
            Role::Live => &mut self.live,
            Role::Shadow => &mut self.shadow,
        };
        match made.cut.promotion {
            // A cut of the configuration undoes nothing.
            0 => cuts.insert(cuts.partition_point(|held| held.cut.next_offset <= made.cut.next_offset), made),
            _ => {
                cuts.retain(|held| held.cut.next_offset < made.cut.next_offset);
                cuts.push(made);
            }
        }
    }
}
