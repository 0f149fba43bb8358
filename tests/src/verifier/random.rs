//! A seeded source of random choices, so that a failure can be repeated.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64: one word of state, enough for choosing moments and victims.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// From the seed in LUNAPARK_TEST_SEED, else from the clock; the seed is printed.
    pub fn from_environment(test: &str) -> Self {
        let given = std::env::var("LUNAPARK_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let seed = given.unwrap_or_else(clock);
        println!("{test}: LUNAPARK_TEST_SEED={seed}");
        Self::seeded(seed)
    }

    /// From this seed.
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// A time between these two.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros() as u64;
        least + Duration::from_micros(self.bits() % (span + 1))
    }
}
