//! What came of the files, for people and for programs.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::prune::Unlooked;
use crate::cli::output::{Output, Table, counted, number};

/// So many of a kind are listed, the rest is counted: a list must stay readable, and a folder may hold millions.
const LISTED: usize = 100;

/// The first of many, and how many there are.
#[derive(Debug)]
pub(super) struct Listed<T> {
    all: u64,
    shown: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { all: 0, shown: Vec::new() }
    }
}

impl<T> Listed<T> {
    pub(super) fn push(&mut self, item: T) {
        self.all += 1;
        if self.shown.len() < LISTED {
            self.shown.push(item);
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        let room = LISTED - self.shown.len();
        self.all += other.all;
        self.shown.extend(other.shown.into_iter().take(room));
    }

    #[cfg(test)]
    pub(super) fn shown(&self) -> &[T] {
        &self.shown
    }

    fn more(&self) -> u64 {
        self.all - self.shown.len() as u64
    }
}

impl Listed<String> {
    /// The first one, and how many more there are; none where there is nothing.
    fn first_of(&self) -> Option<String> {
        let first = self.shown.first()?;
        Some(match self.all - 1 {
            0 => first.clone(),
            more => format!("{first} and {} more", number(more)),
        })
    }
}

/// What was not sent.
#[derive(Debug, Serialize)]
pub(super) struct Skipped {
    pub path: String,
    pub reason: String,
}

impl Skipped {
    pub(super) fn new(path: &str, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), reason: reason.into() }
    }
}

/// What the service could not take into the collection.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub document: String,
    pub path: String,
    pub reason: String,
    /// Position of the dead letter, which `lunapark dlq show` takes.
    pub dead_letter: String,
    /// False where an earlier run was told so, and nothing has changed since.
    pub sent: bool,
}

/// A document whose file is gone.
#[derive(Debug, Serialize)]
pub(super) struct Gone {
    pub document: String,
    pub path: String,
}

/// What came of the files.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub collection: String,
    /// Documents on the topic, those taken out not counted.
    pub sent: u64,
    pub unchanged: u64,
    /// True where the service has gone through all that was sent.
    pub waited: bool,
    pub skipped: Listed<Skipped>,
    pub refused: Listed<Refused>,
    /// Of the refused, those that this run has sent.
    pub refused_now: u64,
    pub gone: Listed<Gone>,
    /// True where what is gone was taken out.
    pub pruned: bool,
    /// What nobody looked at whether it is gone.
    pub unlooked: Unlooked,
    /// Files whose front matter names fields that are the document's own.
    pub shadowing: Listed<String>,
    /// Files whose front matter does not end.
    pub unclosed: Listed<String>,
}

impl Report {
    /// Prints it. The exit code is 1 where a document was refused, since it cannot be found, whatever else went well; and
    /// where there was nothing but what was skipped.
    pub(super) fn print(&self, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
        match out.json {
            true => out.document(&self.json())?,
            false => self.text(out)?,
        }
        let only_skipped = self.skipped.all > 0 && self.sent + self.unchanged + self.gone.all == 0;
        Ok(if self.refused.all > 0 || only_skipped { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "collection": self.collection,
            "sent": self.sent,
            "unchanged": self.unchanged,
            "indexed": self.waited,
            "refused": self.refused.shown,
            "refused_total": self.refused.all,
            "skipped": self.skipped.shown,
            "skipped_total": self.skipped.all,
            "gone": self.gone.shown,
            "gone_total": self.gone.all,
            "pruned": self.pruned,
            "notes": self.notes(),
        })
    }

    fn text(&self, out: &mut Output<'_>) -> anyhow::Result<()> {
        let (done, count) = match self.waited {
            true => ("indexed in", self.sent.saturating_sub(self.refused_now)),
            false => ("sent to", self.sent),
        };
        let mut line = format!("{} {done} collection {}", counted(count, "document"), self.collection);
        line += &format!(", {} unchanged", number(self.unchanged));
        if self.refused.all > 0 {
            line += &format!(", {} refused", number(self.refused.all));
        }
        out.line(line)?;
        self.tell_refused(out)?;
        self.tell_gone(out)?;
        let skipped = self.skipped.shown.iter().map(|one| [one.path.clone(), one.reason.clone()]);
        listed(out, "skipped", &self.skipped, &["path", "reason"], skipped)?;
        self.notes().iter().try_for_each(|note| Ok(out.line(format_args!("note: {note}"))?))
    }

