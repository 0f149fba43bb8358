//! Damages valid model files at random and loads them: nothing may panic, run away or take memory without bound.
//!
//! `cargo run --release -p lunapark-models --example fuzz -- FORMAT COUNT [FROM]`, where FORMAT is one of
//! [`engine::TARGETS`]. Input number N is the same on every machine, so a failure is seen again with `FORMAT 1 N`. Under
//! `ulimit -v 2500000` a run for memory is an abort instead of the machine's end.

mod engine;

use std::io::{Error, Write, stdout};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).map(|text| text.parse::<u64>().map_err(Error::other)).transpose();
    let target = arguments.first().and_then(|name| engine::TARGETS.iter().find(|target| target.name == name));
    let (Some(target), Some(count)) = (target, number(1)?) else {
        let names: Vec<_> = engine::TARGETS.iter().map(|target| target.name).collect();
        return Err(Error::other(format!("usage: fuzz FORMAT COUNT [FROM]; FORMAT is {}", names.join(", "))));
    };
    let from = number(2)?.unwrap_or(0);
    let found = engine::run(target, from, count)?;
    writeln!(stdout(), "{}: inputs {from} to {}: {found}, at most {}", target.name, from + count, peak_memory()?)
}

/// The most memory this process has held, as the kernel tells it.
fn peak_memory() -> Result<String, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or("unknown").trim().to_owned())
}
