//! The short form of `examples/fuzz`.

#[path = "../../examples/fuzz/engine.rs"]
mod engine;

/// Enough that every sort of change meets every seed.
const INPUTS: u64 = 3_000;

#[test]
fn damaged_files_of_every_format_are_refused_or_score() {
    for target in engine::TARGETS {
        let found = engine::run(target, 0, INPUTS).unwrap();
        let refused: u64 = found.refused.iter().sum();
        assert!(found.accepted > INPUTS / 100 && refused > INPUTS / 10, "{}: {found}", target.name);
    }
}
