//! Headings in a PDF's text: the file has none, but papers number them, and each number follows from the one before.

/// A heading is a line, no paragraph.
const MAX_CHARS: usize = 90;
/// Numbers beyond this are years and quantities.
const MAX_NUMBER: u32 = 40;
/// Parts of papers that are seldom numbered.
const UNNUMBERED: [&str; 8] = [
    "abstract",
    "introduction",
    "summary",
    "conclusion",
    "conclusions",
    "acknowledgements",
    "acknowledgments",
    "references",
];

/// What has been numbered so far, page after page.
#[derive(Debug, Default)]
pub(super) struct Numbering(Vec<u32>);

/// A heading that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heading {
    /// Byte of the page's text.
    pub start: usize,
    /// 1 to 6.
    pub level: u8,
    /// With its number.
    pub text: String,
}

impl Numbering {
    /// The headings of the next page: lines that stand alone, with a number that is next, or a name that papers have.
    /// A number in a page's first line is the page's.
    pub(super) fn headings(&mut self, page: &str) -> Vec<Heading> {
        let mut found = Vec::new();
        let mut lines = page.split_inclusive('\n').peekable();
        let (mut start, mut alone) = (0, true);
        while let Some(line) = lines.next() {
            let trimmed = line.trim();
            let ends = lines.peek().is_none_or(|next| next.trim().is_empty());
            let of_page = page[..start].trim().is_empty() && trimmed.starts_with(|char: char| char.is_ascii_digit());
            if alone
                && ends
                && !of_page
                && let Some(level) = self.level(trimmed)
            {
                let start = start + line.len() - line.trim_start().len();
                found.push(Heading { start, level, text: trimmed.split_whitespace().collect::<Vec<_>>().join(" ") });
            }
            alone = trimmed.is_empty();
            start += line.len();
        }
        found
    }

    fn level(&mut self, line: &str) -> Option<u8> {
        if line.is_empty() || line.chars().count() > MAX_CHARS {
            return None;
        }
        if UNNUMBERED.contains(&line.to_lowercase().as_str()) {
            return Some(1);
        }
        let (number, words) = line.split_once(char::is_whitespace)?;
        let number = parse(number).filter(|number| self.is_next(number))?;
        is_title(words.trim()).then(|| {
            let level = number.len().min(6) as u8;
            self.0 = number;
            level
        })
    }

    /// True for the first, for one below the last, and for the one after the last or after one that it is below.
    fn is_next(&self, number: &[u32]) -> bool {
        let Some((last, before)) = number.split_last() else { return false };
        let is_first = before == self.0 && *last == 1;
        let follows = self.0.get(number.len() - 1).is_some_and(|had| had + 1 == *last);
        is_first || follows && self.0.starts_with(before)
    }
}

/// `2`, `2.` and `2.1.3`.
fn parse(number: &str) -> Option<Vec<u32>> {
    let parts = number.strip_suffix('.').unwrap_or(number).split('.');
    parts.map(|part| part.parse().ok().filter(|number| (1..=MAX_NUMBER).contains(number))).collect()
}

/// Words, no formula and no sentence.
fn is_title(words: &str) -> bool {
    let letters = words.chars().filter(|char| char.is_alphabetic()).count();
    let signs = words.chars().filter(|char| !char.is_whitespace()).count();
    words.starts_with(char::is_uppercase)
        && letters > 2
        && letters * 10 > signs * 8
        && !words.ends_with(['.', ',', ';', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_lines_that_follow_each_other_are_headings() {
        let mut numbering = Numbering::default();
        let mut texts = |page: &str| {
            let found = numbering.headings(page);
            assert!(
                found.iter().all(|heading| page[heading.start..].starts_with(heading.text.split(' ').next().unwrap()))
            );
            found.into_iter().map(|heading| (heading.level, heading.text)).collect::<Vec<_>>()
        };
        let first = "A paper\n\nAbstract\n\nWe measure.\n\n\
                     3 Out of order\n\n1  Introduction\n\nText 1 Text.\n\n\
                     1.1 The detector\n\nMore.\n";
        let expected = [(1, "Abstract"), (1, "1 Introduction"), (2, "1.1 The detector")];
        assert_eq!(texts(first), expected.map(|(level, text)| (level, text.to_owned())));
        let second = "2 The authors\n\n1.2. Data\n\nline\n2 Inside a paragraph\nline\n\n\
                      1.2.1 A sentence is none.\n\n2 Results\n\n2 Results\n\n\
                      2.1 m = 5 GeV\n\n2.1 Limits\n\n1957 Nature\n";
        assert_eq!(
            texts(second),
            [(2, "1.2. Data"), (1, "2 Results"), (2, "2.1 Limits")].map(|(l, t)| (l, t.to_owned()))
        );
        assert_eq!(texts("REFERENCES\n\n3 Last\n"), [(1, "REFERENCES"), (1, "3 Last")].map(|(l, t)| (l, t.to_owned())));
        assert!(texts("").is_empty());
    }
}
