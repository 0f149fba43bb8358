//! The learning rate of each step.

use crate::kernel::AdamW;

/// A linear warm-up, then half a cosine down to zero at the last step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub rate: f64,
    pub decay: f64,
    pub warm_up: u64,
    pub steps: u64,
}

impl Schedule {
    /// The rate of a step, the first being 0.
    pub(crate) fn rate_at(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let rest = self.steps.saturating_sub(self.warm_up).max(1) as f64;
        let done = ((step - self.warm_up) as f64 / rest).min(1.0);
        self.rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }

    /// What the optimizer does in a step.
    pub(crate) fn rule(&self, step: u64) -> AdamW {
        AdamW::new(self.rate_at(step), self.decay, step + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_zero() {
        let schedule = Schedule { rate: 0.1, decay: 0.0, warm_up: 10, steps: 110 };
        assert!((schedule.rate_at(0) - 0.01).abs() < 1e-12);
        assert!((schedule.rate_at(9) - 0.1).abs() < 1e-12 && (schedule.rate_at(10) - 0.1).abs() < 1e-12);
        assert!((schedule.rate_at(60) - 0.05).abs() < 1e-12);
        assert!(schedule.rate_at(110) < 1e-12);
    }
}
