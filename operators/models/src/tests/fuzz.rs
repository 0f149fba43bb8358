//! The short form of `examples/fuzz`, and with LUNAPARK_TEST_LONG=1 the promised one.

#[path = "../../examples/fuzz/engine.rs"]
mod engine;

/// Enough that every sort of change meets every seed.
const SHORT: u64 = 3_000;
const LONG: u64 = 1_000_000;

/// Inputs per format: the short number, the promised one (LUNAPARK_TEST_LONG=1), or what LUNAPARK_FUZZ_CASES says.
fn inputs() -> u64 {
    let given = std::env::var("LUNAPARK_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    let usual = if std::env::var_os("LUNAPARK_TEST_LONG").is_some() { LONG } else { SHORT };
    given.unwrap_or(usual)
}

#[test]
fn damaged_files_of_every_format_are_refused_or_score() {
    let inputs = inputs();
    for target in engine::TARGETS {
        let found = engine::run(target, 0, inputs).unwrap();
        println!("{}: {inputs} inputs, {found}", target.name);
        let refused: u64 = found.refused.iter().sum();
        assert!(found.accepted > inputs / 100 && refused > inputs / 10, "{}: {found}", target.name);
    }
}
