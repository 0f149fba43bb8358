//! `lunapark doctor`: what this machine has, what is missing, and what to do about it.

mod checks;
mod machine;

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{self, Output, Table};
use crate::config::Config;

/// Shows what this machine has and what is missing, with the way out
///
/// Everything that the configuration names is tried: the log, the object store, MongoDB, the models, the text encoder, the
/// PDF reader. Nothing is created on the way that was not there before, save a probe in the object store, which is removed.
///
/// Exit code: 1 where something that is configured does not work, 0 otherwise. A text encoder that is not there is a
/// failure where this instance indexes or searches, and where documents.encoder names another one than the default.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark doctor\n  lunapark --config lunapark.toml doctor\n  \
                        lunapark doctor --json | jq '.checks[] | select(.state != \"ok\")'")]
pub struct Args {}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It works.
    Ok,
    /// It is not wanted here.
    Off,
    /// It is not there, and nothing that is configured needs it.
    Missing,
    /// It is configured, and does not work.
    Failed,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Off => "off",
            State::Missing => "missing",
            State::Failed => "FAILED",
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Check {
    /// What was looked at.
    what: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What to do; empty where nothing needs doing.
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

impl Check {
    fn new(what: &'static str, state: State, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what, state, found: found.into(), fix: fix.into() }
    }

    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self::new(what, State::Ok, found, "")
    }
}

/// Runs the command. The configuration is read here: that it cannot be read is the first thing to tell.
pub fn run(file: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let mut checks = vec![machine::cpu()];
    match Config::load(file, std::env::vars()) {
        Ok(config) => {
            checks.push(machine::configuration(file));
            checks.extend(checks::all(&config));
        }
        Err(error) => {
            let fix = "correct it; `lunapark config` prints every setting with its default";
            checks.push(Check::new("configuration", State::Failed, error.to_string(), fix));
        }
    }
    output::on_stdout(json, |out| tell(&checks, out))
}

fn tell(checks: &[Check], out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let missing: Vec<_> = checks.iter().filter(|check| check.state == State::Missing).map(|check| check.what).collect();
    let missing = missing.join(", ");
    let failed = checks.iter().filter(|check| check.state == State::Failed).count();
    if out.json {
        out.document(&serde_json::json!({ "ok": failed == 0, "checks": checks }))?;
    } else {
        let mut table = Table::new(&["", "state", "found"]);
        for check in checks {
            let fix = (!check.fix.is_empty()).then(|| format!("→ {}", check.fix));
            let lines = check.found.lines().map(|line| output::printable(line.as_bytes())).chain(fix);
            for (number, line) in lines.enumerate() {
                let [what, state] = if number == 0 { [check.what, check.state.word()] } else { [""; 2] };
                table.row([what.to_owned(), state.to_owned(), line]);
            }
        }
        out.table(&table)?;
        let verdict = match failed {
            0 if missing.is_empty() => "everything that is configured works".to_owned(),
            0 => format!("everything that is configured works; not there: {missing}"),
            1 => "one thing that is configured does not work".to_owned(),
            many => format!("{many} things that are configured do not work"),
        };
        out.line(format_args!("\n{verdict}"))?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: State) -> (String, ExitCode) {
        let checks = [Check::ok("cpu", "two cores"), Check::new("log", state, "kafka k:1\nno answer", "start it")];
        let mut bytes = Vec::new();
        let code = tell(&checks, &mut Output::new(&mut bytes, false)).unwrap();
        (String::from_utf8(bytes).unwrap(), code)
    }

    #[test]
    fn only_what_is_configured_and_does_not_work_fails() {
        let (text, code) = told(State::Failed);
        assert!(text.contains("log  FAILED  kafka k:1") && text.contains("→ start it"), "{text}");
        assert!(text.contains("no answer") && text.contains("one thing"), "{text}");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        let (text, code) = told(State::Missing);
        assert!(text.contains("log  missing") && text.ends_with("works; not there: log\n"), "{text}");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    }
}