    /// What is odd about files that were read all the same, once for all of them; and what nobody looked at.
    fn notes(&self) -> Vec<String> {
        let shadowing = self.shadowing.first_of().map(|files| {
            format!("{files}: `id` and `uri` of the front matter are left out, since every document has its own; rename them")
        });
        let unclosed = self.unclosed.first_of().map(|files| {
            format!("{files}: the front matter has no second line of `---` that ends it, and is read as text")
        });
        [shadowing, unclosed, self.unlooked.told(&self.collection)].into_iter().flatten().collect()
    }

    fn tell_refused(&self, out: &mut Output<'_>) -> anyhow::Result<()> {
        let row = |one: &Refused| {
            let before = if one.sent { "" } else { "refused before, and unchanged: " };
            [one.path.clone(), one.dead_letter.clone(), format!("{before}{}", one.reason)]
        };
        let rows = self.refused.shown.iter().map(row);
        listed(out, "refused", &self.refused, &["path", "dead letter", "reason"], rows)?;
        let before = self.refused.all - self.refused_now;
        if before > 0 {
            let text = "what was refused before is sent again when it changes, or with --again";
            out.line(format_args!("{}: {text}", counted(before, "document")))?;
        }
        Ok(())
    }

    fn tell_gone(&self, out: &mut Output<'_>) -> anyhow::Result<()> {
        let what = match self.pruned {
            true => "taken out: their files are gone or empty",
            false => "would be taken out, as their files are gone or empty; add --yes",
        };
        let rows = self.gone.shown.iter().map(|one| [one.document.clone(), one.path.clone()]);
        listed(out, what, &self.gone, &["document", "path"], rows)
    }
}

/// A heading with the number, the first of them, and how many more there are.
fn listed<T, const N: usize>(
    out: &mut Output<'_>,
    what: &str,
    of: &Listed<T>,
    titles: &[&'static str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> anyhow::Result<()> {
    if of.all == 0 {
        return Ok(());
    }
    out.line(format_args!("\n{} {what}:", number(of.all)))?;
    let mut table = Table::new(titles);
    for row in rows {
        table.row(row);
    }
    out.table(&table)?;
    if of.more() > 0 {
        out.line(format_args!("… and {} more", number(of.more())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(report: &Report, json: bool) -> (String, ExitCode) {
        let mut bytes = Vec::new();
        let code = report.print(&mut Output::new(&mut bytes, json)).unwrap();
        (String::from_utf8(bytes).unwrap(), code)
    }

    fn refused(number: u64, sent: bool) -> Refused {
        Refused {
            document: format!("{number}.pdf"),
            path: format!("papers/{number}.pdf"),
            reason: "scanned".into(),
            dead_letter: format!("documents.ingest.dead/0/{number}"),
            sent,
        }
    }

    #[test]
    fn what_was_refused_is_not_counted_as_indexed() {
        let mut report = Report { collection: "papers".into(), sent: 3, waited: true, ..Report::default() };
        let (text, code) = printed(&report, false);
        assert!(text.starts_with("3 documents indexed in collection papers, 0 unchanged\n"), "{text}");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        (report.refused_now, _) = (2, (1..=2).for_each(|number| report.refused.push(refused(number, true))));
        let (text, code) = printed(&report, false);
        assert!(text.starts_with("1 document indexed in collection papers, 0 unchanged, 2 refused\n"), "{text}");
        assert!(
            text.contains("papers/2.pdf  documents.ingest.dead/0/2  scanned") && !text.contains("--again"),
            "{text}"
        );
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        report.refused.push(refused(3, false));
        assert!(printed(&report, false).0.contains("1 document: what was refused before"));
    }

    #[test]
    fn what_is_odd_is_told_once() {
        let mut report = Report { sent: 3, ..Report::default() };
        for name in ["a.md", "b.md", "c.md"] {
            report.shadowing.push(name.to_owned());
        }
        report.unclosed.push("d.md".to_owned());
        let (text, code) = printed(&report, false);
        assert_eq!(text.matches("note: ").count(), 2, "{text}");
        assert!(text.contains("note: a.md and 2 more: `id` and `uri`") && text.contains("note: d.md: "), "{text}");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        let json: serde_json::Value = serde_json::from_str(&printed(&report, true).0).unwrap();
        assert_eq!(json["notes"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let mut report = Report::default();
        (0..250).for_each(|number| report.refused.push(refused(number, true)));
        report.refused_now = 250;
        let (text, _) = printed(&report, false);
        assert!(
            text.contains("250 refused:") && text.contains("… and 150 more") && text.lines().count() < 110,
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&printed(&report, true).0).unwrap();
        assert_eq!((json["refused"].as_array().unwrap().len(), &json["refused_total"]), (LISTED, &250.into()));
    }
}
