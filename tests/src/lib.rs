//! What the integration tests share: real servers, a place of their own on them, the binary as a child process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

pub mod harness;
