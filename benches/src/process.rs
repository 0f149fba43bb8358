//! The measured processes: the real `lunapark` binary, and the bare loop as a process of its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::broker::root;
use crate::job::{COMMIT_MS, Job, MODEL, PARTITIONS, PREFIX};

/// Linux counts process times in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;
/// The product's own drain budget and a bit.
const PATIENCE: Duration = Duration::from_secs(10);

/// A measured process; ended when dropped.
pub struct Running {
    child: Child,
    log: Option<PathBuf>,
    /// CPU seconds that were spent on preparing.
    prepared: f64,
    /// When it was started.
    pub started: Instant,
}

impl Running {
    /// `lunapark run` with this configuration; its log goes to `log`.
    pub fn scorer(config: &Path, log: &Path) -> anyhow::Result<Self> {
        let mut command = product()?;
        let file = File::create(log)?;
        command.arg("run").arg("--config").arg(config).stdout(Stdio::null()).stderr(file);
        let started = Instant::now();
        let child = command.spawn().context("lunapark cannot be started")?;
        Ok(Self { child, log: Some(log.to_owned()), prepared: 0.0, started })
    }

    /// A command of the measured binary with this configuration and `--json`; what it printed.
    pub fn command(config: &Path, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let output = product()?.arg("--config").arg(config).args(arguments).arg("--json").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`lunapark {}` failed ({}): {said}", arguments.join(" "), output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The bare loop; returns once its results are in memory.
    pub fn bare(job: &Job) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare").arg(serde_json::to_string(job)?).stdout(Stdio::piped());
        let mut child = command.spawn().context("the bare loop cannot be started")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let prepared = line.trim().parse().context("the bare loop did not get ready")?;
        Ok(Self { child, log: None, prepared, started: Instant::now() })
    }

    /// CPU seconds, user and system, since it was started or prepared.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        Ok(cpu_seconds(self.child.id())? - self.prepared)
    }

    /// The most memory that it ever held, in bytes.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = line.context("no VmHWM")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib << 10)
    }

    /// Fails where the process has ended, with the last lines of its log.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let text = self.log.as_deref().map(std::fs::read_to_string).transpose()?.unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        bail!("the measured process ended ({status}): {}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _killed = self.child.kill();
            }
            nap(Duration::from_millis(5));
        }
    }
}

/// User and system time of a process, all threads.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    seconds_of(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?)
}

/// CPU seconds of each compiler thread of the Java programs on this machine.
pub struct Compilers(HashMap<PathBuf, f64>);

/// Those that run now. What ends meanwhile is no error.
pub fn compilers() -> Compilers {
    let folders = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let threads = folders(Path::new("/proc")).flat_map(|process| folders(&process.join("task")).collect::<Vec<_>>());
    let seconds = |thread: PathBuf| {
        let stat = std::fs::read_to_string(thread.join("stat")).ok()?;
        let compiles = ["(C1 Compiler", "(C2 Compiler"].iter().any(|name| stat.contains(name));
        compiles.then(|| Some((thread, seconds_of(&stat).ok()?)))?
    };
    Compilers(threads.filter_map(seconds).collect())
}

impl Compilers {
    /// What they have spent since; `None` where there are none.
    pub fn spent_until(&self, later: &Self) -> Option<f64> {
        let since = |(thread, seconds): (&PathBuf, &f64)| seconds - self.0.get(thread).copied().unwrap_or(0.0);
        (!later.0.is_empty()).then(|| later.0.iter().map(since).sum())
    }
}

fn seconds_of(stat: &str) -> anyhow::Result<f64> {
    // The second field is the name in parentheses, which may hold anything; user and system time are 14 and 15.
    let (_, rest) = stat.rsplit_once(')').context("unreadable /proc/…/stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// Builds the release binary where this program runs under cargo, so that one command measures what is written.
/// LUNAPARK_BIN names another one.
pub fn build_scorer() -> anyhow::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO").filter(|_| std::env::var_os("LUNAPARK_BIN").is_none()) else {
        return Ok(());
    };
    let arguments = ["build", "--release", "-p", "lunapark", "--bin", "lunapark"];
    let status = Command::new(cargo).args(arguments).current_dir(root()).status()?;
    ensure!(status.success(), "`cargo build --release -p lunapark` failed");
    Ok(())
}

/// The measured binary.
pub fn scorer_binary() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("LUNAPARK_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("lunapark"),
    };
    ensure!(path.is_file(), "{} is missing; build it with `cargo build --release`", path.display());
    Ok(path)
}

/// The measured binary, which only the measurement's own configuration reaches.
fn product() -> anyhow::Result<Command> {
    let mut command = Command::new(scorer_binary()?);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LUNAPARK_")) {
        command.env_remove(name);
    }
    Ok(command)
}

/// The configuration of the scorer for this job. `data` is the embedded log's folder, `port` that of `/readyz`.
pub fn scorer_config(job: &Job, data: &Path, port: u16) -> String {
    let (name, version) = MODEL;
    let linger = job.linger_ms.map(|millis| format!("\"linger.ms\" = \"{millis}\"\n")).unwrap_or_default();
    format!(
        r#"instance = "bench"
[kafka]
bootstrap = "{bootstrap}"
{linger}[embedded]
data = "{data}"
[topics]
prefix = "{PREFIX}"
partitions = {PARTITIONS}
ledger_partitions = {PARTITIONS}
retention = "1d"
[score]
name = "{run}"
threads = {threads}
delivery = "{delivery}"
commit_interval = "{COMMIT_MS}ms"
[[score.models]]
name = "{name}"
version = "{version}"
path = "{path}"
[http]
listen = "127.0.0.1:{port}"
[log]
level = "warn"
"#,
        bootstrap = job.bootstrap,
        data = data.display(),
        run = job.run,
        threads = job.threads,
        delivery = job.mode.name(),
        path = job.model.path(),
    )
}

/// Waits a moment between two looks at something that is happening elsewhere.
#[expect(clippy::disallowed_methods, reason = "the pause of a poll loop, and of a paced source")]
pub fn nap(pause: Duration) {
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Mode, ModelKind, Payload};

    #[test]
    fn the_scorer_takes_its_configuration() {
        let job = Job {
            bootstrap: "b:1".into(),
            model: ModelKind::Mlp,
            payload: Payload::Json,
            messages: 1,
            threads: 2,
            mode: Mode::AtLeastOnce,
            linger_ms: Some(7),
            run: "r".into(),
        };
        let text = scorer_config(&job, Path::new("/d"), 0);
        let config = lunapark::config::Config::from_texts(&text, std::iter::empty()).unwrap();
        assert_eq!(config.score.threads, 2);
        assert_eq!(config.score.models[0].path, "builtin:higgs-mlp");
        let kafka = config.kafka.unwrap();
        assert_eq!((&*kafka.bootstrap, kafka.properties["linger.ms"].as_str()), ("b:1", "7"));
    }

    #[test]
    fn compilers_that_end_take_nothing_back() {
        let of = |threads: &[(&str, f64)]| Compilers(threads.iter().map(|(name, s)| (name.into(), *s)).collect());
        let before = of(&[("a", 2.0), ("b", 5.0)]);
        assert_eq!(before.spent_until(&of(&[("a", 2.5), ("c", 1.0)])), Some(1.5));
        assert_eq!(before.spent_until(&of(&[])), None);
    }

    #[test]
    fn the_own_cpu_time_grows() {
        let before = cpu_seconds(std::process::id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while cpu_seconds(std::process::id()).unwrap() <= before {
            assert!(Instant::now() < deadline);
        }
    }
}
