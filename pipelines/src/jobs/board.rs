//! The leaderboard of a search and what follows from it: of the ends of its trials alone, so that whoever looks decides the
//! same.

use lunapark_schemas::training::{SearchReport, TrialReport, TrialState};
use lunapark_train::Ladder;

use super::searches::Ends;

/// A search with what its trials came to.
pub(super) struct Board<'a> {
    ladder: &'a Ladder,
    ends: &'a Ends,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Trials of the rung are still under way.
    Wait,
    /// These trials go on.
    Rung { rung: u32, trials: Vec<u32> },
    /// The search has ended, with this trial as its best.
    Best(u32),
    /// It was cancelled.
    Cancelled,
    /// No trial of the rung could be trained; why the first could not.
    Failed(String),
    /// Of this rung, which is over, ends are missing: who was the better half is not known any more.
    Lost(u32),
}

impl<'a> Board<'a> {
    pub(super) fn new(ladder: &'a Ladder, ends: &'a Ends) -> Self {
        Self { ladder, ends }
    }

    /// What follows once all trials of the rung under way have ended.
    pub(super) fn next(&self) -> Next {
        let rung = self.rung();
        if let Some(lost) = (0..rung).find(|before| !self.over(*before)) {
            return Next::Lost(lost);
        }
        let trials = self.trials(rung);
        let ends: Vec<_> = trials.iter().filter_map(|trial| self.ends.get(&(rung, *trial))).collect();
        if ends.len() < trials.len() {
            return Next::Wait;
        }
        if ends.iter().any(|(_, end)| end.cancelled) {
            return Next::Cancelled;
        }
        let ranked = self.ranked(rung);
        match ranked.first() {
            None => Next::Failed(ends.iter().find_map(|(_, end)| end.error.clone()).unwrap_or_default()),
            Some(best) if rung + 1 == self.ladder.rungs() => Next::Best(*best),
            Some(_) => Next::Rung { rung: rung + 1, trials: self.trials(rung + 1) },
        }
    }

    /// The rung under way: the last one of which a trial has ended.
    fn rung(&self) -> u32 {
        let begun = |rung: &u32| self.ends.range((*rung, 0)..(*rung + 1, 0)).next().is_some();
        (0..self.ladder.rungs()).rev().find(begun).unwrap_or(0)
    }

    /// Whether each trial of a rung has ended.
    fn over(&self, rung: u32) -> bool {
        self.trials(rung).iter().all(|trial| self.ends.contains_key(&(rung, *trial)))
    }

    /// The trials of a rung: all at the first, then the better part of those before.
    fn trials(&self, rung: u32) -> Vec<u32> {
        let Some(before) = rung.checked_sub(1) else { return (0..self.ladder.trials(0)).collect() };
        let mut ranked = self.ranked(before);
        ranked.truncate(self.ladder.trials(rung) as usize);
        ranked
    }

    /// Those of a rung that could be trained, the best first; of two alike the first one.
    fn ranked(&self, rung: u32) -> Vec<u32> {
        let ends = self.ends.range((rung, 0)..(rung + 1, 0));
        let mut scored: Vec<_> = ends.filter_map(|((_, trial), (_, end))| Some((end.score?, *trial))).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        scored.into_iter().map(|(_, trial)| trial).collect()
    }

