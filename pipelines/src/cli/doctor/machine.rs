//! What the machine itself has.

use std::path::Path;

use lunapark_embed::NoTiles;

use super::{Check, State};

/// Instruction sets that kernels here use, and whether this machine has them.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ("AVX-512F", std::arch::is_x86_feature_detected!("avx512f")),
        ("AVX-512BW", std::arch::is_x86_feature_detected!("avx512bw")),
        ("AVX-512VNNI", std::arch::is_x86_feature_detected!("avx512vnni")),
    ]
}

/// Instruction sets that kernels here use, and whether this machine has them.
#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![("NEON", std::arch::is_aarch64_feature_detected!("neon"))]
}

/// Kernels for other processors are portable ones.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

/// Cores, and which instruction sets are used.
pub(super) fn cpu() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let names = |there: bool| {
        let names = features().into_iter().filter(move |(_, found)| *found == there).map(|(name, _)| name);
        names.collect::<Vec<_>>().join(", ")
    };
    let (used, lacking) = (names(true), names(false));
    let used = if used.is_empty() { "the portable kernels".to_owned() } else { used };
    let mut found = format!("{cores} cores; used: {used}");
    if !lacking.is_empty() {
        found += &format!("; not there: {lacking}");
    }
    if let Some(tiles) = tiles() {
        found += &format!("; {tiles}");
    }
    let slow = features().iter().any(|(name, there)| matches!(*name, "AVX2" | "FMA") && !there);
    let fix = if slow { "scores are right, but slow: a machine with AVX2 and FMA is several times faster" } else { "" };
    Check::new("cpu", State::Ok, found, fix)
}

/// Matrix tiles, where the CPU has them.
fn tiles() -> Option<String> {
    match lunapark_embed::amx() {
        Ok(()) => Some("AMX tiles: used by text encoders in bf16".to_owned()),
        Err(NoTiles::Absent) => None,
        Err(why) => Some(why.to_string()),
    }
}

/// Where the settings came from.
pub(super) fn configuration(file: Option<&Path>) -> Check {
    let mut variables: Vec<_> = std::env::vars().map(|(name, _)| name).filter(|name| is_setting(name)).collect();
    variables.sort();
    let file = file.map_or_else(|| "no file, so the defaults".to_owned(), |file| file.display().to_string());
    match variables.is_empty() {
        true => Check::ok("configuration", file),
        false => Check::ok("configuration", format!("{file}, then {}", variables.join(", "))),
    }
}

fn is_setting(name: &str) -> bool {
    name.starts_with("LUNAPARK_") && name != "LUNAPARK_CONFIG"
}
