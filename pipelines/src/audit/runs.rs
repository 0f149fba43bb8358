//! Which record answers which message, kept compactly: answers follow their sources step by step, so a million pairs
//! are a few hundred runs.

/// Pairs of source offset and own offset, as runs in which both grow by one.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    source: i64,
    own: i64,
    len: i64,
}

impl Runs {
    /// Adds a pair.
    pub fn push(&mut self, source: i64, own: i64) {
        match self.runs.last_mut() {
            Some(run) if run.source + run.len == source && run.own + run.len == own => run.len += 1,
            _ => self.runs.push(Run { source, own, len: 1 }),
        }
    }

    /// The own offset of the first pair with this source. Slow: only faults ask.
    pub fn find(&self, source: i64) -> Option<i64> {
        let holds = |run: &&Run| (run.source..run.source + run.len).contains(&source);
        self.runs.iter().find(holds).map(|run| run.own + (source - run.source))
    }

    /// The source of the first pair.
    pub fn first_source(&self) -> Option<i64> {
        self.runs.first().map(|run| run.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back_and_steps_are_merged() {
        let mut runs = Runs::default();
        [(5, 10), (6, 11), (7, 12), (9, 13), (10, 15)].into_iter().for_each(|(source, own)| runs.push(source, own));
        assert_eq!(runs.runs.len(), 3);
        assert_eq!(
            [5, 7, 9, 10, 8, 11].map(|source| runs.find(source)),
            [Some(10), Some(12), Some(13), Some(15), None, None]
        );
        assert_eq!(runs.first_source(), Some(5));
    }
}
