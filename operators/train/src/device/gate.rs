//! Where threads wait for each other between the halves of a step.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Turns to spin before the processor is given away: some 10 µs, about what one thread is late by in a step.
const SPINS: u32 = 4_000;

/// A barrier that spins first: a step takes a few hundred microseconds, and waking a sleeper some ten.
#[derive(Debug)]
pub(super) struct Gate {
    threads: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    broken: AtomicBool,
}

impl Gate {
    pub(super) fn new(threads: usize) -> Self {
        let (arrived, generation, broken) = Default::default();
        Self { threads, arrived, generation, broken }
    }

    /// Waits for all threads. False where one of them is gone for good.
    pub(super) fn wait(&self) -> bool {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.fetch_add(1, Ordering::Release);
        }
        let mut turns = 0;
        while self.generation.load(Ordering::Acquire) == generation {
            if self.broken.load(Ordering::Relaxed) {
                return false;
            }
            turns += 1;
            if turns < SPINS { spin_loop() } else { std::thread::yield_now() }
        }
        true
    }

    /// Held by each thread: one that panics lets the others go.
    pub(super) fn keeper(&self) -> Keeper<'_> {
        Keeper(self)
    }
}

pub(super) struct Keeper<'a>(&'a Gate);

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}
