//! Which operator joins which topics: pipelines, the one runner, configuration, HTTP endpoints, and the CLI.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod allocator;
pub mod audit;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod encoders;
pub mod health;
pub mod http;
pub mod jobs;
pub mod knowledge;
pub mod labels;
pub mod metrics;
pub mod models;
pub mod offsets;
pub mod pdf;
pub mod pipelines;
pub mod runner;
pub mod service;
pub mod stop;
pub mod swap;
pub mod upkeep;
pub mod version;
