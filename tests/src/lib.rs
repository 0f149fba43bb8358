//! What the integration tests share: real servers, a place of their own on them, the binary as a child process, and
//! the contract that every log keeps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "children report to their test on standard output")]

pub mod catalog;
pub mod contract;
pub mod harness;
pub mod verifier;
