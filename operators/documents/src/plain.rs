//! Text without markup, and the headings that people mark in it all the same: a first line that stands alone, lines
//! underlined with a row of signs, LaTeX's own.

use crate::{Extracted, Kind, Section};

/// A title is no paragraph.
const MAX_TITLE_CHARS: usize = 150;
/// A shorter row of signs is a dash or dots.
const MIN_UNDERLINE: usize = 3;
const UNDERLINES: &str = "=-~^\"#*+";
/// LaTeX's headings, from chapters down.
const COMMANDS: [(&str, u8); 4] = [("chapter", 1), ("section", 2), ("subsection", 3), ("subsubsection", 4)];

/// A text as it is.
pub(crate) fn document(text: String, encoding: &'static str) -> Extracted {
    let (mut sections, mut signs) = (Vec::new(), Vec::new());
    let mut title = first_line(&text);
    let mut above: Option<(usize, &str)> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if let Some((at, heading)) = above.filter(|(_, heading)| underlines(trimmed, heading)) {
            let level = level(&mut signs, trimmed);
            sections.push(Section { start: at, heading: Some(heading.to_owned()), level, page: None });
        } else if let Some((level, heading)) = command(trimmed) {
            let start = start + line.len() - line.trim_start().len();
            sections.push(Section { start, heading: Some(heading.to_owned()), level, page: None });
        }
        if let Some(stated) = braces(trimmed, "\\title") {
            title = Some(stated.to_owned());
        }
        above = heading_of(trimmed).map(|heading| (start + line.len() - line.trim_start().len(), heading));
        start += line.len();
    }
    Extracted { title, text, sections, encoding, kind: Kind::Text }
}

/// The first line, where it stands alone and is no sentence.
fn first_line(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| line.is_empty());
    let (first, below) = (heading_of(lines.next()?)?, lines.next()?);
    let apart = below.is_empty() && !first.ends_with(['.', ',', ';', ':']) || underlines(below, first);
    (apart && lines.any(|line| !line.is_empty())).then(|| first.to_owned())
}

/// What could be a heading: some words, the first with a capital or a number.
fn heading_of(line: &str) -> Option<&str> {
    let begins = line.starts_with(|char: char| char.is_uppercase() || char.is_numeric());
    let letters = line.chars().filter(|char| char.is_alphabetic()).count();
    let signs = line.chars().filter(|char| !char.is_whitespace()).count();
    (begins && line.chars().count() <= MAX_TITLE_CHARS && letters * 2 > signs && letters > 1).then_some(line)
}

/// A row of one sign, as long as what is above it.
fn underlines(line: &str, above: &str) -> bool {
    let sign = line.chars().next().filter(|sign| UNDERLINES.contains(*sign));
    sign.is_some_and(|sign| line.chars().all(|char| char == sign))
        && line.chars().count() >= above.chars().count().max(MIN_UNDERLINE)
}

/// The signs in the order in which they are first used: the first is the highest.
fn level(signs: &mut Vec<char>, underline: &str) -> u8 {
    let sign = underline.chars().next().unwrap_or_default();
    let place = signs.iter().position(|known| *known == sign).unwrap_or_else(|| {
        signs.push(sign);
        signs.len() - 1
    });
    (place + 1).min(6) as u8
}

fn command(line: &str) -> Option<(u8, &str)> {
    if !line.starts_with('\\') {
        return None;
    }
    COMMANDS.iter().find_map(|(name, level)| Some((*level, braces(line, &format!("\\{name}"))?)))
}

/// What a command has in braces on its line.
fn braces<'a>(line: &'a str, command: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(command)?;
    let inside = rest.strip_prefix('*').unwrap_or(rest).strip_prefix('{')?;
    let mut open = 1_usize;
    let end = inside.char_indices().find(|(_, char)| {
        open = match char {
            '{' => open + 1,
            '}' => open - 1,
            _ => open,
        };
        open == 0
    });
    Some(inside[..end?.0].trim()).filter(|inside| !inside.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title(text: &str) -> Option<String> {
        document(text.to_owned(), "UTF-8").title
    }

    #[test]
    fn a_first_line_that_stands_alone_is_the_title() {
        let long = format!("A{}\n\nText.", "b ".repeat(100));
        for (text, expected) in [
            ("\n  Scale models of wings\n\nThe text begins.", Some("Scale models of wings")),
            ("What is a jet?\n\nText.", Some("What is a jet?")),
            ("Underlined.\n===========\nText.", Some("Underlined.")),
            ("\\documentclass{article}\n\\title{On {LHC} data}\nText", Some("On {LHC} data")),
            ("A sentence is none.\n\nText.", None),
            ("The first line of a\nparagraph.", None),
            ("Only a line\n\n", None),
            ("Only a line", None),
            ("lower case\n\nText.", None),
            ("12.5 | 13.7 | 14\n\nText.", None),
            (long.as_str(), None),
            ("", None),
        ] {
            assert_eq!(title(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn underlined_lines_and_latex_sections_are_headings() {
        let text = "Guide\n=====\nIntro.\n\n  Set up\n--------\nWords.\n\nRun\n---\nMore.\n\nNot\n--\nEnd.\n\
                    \\section*{Results}\nSome.\n\\subsection{No end\nLast.\n";
        let found = document(text.to_owned(), "UTF-8");
        let headings: Vec<_> = found.sections.iter().map(|s| (s.level, s.heading.as_deref().unwrap())).collect();
        assert_eq!(headings, [(1, "Guide"), (2, "Set up"), (2, "Run"), (2, "Results")]);
        assert!(found.sections.iter().all(|s| {
            let here = &text[s.start..];
            here.starts_with(s.heading.as_deref().unwrap()) || here.starts_with("\\section*{Results}")
        }));
        assert_eq!(found.place(text.find("Words").unwrap()).heading, Some("Set up"));
        assert_eq!((found.text.as_str(), found.title.as_deref()), (text, Some("Guide")));
    }
}
