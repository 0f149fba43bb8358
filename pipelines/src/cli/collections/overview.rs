//! `collections list`: all collections, those that are damaged too.

use std::process::ExitCode;
use std::sync::Arc;

use lunapark_index::{IndexError, list};
use lunapark_stores::ArtifactStore;
use serde::Serialize;

use super::{COUNTED, Shown, explain_hidden, shown, tell_older};
use crate::cli::output::{Output, Table, number, size};

/// A collection of the list, or why it cannot be shown: one that is damaged hides no other.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Shown(Box<Shown>),
    Damaged { name: String, error: String },
}

impl Listed {
    /// None where it was dropped since it was listed.
    fn of(store: &Arc<ArtifactStore>, name: &str) -> Option<Self> {
        match shown(store, name) {
            Ok(shown) => Some(Self::Shown(Box::new(shown))),
            Err(error) if matches!(error.downcast_ref(), Some(IndexError::NoCollection(_))) => None,
            Err(error) => Some(Self::Damaged { name: name.to_owned(), error: format!("{error:#}") }),
        }
    }

    fn damage(&self) -> Option<(&str, &str)> {
        match self {
            Self::Shown(_) => None,
            Self::Damaged { name, error } => Some((name, error)),
        }
    }
}

pub(super) fn all(store: &Arc<ArtifactStore>, out: &mut Output<'_>, json: bool) -> anyhow::Result<ExitCode> {
    let found: Vec<Listed> = list(store)?.iter().filter_map(|name| Listed::of(store, name)).collect();
    match json {
        true => out.document(&found)?,
        false => table_of(&found, out)?,
    }
    let is_damaged = found.iter().any(|each| each.damage().is_some());
    Ok(if is_damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table_of(found: &[Listed], out: &mut Output<'_>) -> anyhow::Result<()> {
    let damaged: Vec<_> = found.iter().filter_map(Listed::damage).collect();
    let found: Vec<&Shown> = found
        .iter()
        .filter_map(|each| match each {
            Listed::Shown(shown) => Some(&**shown),
            Listed::Damaged { .. } => None,
        })
        .collect();
    let titles = [&["collection"], &COUNTED.map(|(title, _)| title)[..], &["model", "size", "version"]].concat();
    let mut table = Table::new(&titles);
    for each in &found {
        let [documents, hidden, passages, vectors] = COUNTED.map(|(_, of)| number(of(&each.counts)));
        table.row([
            each.name.clone(),
            documents,
            hidden,
            passages,
            vectors,
            each.settings.model.clone(),
            size(each.counts.bytes),
            each.version.to_string(),
        ]);
    }
    out.table(&table)?;
    explain_hidden(found.iter().map(|each| &each.counts), out)?;
    found.iter().try_for_each(|each| tell_older(&each.name, each.older.as_deref(), out))?;
    for (name, error) in damaged {
        out.line(format_args!("{name} is damaged: {error}; `lunapark collections verify {name}` looks at all of it"))?;
    }
    Ok(())
}
