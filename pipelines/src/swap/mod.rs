//! Hot swap: which model scores from which offset on.
//!
//! ```text
//! promote ──▶ models (announced) ──▶ every instance loads it ──▶ control (ready)
//!         ──▶ models (on)        ──▶ each partition's owner, between two transactions ──▶ model.cuts
//! ```
//!
//! A cut is written inside the transaction that begins at its offset, and whoever takes a partition over first reads
//! its cuts to the end. So the model of an event is a function of the topics alone, whatever dies in between.

mod agent;
mod board;
pub mod expired;
mod held;
pub mod history;
pub mod promotions;
mod switcher;
mod takeover;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_faults;

pub use agent::{Agent, HEARTBEAT};
pub use board::{Premises, SwapError, Switchboard};
pub use switcher::{Shadowing, Switcher};
