//! The real Kafka of a measurement: the one that `KAFKA_BOOTSTRAP` names, or one of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::process::compilers;
use crate::report;

/// The repository's root folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A broker; stopped when dropped where it was started here.
pub struct Broker {
    /// `host:port`.
    pub bootstrap: String,
    own: bool,
}

impl Broker {
    /// Starts a broker, or takes the one that is there.
    pub fn start() -> anyhow::Result<Self> {
        if let Some(bootstrap) = std::env::var("KAFKA_BOOTSTRAP").ok().filter(|b| !b.is_empty()) {
            return Ok(Self { bootstrap, own: false });
        }
        let output = script().args(["start", "--dir", "bench", "--port", "9192"]).output();
        let output = output.context("deploy/servers/kafka cannot be run")?;
        ensure!(output.status.success(), "the broker did not start: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("KAFKA_BOOTSTRAP="));
        Ok(Self { bootstrap: line.context("deploy/servers/kafka names no broker")?.to_owned(), own: true })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.own {
            let _status = script().args(["stop", "--dir", "bench"]).status();
        }
    }
}

/// How long a broker is under load at least before anything counts.
const WARM_UP: Duration = Duration::from_secs(25);
/// What is repeated is not begun again after so long.
const WARM_UP_MOST: Duration = Duration::from_secs(120);
/// A compiler that takes less than this share of a core is done.
const COMPILED: f64 = 0.1;

/// Repeats what loads the broker, without counting it, until its compiler is done. How that ended.
pub fn warm_up(mut repeat: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<String> {
    report::note("warming up");
    let started = Instant::now();
    let ended = loop {
        let (before, began) = (compilers(), Instant::now());
        repeat()?;
        let compiling = before.spent_until(&compilers()).map(|seconds| seconds / began.elapsed().as_secs_f64());
        let warm = started.elapsed();
        match compiling {
            None if warm >= WARM_UP => {
                break format!("Warmed up for {warm:.0?}; no Java compiler is seen on this machine.");
            }
            Some(share) if warm >= WARM_UP && share < COMPILED => {
                break format!("Warm after {warm:.0?}: the broker's compiler takes {share:.2} of a core.");
            }
            Some(share) if warm >= WARM_UP_MOST => {
                break format!(
                    "**Not warm** after {warm:.0?}: the broker's compiler still takes {share:.2} of a core."
                );
            }
            _ => {}
        }
    };
    report::note(&ended);
    Ok(ended)
}

fn script() -> Command {
    Command::new(root().join("deploy/servers/kafka"))
}
