//! The short form of `examples/fuzz`.

#[path = "../../examples/fuzz/engine.rs"]
mod engine;

/// Enough that every sort of change meets every seed.
const INPUTS: u64 = 3_000;

#[test]
fn damaged_files_of_every_format_are_refused_or_score() {
    for target in engine::TARGETS {
        let found = engine::run(target, 0, INPUTS).unwrap();
        assert!(found.accepted > 0 && found.refused.iter().sum::<u64>() > INPUTS / 2, "{}: {found}", target.name);
    }
}
