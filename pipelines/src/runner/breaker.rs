//! The reject breaker: a bad deploy must stall, not empty its topic into the dead letters.

use std::collections::VecDeque;

/// Stops a pipeline when too large a share of its last messages was rejected.
#[derive(Debug)]
pub struct Breaker {
    share: f64,
    window: usize,
    accept_until: Option<i64>,
    last: VecDeque<bool>,
    rejected: usize,
}

impl Breaker {
    /// Trips when more than `share` of the last `window` messages were rejected. Messages below the offset
    /// `accept_until` do not count, and of those that nobody could read it is not told: any producer could stop the
    /// pipeline with them.
    pub fn new(share: f64, window: usize, accept_until: Option<i64>) -> Self {
        Self { share, window, accept_until, last: VecDeque::with_capacity(window), rejected: 0 }
    }

    /// Forgets all: what was counted is read again.
    pub fn reset(&mut self) {
        self.last.clear();
        self.rejected = 0;
    }

    /// Takes one message's fate; true where the pipeline must stop.
    pub fn record(&mut self, offset: i64, rejected: bool) -> bool {
        if self.window == 0 || self.accept_until.is_some_and(|until| offset < until) {
            return false;
        }
        if self.last.len() == self.window {
            self.rejected -= usize::from(self.last.pop_front().unwrap_or(false));
        }
        self.last.push_back(rejected);
        self.rejected += usize::from(rejected);
        rejected && self.last.len() == self.window && self.rejected as f64 > self.share * self.window as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trips_above_the_share_of_a_full_window_only() {
        let mut breaker = Breaker::new(0.5, 10, None);
        assert!((0..9).all(|offset| !breaker.record(offset, true)));
        assert!(breaker.record(9, true));
        let mut breaker = Breaker::new(0.5, 10, None);
        assert!((0..1000).all(|offset| !breaker.record(offset, offset % 2 == 0)));
    }

    #[test]
    fn accepted_rejects_do_not_count() {
        let mut breaker = Breaker::new(0.5, 10, Some(100));
        assert!((0..109).all(|offset| !breaker.record(offset, true)));
        assert!(breaker.record(109, true));
    }
}