    /// The leaderboard: who came further is above, then who is better.
    pub(super) fn report(&self) -> SearchReport {
        let mut rows: Vec<_> = (0..self.ladder.trials(0)).map(|trial| self.row(trial)).collect();
        rows.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.trial.cmp(&b.2.trial)));
        SearchReport {
            metric: self.ladder.metric().to_owned(),
            rung: self.rung() + 1,
            rungs: self.ladder.rungs(),
            leaderboard: rows.into_iter().map(|(.., row)| row).collect(),
        }
    }

    fn row(&self, trial: u32) -> (u32, f64, TrialReport) {
        let row = TrialReport { trial, parameters: self.ladder.parameters(trial), ..Default::default() };
        let last = (0..self.ladder.rungs()).rev().find_map(|rung| Some((rung, self.ends.get(&(rung, trial))?)));
        let Some((rung, (at, end))) = last else { return (0, f64::NEG_INFINITY, row) };
        let state = self.state(rung, trial);
        let (metric, error) = (end.score.map(|score| self.ladder.shown(score)), end.error.clone());
        let row = TrialReport { state, epochs: at.epochs, metric, error, ..row };
        (rung + 1, end.score.unwrap_or(f64::NEG_INFINITY), row)
    }

    fn state(&self, rung: u32, trial: u32) -> TrialState {
        let Some((_, end)) = self.ends.get(&(rung, trial)) else { return TrialState::Open };
        let last = rung + 1 == self.ladder.rungs();
        match end {
            end if end.cancelled => TrialState::Cancelled,
            end if end.score.is_none() => TrialState::Failed,
            _ if last => TrialState::Finished,
            _ if self.over(rung) && !self.trials(rung + 1).contains(&trial) => TrialState::Stopped,
            _ => TrialState::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::training::{TrainingRequest, TrialEnd, TrialPlace};
    use serde_json::json;

    use super::*;

    fn ladder(trials: u32) -> Ladder {
        let request: TrainingRequest = serde_json::from_value(json!({
            "model": { "objective": "classification", "name": "m" },
            "model_train": { "epochs": 4 },
            "dataset": { "path": "t.csv" },
            "search": { "trials": trials, "metric": "auc", "ranges": { "model_train.seed": { "int": [1, 1000] } } }
        }))
        .unwrap();
        Ladder::of(&request).unwrap()
    }

    fn end(ends: &mut Ends, rung: u32, trial: u32, score: Option<f64>) {
        let error = score.is_none().then(|| format!("trial {trial} broke"));
        let place = TrialPlace { trial, rung, epochs: rung + 1, ..Default::default() };
        ends.insert((rung, trial), (place, TrialEnd { score, error, ..Default::default() }));
    }

    #[test]
    fn the_better_half_goes_on_until_one_is_left() {
        let (ladder, mut ends) = (ladder(4), Ends::new());
        let next = |ends: &Ends| Board::new(&ladder, ends).next();
        assert_eq!(next(&ends), Next::Wait);
        for (trial, score) in [(0, 0.5), (1, 0.7), (3, 0.7)] {
            end(&mut ends, 0, trial, Some(score));
            assert_eq!(next(&ends), Next::Wait);
        }
        end(&mut ends, 0, 2, None);
        assert_eq!(next(&ends), Next::Rung { rung: 1, trials: vec![1, 3] });
        end(&mut ends, 1, 1, Some(0.8));
        assert_eq!(next(&ends), Next::Wait);
        end(&mut ends, 1, 3, Some(0.9));
        assert_eq!(next(&ends), Next::Rung { rung: 2, trials: vec![3] });
        end(&mut ends, 2, 3, Some(0.95));
        assert_eq!(next(&ends), Next::Best(3));
        let report = Board::new(&ladder, &ends).report();
        let board: Vec<_> = report.leaderboard.iter().map(|row| (row.trial, row.state, row.metric)).collect();
        let expected = [
            (3, TrialState::Finished, Some(0.95)),
            (1, TrialState::Stopped, Some(0.8)),
            (0, TrialState::Stopped, Some(0.5)),
            (2, TrialState::Failed, None),
        ];
        assert_eq!(board, expected);
    }

    #[test]
    fn a_search_of_which_nothing_can_be_trained_fails_and_one_that_was_cancelled_is_cancelled() {
        let (ladder, mut ends) = (ladder(2), Ends::new());
        end(&mut ends, 0, 1, None);
        end(&mut ends, 0, 0, None);
        assert_eq!(Board::new(&ladder, &ends).next(), Next::Failed("trial 0 broke".into()));
        ends.get_mut(&(0, 1)).unwrap().1.cancelled = true;
        assert_eq!(Board::new(&ladder, &ends).next(), Next::Cancelled);
    }

    #[test]
    fn where_fewer_could_be_trained_than_the_rung_has_room_for_all_of_them_go_on() {
        let (ladder, mut ends) = (ladder(4), Ends::new());
        (0..3).for_each(|trial| end(&mut ends, 0, trial, None));
        end(&mut ends, 0, 3, Some(0.5));
        assert_eq!(Board::new(&ladder, &ends).next(), Next::Rung { rung: 1, trials: vec![3] });
        end(&mut ends, 1, 3, None);
        assert_eq!(Board::new(&ladder, &ends).next(), Next::Failed("trial 3 broke".into()));
    }

    #[test]
    fn where_ends_of_a_rung_before_are_missing_nothing_is_decided() {
        let (ladder, mut ends) = (ladder(4), Ends::new());
        end(&mut ends, 1, 1, Some(0.8));
        assert_eq!(Board::new(&ladder, &ends).next(), Next::Lost(0));
        (0..3).for_each(|trial| end(&mut ends, 0, trial, Some(0.5)));
        assert_eq!(Board::new(&ladder, &ends).next(), Next::Lost(0));
        end(&mut ends, 0, 3, Some(0.4));
        assert_eq!(Board::new(&ladder, &ends).next(), Next::Wait);
        end(&mut ends, 2, 1, Some(0.9));
        assert_eq!(Board::new(&ladder, &ends).next(), Next::Lost(1));
    }
}
