//! The files that the duel scores, and the interpreter of the other sides.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::broker::root;
use crate::report::note;

/// Names an interpreter with the runtimes in the place of the one that `deploy/servers/duel-python` makes.
const PYTHON: &str = "LUNAPARK_DUEL_PYTHON";

/// Models and rows of the duels.
pub struct Folder {
    pub path: PathBuf,
    pub python: PathBuf,
}

impl Folder {
    /// Makes the models of a duel where they are not there yet; git ignores them.
    pub fn prepare(kind: &str) -> anyhow::Result<Self> {
        let folder = Self { path: root().join(".servers/duel"), python: python(None)? };
        let done = folder.path.join(format!("{kind}.done"));
        if !done.exists() {
            note(format!("making the models: {kind}"));
            let mut command = Command::new(&folder.python);
            command.arg(script("models.py")).arg(&folder.path).arg(kind);
            ensure!(command.status().context("python cannot be started")?.success(), "models.py failed");
            std::fs::write(done, "")?;
        }
        Ok(folder)
    }
}

/// A script of `benches/duel`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("duel").join(name)
}

/// An interpreter with what a duel of this kind needs; `None` are the duels of models.
pub fn python(kind: Option<&str>) -> anyhow::Result<PathBuf> {
    if let Some(python) = std::env::var_os(PYTHON) {
        return Ok(python.into());
    }
    let mut command = Command::new(root().join("deploy/servers/duel-python"));
    let output = command.args(kind).output().context("duel-python")?;
    let text = String::from_utf8(output.stdout)?;
    let path = text.trim().strip_prefix("LUNAPARK_DUEL_PYTHON=");
    path.map(PathBuf::from).with_context(|| format!("duel-python: {}", String::from_utf8_lossy(&output.stderr)))
}
