//! The cuts of one partition as its owner holds them: with the models that they name.

use lunapark_schemas::cuts::{CutRecord, Role};
use lunapark_score::{Cut, Cuts, Kept, ShadowCut, Taker};

/// A cut, and what keeps its models loaded.
#[derive(Clone)]
pub(super) struct HeldCut {
    pub(super) cut: CutRecord,
    /// None for a cut of the configuration, whose model the set keeps, and for the end of a shadow.
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
        let share = self.cut.canary.as_ref().map(|canary| canary.share);
        let canary = self.canary.as_ref().zip(share).map(|(kept, share)| Taker { model: kept.index, share });
        Some(Cut { from: self.cut.next_offset, model, canary })
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
        Cuts { shadow, ..Cuts::live(self.live.iter().filter_map(HeldCut::live).collect()) }
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
