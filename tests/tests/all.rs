//! The integration tests: one binary, because each links everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation ends a test")]

mod catalog;
mod chaos;
mod contract;
mod e2e;
